use std::{
    borrow::Borrow,
    fmt,
    hash::Hash,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use super::{
    Bulkhead, KeyedLayer, Policy, Snapshot,
    shared::{Common, Levels, Shared},
};
use crate::{
    Environment, InvalidPolicy, Reason, Rejected, Timestamp,
    engine::Hold,
    gate::{ByKey, Gates},
    keyed::{Keyed, Retain, Retention},
    sync::Arc,
};

/// A [`Bulkhead`] for each key: a tenant, a host, a route.
///
/// Holds at most [`Policy::capacity`] keys and forgets those that nobody uses. A key with calls
/// under way is never forgotten; where all places are taken by such, new keys share a few
/// bulkheads among them.
pub struct Bulkheads<K> {
    inner: Arc<Inner<K>>,
}

struct Inner<K> {
    keys: Keyed<K, Hold<Shared>>,
    permits: AtomicU32,
    common: Arc<Common>,
}

impl<K: Hash + Eq> Bulkheads<K> {
    /// Bulkheads in the default [`Environment`].
    ///
    /// # Errors
    ///
    /// As [`Bulkhead::new`]; or a capacity of zero.
    pub fn new(policy: Policy) -> Result<Self, InvalidPolicy> {
        Self::new_in(policy, &Environment::default())
    }

    /// Bulkheads in `environment`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn new_in(policy: Policy, environment: &Environment) -> Result<Self, InvalidPolicy> {
        let common = Arc::new(Common::new(policy, environment)?);
        Ok(Self {
            inner: Arc::new(Inner {
                keys: Keyed::new(policy.capacity),
                permits: AtomicU32::new(policy.permits),
                common,
            }),
        })
    }

    /// The bulkhead of `key`.
    ///
    /// As long as it is held the key is not forgotten, and what was set on this key alone is
    /// kept.
    pub fn bulkhead<Q>(&self, key: &Q) -> Bulkhead
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let inner = &*self.inner;
        // What the map asks of time is whether an entry is in use, which does not depend on it.
        let now = Timestamp::ZERO;
        let make = || {
            let permits = inner.permits.load(Relaxed);
            Hold::new(Shared::new(permits, inner.common.clone()))
        };
        let shared = inner.keys.with(key, now, make, |(), shared| shared.clone());
        Bulkhead::of_key(shared)
    }

    /// A layer for HTTP and gRPC that finds the key of each request, whose calls run until the
    /// end of the answer's body. A request that names no key is refused.
    #[cfg(feature = "http")]
    pub fn layer_by<X>(&self, extractor: X) -> KeyedLayer<K, X, crate::Http> {
        self.layer_with(extractor, crate::Http::new())
    }

    /// A layer for any service that finds the key of each request, whose calls run until
    /// `classifier` has seen enough. A request that names no key is refused.
    pub fn layer_with<X, C>(&self, extractor: X, classifier: C) -> KeyedLayer<K, X, C> {
        KeyedLayer::new(ByKey::new(self.clone(), extractor), classifier)
    }

    /// From now on at most `permits` calls of a key run at a time, for keys known and to come;
    /// see [`Bulkhead::set_permits`].
    pub fn set_permits(&self, permits: u32) {
        self.inner.permits.store(permits, Relaxed);
        for shared in self.inner.all() {
            shared.set_permits(permits);
        }
    }

    /// Keys known now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.keys.len()
    }

    /// Whether no key is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How they stand now, all keys together; the permits are those of one key.
    ///
    /// Looks at every key.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut levels = Levels {
            permits: self.inner.permits.load(Relaxed),
            running: 0,
            queued: 0,
        };
        for shared in self.inner.all() {
            let one = shared.levels();
            levels.running = levels.running.saturating_add(one.running);
            levels.queued = levels.queued.saturating_add(one.queued);
        }
        Snapshot::new(levels, &self.inner.common.tally)
    }

    pub(super) fn common(&self) -> &Common {
        &self.inner.common
    }
}

impl<K: Hash + Eq> Inner<K> {
    /// The bulkheads of all keys, held so that nobody is woken while the map is locked.
    fn all(&self) -> Vec<Hold<Shared>> {
        let mut all = Vec::new();
        self.keys.for_each(|shared| all.push(shared.clone()));
        all
    }
}

/// In use as long as anybody but the map holds it: every permit and every place in the queue does.
impl Retain for Hold<Shared> {
    type Common = ();

    fn retention(&mut self, (): &mut (), _now: Timestamp) -> Retention {
        if self.is_only() {
            Retention::Idle
        } else {
            Retention::Pinned
        }
    }
}

/// By hand, since clones share whatever the key is.
impl<K> Clone for Bulkheads<K> {
    fn clone(&self) -> Self {
        let inner = self.inner.clone();
        Self { inner }
    }
}

impl<K> fmt::Debug for Bulkheads<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkheads")
            .field("policy", &self.inner.common.policy)
            .field("keys", &self.inner.keys)
            .finish()
    }
}

impl<K: Hash + Eq + Clone> Gates for Bulkheads<K> {
    type Key = K;
    type Gate = Bulkhead;

    fn gate(&self, key: &K) -> Bulkhead {
        self.bulkhead(key)
    }

    fn refuse_keyless(&self) -> Rejected {
        self.inner.common.refuse(Reason::MissingKey)
    }
}
