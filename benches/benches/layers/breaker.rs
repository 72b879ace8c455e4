//! Circuit breakers.

use std::convert::Infallible;

use benches::{
    Expect::{Admitted, Refused},
    HOUR, Row, Subject, TEN_SECONDS, keyed, ours, tower_resilience,
};
use criterion::Criterion;
use failsafe::{CircuitBreaker as _, backoff, failure_policy};
use recloser::Recloser;

pub(crate) fn bench(criterion: &mut Criterion) {
    Row::ours("breaker_count").bench(criterion, ours::breaker_count);
    Row::of("breaker_count", "tower_resilience").bench(criterion, tower_resilience::breaker_count);
    Row::of("breaker_count", "recloser").bench(criterion, recloser);

    Row::ours("breaker_time").bench(criterion, ours::breaker_time);
    Row::of("breaker_time", "tower_resilience").bench(criterion, tower_resilience::breaker_time);
    Row::of("breaker_time", "failsafe").bench(criterion, failsafe_time);

    Row::ours("breaker_open").bench(criterion, ours::breaker_open);
    Row::of("breaker_open", "tower_resilience").bench(criterion, tower_resilience::breaker_open);
    Row::of("breaker_open", "recloser").bench(criterion, recloser_open);
    Row::of("breaker_open", "failsafe").bench(criterion, failsafe_open);

    Row::ours("breaker_consecutive").bench(criterion, ours::breaker_consecutive);
    Row::of("breaker_consecutive", "failsafe").bench(criterion, failsafe_consecutive);

    Row::ours("breaker_keyed").bench(criterion, ours::breaker_keyed);
}

/// A library without a layer: its own way to make a call.
fn recloser() -> impl Subject {
    let breaker = Recloser::custom().closed_len(100).open_wait(HOUR).build();
    keyed(Admitted, breaker, |breaker, key| {
        breaker.call(|| Ok::<_, Infallible>(key)).ok() == Some(key)
    })
}

fn recloser_open() -> impl Subject {
    let breaker = Recloser::custom().closed_len(1).open_wait(HOUR).build();
    for _ in 0..2 {
        assert!(breaker.call(|| Err::<(), _>(())).is_err());
    }
    keyed(Refused, breaker, |breaker, key| {
        breaker.call(|| Ok::<_, Infallible>(key)).ok() == Some(key)
    })
}

/// It counts runs of failures, or takes an average over time.
fn failsafe_consecutive() -> impl Subject {
    let policy = failure_policy::consecutive_failures(5, backoff::constant(HOUR));
    failsafe(failsafe::Config::new().failure_policy(policy).build())
}

fn failsafe_time() -> impl Subject {
    let wait = backoff::constant(HOUR);
    let policy = failure_policy::success_rate_over_time_window(0.5, 100, TEN_SECONDS, wait);
    failsafe(failsafe::Config::new().failure_policy(policy).build())
}

fn failsafe(breaker: impl failsafe::CircuitBreaker + Sync) -> impl Subject {
    keyed(Admitted, breaker, |breaker, key| {
        breaker.call(|| Ok::<_, Infallible>(key)).ok() == Some(key)
    })
}

fn failsafe_open() -> impl Subject {
    let policy = failure_policy::consecutive_failures(1, backoff::constant(HOUR));
    let breaker = failsafe::Config::new().failure_policy(policy).build();
    assert!(breaker.call(|| Err::<(), _>(())).is_err());
    keyed(Refused, breaker, |breaker, key| {
        breaker.call(|| Ok::<_, Infallible>(key)).ok() == Some(key)
    })
}
