//! Our layers as they are timed, and as their instructions are counted: each function builds one.

mod breaker;
mod bulkhead;
mod cache;
mod guard;
mod limiter;
mod stack;

pub use self::{
    breaker::{
        breaker_consecutive, breaker_count, breaker_count_of, breaker_keyed, breaker_open,
        breaker_time, breaker_time_steady,
    },
    bulkhead::{bulkhead, bulkhead_full, bulkhead_keyed},
    cache::{cache_hit, cache_hit_engine},
    guard::{guard_hit, guard_hit_engine, guard_miss, guard_miss_engine, guard_of},
    limiter::{
        limiter_denied, limiter_denied_engine, limiter_gcra, limiter_gcra_engine, limiter_http,
        limiter_keyed, limiter_keyed_engine, limiter_keyed_gcra, limiter_keyed_gcra_of,
        limiter_keyed_of, limiter_keyed_over, limiter_keyed_string, limiter_keyed_string_engine,
        limiter_keyed_string_over, limiter_log, limiter_log_full, limiter_sliding,
        limiter_sliding_engine,
    },
    stack::{bare, bare_http, catch_panic, catch_panic_http, clock, respond, stack5},
};
