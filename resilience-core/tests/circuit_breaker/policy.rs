use std::time::Duration;

use resilience_core::{
    Outcome,
    circuit_breaker::{CircuitBreaker, OpenWait, Phase, Policy, Window},
};

use crate::{Circuit, SECOND};

fn problem(policy: Policy) -> Option<&'static str> {
    CircuitBreaker::new(policy)
        .err()
        .map(|invalid| invalid.field())
}

#[test]
fn settings_that_cannot_work_are_refused_when_the_engine_is_built() {
    let policy = || Policy::new("p");
    for rate in [
        0.0,
        -0.0,
        -0.5,
        1.1,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ] {
        assert_eq!(problem(policy().failure_rate(rate)), Some("failure_rate"));
        assert_eq!(
            problem(policy().slow_calls(SECOND, rate)),
            Some("slow_calls")
        );
    }
    for factor in [0.0, 0.99, -2.0, f64::NAN, f64::INFINITY] {
        let wait = OpenWait::exponential(SECOND, factor, SECOND * 9);
        assert_eq!(problem(policy().open(wait)), Some("factor"));
    }
    for share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let wait = OpenWait::fixed(SECOND).jitter(share);
        assert_eq!(problem(policy().open(wait)), Some("jitter"));
    }
    let short = OpenWait::exponential(SECOND, 2.0, SECOND / 2);
    assert_eq!(problem(policy().open(short)), Some("open"));
    assert_eq!(
        problem(policy().open(OpenWait::fixed(Duration::ZERO))),
        Some("open")
    );
    assert_eq!(
        problem(policy().slow_calls(Duration::ZERO, 0.5)),
        Some("slow_calls")
    );
    assert_eq!(
        problem(policy().half_open_max_wait(Duration::ZERO)),
        Some("half_open_max_wait")
    );
    assert_eq!(
        problem(policy().half_open_permits(0)),
        Some("half_open_permits")
    );
    assert_eq!(problem(policy().min_calls(0)), Some("min_calls"));
    assert_eq!(
        problem(policy().consecutive_failures(0)),
        Some("consecutive_failures")
    );
    for window in [
        Window::count(0),
        Window::count((1 << 24) + 1),
        Window::count(u32::MAX),
        Window::time(SECOND, 0),
        Window::time(SECOND, (1 << 16) + 1),
        Window::time(Duration::ZERO, 1),
        Window::time(Duration::from_nanos(9), 10),
    ] {
        assert_eq!(problem(policy().window(window)), Some("window"));
    }
    assert_eq!(problem(Policy::new("")), Some("name"));
    assert_eq!(problem(Policy::new("a\"b")), Some("name"));
}

#[test]
fn every_extreme_that_is_accepted_works() {
    let longest = OpenWait::exponential(Duration::MAX, f64::MAX, Duration::MAX).jitter(1.0);
    for window in [
        Window::count(1),
        Window::count(1 << 24),
        Window::time(Duration::from_nanos(1), 1),
        Window::time(SECOND, 1 << 16),
        Window::time(Duration::MAX, 7),
    ] {
        let policy = Policy::new("p")
            .window(window)
            .min_calls(u32::MAX)
            .failure_rate(f64::MIN_POSITIVE)
            .slow_calls(Duration::MAX, 1.0)
            .consecutive_failures(u32::MAX)
            .half_open_permits(u32::MAX)
            .half_open_max_wait(Duration::MAX)
            .max_retry_after(Duration::MAX)
            .recovery_ramp(Duration::MAX)
            .open(longest);
        let circuit = Circuit::new(policy);
        let overload = Outcome::Overload {
            retry_after: Some(Duration::MAX),
        };
        for _ in 0..3 {
            let _ = circuit.try_acquire().map(|permit| permit.settle(overload));
            let _ = circuit
                .try_acquire()
                .map(|permit| permit.settle(Outcome::Success));
            circuit.advance(Duration::MAX / 3);
        }
        let _ = circuit.snapshot();
        circuit.open_for(Duration::MAX).unwrap();
        circuit.force_half_open().unwrap();
        let _ = circuit
            .try_acquire()
            .map(|permit| permit.settle(Outcome::Failure));
        let _ = (circuit.snapshot(), circuit.try_acquire());
    }
}

#[test]
fn a_threshold_is_reached_at_its_very_value() {
    for tenths in 1..=10 {
        let rate = f64::from(tenths) / 10.0;
        let circuit = Circuit::new(
            Policy::new("p")
                .window(Window::count(10))
                .min_calls(10)
                .failure_rate(rate),
        );
        let failures = tenths as usize;
        circuit
            .fail(failures - 1)
            .succeed(10 - failures)
            .is(Phase::Closed);
        circuit.fail(1).is(Phase::Open);
    }
}

#[test]
fn an_open_wait_without_an_end_stays_open() {
    let circuit = Circuit::new(Policy::tripping_after("p", 1).open(OpenWait::fixed(Duration::MAX)));
    circuit.advance(SECOND).fail(1);
    circuit.advance(Duration::from_secs(500 * 365 * 86_400));
    circuit.refused();
    circuit.is(Phase::Open);
}

#[test]
fn jitter_lengthens_a_wait_by_up_to_its_share_and_never_shortens_it() {
    use resilience_core::{Environment, ManualClock, Random};
    let mut waits = vec![];
    for seed in 0..100 {
        let environment = Environment::new()
            .clock(ManualClock::new())
            .random(Random::seeded(seed));
        let policy = Policy::tripping_after("p", 1).open(OpenWait::fixed(SECOND).jitter(0.5));
        let breaker = CircuitBreaker::new_in(policy, &environment).unwrap();
        breaker.try_acquire().unwrap().settle(Outcome::Failure);
        waits.push(breaker.try_acquire().unwrap_err().retry_after().unwrap());
    }
    waits.sort();
    assert!(waits[0] >= SECOND && waits[99] < SECOND * 3 / 2);
    assert!(waits[99] - waits[0] > SECOND / 3, "draws differ: {waits:?}");
}

#[test]
fn waits_grow_exactly() {
    let wait = OpenWait::exponential(Duration::from_millis(100), 1.2, SECOND);
    let circuit = Circuit::new(Policy::tripping_after("p", 1).open(wait));
    for nanos in [
        100_000_000,
        120_000_000,
        144_000_000,
        172_800_000,
        207_360_000,
    ] {
        let wait = Duration::from_nanos(nanos);
        circuit.fail(1);
        assert_eq!(circuit.retry_after(), Some(wait));
        circuit.advance(wait);
    }
}
