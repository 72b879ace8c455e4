use std::{fmt, future::Future, time::Duration};

use super::{
    IllegalTransition, Layer, Permit, Phase, Policy, Snapshot,
    shared::Shared,
    terms::{Answer, Vote},
};
use crate::{
    Classifier, Environment, Error, InvalidPolicy, Rejectable, Rejected, Timestamp,
    engine::Engine,
    gate::{self, Entry, Gate, Never},
};

/// A circuit breaker: state, operator's door and source of layers at once.
///
/// A clone is another name for the same circuit.
#[derive(Clone)]
pub struct CircuitBreaker {
    pub(super) shared: Engine<Shared>,
}

impl CircuitBreaker {
    /// A closed circuit.
    ///
    /// # Errors
    ///
    /// A policy that cannot work.
    pub fn new(policy: Policy) -> Result<Self, InvalidPolicy> {
        Self::new_in(policy, &Environment::new())
    }

    /// A closed circuit that takes time, chance and observer from `environment`.
    ///
    /// # Errors
    ///
    /// A policy that cannot work.
    pub fn new_in(policy: Policy, environment: &Environment) -> Result<Self, InvalidPolicy> {
        policy.check()?;
        Ok(Self {
            shared: Engine::striped(Shared::new(policy, environment.clone()), environment),
        })
    }

    /// Asks to make a call.
    ///
    /// # Errors
    ///
    /// The refusal, while the circuit is open or has all its probes out. It says how long an open
    /// circuit will refuse; nobody knows when a probe comes back, or an operator.
    #[inline(always)]
    pub fn try_acquire(&self) -> Result<Permit, Rejected> {
        match self.shared.admit() {
            Ok(ticket) => Ok(Permit::new(self.shared.hold(), ticket)),
            Err(refusal) => Err(self.shared.refuse(refusal)),
        }
    }

    /// Makes a call, unless the circuit refuses it: a breaker without Tower.
    ///
    /// An `Err` is a failure. The future that this returns may be dropped at any point: a call
    /// that was under way is canceled, and has no vote.
    ///
    /// What an inner layer of ours refuses inside of `operation` looks like any other error here:
    /// nest layers with [`call_with`](Self::call_with), which can tell.
    ///
    /// # Errors
    ///
    /// The refusal, or the error of `operation`.
    pub async fn call<F, Fut, T, E>(&self, operation: F) -> Result<T, Error<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        gate::call(self, &(), operation).await
    }

    /// Makes a call as [`call`](Self::call) does, judged by `classifier` and with the error type
    /// of `operation`, which must be able to carry a refusal: so layers nest, and what an inner
    /// one refused is no failure to this one.
    ///
    /// # Errors
    ///
    /// The refusal, or the error of `operation`.
    pub async fn call_with<C, F, Fut, T, E>(
        &self,
        classifier: C,
        operation: F,
    ) -> Result<C::Response<Permit>, E>
    where
        C: Classifier<T, E>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: Rejectable,
    {
        gate::call_with(self, &(), classifier, operation).await
    }

    /// A layer for HTTP and gRPC, which sees an answer to the end of its body.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn layer(&self) -> Layer<crate::Http> {
        self.layer_with(crate::Http::new())
    }

    /// A layer for any service, whose answers `classifier` understands.
    #[must_use]
    pub fn layer_with<C>(&self, classifier: C) -> Layer<C> {
        Layer::new(self.clone(), classifier)
    }

    /// Where the circuit stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.shared.with(|state, moment| {
            state.look(moment);
            state.phase()
        })
    }

    /// Where the circuit stands, and why.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// Opens the circuit until told otherwise; no wait ends it.
    ///
    /// # Errors
    ///
    /// The policy does not enforce.
    pub fn force_open(&self) -> Result<(), IllegalTransition> {
        self.shared.with(|state, moment| state.force_open(moment))
    }

    /// Closes the circuit and empties its window. Nothing where it is closed already, but that a
    /// recovery ramp ends.
    ///
    /// # Errors
    ///
    /// The policy disables the breaker.
    pub fn force_closed(&self) -> Result<(), IllegalTransition> {
        self.shared.with(|state, moment| state.force_closed(moment))
    }

    /// Lets probes go at once, without the rest of the wait.
    ///
    /// # Errors
    ///
    /// The circuit is closed or disabled.
    pub fn force_half_open(&self) -> Result<(), IllegalTransition> {
        self.shared
            .with(|state, moment| state.force_half_open(moment))
    }

    /// Opens the circuit for `wait` from now on, after which probes go. Where it is open already,
    /// this is its wait from now on.
    ///
    /// # Errors
    ///
    /// The policy does not enforce.
    pub fn open_for(&self, wait: Duration) -> Result<(), IllegalTransition> {
        self.shared
            .with(|state, moment| state.open_for(wait, moment))
    }

    /// Hands the circuit back: one that is forced open closes, any other goes on as it is.
    pub fn resume(&self) {
        self.shared.with(|state, moment| state.resume(moment));
    }

    /// Goes on by another policy of the same name.
    ///
    /// What the window holds stays, unless the window itself is another one. An open or half-open
    /// circuit ends that phase as it began it, unless the new policy refuses nothing.
    ///
    /// # Errors
    ///
    /// A policy that cannot work, or has another name: names stand in metrics.
    pub fn reconfigure(&self, policy: Policy) -> Result<(), InvalidPolicy> {
        policy.check()?;
        if policy.name != self.shared.name() {
            return Err(InvalidPolicy::new("name", "must stay what it was"));
        }
        self.shared.reconfigure(policy);
        Ok(())
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("name", &self.shared.name())
            .finish_non_exhaustive()
    }
}

impl<Req> Gate<Req> for CircuitBreaker {
    type Permit = Permit;
    type Wait = Never<Permit>;

    #[inline(always)]
    fn enter(&self, _request: &Req) -> Entry<Permit, Never<Permit>> {
        match self.try_acquire() {
            Ok(permit) => Entry::Admitted(permit),
            Err(rejected) => Entry::Refused(rejected),
        }
    }

    #[inline]
    fn refuses_all(&self) -> Option<Timestamp> {
        self.shared.refuses_all()
    }

    /// Where the wait has ended since, the next `poll_ready` is the one to ask for a probe.
    fn refuse(&self, asked: Timestamp) -> Rejected {
        self.shared.refuse_as_of(asked)
    }

    /// A failed call, which takes a permit like any other. A refusal here is nobody's.
    fn readiness_failed(&self) {
        if let Ok(ticket) = self.shared.admit() {
            let answer = Answer::Failure;
            self.shared.vote(
                ticket,
                Vote {
                    answer,
                    slow: false,
                },
            );
        }
    }
}
