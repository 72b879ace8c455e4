use std::{fmt, future::Future, sync::Arc};

use resilience_core::{InvalidPolicy, QuotaStatus, Rejected, rate_limit::Policy};

use super::{
    decision::Decision,
    options::Options,
    tiers::{Tiers, Untiered},
};
use crate::{
    RedisStore, StoreError, StoreKey,
    rate_limit::{
        engine::{self, Decide, Engine},
        quota::MOST_UNITS,
    },
};

/// A rate limit whose counts stand in a [`RedisStore`].
///
/// Clones are the same limiter. `T` says which tier a key is in: [`Untiered`] ones are in none, and a
/// limiter of keys `K` that have tiers is a `RateLimiter<Tiered<K>>`.
#[derive(Clone)]
pub struct RateLimiter<T = Untiered> {
    /// The engine of keys that are in no tier.
    pub(super) engine: Arc<Engine>,
    tiers: T,
}

impl<T> RateLimiter<T> {
    pub(crate) fn new(
        policy: &Policy,
        store: &RedisStore,
        options: &Options,
        tiers: T,
    ) -> Result<Self, InvalidPolicy> {
        let engine = engine::build(policy, store, options)?;
        Ok(Self { engine, tiers })
    }

    /// The engine of `key`.
    #[inline]
    pub(super) fn engine_of<K: ?Sized>(&self, key: &K) -> &Arc<Engine>
    where
        T: Tiers<K>,
    {
        match self.tiers.tier_of(key) {
            None => &self.engine,
            Some(tier) => self.engine.of_tier(tier),
        }
    }

    /// Takes one unit of `key` from every quota, or nothing, and waits for nothing but the answer.
    ///
    /// # Errors
    ///
    /// As [`try_take_n`](Self::try_take_n).
    pub async fn try_take<K>(&self, key: &K) -> Result<QuotaStatus, Rejected>
    where
        T: Tiers<K>,
        K: StoreKey + ?Sized,
    {
        self.decide(key, 1).await.outcome
    }

    /// Takes `cost` units of `key` from every quota, or nothing; a cost of zero only looks.
    ///
    /// Returns where the quota stands that has the fewest units left.
    ///
    /// # Errors
    ///
    /// [`Reason::RateLimited`] where a quota is used up; its `retry_after` is the shortest wait
    /// after which the same call succeeds if nobody else takes from the key, and it names the quota
    /// that asks for this wait; of the key's quotas and the one of all keys it tells of the first
    /// that has no room. Where this is known without a question from a call of a lower cost,
    /// both are that call's, and this one may have to wait for longer.
    /// [`Reason::CostExceedsQuota`] where no wait would help. [`Reason::StoreUnavailable`] where Redis
    /// gave no decision within [`Settings::decision_timeout`](crate::Settings::decision_timeout), and
    /// the [`Fallback`](super::Fallback) refuses. None of these in [`Mode::Shadow`].
    ///
    /// [`Mode::Shadow`]: super::Mode::Shadow
    /// [`Reason::RateLimited`]: resilience_core::Reason::RateLimited
    /// [`Reason::CostExceedsQuota`]: resilience_core::Reason::CostExceedsQuota
    /// [`Reason::StoreUnavailable`]: resilience_core::Reason::StoreUnavailable
    pub async fn try_take_n<K>(&self, key: &K, cost: u64) -> Result<QuotaStatus, Rejected>
    where
        T: Tiers<K>,
        K: StoreKey + ?Sized,
    {
        self.decide(key, cost).await.outcome
    }

