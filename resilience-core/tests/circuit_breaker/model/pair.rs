//! The engine and the model, side by side.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use resilience_core::{
    Environment, Event, ManualClock, Outcome, Rejected, Timestamp,
    circuit_breaker::{CircuitBreaker, Permit},
};

use super::{Hand, Heard, Model, Setup, Step};

pub(super) struct Pair {
    clock: ManualClock,
    heard: Arc<Mutex<Vec<Heard>>>,
    breaker: CircuitBreaker,
    model: Model,
    pub(super) held: Vec<(Permit, (usize, u64))>,
}

impl Pair {
    pub(super) fn new(setup: Setup) -> Self {
        let clock = ManualClock::new();
        let heard = Arc::new(Mutex::new(vec![]));
        let ear = heard.clone();
        let environment = Environment::new().clock(clock.clone()).observer(
            move |event: &Event<'_>| match *event {
                Event::PhaseChanged { from, to, .. } => {
                    ear.lock().unwrap().push(Heard::Phase(from, to));
                }
                Event::ThresholdReached { threshold, .. } => {
                    ear.lock().unwrap().push(Heard::Reached(threshold));
                }
                _ => {}
            },
        );
        let breaker = CircuitBreaker::new_in(setup.policy(), &environment).unwrap();
        Self {
            clock,
            heard,
            breaker,
            model: Model::new(setup),
            held: vec![],
        }
    }

    fn acquire(&mut self) -> Option<(Permit, (usize, u64))> {
        let told = |rejected: &Rejected| {
            let wait = rejected.retry_after().map(|wait| wait.as_nanos() as u64);
            (rejected.reason(), wait)
        };
        match (self.breaker.try_acquire(), self.model.ask()) {
            (Ok(permit), Ok(ticket)) => Some((permit, ticket)),
            (Err(rejected), Err(refusal)) => {
                assert_eq!(told(&rejected), refusal);
                None
            }
            (engine, model) => panic!("engine {engine:?}, model {model:?}"),
        }
    }

    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::Advance(nanos) => {
                self.model.now += nanos;
                self.clock.set(Timestamp::from_nanos(self.model.now));
            }
            Step::Acquire => {
                let admitted = self.acquire();
                self.held.extend(admitted);
            }
            Step::Settle(which, outcome) => {
                if !self.held.is_empty() {
                    let (permit, ticket) = self.held.swap_remove(which % self.held.len());
                    self.settle(permit, ticket, outcome);
                }
            }
            Step::Calls(times, outcome) => {
                for _ in 0..times {
                    if let Some((permit, ticket)) = self.acquire() {
                        self.settle(permit, ticket, outcome);
                    }
                }
            }
            Step::Hand(hand) => {
                let legal = match hand {
                    Hand::ForceOpen => self.breaker.force_open().is_ok(),
                    Hand::ForceClosed => self.breaker.force_closed().is_ok(),
                    Hand::ForceHalfOpen => self.breaker.force_half_open().is_ok(),
                    Hand::OpenFor(wait) => {
                        self.breaker.open_for(Duration::from_nanos(wait)).is_ok()
                    }
                    Hand::Resume => {
                        self.breaker.resume();
                        true
                    }
                };
                assert_eq!(legal, self.model.operate(hand));
            }
            Step::Reconfigure(setup) => {
                // A call that began untimed would be slow by the model alone.
                let setup = Setup {
                    slow_calls: self.model.setup.slow_calls,
                    ..setup
                };
                self.breaker.reconfigure(setup.policy()).unwrap();
                self.model.reconfigure(setup);
            }
            Step::Look => self.compare(),
        }
    }

    pub(super) fn settle(&mut self, permit: Permit, ticket: (usize, u64), outcome: Outcome) {
        self.model.settle(ticket, outcome);
        match outcome {
            Outcome::Canceled => drop(permit),
            outcome => permit.settle(outcome),
        }
    }

    pub(super) fn compare(&mut self) {
        let snapshot = self.breaker.snapshot();
        self.model.look();
        let model = &self.model;
        let (votes, enough) = model.evidence();
        let failed = votes.iter().filter(|vote| vote.failed).count() as u64;
        let slow = votes.iter().filter(|vote| vote.slow).count() as u64;
        let calls = votes.len() as u64;
        let rate =
            |bad: u64| (calls > 0 && votes.len() >= enough).then(|| bad as f64 / calls as f64);
        assert_eq!(snapshot.phase, model.phase());
        assert_eq!(
            (snapshot.calls, snapshot.failures, snapshot.slow),
            (calls, failed, slow)
        );
        assert_eq!(snapshot.failure_rate, rate(failed));
        let timed = model.setup.slow_calls.is_some();
        assert_eq!(snapshot.slow_rate, rate(slow).filter(|_| timed));
        assert_eq!(snapshot.permits_left, model.permits_left());
        assert_eq!(snapshot.rejected, model.rejected);
        let totals = snapshot.totals;
        let [.., slow] = model.totals;
        assert_eq!(
            [totals.successes, totals.failures, totals.overloads],
            model.totals[..3]
        );
        assert_eq!(
            [
                totals.not_called,
                totals.canceled,
                totals.ignored,
                totals.slow
            ],
            [model.totals[3], model.totals[4], model.totals[5], slow]
        );
        assert_eq!(*self.heard.lock().unwrap(), model.heard);
    }
}
