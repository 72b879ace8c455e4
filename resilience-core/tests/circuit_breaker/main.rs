//! What the documentation of the circuit breaker says, sentence by sentence.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod half_open;
mod keyed;
mod layer;
mod model;
mod opening;
mod operator;
mod policy;
mod recovery;
mod sharing;

use std::{
    ops::Deref,
    sync::{Arc, Mutex},
    time::Duration,
};

use resilience_core::{
    Environment, Event, ManualClock, Outcome, Rejected,
    circuit_breaker::{CircuitBreaker, Phase, Policy},
};

const SECOND: Duration = Duration::from_secs(1);

/// A breaker, the clock it goes by, and the phases it announced.
struct Circuit {
    breaker: CircuitBreaker,
    clock: ManualClock,
    entered: Arc<Mutex<Vec<Phase>>>,
}

impl Circuit {
    fn new(policy: Policy) -> Self {
        let clock = ManualClock::new();
        let entered = Arc::new(Mutex::new(vec![]));
        let ear = entered.clone();
        let environment =
            Environment::new()
                .clock(clock.clone())
                .observer(move |event: &Event<'_>| {
                    if let Event::PhaseChanged { to, .. } = event {
                        ear.lock().unwrap().push(*to);
                    }
                });
        let breaker = CircuitBreaker::new_in(policy, &environment).unwrap();
        Self {
            breaker,
            clock,
            entered,
        }
    }

    /// Opens after one failure, for a second, and sends one probe.
    fn fragile() -> Self {
        Self::new(fragile())
    }

    fn advance(&self, duration: Duration) -> &Self {
        self.clock.advance(duration);
        self
    }

    fn calls(&self, times: usize, outcome: Outcome) -> &Self {
        for _ in 0..times {
            self.try_acquire().unwrap().settle(outcome);
        }
        self
    }

    fn fail(&self, times: usize) -> &Self {
        self.calls(times, Outcome::Failure)
    }

    fn succeed(&self, times: usize) -> &Self {
        self.calls(times, Outcome::Success)
    }

    fn is(&self, phase: Phase) -> &Self {
        assert_eq!(self.phase(), phase);
        self
    }

    fn refused(&self) -> Rejected {
        self.try_acquire().map(drop).unwrap_err()
    }

    fn retry_after(&self) -> Option<Duration> {
        self.refused().retry_after()
    }

    fn entered(&self) -> Vec<Phase> {
        self.entered.lock().unwrap().clone()
    }
}

impl Deref for Circuit {
    type Target = CircuitBreaker;

    fn deref(&self) -> &CircuitBreaker {
        &self.breaker
    }
}

fn fragile() -> Policy {
    use resilience_core::circuit_breaker::OpenWait;
    Policy::tripping_after("fragile", 1).open(OpenWait::fixed(SECOND))
}
