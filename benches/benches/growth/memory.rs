//! What is kept, in bytes, as the allocator counts it.

use std::{hint::black_box, thread};

use allocation_counter::measure as count;
use benches::{Subject, governor, ours, report, smoke, tower_resilience};

/// Writes how many bytes belong to a key, and to a hundred thousand calls.
pub(crate) fn measure() {
    for (name, bytes) in [
        ("bytes_per_limiter_key", at_most(ours::limiter_keyed_of)),
        (
            "bytes_per_limiter_key_gcra",
            at_most(ours::limiter_keyed_gcra_of),
        ),
        ("bytes_per_governor_key", at_most(governor::keyed_of)),
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
        report::ratio(name, bytes);
    }
}

/// Of each key, beside the key itself. A table takes most for a key when it has just doubled: this
/// is the most among numbers of keys between which every table doubles once.
fn at_most<S: Subject>(make: impl Fn(u64) -> S + Sync) -> f64 {
    let (from, step) = if smoke() {
        (10_000, 10_000)
    } else {
        (100_000, 2_000)
    };
    let numbers = (from..2 * from).step_by(step);
    let bytes = numbers.map(|keys| kept(|| make(keys)) / number(keys) - KEY);
    bytes.fold(f64::NEG_INFINITY, f64::max)
}

/// What is left of making it, on a thread of its own: what others threw away before may be given
/// back meanwhile, by the thread that did.
fn kept<S: Subject>(make: impl FnOnce() -> S + Send) -> f64 {
    let bytes = thread::scope(|scope| {
        let making = scope.spawn(|| {
            let mut subject = None;
            let counted = count(|| subject = Some(make()));
            black_box(&subject);
            counted.bytes_current
        });
        making.join().expect("it can be made")
    });
    number(u64::try_from(bytes).expect("nothing is given back that was not taken"))
}

/// Bytes of a number.
const KEY: f64 = 8.0;

#[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
fn number(bytes: u64) -> f64 {
    bytes as f64
}
