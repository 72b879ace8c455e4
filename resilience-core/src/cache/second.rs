use std::{fmt, sync::Arc, time::Duration};

use tokio::{runtime::Handle, time::timeout};

use super::{
    Claim, Codec, Hears, Lease, Listener, Policy, Reply, Tier, TierPolicy,
    entry::{Entry, Found, Terms},
    envelope::{self, Letter},
    lease::Held,
    measure::{Count, Tally},
};
use crate::{
    BoxError, CatchPanic, CircuitBreaker, Environment, InvalidPolicy, Outcome, catch_panic::Place,
    gate::not_ready,
};

/// A second tier behind its deadline and its circuit.
///
/// What is wrong with it, with an entry of it or with a codec ends here: it is no answer.
pub(super) struct Second<K, V> {
    policy: TierPolicy,
    hears: Hears,
    tier: Arc<dyn Tier>,
    codec: Box<dyn Codec<K, V>>,
    breaker: CircuitBreaker,
    panics: CatchPanic,
}

/// What a second tier has of a key.
#[derive(Debug)]
pub(super) enum Answer<V> {
    Found(Found<V>, Terms, Duration),
    Nothing,
    Failure,
}

impl<K, V> Second<K, V> {
    pub(super) fn new(
        policy: TierPolicy,
        tier: impl Tier,
        codec: impl Codec<K, V> + 'static,
        panics: CatchPanic,
        environment: &Environment,
    ) -> Result<Self, InvalidPolicy> {
        policy.check()?;
        Ok(Self {
            hears: Hears::Nothing,
            breaker: CircuitBreaker::new_in(policy.breaker.clone(), environment)?,
            policy,
            tier: Arc::new(tier),
            codec: Box::new(codec),
            panics,
        })
    }

    /// Lets the tier tell `listener` what it hears; whether it does.
    pub(super) fn listen(&mut self, listener: Listener) -> Hears {
        self.hears = self.tier.listen(listener);
        self.hears
    }

    /// What stands for `key` in the tier.
    pub(super) fn name(&self, key: &K) -> Option<Vec<u8>> {
        let name = self.panics.catch(Place::Call, || self.codec.key(key));
        name.ok()
    }

    /// What stands for `key` in notices.
    pub(super) fn mark(&self, key: &K) -> u64 {
        match self.hears {
            Hears::Nothing => 0,
            Hears::Changes | Hears::Later => {
                let mark = || self.name(key).map_or(0, |name| self.tier.mark(&name));
                self.panics.catch(Place::Call, mark).unwrap_or(0)
            }
        }
    }

    /// What there is under `name`, fresh for no longer than `policy` and the tier have it, and how
    /// long its load took. An entry that cannot be read is removed.
    pub(super) async fn get(&self, name: &[u8], policy: &Policy, tally: &Tally) -> Answer<V> {
        let Ok(found) = self.call(|| self.tier.get(name)).await else {
            tally.count(Count::TierFailure);
            return Answer::Failure;
        };
        let Some(remembered) = found else {
            tally.count(Count::TierMiss);
            return Answer::Nothing;
        };
        let Some((found, took, weight)) = self.open(name, &remembered.entry) else {
            tally.count(Count::TierCorrupt);
            drop(self.remove(name).await);
            return Answer::Nothing;
        };
        tally.count(Count::TierHit);
        let (ttl, jitter) = policy.life(&found);
        // Jitter must not make it outlive what the tier has.
        let left = remembered.left.unwrap_or(Duration::MAX).as_secs_f64() / (1.0 + jitter);
        let left = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
        Answer::Found(found, Terms::fresh(left.min(ttl), weight), took)
    }

    /// The bytes of `entry`, where it is for others as well.
    pub(super) fn seal(&self, name: &[u8], entry: &Entry<V>) -> Option<Vec<u8>> {
        // Tags are this process's own: another would serve what was invalidated here.
        if entry.is_tagged() || entry.weight() == 0 {
            return None;
        }
        let payload = match &entry.found {
            Found::Value(value) => {
                let encode = || self.codec.encode(value);
                Some(self.panics.catch(Place::Call, encode).ok()??)
            }
            // Where nobody hears of the value that comes to be, nobody may believe there is none.
            Found::Absent if self.hears != Hears::Nothing => None,
            Found::Absent | Found::Failed(_) | Found::Private => return None,
        };
        if payload
            .as_ref()
            .is_some_and(|it| it.len() > self.policy.max_entry)
        {
            return None;
        }
        let letter = Letter {
            payload: payload.as_deref(),
            took: entry.life().took(),
            weight: entry.weight(),
        };
        Some(envelope::seal(name, letter))
    }

