use resilience_core::{
    Outcome,
    circuit_breaker::{OpenWait, Phase, Policy, Window},
};

use crate::{Circuit, SECOND};

fn probing(permits: u32) -> Circuit {
    let policy = Policy::new("p")
        .min_calls(2)
        .open(OpenWait::fixed(SECOND))
        .half_open_permits(permits)
        .half_open_max_wait(SECOND * 60);
    let circuit = Circuit::new(policy);
    circuit.fail(2).advance(SECOND);
    circuit
}

#[test]
fn probes_rarer_than_the_window_still_decide() {
    let policy = Policy::new("p")
        .window(Window::time(SECOND, 10))
        .min_calls(2)
        .half_open_permits(5)
        .half_open_max_wait(SECOND * 3_600);
    let circuit = Circuit::new(policy);
    circuit.fail(2);
    for _ in 0..5 {
        circuit.advance(SECOND * 60).succeed(1);
    }
    circuit.is(Phase::Closed);
}

#[test]
fn a_circuit_closes_where_as_many_calls_come_in_time_as_it_has_probes() {
    let policy = Policy::new("p").min_calls(2);
    for (permits, closes) in [(2, true), (3, false)] {
        let circuit = Circuit::new(policy.clone().half_open_permits(permits));
        circuit.fail(2);
        for _ in 0..50 {
            circuit.advance(SECOND * 5 / 2);
            if let Ok(permit) = circuit.try_acquire() {
                permit.settle(Outcome::Success);
            }
        }
        let closed = circuit.entered().contains(&Phase::Closed);
        assert_eq!(closed, closes, "{permits} probes");
    }
}

#[test]
fn a_probe_that_hangs_does_not_hold_the_circuit() {
    let circuit = Circuit::fragile();
    circuit.fail(1).advance(SECOND);
    let hung = circuit.try_acquire().unwrap();
    circuit.advance(SECOND).is(Phase::Open);
    circuit.advance(SECOND).succeed(1).is(Phase::Closed);
    hung.settle(Outcome::Failure);
    circuit.is(Phase::Closed);
    let entered = [
        Phase::Open,
        Phase::HalfOpen,
        Phase::Open,
        Phase::HalfOpen,
        Phase::Closed,
    ];
    assert_eq!(circuit.entered(), entered);
}

#[test]
fn calls_begun_while_closed_decide_nothing_half_open() {
    for outcome in [
        Outcome::Success,
        Outcome::Failure,
        Outcome::Canceled,
        Outcome::Ignored,
    ] {
        let circuit = Circuit::fragile();
        let old: Vec<_> = (0..100).map(|_| circuit.try_acquire().unwrap()).collect();
        circuit.fail(1).advance(SECOND);
        let probe = circuit.try_acquire().unwrap();
        for permit in old {
            permit.settle(outcome);
        }
        let snapshot = circuit.snapshot();
        assert_eq!(snapshot.phase, Phase::HalfOpen);
        assert_eq!((snapshot.calls, snapshot.permits_left), (0, 0));
        probe.settle(Outcome::Success);
        circuit.is(Phase::Closed);
    }
}

#[test]
fn a_dropped_probe_gives_its_permit_back_whatever_the_order() {
    for first in 0..3 {
        let circuit = probing(3);
        let mut probes: Vec<_> = (0..3).map(|_| circuit.try_acquire().unwrap()).collect();
        circuit.refused();
        drop(probes.remove(first));
        assert_eq!(circuit.snapshot().permits_left, 1);
        probes.push(circuit.try_acquire().unwrap());
        circuit.refused();
        for probe in probes {
            probe.settle(Outcome::Success);
        }
        circuit.is(Phase::Closed);
    }
}

#[test]
fn an_ignored_last_probe_leaves_its_place_to_the_next_caller() {
    let circuit = probing(2);
    circuit
        .succeed(1)
        .calls(5, Outcome::Ignored)
        .calls(5, Outcome::NotCalled);
    circuit.is(Phase::HalfOpen).succeed(1).is(Phase::Closed);
}

#[test]
fn an_overload_fails_a_probe_and_lengthens_the_next_wait() {
    let circuit = Circuit::fragile();
    circuit.fail(1).advance(SECOND);
    circuit
        .calls(
            1,
            Outcome::Overload {
                retry_after: Some(SECOND * 20),
            },
        )
        .is(Phase::Open);
    assert_eq!(circuit.retry_after(), Some(SECOND * 20));
}

#[test]
fn probes_out_say_nothing_of_when_to_come_back() {
    let circuit = probing(1);
    let _probe = circuit.try_acquire().unwrap();
    assert_eq!(circuit.retry_after(), None);
}

#[test]
fn failed_probes_do_not_reopen_a_circuit_that_goes_by_slow_calls_alone() {
    let policy = Policy::new("p")
        .no_failure_rate()
        .slow_calls(SECOND, 0.5)
        .half_open_permits(2);
    let circuit = Circuit::new(policy);
    circuit.open_for(SECOND).unwrap();
    circuit.advance(SECOND).fail(2).is(Phase::Closed);
}

#[test]
fn the_best_that_can_come_decides_early() {
    // One failure of four is a quarter; a second would be a half, whatever comes.
    let circuit = probing(4);
    let probes: Vec<_> = (0..4).map(|_| circuit.try_acquire().unwrap()).collect();
    let mut outcomes = [Outcome::Failure, Outcome::Success, Outcome::Failure].into_iter();
    for probe in probes {
        probe.settle(outcomes.next().unwrap_or(Outcome::Success));
    }
    circuit.is(Phase::Open);
    let snapshot = circuit.snapshot();
    assert_eq!(
        (snapshot.calls, snapshot.failures),
        (3, 2),
        "the fourth was late"
    );
}

#[test]
fn a_probe_that_settles_at_the_deadline_is_late() {
    let circuit = Circuit::fragile();
    circuit.fail(1).advance(SECOND);
    let probe = circuit.try_acquire().unwrap();
    circuit.advance(SECOND);
    probe.settle(Outcome::Success);
    circuit.is(Phase::Open);
    assert_eq!(circuit.retry_after(), Some(SECOND));
}
