use std::{fmt, sync::Arc, time::Duration};

use resilience_core::{
    Error, InvalidPolicy, Reason, Rejected,
    backoff::{Backoff, Jitter},
};
use tokio::time::sleep;

use super::{
    Fence, Guard, Policy, Snapshot,
    attempt::{Acquired, Attempt},
    shared::Shared,
};
use crate::{RedisStore, StoreError, StoreKey, counted::counted};

/// Locks in a [`RedisStore`], one for each key. Clones share them.
#[derive(Clone)]
pub struct Locks(Arc<Shared>);

impl Locks {
    pub(crate) fn new(policy: &Policy, store: &RedisStore) -> Result<Self, InvalidPolicy> {
        Ok(Self(Arc::new(Shared::new(policy, store)?)))
    }

    /// Takes the lock of `key`, or says at once that another has it.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] for [`Reason::ConcurrencyLimited`] where another has it;
    /// [`Error::Inner`] where Redis gave no answer within
    /// [`Settings::decision_timeout`](crate::Settings::decision_timeout).
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub async fn try_lock<K>(&self, key: &K) -> Result<Guard, Error<StoreError>>
    where
        K: StoreKey + ?Sized,
    {
        self.try_lock_above(key, Fence::ZERO).await
    }

    /// Takes the lock of `key` as [`try_lock`](Self::try_lock) does, with a fence above `seen`: the
    /// largest one that the resource knows.
    ///
    /// # Errors
    ///
    /// As [`try_lock`](Self::try_lock).
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub async fn try_lock_above<K>(&self, key: &K, seen: Fence) -> Result<Guard, Error<StoreError>>
    where
        K: StoreKey + ?Sized,
    {
        let tally = &self.0.tally;
        let mut attempt = Attempt::new(&self.0, self.0.keys(key));
        let call = async {
            match attempt.acquire(seen).await {
                Ok(Acquired::Taken(guard)) => Ok(guard),
                Ok(Acquired::Held(_)) => Err(self.rejected(Reason::ConcurrencyLimited)),
                Err(error) => Err(Error::Inner(error)),
            }
        };
        counted(&tally.canceled, call, |outcome| tally.outcome(outcome)).await
    }

    /// Takes the lock of `key`, and waits for it for `patience` where another has it or Redis does
    /// not answer.
    ///
    /// Asks again and again, at intervals of up to 250 ms: whoever asks first after the lock was
    /// given back has it. There is no queue.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] for [`Reason::QueueTimeout`] where another had it to the end;
    /// [`Error::Inner`] where the last question had no answer, or the answer that waiting does not
    /// help.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub async fn lock<K>(&self, key: &K, patience: Duration) -> Result<Guard, Error<StoreError>>
    where
        K: StoreKey + ?Sized,
    {
        let tally = &self.0.tally;
        let call = self.wait_for(key, patience);
        counted(&tally.canceled, call, |outcome| tally.outcome(outcome)).await
    }

    /// What became of the calls of this process for locks, and how many it holds.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.0.tally.snapshot()
    }

    pub(super) fn name(&self) -> &'static str {
        self.0.policy.name
    }

    async fn wait_for<K>(&self, key: &K, patience: Duration) -> Result<Guard, Error<StoreError>>
    where
        K: StoreKey + ?Sized,
    {
        let Shared { clock, random, .. } = &*self.0;
        let end = clock.now().saturating_add(patience);
        let pauses = Backoff::exponential(SHORTEST_PAUSE)
            .max(LONGEST_PAUSE)
            .jitter(Jitter::Equal);
        let mut attempt = Attempt::new(&self.0, self.0.keys(key));
        let mut asked = 0_u32;
        loop {
            let pause = pauses.delay(asked, random.unit());
            let (pause, error) = match attempt.acquire(Fence::ZERO).await {
                Ok(Acquired::Taken(guard)) => return Ok(guard),
                // An owner that died gives nothing back: its lock ends at a time that is known.
                Ok(Acquired::Held(left)) => (
                    pause.min(left).max(SHORTEST_PAUSE),
                    self.rejected(Reason::QueueTimeout),
                ),
                Err(error) if waiting_helps(&error) => (pause, Error::Inner(error)),
                Err(error) => return Err(Error::Inner(error)),
            };
            if clock.now().saturating_add(pause) >= end {
                return Err(error);
            }
            sleep(pause).await;
            asked = asked.saturating_add(1);
        }
    }

    fn rejected(&self, reason: Reason) -> Error<StoreError> {
        Rejected::new(reason, self.0.policy.name).into()
    }
}

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locks")
            .field("policy", &self.0.policy)
            .field("store", &self.0.store)
            .finish_non_exhaustive()
    }
}

/// Whether the same request may be answered later on.
const fn waiting_helps(error: &StoreError) -> bool {
    error.may_have_run() || matches!(error, StoreError::Unavailable | StoreError::NotServing(_))
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
/// What a lock that was given back may stay unused for, in return for four questions a second.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
