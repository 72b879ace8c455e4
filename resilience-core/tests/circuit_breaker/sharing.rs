use std::{
    sync::{
        Barrier,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use resilience_core::{
    Outcome,
    circuit_breaker::{CircuitBreaker, OpenWait, Permit, Phase, Policy, Window},
};

use crate::{Circuit, SECOND};

const CALLERS: u32 = 100;

#[test]
fn of_many_callers_at_the_end_of_a_wait_exactly_the_permits_are_admitted() {
    for permits in [1, 10, CALLERS - 1] {
        let policy = Policy::new("p")
            .min_calls(1)
            .open(OpenWait::fixed(SECOND))
            .half_open_permits(permits);
        let circuit = Circuit::new(policy);
        circuit.fail(1).advance(SECOND);
        let (barrier, admitted) = (Barrier::new(CALLERS as usize), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..CALLERS {
                scope.spawn(|| {
                    barrier.wait();
                    let permit = circuit.try_acquire();
                    admitted.fetch_add(permit.is_ok().into(), Ordering::Relaxed);
                    barrier.wait();
                });
            }
        });
        assert_eq!(admitted.into_inner(), permits);
        assert_eq!(circuit.entered(), [Phase::Open, Phase::HalfOpen]);
        assert_eq!(circuit.snapshot().rejected, u64::from(CALLERS - permits));
    }
}

#[test]
fn no_call_of_many_threads_is_lost_or_counted_twice() {
    const ROUNDS: u64 = 20_000;
    let window = Window::count(1 << 20);
    let breaker = CircuitBreaker::new(Policy::new("p").window(window).failure_rate(1.0)).unwrap();
    thread::scope(|scope| {
        for worker in 0..4 {
            let breaker = &breaker;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let permit = breaker.try_acquire().unwrap();
                    match (round + worker) % 10 {
                        0 => permit.settle(Outcome::Failure),
                        1 => drop(permit),
                        _ => permit.settle(Outcome::Success),
                    }
                    if round % 1_000 == 0 {
                        let _ = breaker.snapshot();
                    }
                }
            });
        }
    });
    let snapshot = breaker.snapshot();
    assert_eq!(snapshot.totals.failures, 4 * ROUNDS / 10);
    assert_eq!(snapshot.totals.canceled, 4 * ROUNDS / 10);
    assert_eq!(snapshot.totals.successes, 4 * ROUNDS / 10 * 8);
    assert_eq!(snapshot.calls, 4 * ROUNDS / 10 * 9);
    assert_eq!(snapshot.failures, snapshot.totals.failures);
}

#[test]
fn operators_and_callers_together_keep_to_the_legal_transitions() {
    let circuit = Circuit::new(Policy::new("p").min_calls(1));
    thread::scope(|scope| {
        for worker in 0..4 {
            let circuit = &circuit;
            scope.spawn(move || {
                for round in 0..500 {
                    match (round + worker) % 5 {
                        0 => drop(circuit.force_open()),
                        1 => circuit.resume(),
                        2 => drop(circuit.open_for(SECOND)),
                        3 => drop(circuit.force_half_open()),
                        _ => drop(
                            circuit
                                .try_acquire()
                                .map(|permit| permit.settle(Outcome::Failure)),
                        ),
                    }
                }
            });
        }
    });
    let entered = circuit.entered();
    assert_eq!(entered.len() as u64, circuit.snapshot().transitions_total);
    assert_eq!(entered.last(), Some(&circuit.phase()));
    for pair in entered.windows(2) {
        assert_ne!(pair[0], pair[1]);
        assert!(pair != [Phase::Closed, Phase::HalfOpen]);
    }
}

#[test]
fn clones_share_one_circuit() {
    let circuit = Circuit::fragile();
    circuit.fail(1);
    assert_eq!(circuit.breaker.clone().phase(), Phase::Open);
}

#[test]
fn handles_and_permits_go_anywhere_and_are_small() {
    const fn anywhere<T: Send + Sync + Unpin + 'static>() {}
    anywhere::<CircuitBreaker>();
    anywhere::<Permit>();
    assert!(size_of::<Permit>() <= 32);
}
