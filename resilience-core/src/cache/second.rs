use std::{
    fmt,
    hash::Hash,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{runtime::Handle, time::timeout};

use super::{
    Codec, Hears, Listener, Loaded, Reply, Tier, TierPolicy,
    entry::{Entry, Found},
    envelope,
    heard::Heard,
    measure::{Count, Tally},
    shared::Shared,
    storage::Hashed,
    tags::Tags,
};
use crate::{
    BoxError, CatchPanic, CircuitBreaker, Environment, InvalidPolicy, Outcome, catch_panic::Place,
    gate::not_ready,
};

/// A second tier behind its deadline and its circuit.
pub(super) struct Second<K, V> {
    policy: TierPolicy,
    hears: Hears,
    tier: Box<dyn Tier>,
    codec: Box<dyn Codec<K, V>>,
    breaker: CircuitBreaker,
    panics: CatchPanic,
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
            tier: Box::new(tier),
            codec: Box::new(codec),
            panics,
        })
    }

    /// The value of `key`, fresh for `ttl` at most, give or take its jitter. Whatever is wrong with the tier or the entry
    /// is a miss; an entry that cannot be read is removed.
    pub(super) async fn get(
        &self,
        key: &K,
        ttl: Duration,
        jitter: f64,
        tally: &Tally,
    ) -> Option<Loaded<V>> {
        let name = self.name(key)?;
        let Ok(found) = self.call(|| self.tier.get(&name)).await else {
            tally.count(Count::TierFailure);
            return None;
        };
        let Some(remembered) = found else {
            tally.count(Count::TierMiss);
            return None;
        };
        let value = self.open(&name, &remembered.entry);
        let Some(value) = value else {
            tally.count(Count::TierCorrupt);
            drop(self.call(|| self.tier.remove(&name)).await);
            return None;
        };
        tally.count(Count::TierHit);
        // Jitter must not make it outlive what the tier has.
        let left = remembered.left.unwrap_or(Duration::MAX).as_secs_f64() / (1.0 + jitter);
        let left = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
        Some(Loaded::new(value).ttl(left.min(ttl)))
    }

    /// Remembers what was found of `key`, where it is a value that others may have.
    pub(super) async fn put(&self, key: &K, entry: &Entry<V>, ttl: Duration) {
        let Found::Value(value) = &entry.found else {
            return;
        };
        // Tags are this process's own: another would serve what was invalidated here.
        if entry.is_tagged() || ttl.is_zero() {
            return;
        }
        let Some(name) = self.name(key) else {
            return;
        };
        let encode = || self.codec.encode(value);
        let Ok(Some(payload)) = self.panics.catch(Place::Call, encode) else {
            return;
        };
        if payload.len() <= self.policy.max_entry {
            let sealed = envelope::seal(&name, &payload);
            drop(self.call(|| self.tier.put(&name, sealed, ttl)).await);
        }
    }

    /// Forgets `key`.
    pub(super) async fn remove(&self, key: &K) -> Result<(), BoxError> {
        match self.name(key) {
            Some(name) => self.call(|| self.tier.remove(&name)).await,
            None => Ok(()),
        }
    }

    /// Forgets everything.
    pub(super) async fn clear(&self) -> Result<(), BoxError> {
        self.call(|| self.tier.clear()).await
    }

    /// What stands for `key` in notices.
    pub(super) fn mark(&self, key: &K) -> u64 {
        match self.hears {
            Hears::Nothing => 0,
            Hears::Changes => {
                let mark = || self.name(key).map_or(0, |name| self.tier.mark(&name));
                self.panics.catch(Place::Call, mark).unwrap_or(0)
            }
        }
    }

    /// For how long a value is fresh of whose change nobody would hear.
    pub(super) const fn longest_alone(&self) -> Duration {
        self.policy.longest_alone
    }

    fn name(&self, key: &K) -> Option<Vec<u8>> {
        let name = self.panics.catch(Place::Call, || self.codec.key(key));
        name.ok()
    }

    fn open(&self, name: &[u8], entry: &[u8]) -> Option<V> {
        if entry.len() > self.policy.max_entry.saturating_add(envelope::OVERHEAD) {
            return None;
        }
        let payload = envelope::open(name, entry)?;
        let decode = || self.codec.decode(payload);
        self.panics.catch(Place::Call, decode).ok().flatten()
    }

    /// Calls the tier, where its circuit lets anybody through, within its deadline.
    async fn call<'a, T>(&self, call: impl FnOnce() -> Reply<'a, T>) -> Result<T, BoxError> {
        if Handle::try_current().is_err() {
            // Without timers there is no deadline, and without one no call.
            return Err(not_ready().into());
        }
        let permit = self.breaker.try_acquire()?;
        let reply = self.panics.call(|| timeout(self.policy.timeout, call()));
        let (outcome, result) = match reply.await {
            Ok(Ok(value)) => (Outcome::Success, Ok(value)),
            Ok(Err(error)) => (Outcome::Failure, Err(error)),
            Err(error) => (Outcome::Failure, Err(error.to_string().into())),
        };
        permit.settle(outcome);
        result
    }
}

impl<K, V> Shared<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Puts a second tier behind this cache, which is going to be shared as `shared_later`.
    pub(super) fn join_fleet(&mut self, mut second: Second<K, V>, shared_later: &Weak<Self>) {
        let shared = shared_later.clone();
        second.hears = second.tier.listen(Listener::new(move |notice| {
            if let Some(shared) = shared.upgrade() {
                shared.tags.hear(notice);
            }
        }));
        if second.hears == Hears::Changes {
            self.tags = Tags::new(Heard::of(self.storage.expected()));
        }
        self.second = Some(second);
    }

    /// Puts what was just stored into the second tier, in the background.
    pub(super) fn share(self: &Arc<Self>, key: &Hashed<K>, entry: &Arc<Entry<V>>) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if self.second.is_none() || !self.holds(key, entry) || !entry.is_valid(&self.tags) {
            return;
        }
        let (shared, key, entry) = (self.clone(), key.clone(), entry.clone());
        runtime.spawn(async move {
            if let Some(second) = &shared.second {
                let left = entry.life.left(shared.environment.now());
                second.put(&key.key, &entry, left).await;
                if !shared.holds(&key, &entry) {
                    // It was invalidated meanwhile, perhaps before it arrived there.
                    drop(second.remove(&key.key).await);
                }
            }
        });
    }

    fn holds(&self, key: &Hashed<K>, entry: &Arc<Entry<V>>) -> bool {
        let stored = self.storage.peek(key.of());
        // Others' changes are not looked at: what they put since must stay.
        stored.is_some_and(|stored| Arc::ptr_eq(&stored, entry)) && entry.is_valid_here(&self.tags)
    }
}

impl<K, V> fmt::Debug for Second<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Second")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
