use std::future::Future;

use super::{
    Layer, Permit, Policy, Snapshot, Waiting,
    shared::{Common, Shared, Tally},
    state::Decision,
};
use crate::{
    Classifier, Environment, Error, InvalidPolicy, Rejectable, Rejected,
    engine::{Engine, Hold},
    gate::{self, Entry, Gate},
    sync::Arc,
};

/// At most so many calls at a time; see the [module](super).
///
/// Clones, layers and services made from it share its permits and its queue.
#[derive(Clone, Debug)]
pub struct Bulkhead {
    shared: Engine<Shared>,
}

impl Bulkhead {
    /// A bulkhead in the default [`Environment`].
    ///
    /// # Errors
    ///
    /// A name that cannot stand in a header, or a queue without
    /// [`max_wait`](Policy::max_wait).
    pub fn new(policy: Policy) -> Result<Self, InvalidPolicy> {
        Self::new_in(policy, &Environment::default())
    }

    /// A bulkhead in `environment`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn new_in(policy: Policy, environment: &Environment) -> Result<Self, InvalidPolicy> {
        let permits = policy.permits;
        let common = Arc::new(Common::new(policy, environment)?);
        let shared = Engine::striped(Shared::new(permits, common), environment);
        Ok(Self { shared })
    }

    pub(super) const fn of_key(shared: Hold<Shared>) -> Self {
        let shared = Engine::Single(shared);
        Self { shared }
    }

    /// Takes a permit, or is refused at once. Never waits, and never passes those who do.
    ///
    /// # Errors
    ///
    /// No permit is free, or the bulkhead is closed.
    pub fn try_acquire(&self) -> Result<Permit, Rejected> {
        match self.shared.try_enter() {
            Ok(()) => Ok(Permit::new(self.shared.hold())),
            Err(reason) => Err(self.shared.common.refuse(reason)),
        }
    }

    /// Takes a permit, or a place in the queue, or is refused at once.
    #[must_use]
    pub fn enter(&self) -> Entry<Permit, Waiting> {
        match self.shared.enter() {
            Decision::Run => Entry::Admitted(Permit::new(self.shared.hold())),
            Decision::Wait(place) => Entry::Wait(Waiting::new(self.shared.hold(), place)),
            Decision::Refuse(reason) => Entry::Refused(self.shared.common.refuse(reason)),
        }
    }

    /// Takes a permit, waiting in the queue where there is one.
    ///
    /// # Errors
    ///
    /// The queue is full, the wait took too long, or the bulkhead is closed.
    ///
    /// # Cancellation
    ///
    /// Dropped, it gives up its place in the queue.
    pub async fn acquire(&self) -> Result<Permit, Rejected> {
        match self.enter() {
            Entry::Admitted(permit) => Ok(permit),
            Entry::Refused(rejected) => Err(rejected),
            Entry::Wait(waiting) => waiting.await,
        }
    }

    /// Runs `operation` under a permit.
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

    /// A layer for HTTP and gRPC, whose calls run until the end of the answer's body.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn layer(&self) -> Layer<crate::Http> {
        self.layer_with(crate::Http::new())
    }

    /// A layer for any service, whose calls run until `classifier` has seen enough:
    /// [`Http::at_headers`](crate::Http::at_headers) gives the permit back before the body is
    /// sent, [`Results`](crate::Results) when the call returns.
    pub fn layer_with<C>(&self, classifier: C) -> Layer<C> {
        Layer::new(self.clone(), classifier)
    }

    /// From now on at most `permits` calls run at a time.
    ///
    /// More let in those who wait, in order. Fewer throw nobody out: nobody enters until enough
    /// have left. None at all makes everybody wait or be refused.
    pub fn set_permits(&self, permits: u32) {
        self.shared.set_permits(permits);
    }

    /// From now on nobody gets in, and those who wait are refused: for a service that goes down.
    ///
    /// Calls that run are left alone. There is no way back. A wait that had ended unseen just
    /// before is told the one or the other.
    pub fn close(&self) {
        self.shared.close();
    }

    /// How it stands now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.shared.levels(), &self.shared.common.tally)
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Common {
    pub(super) fn new(policy: Policy, environment: &Environment) -> Result<Self, InvalidPolicy> {
        policy.check()?;
        Ok(Self {
            policy,
            environment: environment.clone(),
            tally: Tally::default(),
        })
    }
}

impl<Req> Gate<Req> for Bulkhead {
    type Permit = Permit;
    type Wait = Waiting;

    fn enter(&self, _request: &Req) -> Entry<Permit, Waiting> {
        Self::enter(self)
    }
}