    /// Remembers `sealed` whatever there is.
    pub(super) async fn put(&self, name: &[u8], sealed: Vec<u8>, ttl: Duration) {
        drop(self.call(|| self.tier.put(name, sealed, ttl)).await);
    }

    /// Remembers `sealed`, which was loaded under `lease`.
    pub(super) async fn fill(&self, name: &[u8], lease: Lease, sealed: Vec<u8>, ttl: Duration) {
        drop(self.call(|| self.tier.fill(name, lease, sealed, ttl)).await);
    }

    /// Forgets what there is. The tier is told whatever its circuit says: it may keep that in mind
    /// until it can do so.
    pub(super) async fn remove(&self, name: &[u8]) -> Result<(), BoxError> {
        self.tell(|| self.tier.remove(name)).await
    }

    /// Forgets everything, as [`remove`](Self::remove).
    pub(super) async fn clear(&self) -> Result<(), BoxError> {
        self.tell(|| self.tier.clear()).await
    }

    /// Asks to load for all.
    pub(super) async fn claim(
        &self,
        name: &[u8],
        lease: Duration,
        patience: Duration,
    ) -> Result<Claim, BoxError> {
        let deadline = self.policy.timeout.saturating_add(patience);
        let claim = || self.tier.claim(name, lease, patience);
        self.call_within(deadline, claim).await
    }

    /// What was granted under `name`, to be given back where nothing comes of it.
    pub(super) fn hold(&self, name: Vec<u8>, lease: Lease) -> Held {
        Held::new(self.tier.clone(), self.policy.timeout, name, lease)
    }

    /// For how long a value is fresh of whose change nobody would hear.
    pub(super) const fn longest_alone(&self) -> Duration {
        self.policy.longest_alone
    }

    /// The longest that it keeps a load waiting: for the loads of others, and for its answers
    /// before, meanwhile and after.
    pub(super) fn longest_wait(&self) -> Duration {
        let answers = self.policy.timeout.saturating_mul(3);
        self.policy.patience.saturating_add(answers)
    }

    /// How long to wait for loads of others.
    pub(super) const fn patience(&self) -> Duration {
        self.policy.patience
    }

    fn open(&self, name: &[u8], entry: &[u8]) -> Option<(Found<V>, Duration, u64)> {
        if entry.len() > self.policy.max_entry.saturating_add(envelope::OVERHEAD) {
            return None;
        }
        let letter = envelope::open(name, entry)?;
        let found = match letter.payload {
            Some(payload) => {
                let decode = || self.codec.decode(payload);
                Found::Value(self.panics.catch(Place::Call, decode).ok()??)
            }
            None => Found::Absent,
        };
        Some((found, letter.took, letter.weight))
    }

    /// Calls the tier, where its circuit lets anybody through, within its deadline.
    async fn call<'a, T>(&self, call: impl FnOnce() -> Reply<'a, T>) -> Result<T, BoxError> {
        self.call_within(self.policy.timeout, call).await
    }

    async fn call_within<'a, T>(
        &self,
        deadline: Duration,
        call: impl FnOnce() -> Reply<'a, T>,
    ) -> Result<T, BoxError> {
        if Handle::try_current().is_err() {
            // Without timers there is no deadline, and without one no call.
            return Err(not_ready().into());
        }
        let permit = self.breaker.try_acquire()?;
        let reply = self.panics.call(|| timeout(deadline, call()));
        let (outcome, result) = match reply.await {
            Ok(Ok(value)) => (Outcome::Success, Ok(value)),
            Ok(Err(error)) => (Outcome::Failure, Err(error)),
            Err(error) => (Outcome::Failure, Err(error.to_string().into())),
        };
        permit.settle(outcome);
        result
    }

    /// Calls the tier within its deadline.
    async fn tell<'a>(&self, call: impl FnOnce() -> Reply<'a, ()>) -> Result<(), BoxError> {
        if Handle::try_current().is_err() {
            return Err(not_ready().into());
        }
        let reply = self.panics.call(|| timeout(self.policy.timeout, call()));
        reply
            .await
            .unwrap_or_else(|error| Err(error.to_string().into()))
    }
}

impl<K, V> fmt::Debug for Second<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Second")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
