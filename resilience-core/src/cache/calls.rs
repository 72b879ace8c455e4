//! Calls of a second tier, each within its deadline and behind its circuit.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::Poll,
    time::Duration,
};

use tokio::{runtime::Handle, time::timeout};

use super::{Reply, TierPolicy};
use crate::{
    BoxError, CatchPanic, CircuitBreaker, Environment, Error, InvalidPolicy, Outcome, Timestamp,
    gate::not_ready,
};

/// The way to a second tier.
#[derive(Debug)]
pub(super) struct Calls {
    timeout: Duration,
    breaker: CircuitBreaker,
    panics: CatchPanic,
    environment: Environment,
    /// When a change is tried again although the circuit is open: nanoseconds of a [`Timestamp`].
    next_try: AtomicU64,
}

impl Calls {
    pub(super) fn new(
        policy: &TierPolicy,
        panics: CatchPanic,
        environment: &Environment,
    ) -> Result<Self, InvalidPolicy> {
        Ok(Self {
            timeout: policy.timeout,
            breaker: CircuitBreaker::new_in(policy.breaker.clone(), environment)?,
            panics,
            environment: environment.clone(),
            next_try: AtomicU64::new(0),
        })
    }

    /// Asks the tier, where its circuit lets anybody through.
    pub(super) async fn ask<'a, T>(
        &self,
        call: impl FnOnce() -> Reply<'a, T>,
    ) -> Result<T, BoxError> {
        self.ask_within(self.timeout, call).await
    }

    /// Asks the tier for what may take until `deadline`.
    pub(super) async fn ask_within<'a, T>(
        &self,
        deadline: Duration,
        call: impl FnOnce() -> Reply<'a, T>,
    ) -> Result<T, BoxError> {
        has_timers()?;
        let permit = self.breaker.try_acquire()?;
        let said = self.within(deadline, call).await;
        permit.settle(outcome(&said));
        said
    }

    /// Tells the tier what it is to forget, or to have in place of what it has.
    ///
    /// That may wait for no circuit: refused, what was there before would be served by others for
    /// as long as it lives, also where the tier is well again. So while the circuit is open one
    /// change in [`TRY_EVERY`] timeouts is tried all the same, and closes it where that works. Of
    /// the others the tier hears what it may keep in mind, and nobody waits for them.
    pub(super) async fn tell<'a>(
        &self,
        call: impl FnOnce() -> Reply<'a, ()>,
    ) -> Result<(), BoxError> {
        self.tell_within(self.timeout, call).await
    }

    /// Tells the tier as [`tell`](Self::tell) does what may take until `deadline`.
    pub(super) async fn tell_within<'a>(
        &self,
        deadline: Duration,
        call: impl FnOnce() -> Reply<'a, ()>,
    ) -> Result<(), BoxError> {
        has_timers()?;
        let refused = match self.breaker.try_acquire() {
            Ok(permit) => {
                let said = self.within(deadline, call).await;
                permit.settle(outcome(&said));
                return said;
            }
            Err(refused) => refused,
        };
        let said = if self.is_to_be_tried() {
            self.within(deadline, call).await
        } else {
            self.mention(call).await.unwrap_or(Err(refused.into()))
        };
        if said.is_ok() {
            self.resume();
        }
        said
    }

    /// The tier is well: whatever its circuit learned before is of no more interest.
    pub(super) fn resume(&self) {
        self.next_try.store(0, Relaxed);
        // A circuit that is disabled refuses nobody.
        let _ = self.breaker.force_closed();
    }

    fn is_to_be_tried(&self) -> bool {
        let now = self.environment.now();
        let next = now.saturating_add(self.timeout.saturating_mul(TRY_EVERY));
        let due = |at| (now >= Timestamp::from_nanos(at)).then_some(next.as_nanos());
        self.next_try.fetch_update(Relaxed, Relaxed, due).is_ok()
    }

    async fn within<'a, T>(
        &self,
        deadline: Duration,
        call: impl FnOnce() -> Reply<'a, T>,
    ) -> Result<T, BoxError> {
        match self.panics.call(|| timeout(deadline, call())).await {
            Ok(said) => said,
            Err(Error::Inner(elapsed)) => Err(elapsed.into()),
            Err(Error::Rejected(panicked)) => Err(panicked.into()),
        }
    }

    /// What the tier says at once.
    async fn mention<'a>(
        &self,
        call: impl FnOnce() -> Reply<'a, ()>,
    ) -> Option<Result<(), BoxError>> {
        let mut reply = pin!(self.within(self.timeout, call));
        poll_fn(|cx| match reply.as_mut().poll(cx) {
            Poll::Ready(said) => Poll::Ready(Some(said)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }
}

/// While a tier is away, changes cost a twentieth of the time at most.
const TRY_EVERY: u32 = 20;

/// Without timers there is no deadline, and without one no call.
fn has_timers() -> Result<(), BoxError> {
    Handle::try_current()
        .map(drop)
        .map_err(|_| not_ready().into())
}

fn outcome<T>(said: &Result<T, BoxError>) -> Outcome {
    match said {
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Failure,
    }
}
