//! The peer for rate limits: a check, and no layer.

use std::num::NonZeroU32;

use governor::{Quota, RateLimiter};

use crate::{
    Expect::{Admitted, Refused},
    KEYS, MOST, Subject, keyed,
    keys::{index, names},
};

/// One limit for everybody.
#[must_use]
pub fn direct() -> impl Subject {
    keyed(Admitted, RateLimiter::direct(most()), |limiter, _| {
        limiter.check().is_ok()
    })
}

/// Refuses.
///
/// # Panics
///
/// Never: one is free at first.
#[must_use]
pub fn denied() -> impl Subject {
    let spent = RateLimiter::direct(Quota::per_hour(NonZeroU32::MIN));
    spent.check().expect("one is free");
    keyed(Refused, spent, |limiter, _| limiter.check().is_ok())
}

/// A limit for each number.
#[must_use]
pub fn keyed_of(keys: u64) -> impl Subject {
    let limiter = RateLimiter::keyed(most());
    let calls = keyed(Admitted, limiter, |limiter, key| {
        limiter.check_key(&key).is_ok()
    });
    let calls = calls.of_keys(keys);
    calls.calls(0, keys);
    calls
}

/// A limit for each name.
#[must_use]
pub fn keyed_string() -> impl Subject {
    let limiter = RateLimiter::keyed(most());
    let calls = keyed(Admitted, (limiter, names()), |(limiter, names), key| {
        limiter.check_key(&names[index(key)]).is_ok()
    });
    calls.calls(0, KEYS);
    calls
}

fn most() -> Quota {
    Quota::per_second(NonZeroU32::new(MOST).unwrap_or(NonZeroU32::MAX))
}
