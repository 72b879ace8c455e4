use std::time::Duration;

use resilience_core::{
    Outcome, Settle, Timestamp,
    circuit_breaker::{Phase, Policy, Window},
};

use crate::{Circuit, SECOND};

const OVERLOAD: Outcome = Outcome::Overload { retry_after: None };

const fn overload(seconds: u64) -> Outcome {
    Outcome::Overload {
        retry_after: Some(Duration::from_secs(seconds)),
    }
}

#[test]
fn a_count_window_slides_however_many_calls_went_before() {
    let circuit = Circuit::new(Policy::new("p"));
    circuit.succeed(100_000).fail(49).is(Phase::Closed);
    circuit.fail(1).is(Phase::Open);
}

#[test]
fn a_blip_among_many_calls_opens_nothing() {
    let circuit = Circuit::new(Policy::new("p").window(Window::time(SECOND * 10, 10)));
    for _ in 0..10 {
        circuit.succeed(700).fail(1);
    }
    circuit.fail(5).succeed(3_500).is(Phase::Closed);
}

#[test]
fn after_days_of_silence_nothing_is_left() {
    let window = Window::time(SECOND, 1 << 16);
    let circuit = Circuit::new(Policy::new("p").window(window).min_calls(3));
    circuit.fail(2).advance(SECOND * 86_400 * 1_000);
    assert_eq!(circuit.snapshot().calls, 0);
    circuit.fail(2).is(Phase::Closed);
}

#[test]
fn a_success_at_the_start_of_a_bucket_belongs_to_that_bucket() {
    let circuit = Circuit::new(Policy::new("p").window(Window::time(SECOND * 2, 2)));
    let permit = circuit.try_acquire().unwrap();
    circuit.advance(SECOND);
    permit.settle(Outcome::Success);
    circuit.advance(SECOND * 3 - Duration::from_nanos(1));
    assert_eq!(circuit.snapshot().calls, 1);
    circuit.advance(Duration::from_nanos(1));
    assert_eq!(circuit.snapshot().calls, 0);
}

#[test]
fn bucket_boundaries_do_not_drift_where_they_are_no_whole_nanosecond() {
    let circuit = Circuit::new(Policy::new("p").window(Window::time(Duration::from_nanos(10), 3)));
    // Ten times around: boundaries lie at 3⅓, 6⅔, 10, and so on.
    circuit.clock.set(Timestamp::from_nanos(100));
    circuit.succeed(1);
    circuit.clock.set(Timestamp::from_nanos(113));
    assert_eq!(circuit.snapshot().calls, 1);
    circuit.clock.set(Timestamp::from_nanos(114));
    assert_eq!(circuit.snapshot().calls, 0);
}

#[test]
fn a_clock_that_steps_back_empties_no_window_and_prolongs_by_the_step_at_most() {
    let window = Window::time(SECOND * 10, 10);
    let circuit = Circuit::new(Policy::new("p").window(window).min_calls(4));
    circuit.advance(SECOND * 100).fail(3);
    circuit
        .clock
        .set(Timestamp::ZERO.saturating_add(SECOND * 70));
    assert_eq!(circuit.snapshot().calls, 3);
    circuit.fail(1).is(Phase::Open);
    assert_eq!(circuit.retry_after(), Some(SECOND * 5));
    circuit
        .clock
        .set(Timestamp::ZERO.saturating_add(SECOND * 60));
    assert_eq!(circuit.retry_after(), Some(SECOND * 15));
    circuit.clock.set(Timestamp::MAX);
    assert!(circuit.try_acquire().is_ok());
}

#[test]
fn an_overload_neither_lengthens_nor_ends_a_run_of_failures() {
    let circuit = Circuit::new(Policy::tripping_after("p", 3));
    circuit.fail(2).calls(50, OVERLOAD).is(Phase::Closed);
    circuit.fail(1).is(Phase::Open);
}

#[test]
fn an_overload_counts_as_a_failure_in_the_rate() {
    let circuit = Circuit::new(Policy::new("p").min_calls(4));
    circuit.succeed(2).calls(2, OVERLOAD).is(Phase::Open);
    assert_eq!(circuit.snapshot().failures, 2);
    assert_eq!(circuit.snapshot().totals.overloads, 2);
}

#[test]
fn an_open_circuit_waits_as_long_as_the_dependency_asked() {
    let circuit = Circuit::new(Policy::new("p").min_calls(4));
    circuit
        .calls(1, overload(20))
        .calls(1, overload(7))
        .advance(SECOND)
        .fail(2);
    assert_eq!(circuit.retry_after(), Some(SECOND * 19));
    circuit.advance(SECOND * 19);
    assert!(circuit.try_acquire().is_ok());
}

#[test]
fn what_the_dependency_asks_for_is_honoured_up_to_a_maximum_and_never_shortens_a_wait() {
    for (asked, waited) in [(1, 5), (5, 5), (30, 30), (31, 30), (u64::MAX, 30)] {
        let policy = Policy::new("p").min_calls(1).max_retry_after(SECOND * 30);
        let circuit = Circuit::new(policy);
        circuit.calls(1, overload(asked)).is(Phase::Open);
        assert_eq!(circuit.retry_after(), Some(Duration::from_secs(waited)));
    }
}

#[test]
fn a_wait_by_hand_is_as_long_as_the_operator_said() {
    let circuit = Circuit::new(Policy::new("p"));
    circuit.calls(1, overload(60));
    circuit.open_for(SECOND).unwrap();
    assert_eq!(circuit.retry_after(), Some(SECOND));
}

#[test]
fn a_slow_success_is_slow_and_a_success() {
    let policy = Policy::new("p").min_calls(10).slow_calls(SECOND, 0.5);
    let circuit = Circuit::new(policy);
    let slow = circuit.try_acquire().unwrap();
    circuit.advance(SECOND);
    slow.settle(Outcome::Success);
    let snapshot = circuit.snapshot();
    assert_eq!(
        (snapshot.calls, snapshot.failures, snapshot.slow),
        (1, 0, 1)
    );
    assert_eq!((snapshot.totals.successes, snapshot.totals.slow), (1, 1));
}

#[test]
fn a_call_is_timed_to_the_head_of_its_answer() {
    let circuit = Circuit::new(Policy::new("p").slow_calls(SECOND, 0.5));
    let mut permit = circuit.try_acquire().unwrap();
    circuit.advance(SECOND / 2);
    permit.answered();
    circuit.advance(SECOND * 3_600);
    permit.settle(Outcome::Success);
    assert_eq!(circuit.snapshot().slow, 0);
    assert_eq!(circuit.snapshot().calls, 1);
}

#[test]
fn calls_without_a_verdict_are_no_votes_and_are_counted_apart() {
    let circuit = Circuit::new(Policy::new("p"));
    circuit
        .calls(3, Outcome::NotCalled)
        .calls(2, Outcome::Ignored);
    drop(circuit.try_acquire().unwrap());
    let snapshot = circuit.snapshot();
    let totals = snapshot.totals;
    assert_eq!(snapshot.calls, 0);
    assert_eq!(
        (totals.not_called, totals.ignored, totals.canceled),
        (3, 2, 1)
    );
}
