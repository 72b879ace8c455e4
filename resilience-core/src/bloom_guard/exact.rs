use std::{
    collections::HashSet,
    fmt,
    hash::Hash,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use foldhash::fast::FixedState;

use super::{
    Filter, Fingerprint, Hashed, Policy,
    filter::{Added, sealed::Sealed},
    hash::Seed,
    shared::Shared,
    state::Terms,
};
use crate::{Environment, InvalidPolicy, sync::lock};

/// The set of all keys, each by the 128 bits of its hashes: no false positives, and keys can be
/// removed one by one.
///
/// For small key spaces: a key takes about 20 bytes where a [`Bloom`](super::Bloom) takes one, and
/// whoever asks takes a lock, shared with all others who ask.
pub struct ExactSet {
    sets: RwLock<Sets>,
}

#[derive(Default)]
struct Sets {
    current: Set,
    staged: Option<Staged>,
}

/// The set beside.
#[derive(Default)]
struct Staged {
    keys: Set,
    /// What was removed since it is there: the source may have been read before.
    removed: Set,
}

/// Fingerprints are keyed hashes already: no seed is needed once more.
type Set = HashSet<Fingerprint, FixedState>;

impl ExactSet {
    pub(super) fn new() -> Self {
        Self {
            sets: RwLock::default(),
        }
    }

    /// Removes a key, from the set beside as well; whether it was there.
    pub(super) fn remove(&self, key: Fingerprint) -> bool {
        let mut sets = self.write();
        let staged = sets.staged.as_mut().is_some_and(|set| set.remove(key));
        sets.current.remove(&key) || staged
    }

    fn read(&self) -> RwLockReadGuard<'_, Sets> {
        self.sets.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Sets> {
        self.sets.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Staged {
    /// From now on the key exists, whatever was before; whether it is new.
    fn insert(&mut self, key: Fingerprint) -> bool {
        self.removed.remove(&key);
        self.keys.insert(key)
    }

    /// The key exists, unless it was removed; whether it is new.
    fn insert_older(&mut self, key: Fingerprint) -> bool {
        !self.removed.contains(&key) && self.keys.insert(key)
    }

    fn remove(&mut self, key: Fingerprint) -> bool {
        self.removed.insert(key);
        self.keys.remove(&key)
    }
}

impl Shared<ExactSet> {
    pub(super) fn exact(
        policy: &Policy,
        environment: &Environment,
    ) -> Result<Arc<Self>, InvalidPolicy> {
        policy.check()?;
        let seed = Seed::new(policy.seed)?;
        // However many keys it holds, it is never wrong.
        let terms = Terms {
            expected: policy.expected_keys,
            most: u64::MAX,
            overload_factor: f64::INFINITY,
        };
        Ok(Self::new(
            (policy, 0.0),
            terms,
            seed,
            ExactSet::new(),
            environment,
        ))
    }

    pub(super) fn remove<K: Hash + ?Sized>(&self, key: &K) -> bool {
        let key = Hashed::new(&self.seed, key).fingerprint();
        let mut inner = lock(&self.inner);
        inner.recent.remove(key);
        let removed = self.filter.remove(key);
        if removed {
            inner.state.remove();
        }
        removed
    }
}

impl Sealed for ExactSet {}

impl Filter for ExactSet {
    fn contains<Q: Hash + ?Sized>(&self, key: &Hashed<'_, Q>) -> bool {
        let key = key.fingerprint();
        self.read().current.contains(&key)
    }

    fn insert(&self, key: Fingerprint) -> Added {
        let mut sets = self.write();
        Added {
            current: sets.current.insert(key),
            staged: sets.staged.as_mut().is_some_and(|set| set.insert(key)),
        }
    }

    fn stage(&self, _capacity: u64) {
        self.write().staged = Some(Staged::default());
    }

    fn insert_staged(&self, key: Fingerprint) -> bool {
        let mut sets = self.write();
        let staged = sets.staged.as_mut();
        staged.is_some_and(|set| set.insert_older(key))
    }

    fn commit(&self) {
        let mut sets = self.write();
        let before = sets
            .staged
            .take()
            .map(|set| (std::mem::replace(&mut sets.current, set.keys), set.removed));
        drop(sets);
        // Freeing many keys takes a while, and nobody should wait for it.
        drop(before);
    }

    fn discard(&self) {
        let staged = self.write().staged.take();
        drop(staged);
    }

    fn fill(&self) -> f64 {
        0.0
    }

    fn false_positive_rate(&self) -> f64 {
        0.0
    }
}

/// By hand, since keys are nobody's business.
impl fmt::Debug for ExactSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExactSet")
            .field("keys", &self.read().current.len())
            .finish_non_exhaustive()
    }
}
