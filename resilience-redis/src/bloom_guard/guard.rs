use std::{borrow::Borrow, fmt, hash::Hash, sync::Arc};

use resilience_core::{
    Environment, Http, Instrument, InvalidPolicy, Measured, Rejected, Sample,
    bloom_guard::{self as core, Layer, Permit, Policy, Presence, Snapshot},
};

use super::{follow::follow, shared::Shared};
use crate::{RedisStore, StoreError};

/// Knows which keys surely do not exist, as far as the whole fleet knows; see the
/// [module](super).
///
/// `K` is the key as it is looked up: `str` for strings, `u64` for numbers. A clone is another name
/// for the same guard.
pub struct BloomGuard<K: ?Sized> {
    pub(super) local: core::BloomGuard<K>,
    pub(super) shared: Arc<Shared>,
}

impl<K: Hash + ?Sized> BloomGuard<K> {
    pub(crate) fn new(
        store: &RedisStore,
        policy: Policy,
        environment: &Environment,
    ) -> Result<Self, InvalidPolicy> {
        let (local, replica) = core::BloomGuard::replica(policy, environment)?;
        let shared = Arc::new(Shared::new(store, &policy, replica, environment)?);
        follow(&shared);
        Ok(Self { local, shared })
    }

    /// Whether `key` exists, by the copy in this process. Takes no lock, allocates nothing, and never
    /// waits.
    #[inline]
    #[must_use]
    pub fn check(&self, key: &K) -> Presence {
        self.local.check(key)
    }

    /// From now on `key` exists: in this process before the first await, and in each other 200 ms
    /// after this has returned at the latest.
    ///
    /// Call it before others can learn of the key, such as ahead of the commit that creates it. A
    /// "not found" for one of the last 4096 keys inserted is not remembered, and a rebuild takes
    /// them along. Inserting again is cheap and changes nothing.
    ///
    /// # Errors
    ///
    /// Redis gave no answer, or refused: others may take the key for absent, as long as they reach
    /// Redis and this process does not. It is inserted again as soon as it does.
    ///
    /// # Cancellation
    ///
    /// Dropped, it is inserted all the same, a little later.
    pub async fn insert(&self, key: &K) -> Result<(), StoreError> {
        let key = self.local.fingerprint(key);
        self.shared.insert(&[key]).await
    }

    /// Inserts many keys, in few round trips.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert). Of the keys that Redis did not hear of, the last 4096 are inserted
    /// again.
    ///
    /// # Cancellation
    ///
    /// As [`insert`](Self::insert).
    pub async fn insert_all<I>(&self, keys: I) -> Result<(), StoreError>
    where
        I: IntoIterator<Item: Borrow<K>>,
    {
        let fingerprint = |key: I::Item| self.local.fingerprint(key.borrow());
        let keys: Vec<_> = keys.into_iter().map(fingerprint).collect();
        self.shared.insert(&keys).await
    }

    /// Asks to look for `key`.
    ///
    /// # Errors
    ///
    /// [`Reason::Absent`](resilience_core::Reason::Absent): it surely does not exist.
    #[inline]
    pub fn try_acquire(&self, key: &K) -> Result<Permit, Rejected> {
        self.local.try_acquire(key)
    }

    /// Looks for `key` with `operation`, unless it surely does not exist: a guard without Tower.
    /// `Ok(None)` is "not found", from either.
    ///
    /// # Errors
    ///
    /// The error of `operation`, which says nothing about the key.
    ///
    /// # Cancellation
    ///
    /// Dropped, it has learned nothing.
    pub async fn find<T, E, Fut>(
        &self,
        key: &K,
        operation: impl FnOnce() -> Fut,
    ) -> Result<Option<T>, E>
    where
        Fut: Future<Output = Result<Option<T>, E>>,
    {
        self.local.find(key, operation).await
    }

    /// Runs `operation` unless `key` surely does not exist. What it returns says nothing about the
    /// key; [`find`](Self::find) learns from it.
    ///
    /// # Errors
    ///
    /// The refusal, or the error of `operation`.
    pub async fn call<Fut, T, E>(
        &self,
        key: &K,
        operation: impl FnOnce() -> Fut,
    ) -> Result<T, resilience_core::Error<E>>
    where
        Fut: Future<Output = Result<T, E>>,
    {
        self.local.call(key, operation).await
    }

    /// A layer for HTTP and gRPC, which takes 404 and `NOT_FOUND` for "not found".
    ///
    /// A request that names no key passes.
    #[must_use]
    pub fn layer_by<X>(&self, extractor: X) -> Layer<K, X, Http> {
        self.local.layer_by(extractor)
    }

    /// A layer for any service: `extractor` finds the key, and `classifier` tells what was not
    /// found, as [`NotFound`](core::NotFound) does. A request that names no key passes.
    #[must_use]
    pub fn layer_with<X, C>(&self, extractor: X, classifier: C) -> Layer<K, X, C> {
        self.local.layer_with(extractor, classifier)
    }

    /// How the copy in this process stands.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.local.snapshot()
    }
}

impl<K: Hash + ?Sized> Measured for BloomGuard<K> {
    fn policy(&self) -> &'static str {
        self.local.policy()
    }

    fn instruments(&self) -> &'static [&'static Instrument] {
        self.local.instruments()
    }

    fn measure(&self, record: &mut dyn FnMut(Sample)) {
        self.local.measure(record);
    }
}

/// By hand, since keys need not be `Clone` for this.
impl<K: ?Sized> Clone for BloomGuard<K> {
    fn clone(&self) -> Self {
        Self {
            local: self.local.clone(),
            shared: self.shared.clone(),
        }
    }
}

impl<K: ?Sized> fmt::Debug for BloomGuard<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BloomGuard")
            .field("local", &self.local)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
