use resilience_core::{
    Outcome, Reason,
    circuit_breaker::{Phase, Policy},
};

use crate::{Circuit, SECOND, fragile};

fn recovering(policy: Policy) -> Circuit {
    let circuit = Circuit::new(policy);
    circuit.fail(1).advance(SECOND).succeed(1).is(Phase::Closed);
    circuit
}

#[test]
fn without_a_ramp_everybody_is_admitted_as_soon_as_the_probes_settled_well() {
    recovering(fragile()).succeed(1_000);
}

#[test]
fn a_recovery_ramp_admits_a_share_that_grows_from_none_to_all() {
    let circuit = recovering(fragile().recovery_ramp(SECOND * 10));
    let mut admitted = vec![];
    for _ in 0..10 {
        let asked = (0..1_000).filter(|_| {
            circuit.advance(SECOND / 1_000);
            circuit.try_acquire().is_ok_and(|permit| {
                permit.settle(Outcome::Success);
                true
            })
        });
        admitted.push(asked.count());
    }
    let shares = [50, 150, 250, 350, 450, 550, 650, 750, 850, 950];
    for (admitted, share) in admitted.into_iter().zip(shares) {
        assert!(
            usize::abs_diff(admitted, share) <= 2,
            "{admitted} of {share}"
        );
    }
    circuit.succeed(1_000);
}

#[test]
fn the_first_call_of_a_ramp_is_admitted_at_once() {
    let circuit = recovering(fragile().recovery_ramp(SECOND * 10));
    circuit.succeed(1);
    assert_eq!(circuit.refused().reason(), Reason::CircuitOpen);
}

#[test]
fn a_refusal_of_the_ramp_says_when_the_next_call_would_be_admitted() {
    let circuit = recovering(fragile().recovery_ramp(SECOND * 10));
    circuit.succeed(1);
    for _ in 0..20 {
        let Some(wait) = circuit
            .try_acquire()
            .err()
            .map(|no| no.retry_after().unwrap())
        else {
            continue;
        };
        circuit.advance(wait);
        let permit = circuit.try_acquire().expect("the wait was honest");
        permit.settle(Outcome::Success);
        circuit.advance(SECOND / 100);
    }
}

#[test]
fn a_failure_during_the_ramp_opens_as_ever() {
    let circuit = recovering(fragile().recovery_ramp(SECOND * 10));
    circuit.fail(1).is(Phase::Open);
    assert_eq!(circuit.retry_after(), Some(SECOND));
}

#[test]
fn closing_by_hand_ends_a_ramp() {
    let circuit = recovering(fragile().recovery_ramp(SECOND * 10));
    circuit.force_closed().unwrap();
    circuit.succeed(100);
    assert_eq!(circuit.entered().len(), 3, "it was closed already");
}
