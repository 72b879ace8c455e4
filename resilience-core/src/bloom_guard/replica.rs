use std::{fmt, hash::Hash, sync::Arc};

use super::{
    Bloom, BloomGuard, Filter as _, Fingerprint, Geometry, Hashed, Policy, shared::Shared,
    standing::Standing, state::Source,
};
use crate::{Environment, InvalidPolicy, Timestamp, sync::lock};

/// The door to a guard whose keys a whole fleet knows, for whoever keeps them in one place: it
/// tells the guard what other processes insert, and until when that is known.
///
/// Until keys are [staged](Self::stage) and [finished](Staged::finish), and while they are not
/// [trusted](Self::trust_until), everything passes. Clones are the same door.
#[derive(Clone)]
pub struct Replica {
    shared: Arc<Shared<Bloom>>,
}

/// A filter that is being filled beside the one that is asked, which it replaces when it is
/// [finished](Self::finish). Keys that are inserted meanwhile go to both. Dropped before, it leaves
/// everything as it was.
#[must_use = "a filter that is dropped changes nothing"]
pub struct Staged {
    shared: Arc<Shared<Bloom>>,
    geometry: Geometry,
    finished: bool,
}

impl<K: Hash + ?Sized> BloomGuard<K> {
    /// A guard whose keys are kept elsewhere, and the door to it. What is inserted into the guard
    /// itself stays in this process.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and where the policy has no [seed](Policy::seed): all processes need
    /// to have one in common.
    pub fn replica(
        policy: Policy,
        environment: &Environment,
    ) -> Result<(Self, Replica), InvalidPolicy> {
        policy.check_seed()?;
        let shared = Shared::bloom(&policy, environment)?;
        let replica = Replica {
            shared: shared.clone(),
        };
        replica.trust_until(Timestamp::ZERO);
        Ok((Self::with(shared), replica))
    }

    /// What stands for `key` in every process with the same seed.
    #[must_use]
    pub fn fingerprint(&self, key: &K) -> Fingerprint {
        Hashed::new(&self.shared.seed, key).fingerprint()
    }
}

impl Replica {
    /// What tells the seed of this guard from others, and not what it is.
    #[must_use]
    pub fn seed_mark(&self) -> [u8; 16] {
        let any = Hashed::new(&self.shared.seed, "seed");
        any.fingerprint().to_bytes()
    }

    /// From now on this key exists: before this returns, every thread sees it.
    pub fn insert(&self, key: Fingerprint) {
        self.shared.insert_fingerprint(key);
    }

    /// For how many keys the next filter is to be sized, and how it is laid out.
    #[must_use]
    pub fn next_size(&self) -> (u64, Geometry) {
        let capacity = lock(&self.shared.inner).state.next_capacity();
        (capacity, self.shared.filter.geometry_for(capacity))
    }

    /// Begins to fill a filter that is sized for `capacity` keys; `None` while another is being
    /// filled.
    ///
    /// The last 4096 keys that were inserted are in it from the beginning, since a source that is
    /// read now need not have them yet.
    #[must_use]
    pub fn stage(&self, capacity: u64, geometry: Geometry) -> Option<Staged> {
        {
            let mut inner = lock(&self.shared.inner);
            inner.state.begin(Source::Keys)?;
            inner.state.resize(capacity);
        }
        self.shared.filter.stage_as(geometry);
        let staged = Staged {
            shared: self.shared.clone(),
            geometry,
            finished: false,
        };
        self.shared.stage_recent();
        Some(staged)
    }

    /// Until `time`, all keys that anybody has inserted are known here, and those that are not are
    /// absent; from then on everything passes.
    pub fn trust_until(&self, time: Timestamp) {
        self.shared.trust_until(time);
    }

    /// Keys may be missing: everything passes until another filter is finished, and trusted.
    pub fn distrust(&self) {
        self.shared.trust_until(Timestamp::ZERO);
        self.shared.distrust();
    }

    /// Whether there are too many keys for the filter to be of use, until another is finished.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        lock(&self.shared.inner).state.standing() == Standing::Overloaded
    }
}

impl Staged {
    /// How it is laid out.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Adds a key.
    pub fn insert(&mut self, key: Fingerprint) {
        self.shared.filter.insert_staged(key);
    }

    /// Adds bits, of which the first is that of word `first`, of eight bytes each. Those beyond the
    /// end of the filter are ignored.
    pub fn add(&mut self, first: usize, bits: &[u8]) {
        self.shared.filter.add_to_staged(first, bits);
    }

    /// The bits of so many words of eight bytes, from word `first` on, or up to the end of the
    /// filter.
    #[must_use]
    pub fn read(&self, first: usize, words: usize) -> Vec<u8> {
        self.shared.filter.read_staged(first, words)
    }

    /// The new filter takes over.
    pub fn finish(mut self) {
        self.finished = true;
        // Those inserted meanwhile have been counted already.
        let meanwhile = lock(&self.shared.inner).state.inserted_meanwhile();
        let keys = self.shared.filter.staged_keys();
        self.shared.commit(keys.saturating_sub(meanwhile));
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.finished {
            self.shared.abandon();
        }
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("shared", &self.shared)
            .finish()
    }
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staged")
            .field("geometry", &self.geometry)
            .finish_non_exhaustive()
    }
}