    /// Takes `cost` units as [`try_take_n`](Self::try_take_n) does, and says also who decided, when,
    /// and why Redis did not.
    ///
    /// Nothing is taken before the first poll; dropped after it, it takes nothing, as far as the
    /// server can be heard. In which tier the key is asks `decide` itself.
    pub fn decide<'a, K>(
        &'a self,
        key: &'a K,
        cost: u64,
    ) -> impl Future<Output = Decision> + use<'a, K, T>
    where
        T: Tiers<K>,
        K: StoreKey + ?Sized,
    {
        self.decide_within(key, cost, 0)
    }

    /// Takes one unit of `key` as [`try_take`](Self::try_take) does, and waits for it up to the policy's
    /// [`max_wait`](Policy::max_wait).
    ///
    /// # Errors
    ///
    /// As [`take_n`](Self::take_n).
    pub async fn take<K>(&self, key: &K) -> Result<QuotaStatus, Rejected>
    where
        T: Tiers<K>,
        K: StoreKey + ?Sized,
    {
        self.take_n(key, 1).await
    }

    /// Takes `cost` units of `key` as [`try_take_n`](Self::try_take_n) does, and waits for them up to the
    /// policy's [`max_wait`](Policy::max_wait).
    ///
    /// In this process whoever comes first is served first. Dropped while it waits, it takes nothing.
    ///
    /// # Errors
    ///
    /// As [`try_take_n`](Self::try_take_n): at once where it would have to wait longer, as far as is
    /// known, and after `max_wait` where other processes took what it waited for.
    pub async fn take_n<K>(&self, key: &K, cost: u64) -> Result<QuotaStatus, Rejected>
    where
        T: Tiers<K>,
        K: StoreKey + ?Sized,
    {
        self.decide_or_wait(key, cost).await.outcome
    }

    /// Takes `cost` units as [`take_n`](Self::take_n) does, and says also who decided, when, and why
    /// Redis did not.
    ///
    /// Nothing is taken before the first poll; dropped after it, it takes nothing, as far as the
    /// server can be heard. In which tier the key is asks `decide_or_wait` itself.
    pub fn decide_or_wait<'a, K>(
        &'a self,
        key: &'a K,
        cost: u64,
    ) -> impl Future<Output = Decision> + use<'a, K, T>
    where
        T: Tiers<K>,
        K: StoreKey + ?Sized,
    {
        self.decide_within(key, cost, self.engine.max_wait())
    }

    /// The decision about one who waits for room up to `max_wait` nanoseconds.
    fn decide_within<'a, K>(&'a self, key: &'a K, cost: u64, max_wait: u64) -> Decide<'a, K>
    where
        T: Tiers<K>,
        K: StoreKey + ?Sized,
    {
        Decide::Comes {
            engine: self.engine_of(key),
            key,
            cost,
            max_wait,
        }
    }

    /// Where the tightest quota of `key` stands; takes nothing.
    ///
    /// # Errors
    ///
    /// As [`try_take_n`](Self::try_take_n), of which only the last can be.
    pub async fn peek<K>(&self, key: &K) -> Result<QuotaStatus, Rejected>
    where
        T: Tiers<K>,
        K: StoreKey + ?Sized,
    {
        self.decide(key, 0).await.outcome
    }

    /// Gives `cost` units back that `key` took earlier, from every quota they were taken from.
    ///
    /// Nobody can know which units are meant: the oldest go back, which would be free again the
    /// soonest. It asks for the server's time first, so it may take two deadlines. Begun, it goes on
    /// also where nobody waits for it.
    ///
    /// # Errors
    ///
    /// Where Redis did not confirm it in time. In a cluster it does nothing while the key's slot moves
    /// and its counts are apart: [`StoreError::NotServing`] (`TRYAGAIN`).
    pub async fn refund<K>(&self, key: &K, cost: u64) -> Result<(), StoreError>
    where
        T: Tiers<K>,
        K: StoreKey + ?Sized,
    {
        let units = cost.min(MOST_UNITS);
        if units == 0 {
            return Ok(());
        }
        let engine = self.engine_of(key);
        let Some(global) = &engine.global else {
            return engine.refund(key, units).await;
        };
        let (own, of_all) = tokio::join!(engine.refund(key, units), global.refund(&(), units));
        own.and(of_all)
    }

    /// Forgets what `key` has taken, whatever tier it was in; what it took of a quota of all keys stays
    /// taken.
    ///
    /// Other processes may go on refusing for up to a second. It asks twice, with tiers twice for each
    /// of them and for all other keys, and each question has a deadline of its own. In a cluster it
    /// works also while the key's slot moves.
    ///
    /// # Errors
    ///
    /// Where Redis did not confirm all of it in time; some counts may be gone by then.
    pub async fn clear<K>(&self, key: &K) -> Result<(), StoreError>
    where
        K: StoreKey + ?Sized,
    {
        let mut outcome = Ok(());
        for engine in self.engine.of_keys() {
            let cleared = engine.lane.clear(&engine.name_of(key)).await;
            engine.forget(key);
            outcome = outcome.and(cleared);
        }
        outcome
    }

    /// Forgets what everyone has taken; returns how many counts were deleted.
    ///
    /// For an operator's hand: it looks at every key of the database, in steps between which the
    /// server serves others, over a connection of its own. Counts made meanwhile may stay, and other
    /// processes may go on refusing for up to a second.
    ///
    /// # Errors
    ///
    /// Where Redis stopped answering; part of the counts may be deleted by then.
    pub async fn clear_all(&self) -> Result<u64, StoreError> {
        // After the name comes a key's first part, or for the key `()` the end of the hash tag.
        let pattern = |engine: &Engine| format!("{}[:}}]*", engine.key_start);
        let store = self.engine.store.blocking();
        let mut deleted = store.delete_all(&pattern(&self.engine)).await;
        if let Some(global) = &self.engine.global {
            let of_all = store.delete_all(&pattern(global)).await;
            deleted = deleted.and_then(|keys| of_all.map(|it| keys + it));
        }
        self.engine.engines().for_each(Engine::forget_all);
        deleted
    }

    /// How many processes have the limiter, this one included: the number that [`Fallback::LocalShare`]
    /// divides by. New ones are heard of within a second, those that went away count half a minute
    /// longer.
    ///
    /// Clones are one. A process that makes the limiter anew beside the one that it has counts twice,
    /// since each of the two then allows a part of its own.
    ///
    /// [`Fallback::LocalShare`]: super::Fallback::LocalShare
    #[must_use]
    pub fn nodes(&self) -> u64 {
        self.engine.stake.nodes()
    }

    /// Gives back what this process has taken ahead and not used, before it ends.
    ///
    /// Nothing needs this: the units come back by themselves, see [`Options::lease_up_to`]. Calls may
    /// go on, and take ahead again.
    ///
    /// # Errors
    ///
    /// Where Redis did not confirm all of it in time.
    pub async fn return_leases(&self) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        for engine in self.engine.engines() {
            outcome = outcome.and(engine.lane.return_leases().await);
        }
        outcome
    }

    /// Replaces what the quotas allow, `max_wait` and the mode while calls go on; what was taken stays
    /// taken, and those who wait go on as long as they could before.
    ///
    /// Only in this process: tell the others as well. What cells drain is counted from the last call
    /// of a key, at the new rate. Takes time for each key that is remembered.
    ///
    /// # Errors
    ///
    /// What is wrong with `policy`, or what in it cannot change: the name, the names, windows and
    /// algorithms of quotas and how many there are, the names of tiers, the capacity, and what is done
    /// about missing keys and charged.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "as the limits in memory have it"
    )]
    pub fn reconfigure(&self, policy: Policy) -> Result<(), InvalidPolicy> {
        self.engine.reconfigure(&policy)
    }
}

impl<T> fmt::Debug for RateLimiter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("policy", &self.engine.name)
            .field("store", &self.engine.store)
            .finish_non_exhaustive()
    }
}
