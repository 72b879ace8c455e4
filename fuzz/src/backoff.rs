//! Waits grow, never past their maximum, whatever the settings.

use std::time::Duration;

use resilience_core::backoff::{Backoff, Jitter};

use super::bytes::Bytes;

pub fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let (kind, base) = (bytes.u8(), bytes.duration());
    let backoff = match kind % 3 {
        0 => Backoff::constant(base),
        1 => Backoff::linear(base),
        _ => Backoff::exponential(base).factor(bytes.f64()),
    };
    let max = bytes.duration();
    let backoff = backoff.max(max);
    let attempt = bytes.u32();
    for jitter in [Jitter::None, Jitter::Full, Jitter::Equal] {
        // Settings and draws that make no sense must give a wait all the same.
        assert!(backoff.jitter(jitter).delay(attempt, bytes.f64()) <= max);
    }
    if backoff.check().is_ok() {
        grows(backoff, base.min(max), attempt);
        spreads(backoff, attempt, bytes.unit());
    }
}

fn grows(backoff: Backoff, first: Duration, attempt: u32) {
    let whole = |attempt| backoff.delay(attempt, 0.5);
    assert_eq!(whole(0), first.min(Duration::from_nanos(u64::MAX)));
    assert!(whole(attempt) <= whole(attempt.saturating_add(1)));
}

fn spreads(backoff: Backoff, attempt: u32, random: f64) {
    let whole = backoff.delay(attempt, random);
    let full = backoff.jitter(Jitter::Full);
    assert!(full.delay(attempt, random) <= whole);
    assert_eq!(full.delay(attempt, 0.0), Duration::ZERO);
    let equal = backoff.jitter(Jitter::Equal).delay(attempt, random);
    assert!(equal <= whole && equal >= whole / 2);
}
