//! What is kept, in bytes, as the allocator counts it.

use std::hint::black_box;

use allocation_counter::{AllocationInfo, measure as count};
use benches::{Subject, governor, ours, report, smoke, tower_resilience};

/// Writes how many bytes belong to a key, and to a hundred thousand calls.
pub(crate) fn measure() {
    let keys = if smoke() { 1_000 } else { 100_000 };
    for (name, kept) in [
        (
            "bytes_per_limiter_key",
            kept(|| ours::limiter_keyed_of(keys)),
        ),
        (
            "bytes_per_limiter_key_gcra",
            kept(|| ours::limiter_keyed_gcra_of(keys)),
        ),
        ("bytes_per_governor_key", kept(|| governor::keyed_of(keys))),
    ] {
        // Beside the key itself.
        report::ratio(name, kept / number(keys) - KEY);
    }
    for (name, kept) in [
        (
            "bytes_per_100k_calls_breaker_time",
            kept(ours::breaker_time),
        ),
        (
            "bytes_per_100k_calls_breaker_count",
            kept(|| ours::breaker_count_of(100_000)),
        ),
        (
            "bytes_per_100k_calls_limiter_log",
            kept(ours::limiter_log_full),
        ),
        (
            "bytes_per_100k_calls_tower_resilience",
            kept(tower_resilience::breaker_time),
        ),
    ] {
        report::ratio(name, kept);
    }
}

/// What is left of making it.
fn kept<S: Subject>(make: impl FnOnce() -> S) -> f64 {
    let mut subject = None;
    let AllocationInfo { bytes_current, .. } = count(|| subject = Some(make()));
    black_box(&subject);
    number(u64::try_from(bytes_current).unwrap_or_default())
}

/// Bytes of a number.
const KEY: f64 = 8.0;

#[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
fn number(bytes: u64) -> f64 {
    bytes as f64
}
