use std::{fmt, future::Future, hash::Hash, pin::Pin, sync::Arc, time::Duration};

use tokio::{runtime::Handle, time::timeout};

use super::{
    Loaded,
    entry::{Entry, Found},
    envelope,
    measure::{Count, Tally},
    shared::Shared,
    storage::Hashed,
};
use crate::{
    BoxError, CatchPanic, CircuitBreaker, Environment, InvalidPolicy, Outcome, catch_panic::Place,
    circuit_breaker, gate::not_ready,
};

/// What a tier answers, sooner or later.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

/// A second tier of a cache, shared by many processes: bytes by key, which it may forget.
///
/// The cache gives every call a deadline and stops calling a tier that fails, so an
/// implementation needs neither. A dropped reply is a call that nobody waits for.
pub trait Tier: Send + Sync + 'static {
    /// The entry of `key`, where there is one.
    fn get<'a>(&'a self, key: &'a [u8]) -> Reply<'a, Option<Remembered>>;

    /// Remembers an entry for `ttl` at most.
    fn put<'a>(&'a self, key: &'a [u8], entry: Vec<u8>, ttl: Duration) -> Reply<'a, ()>;

    /// Forgets the entry of `key`.
    fn remove<'a>(&'a self, key: &'a [u8]) -> Reply<'a, ()>;

    /// Forgets everything.
    fn clear(&self) -> Reply<'_, ()>;
}

/// What a [`Tier`] has of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The bytes that were put.
    pub entry: Vec<u8>,
    /// For how long it will be there, where the tier knows.
    pub left: Option<Duration>,
}

/// How keys and values become bytes, and bytes values.
pub trait Codec<K, V>: Send + Sync {
    /// The bytes of a key, different for every key.
    fn key(&self, key: &K) -> Vec<u8>;

    /// The bytes of a value; `None` for one that stays in this process.
    fn encode(&self, value: &V) -> Option<Vec<u8>>;

    /// The value of these bytes; `None` where they are none. They may have been written by an
    /// older or a newer version of the program.
    fn decode(&self, bytes: &[u8]) -> Option<V>;
}

/// How a cache deals with its second tier.
#[derive(Clone, Debug)]
pub struct TierPolicy {
    timeout: Duration,
    max_entry: usize,
    breaker: circuit_breaker::Policy,
}

impl TierPolicy {
    /// At most 50 ms a call, and a circuit that opens after five failures in a row. `name` stands
    /// in the metrics and events of that circuit.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self {
            timeout: Duration::from_millis(50),
            max_entry: 1024 * 1024,
            breaker: circuit_breaker::Policy::new(name).consecutive_failures(5),
        }
    }

    /// Sets how long a call may take. Default 50 ms.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how many bytes an entry may have, in either direction. Default 1 MiB.
    #[must_use]
    pub const fn max_entry(mut self, bytes: usize) -> Self {
        self.max_entry = bytes;
        self
    }

    /// Sets when the tier is not called any more, and for how long.
    #[must_use]
    pub fn breaker(mut self, breaker: circuit_breaker::Policy) -> Self {
        self.breaker = breaker;
        self
    }
}

/// A second tier behind its deadline and its circuit.
pub(super) struct Second<K, V> {
    policy: TierPolicy,
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
        if policy.timeout.is_zero() {
            return Err(InvalidPolicy::new("timeout", "must leave a call some time"));
        }
        Ok(Self {
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
    /// Puts what was just stored into the second tier, in the background.
    pub(super) fn share(self: &Arc<Self>, key: &Hashed<K>, entry: &Arc<Entry<V>>) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if self.second.is_none() || !self.holds(key, entry) {
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
        stored.is_some_and(|stored| Arc::ptr_eq(&stored, entry)) && entry.is_valid(&self.tags)
    }
}

impl<K, V> fmt::Debug for Second<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Second")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
