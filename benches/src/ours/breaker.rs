use std::time::Duration;

use resilience_core::{
    CircuitBreaker, Outcome, Results,
    circuit_breaker::{CircuitBreakers, Policy, Window},
};
use tower::Layer as _;

use crate::{
    Bare,
    Expect::{Admitted, Refused},
    FILL, HOUR, KEYS, Subject, TEN_SECONDS, VALID, layered,
};

/// Closed, over the last hundred calls.
#[must_use]
pub fn breaker_count() -> impl Subject {
    breaker_count_of(100)
}

/// As [`breaker_count`], over the last so many.
///
/// # Panics
///
/// When there are more than a window holds.
#[must_use]
pub fn breaker_count_of(calls: u64) -> impl Subject {
    let window = Window::count(u32::try_from(calls).expect(VALID));
    closed(Policy::new("count").window(window), calls)
}

/// Closed, over the calls of the last ten seconds, of which there were many.
#[must_use]
pub fn breaker_time() -> impl Subject {
    closed(
        Policy::new("time").window(Window::time(TEN_SECONDS, 10)),
        FILL,
    )
}

/// Closed, over a time in which about so many calls are made one after the other, so that as many
/// leave the window as come.
#[must_use]
pub fn breaker_time_steady(calls: u64) -> impl Subject {
    let length = Duration::from_nanos(calls * CALL);
    closed(Policy::new("time").window(Window::time(length, 10)), calls)
}

/// Closed, where only a run of failures opens it.
#[must_use]
pub fn breaker_consecutive() -> impl Subject {
    closed(Policy::tripping_after("consecutive", 5), 0)
}

/// Refuses.
#[must_use]
pub fn breaker_open() -> impl Subject {
    let breaker = CircuitBreaker::new(Policy::new("open")).expect(VALID);
    breaker.open_for(HOUR).expect("an enforcing policy");
    layered(Refused, breaker.layer_with(Results).layer(Bare))
}

/// A breaker for each key.
#[must_use]
pub fn breaker_keyed() -> impl Subject {
    // Room for all, however they fall on the shards.
    let capacity = 4 * usize::try_from(KEYS).unwrap_or(usize::MAX);
    let breakers = CircuitBreakers::new(Policy::new("keyed").capacity(capacity)).expect(VALID);
    let layer = breakers.layer_with(|request: &u64| Some(*request), Results);
    layered(Admitted, layer.layer(Bare))
}

fn closed(policy: Policy, fill: u64) -> impl Subject {
    let breaker = CircuitBreaker::new(policy).expect(VALID);
    for _ in 0..fill {
        breaker
            .try_acquire()
            .expect("closed")
            .settle(Outcome::Success);
    }
    layered(Admitted, breaker.layer_with(Results).layer(Bare))
}

/// About what a call takes, in nanoseconds.
const CALL: u64 = 50;
