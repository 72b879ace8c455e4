use std::{fmt, sync::Arc, time::Duration};

use resilience_core::{
    Clock, Error, InvalidPolicy, Random, Reason, Rejected,
    backoff::{Backoff, Jitter},
};
use tokio::time::sleep;

use super::{
    Guard, Policy, Snapshot,
    claim::{Acquired, Attempt},
    measure::Tally,
};
use crate::{
    RedisStore, StoreError, StoreKey,
    counted::counted,
    key::Names,
    script::{Script, script},
};

/// Locks in a [`RedisStore`], one for each key. Clones share them.
#[derive(Clone)]
pub struct Locks(Arc<Shared>);

pub(super) struct Shared {
    pub(super) policy: Policy,
    pub(super) store: RedisStore,
    pub(super) clock: Clock,
    pub(super) acquire: Script,
    pub(super) renew: Script,
    pub(super) release: Script,
    pub(super) tally: Tally,
    random: Random,
    names: Names,
}

/// A number that grows with every holder of a lock: microseconds since 1970, or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(u64);

impl Fence {
    /// Smaller than the fence of any holder.
    pub const ZERO: Self = Self(0);

    /// A fence that the resource has kept.
    ///
    /// # Errors
    ///
    /// Where the number is 2^53 - 1 or more: no larger fence could be counted.
    pub const fn from_u64(number: u64) -> Result<Self, InvalidPolicy> {
        if number >= END {
            return Err(InvalidPolicy::new("fence", "must be less than 2^53 - 1"));
        }
        Ok(Self(number))
    }

    pub(super) const fn of_reply(number: u64) -> Self {
        Self(number)
    }

    /// The number: less than 2^53, so it fits in any database and in JSON.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Locks {
    pub(crate) fn new(policy: &Policy, store: &RedisStore) -> Result<Self, InvalidPolicy> {
        policy.check()?;
        let prefix = store.connection().settings().key_prefix();
        Ok(Self(Arc::new(Shared {
            policy: *policy,
            store: store.clone(),
            clock: Clock::system(),
            tally: Tally::default(),
            random: Random::default(),
            acquire: script!("lock_acquire"),
            renew: script!("lock_renew"),
            release: script!("lock_release"),
            names: Names::new(prefix, "lock", policy.name)?,
        })))
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

impl Shared {
    /// The lock and its fence.
    fn keys<K: StoreKey + ?Sized>(&self, key: &K) -> [String; 2] {
        let lock = self.names.of(key);
        let fence = format!("{lock}:fence");
        [lock, fence]
    }
}

/// Whether the same request may be answered later on.
const fn waiting_helps(error: &StoreError) -> bool {
    error.may_have_run() || matches!(error, StoreError::Unavailable | StoreError::NotServing(_))
}

/// The first number above which the script counts none.
const END: u64 = (1 << 53) - 1;
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
/// What a lock that was given back may stay unused for, in return for four questions a second.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
