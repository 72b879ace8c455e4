//! One connection while it lasts, and what is thought of it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use resilience_core::{
    Clock, InvalidPolicy, Outcome,
    circuit_breaker::{CircuitBreaker, OpenWait, Permit, Phase, Policy},
};

use super::{Address, silence::Silence};
use crate::StoreError;

/// One connection while it lasts, with the opinion that calls over it have formed.
///
/// The circuit is the connection's own: what an earlier one suffered says nothing of this one,
/// which the server has greeted.
pub(super) struct Flow {
    /// Which one it is: a late verdict on one never falls on its successor.
    pub(super) number: u64,
    pub(super) address: Address,
    pub(super) connection: MultiplexedConnection,
    circuit: CircuitBreaker,
    silence: Silence,
    clock: Clock,
    /// A call went unanswered, and a `PING` is out to see whether anything is.
    suspected: AtomicBool,
}

impl Flow {
    pub(super) fn new(
        number: u64,
        address: Address,
        connection: MultiplexedConnection,
    ) -> Result<Self, InvalidPolicy> {
        let wait = OpenWait::exponential(SHORTEST_REST, 2.0, LONGEST_REST).jitter(0.2);
        let policy = Policy::tripping_after("redis", FAILURES_IN_A_ROW).open(wait);
        Ok(Self {
            number,
            address,
            connection,
            circuit: CircuitBreaker::new(policy)?,
            silence: Silence::default(),
            clock: Clock::system(),
            suspected: AtomicBool::new(false),
        })
    }

    /// Asks to make a call; a refusal costs no round trip and no timeout.
    pub(super) fn admit(&self) -> Result<Permit, StoreError> {
        self.circuit
            .try_acquire()
            .map_err(|_| StoreError::Unavailable)
    }

    /// What a call that ended with `answer` says of the server, where a decision may take as long as
    /// `patience`.
    pub(super) fn judge<T>(&self, answer: &Result<T, StoreError>, patience: Duration) -> Outcome {
        match answer {
            Err(StoreError::Timeout(waited)) => {
                if self.silence.counts(self.clock.now(), *waited, patience) {
                    Outcome::Failure
                } else {
                    Outcome::Ignored
                }
            }
            answer => {
                self.silence.end();
                outcome(answer)
            }
        }
    }

    /// Whether this is the first to suspect the connection, and so the one to look.
    pub(super) fn suspect(&self) -> bool {
        !self.suspected.swap(true, Ordering::Relaxed)
    }

    pub(super) fn clear(&self) {
        self.suspected.store(false, Ordering::Relaxed);
    }

    /// Whether nothing speaks against the server behind this connection.
    pub(super) fn is_well(&self) -> bool {
        !self.suspected.load(Ordering::Relaxed) && self.circuit.phase() == Phase::Closed
    }
}

/// What the circuit makes of an answer.
fn outcome<T>(answer: &Result<T, StoreError>) -> Outcome {
    match answer {
        Ok(_) | Err(StoreError::ForeignValue | StoreError::Server(_)) => Outcome::Success,
        Err(StoreError::NotServing(code)) => match code.as_str() {
            "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "READONLY" => Outcome::Failure,
            // Of one slot that is being moved; all others are served.
            "TRYAGAIN" => Outcome::Success,
            // Full or busy: it says so at once, and whoever only reads is served.
            _ => Outcome::Overload { retry_after: None },
        },
        Err(
            StoreError::Timeout(_)
            | StoreError::Disconnected
            | StoreError::Protocol
            | StoreError::Untrusted,
        ) => Outcome::Failure,
        // Waiting does not heal credentials, and others' may be good.
        Err(StoreError::Unauthorized(_)) => Outcome::Ignored,
        Err(
            StoreError::Unavailable | StoreError::InvalidSettings(_) | StoreError::InvalidTarget(_),
        ) => Outcome::NotCalled,
    }
}

/// A server that hangs costs callers their deadline for about so many deadlines, and one caller each
/// time that it is tried anew.
const FAILURES_IN_A_ROW: u32 = 5;
const SHORTEST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_millis(500);
