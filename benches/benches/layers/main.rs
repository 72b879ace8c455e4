//! What a layer adds to a call, beside what the peers' layers add.
//!
//! Every layer is built once and stands around a service that costs nothing; a call is readiness,
//! `call`, and polling to the end. In `layer/who/2` two threads share the layer's state, and the
//! time is one thread's for one call. Libraries without a layer are asked in the way they have.

mod breaker;
mod bulkhead;
mod cache;
mod floor;
mod guard;
mod limiter;
mod panics;
mod stack;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    layers,
    floor::bench,
    breaker::bench,
    limiter::bench,
    bulkhead::bench,
    cache::bench,
    guard::bench,
    panics::bench,
    stack::bench
);
criterion_main!(layers);
