//! What a layer adds to a call, beside what the peers' layers add.
//!
//! Every layer is built once and stands around a service that costs nothing; a call is readiness,
//! `call` and one poll. `name/1` is one thread; in `name/2` two threads share the layer's state,
//! and the time is one thread's for one call.

mod bare;
mod bloom_guard;
mod cache;
mod catch_panic;
mod circuit_breaker;
mod concurrency;
mod rate_limit;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    overhead,
    bare::bench,
    bloom_guard::bench,
    cache::bench,
    catch_panic::bench,
    circuit_breaker::bench,
    concurrency::bench,
    rate_limit::bench
);
criterion_main!(overhead);
