//! What is to be reached, beside others in the same run.

use super::{
    Bar,
    Limit::{AtLeast, AtMost},
    Quantity::{Above, Allocations, Given, Nanos, Ratio, Spread, Throughput},
};

pub(crate) const BARS: &[Bar] = &[
    (Above("breaker_count/ours/1", BARE), AtMost(35.0)),
    (Above("breaker_time/ours/1", BARE), AtMost(35.0)),
    ratio("breaker_count", "breaker_count/ours/1", PEER, SIXTH),
    ratio("breaker_time", "breaker_time/ours/1", PEER, SIXTH),
    ratio("breaker_count_2", "breaker_count/ours/2", PEER_2, SIXTH),
    ratio("breaker_time_2", "breaker_time/ours/2", PEER_2, SIXTH),
    (Allocations("breaker_count/ours/1"), AtMost(0.0)),
    (Allocations("breaker_time/ours/1"), AtMost(0.0)),
    (Spread("breaker_fill", "growth_window_"), AtMost(FLAT)),
    (Spread("breaker_count_fill", "growth_count_"), AtMost(FLAT)),
    (Nanos("breaker_open/ours/1"), AtMost(40.0)),
    (Allocations("breaker_open/ours/1"), AtMost(0.0)),
    (Nanos("limiter_denied/ours/1"), AtMost(40.0)),
    (Allocations("limiter_denied/ours/1"), AtMost(0.0)),
    (Nanos("bulkhead_full/ours/1"), AtMost(40.0)),
    (Allocations("bulkhead_full/ours/1"), AtMost(0.0)),
    (Nanos("limiter_sliding/ours/1"), AtMost(25.0)),
    (Nanos("limiter_gcra/ours/1"), AtMost(25.0)),
    ratio(
        "limiter_sliding_engine",
        "limiter_sliding_engine/ours/1",
        DIRECT,
        1.3,
    ),
    ratio(
        "limiter_gcra_engine",
        "limiter_gcra_engine/ours/1",
        DIRECT,
        1.3,
    ),
    ratio("limiter_keyed", "limiter_keyed/ours/1", KEYED, 1.0),
    ratio("limiter_keyed_2", "limiter_keyed/ours/2", KEYED_2, 1.0),
    ratio(
        "limiter_keyed_engine",
        "limiter_keyed_engine/ours/1",
        KEYED,
        1.0,
    ),
    ratio(
        "limiter_keyed_engine_2",
        "limiter_keyed_engine/ours/2",
        KEYED_2,
        1.0,
    ),
    (Nanos("bulkhead/ours/1"), AtMost(30.0)),
    ratio(
        "cache_hit",
        "cache_hit/ours/1",
        "cache_hit/tower_resilience/1",
        1.0,
    ),
    (Nanos("cache_hit/ours/1"), AtMost(60.0)),
    ratio("cache_hit_2", "cache_hit/ours/2", "cache_hit/moka/2", 0.5),
    (Nanos("stack5/ours/1"), AtMost(200.0)),
    ratio("stack5", "stack5/ours/1", PEER, 1.0),
    (Allocations("stack5/ours/1"), AtMost(0.0)),
    (Given("bytes_per_limiter_key", "bytes"), AtMost(48.0)),
    (Given("dish_page", "×"), AtLeast(0.95)),
    throughput("redis_uniform", UNIFORM, INCR, 1.25),
    throughput("redis_zipf", "redis_limiter_zipf/ours/1", INCR, 1.5),
    throughput("redis_hot", "redis_limiter_hot/ours/1", INCR, 3.0),
    throughput("redis_zset", UNIFORM, "redis_zset_log/redis/1", 6.0),
    throughput("redis_gcra", UNIFORM, "redis_gcra_float/redis/1", 6.0),
    throughput("redis_lease", "redis_limiter_lease/ours/1", INCR, 10.0),
    throughput("redis_denied", "redis_limiter_denied/ours/1", INCR, 10.0),
    (
        Above("redis_limiter_alone/ours/1", "redis_incr_alone/redis/1"),
        AtMost(5_000.0),
    ),
];

/// The time of the row `row` over that of `base`, which is `most` at most.
const fn ratio(name: &'static str, row: &'static str, base: &'static str, most: f64) -> Bar {
    (Ratio(name, row, base), AtMost(most))
}

/// The calls per second of the row `row` over those of `base`, which are `least` at least.
const fn throughput(name: &'static str, row: &'static str, base: &'static str, least: f64) -> Bar {
    (Throughput(name, row, base), AtLeast(least))
}

const BARE: &str = "bare/ours/1";

/// The breaker that grows with nothing, of the library with nearly the same layers.
const PEER: &str = "breaker_count/tower_resilience/1";
const PEER_2: &str = "breaker_count/tower_resilience/2";
const SIXTH: f64 = 1.0 / 6.0;

/// No two windows are further apart than 15 %, however they are filled.
const FLAT: f64 = 1.15;

const DIRECT: &str = "limiter_gcra/governor/1";
const KEYED: &str = "limiter_keyed/governor/1";
const KEYED_2: &str = "limiter_keyed/governor/2";

/// A limit, asked about the keys that those are asked about whom it stands beside.
const UNIFORM: &str = "redis_limiter_uniform/ours/1";

/// One command for each call, on a connection that all share.
const INCR: &str = "redis_incr/redis/1";
