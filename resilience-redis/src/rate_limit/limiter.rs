use std::{fmt, future::Future, sync::Arc};

use resilience_core::{InvalidPolicy, QuotaStatus, Rejected, rate_limit::Policy};

use super::{ask::Decide, decision::Decision, options::Options, rules::MOST_UNITS, shared::Shared};
use crate::{RedisStore, StoreError, StoreKey};

/// A rate limit whose counts stand in a [`RedisStore`].
///
/// Clones are the same limiter.
#[derive(Clone)]
pub struct RateLimiter(pub(super) Arc<Shared>);

impl RateLimiter {
    pub(crate) fn new(
        policy: &Policy,
        store: &RedisStore,
        options: &Options,
    ) -> Result<Self, InvalidPolicy> {
        Ok(Self(Arc::new(Shared::new(policy, store, options)?)))
    }

    /// Takes one unit of `key` from every quota, or nothing.
    ///
    /// # Errors
    ///
    /// As [`try_take_n`](Self::try_take_n).
    pub async fn try_take<K>(&self, key: &K) -> Result<QuotaStatus, Rejected>
    where
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
    /// that asks for this wait. [`Reason::CostExceedsQuota`] where no wait would help.
    /// [`Reason::StoreUnavailable`] where Redis gave no decision within
    /// [`Settings::decision_timeout`](crate::Settings::decision_timeout), and the
    /// [`Fallback`](super::Fallback) refuses. None of these in [`Mode::Shadow`].
    ///
    /// [`Mode::Shadow`]: super::Mode::Shadow
    /// [`Reason::RateLimited`]: resilience_core::Reason::RateLimited
    /// [`Reason::CostExceedsQuota`]: resilience_core::Reason::CostExceedsQuota
    /// [`Reason::StoreUnavailable`]: resilience_core::Reason::StoreUnavailable
    pub async fn try_take_n<K>(&self, key: &K, cost: u64) -> Result<QuotaStatus, Rejected>
    where
        K: StoreKey + ?Sized,
    {
        self.decide(key, cost).await.outcome
    }

    /// Takes `cost` units as [`try_take_n`](Self::try_take_n) does, and says also who decided, when,
    /// and why Redis did not.
    ///
    /// Nothing is taken before the first poll; dropped after it, it takes nothing, as far as the
    /// server can be heard.
    pub fn decide<'a, K>(
        &'a self,
        key: &'a K,
        cost: u64,
    ) -> impl Future<Output = Decision> + use<'a, K>
    where
        K: StoreKey + ?Sized,
    {
        let shared = &self.0;
        Decide::Comes { shared, key, cost }
    }

    /// Where the tightest quota of `key` stands; takes nothing.
    ///
    /// # Errors
    ///
    /// As [`try_take_n`](Self::try_take_n), of which only the last can be.
    pub async fn peek<K>(&self, key: &K) -> Result<QuotaStatus, Rejected>
    where
        K: StoreKey + ?Sized,
    {
        self.decide(key, 0).await.outcome
    }

    /// Gives `cost` units back that `key` took earlier, from every quota they were taken from.
    ///
    /// Nobody can know which units are meant: the oldest go back, which would be free again the
    /// soonest.
    ///
    /// # Errors
    ///
    /// Where Redis did not confirm it in time.
    pub async fn refund<K>(&self, key: &K, cost: u64) -> Result<(), StoreError>
    where
        K: StoreKey + ?Sized,
    {
        let units = cost.min(MOST_UNITS);
        if units == 0 {
            return Ok(());
        }
        let outcome = self.0.lane.refund_oldest(&self.0.name_of(key), units).await;
        self.0.doubt(key);
        outcome
    }

    /// Forgets what `key` has taken.
    ///
    /// Other processes may go on refusing for up to a second.
    ///
    /// # Errors
    ///
    /// Where Redis did not confirm it in time.
    pub async fn clear<K>(&self, key: &K) -> Result<(), StoreError>
    where
        K: StoreKey + ?Sized,
    {
        let outcome = self.0.lane.clear(&self.0.name_of(key)).await;
        self.0.forget(key);
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
        let pattern = format!("{}[:}}]*", self.0.key_start);
        let deleted = self.0.store.blocking().delete_all(&pattern).await;
        self.0.forget_all();
        deleted
    }

    /// How many processes have the limiter, this one included: the number that [`Fallback::LocalShare`]
    /// divides by. New ones are heard of within a second, those that went away count half a minute
    /// longer.
    ///
    /// [`Fallback::LocalShare`]: super::Fallback::LocalShare
    #[must_use]
    pub fn nodes(&self) -> u64 {
        self.0.share.nodes()
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
        self.0.lane.return_leases().await
    }

    /// Replaces what the quotas allow while calls go on; what was taken stays taken.
    ///
    /// Only in this process: tell the others as well. What cells drain is counted from the last call
    /// of a key, at the new rate. Takes time for each key that is remembered.
    ///
    /// # Errors
    ///
    /// What is wrong with `policy`, or what in it cannot change: everything but limits and bursts.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "as the limits in memory have it"
    )]
    pub fn reconfigure(&self, policy: Policy) -> Result<(), InvalidPolicy> {
        self.0.reconfigure(&policy)
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("policy", &self.0.name)
            .field("store", &self.0.store)
            .finish_non_exhaustive()
    }
}
