use std::{
    borrow::Borrow,
    fmt,
    future::Future,
    hash::Hash,
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    layer::{Gate, OneUnit, Permit},
    policy::{Checked, Policy},
    reservation::Reservation,
    shared::{Shared, TierOf, Whose},
};
use crate::{
    Classifier, Environment, Error, InvalidPolicy, QuotaStatus, Rejectable, Rejected, gate,
};

/// Limits how much is asked, of all callers together or of each key.
///
/// State, handle and layer in one: clones share everything. See the [module](super).
pub struct RateLimiter<K = ()> {
    pub(super) shared: Arc<Shared<K>>,
}

/// Where a quota stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// Units in one window.
    pub limit: u64,
    /// Length of the window.
    pub window: Duration,
    /// Units that one call could take now.
    pub remaining: u64,
    /// The shortest wait after which one unit could be taken; zero where it could be now.
    pub retry_after: Duration,
}

impl<K: Hash + Eq + Clone + Send + 'static> RateLimiter<K> {
    /// A limiter by the system clock that reports to `tracing`.
    ///
    /// # Errors
    ///
    /// What is wrong with `policy`.
    pub fn new(policy: Policy) -> Result<Self, InvalidPolicy> {
        Self::new_in(policy, &Environment::new())
    }

    /// A limiter with a clock and an observer of your choice.
    ///
    /// # Errors
    ///
    /// What is wrong with `policy`.
    pub fn new_in(policy: Policy, environment: &Environment) -> Result<Self, InvalidPolicy> {
        policy.check().map(|it| Self::build(it, None, environment))
    }

    /// A limiter whose keys have quotas of their tiers.
    ///
    /// `tier_of` names the [tier](Policy::tier) of a key; a name that no tier has, such as the
    /// empty one, means the policy's own quota. It is asked on every call, with no lock held, so
    /// that a key that has moved to another tier is treated by it at once; what it has used stays
    /// used. Borrowed forms of a key are made owned for the question.
    ///
    /// ```
    /// # fn main() -> Result<(), resilience_core::InvalidPolicy> {
    /// use resilience_core::{Environment, rate_limit::{Policy, Quota, RateLimiter}};
    ///
    /// let policy = Policy::new("api", Quota::per_minute(60)).tier("premium", Quota::per_minute(600));
    /// let limiter = RateLimiter::with_tiers(policy, &Environment::new(), |user: &u64| {
    ///     if *user < 1000 { "premium" } else { "" }
    /// })?;
    /// assert_eq!(limiter.peek(&1).limit, 600);
    /// assert_eq!(limiter.peek(&1000).limit, 60);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What is wrong with `policy`.
    pub fn with_tiers(
        policy: Policy,
        environment: &Environment,
        tier_of: impl Fn(&K) -> &'static str + Send + Sync + 'static,
    ) -> Result<Self, InvalidPolicy> {
        let tier_of: TierOf<K> = Box::new(tier_of);
        policy
            .check()
            .map(|it| Self::build(it, Some(tier_of), environment))
    }

    fn build(policy: Checked, tier_of: Option<TierOf<K>>, environment: &Environment) -> Self {
        let build = |this: &Weak<_>| Shared::new(policy, tier_of, environment, this);
        Self {
            shared: Arc::new_cyclic(build),
        }
    }

    /// Takes one unit, now or not at all.
    ///
    /// # Errors
    ///
    /// See [`try_take_n`](Self::try_take_n).
    #[inline]
    pub fn try_take<Q>(&self, key: &Q) -> Result<QuotaStatus, Rejected>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.try_take_n(key, 1)
    }

    /// Takes `cost` units, now or not at all. Nothing can always be taken.
    ///
    /// Says where the tightest quota stands afterwards.
    ///
    /// # Errors
    ///
    /// [`Reason::RateLimited`](crate::Reason::RateLimited) with the shortest wait after which the same call could be allowed;
    /// [`Reason::CostExceedsQuota`](crate::Reason::CostExceedsQuota) where no wait would help. Either takes nothing.
    #[inline]
    pub fn try_take_n<Q>(&self, key: &Q, cost: u64) -> Result<QuotaStatus, Rejected>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let (shared, whose) = (&*self.shared, Whose::Key(key));
        match shared.admit(whose, || shared.read(), cost, || Duration::ZERO) {
            Ok(passed) => Ok(passed.status),
            Err(decided) => Ok(decided?.status),
        }
    }

    /// Books `cost` units for the earliest time at which they may be used, at most the policy's
    /// [`max_wait`](Policy::max_wait) from now.
    ///
    /// # Errors
    ///
    /// As [`try_take_n`](Self::try_take_n), when the wait would be longer.
    pub fn reserve<Q>(&self, key: &Q, cost: u64) -> Result<Reservation<K>, Rejected>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let shared = &self.shared;
        let reading = shared.read();
        let asked = shared.admit(Whose::Key(key), || reading, cost, || shared.max_wait());
        let admission = asked.map_or_else(|decided| decided, |passed| Ok(passed.into()))?;
        let whose = Whose::Key(key.to_owned());
        Ok(Reservation::new(self, whose, reading.time(), &admission))
    }

    /// Takes one unit, and waits for it up to the policy's [`max_wait`](Policy::max_wait).
    ///
    /// Dropped while it waits, it takes nothing. The wait is Tokio's.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve), at once: nobody waits in vain.
    pub async fn take<Q>(&self, key: &Q) -> Result<QuotaStatus, Rejected>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        Ok(self.reserve(key, 1)?.ready().await)
    }

    /// Takes one unit as [`take`](Self::take) does, then runs `operation`; its outcome decides
    /// what it is [charged](Policy::charge).
    ///
    /// What an inner layer of ours refuses inside of `operation` looks like any other error here:
    /// nest layers with [`call_with`](Self::call_with), which can tell.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] as [`take`](Self::take), else what `operation` returns.
    pub async fn call<Q, F, Fut, T, E>(&self, key: &Q, operation: F) -> Result<T, Error<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let key_of = |key: &&Q| Some((*key).to_owned());
        let gate = Gate::new(self.clone(), key_of, OneUnit);
        gate::call(&gate, &key, operation).await
    }

    /// Makes a call as [`call`](Self::call) does, judged by `classifier` and with the error type
    /// of `operation`, which must be able to carry a refusal: so layers nest, and what an inner
    /// one refused is no failure to this one.
    ///
    /// # Errors
    ///
    /// The refusal, or the error of `operation`.
    pub async fn call_with<Q, C, F, Fut, T, E>(
        &self,
        key: &Q,
        classifier: C,
        operation: F,
    ) -> Result<C::Response<Permit<K>>, E>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        C: Classifier<T, E>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: Rejectable,
    {
        let key_of = |key: &&Q| Some((*key).to_owned());
        let gate = Gate::new(self.clone(), key_of, OneUnit);
        gate::call_with(&gate, &key, classifier, operation).await
    }

    /// Where the tightest quota of `key` stands; takes nothing.
    pub fn peek<Q>(&self, key: &Q) -> Standing
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let (retry_after, standing) = self.shared.peek(key);
        Standing {
            limit: standing.status.limit,
            window: standing.status.window,
            remaining: standing.status.remaining,
            retry_after,
        }
    }

    /// Gives `cost` units back that `key` took earlier, from every quota they were taken from.
    ///
    /// A window cannot know which of its units are meant and gives back the oldest, which would
    /// be free again the soonest. To give back just what was taken, [`reserve`](Self::reserve) it
    /// and [cancel](Reservation::cancel).
    pub fn refund<Q>(&self, key: &Q, cost: u64)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shared.refund(key, cost);
    }

    /// Replaces the quotas, `max_wait` and the mode while calls go on; what was used stays used,
    /// and bookings keep their times.
    ///
    /// Quotas are matched by their places, tiers by their names. A limit that is lowered below
    /// what is used refuses until enough has come back. Takes time for each key that is
    /// remembered, and locks a part of them at a time.
    ///
    /// # Errors
    ///
    /// What is wrong with `policy`, or what in it cannot change: the name, the number of quotas,
    /// the names of tiers, whether there is a global quota, the capacity, and what is
    /// done about missing keys and charged.
    pub fn reconfigure(&self, policy: Policy) -> Result<(), InvalidPolicy> {
        self.shared.reconfigure(policy.check()?)
    }

    /// Keys remembered now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.keys()
    }

    /// Whether no key is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// By hand, since keys need not be `Clone` for this.
impl<K> Clone for RateLimiter<K> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

/// By hand, since keys are nobody's business.
impl<K> fmt::Debug for RateLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("policy", &self.shared.name())
            .finish_non_exhaustive()
    }
}
