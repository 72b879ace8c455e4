use std::{fmt, future::Future, hash::Hash, marker::PhantomData, sync::Arc, time::Duration};

use super::{
    Bloom, ExactSet, Filter, Layer, Permit, Policy, SnapshotError,
    layer::Gate,
    shared::{Look, Shared},
};
use crate::{
    Environment, Error, InvalidPolicy, Rejected, Settle as _,
    gate::{self, Entry, Never},
};

/// Knows which keys surely do not exist; see the [module](super).
///
/// `K` is the key as it is looked up: `str` for strings, `u64` for numbers. `F` is how keys are
/// held: [`Bloom`], or [`ExactSet`] for small key spaces. A clone is another name for the same
/// guard.
pub struct BloomGuard<K: ?Sized, F: Filter = Bloom> {
    pub(super) shared: Arc<Shared<F>>,
    key: PhantomData<fn(&K)>,
}

/// Whether a key exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// Surely not.
    Absent,
    /// Probably, or nobody knows: ask the service.
    Maybe,
}

impl<K: Hash + ?Sized> BloomGuard<K> {
    /// A guard that lets everything pass until it is [loaded](Self::load) or
    /// [rebuilt](Self::rebuild).
    ///
    /// # Errors
    ///
    /// A policy that cannot work, or a filter of more than 512 MiB.
    pub fn new(policy: Policy) -> Result<Self, InvalidPolicy> {
        Self::new_in(policy, &Environment::new())
    }

    /// A guard that takes time and observer from `environment`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn new_in(policy: Policy, environment: &Environment) -> Result<Self, InvalidPolicy> {
        Shared::bloom(&policy, environment).map(Self::with)
    }

    /// The filter as bytes, in the format of the `bloomfilter` crate, version 1, for a guard with
    /// the same [seed](Policy::seed) and the same type of key; `None` while not all keys are
    /// known.
    ///
    /// Every key is in that was inserted before. The seed is in as well, in the clear: keep it as
    /// you keep passwords.
    #[must_use]
    pub fn save(&self) -> Option<Vec<u8>> {
        self.shared.save()
    }

    /// Puts a [saved](Self::save) filter in place of this one, together with the keys that were
    /// inserted here: where they are more than are remembered one by one (4096), by uniting the two
    /// filters, which must then be of one size. So it is as well once a
    /// [rebuild](Self::rebuild) took over here: no key that it brought gets lost.
    ///
    /// Load before the first rebuild: uniting forgets no key, also none that was deleted since. Of
    /// snapshots that are loaded one after the other without a rebuild, the last one counts.
    ///
    /// The format has no checksum: whoever sends it through a network that changes bytes needs
    /// one. Nor has it a date: the filter counts as made now, unless it is
    /// [loaded with its age](Self::load_aged).
    ///
    /// # Errors
    ///
    /// The snapshot is no good. The guard then lets everything pass: the keys that it would have
    /// brought are unknown.
    pub fn load(&self, snapshot: &[u8]) -> Result<(), SnapshotError> {
        self.shared.load(snapshot, Duration::ZERO)
    }

    /// As [`load`](Self::load), of a snapshot that was saved `age` ago: so old is the filter then, for
    /// [`Snapshot::age`](super::Snapshot::age). The format does not say when it was written; a file
    /// does, by when it was changed last.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_aged(&self, snapshot: &[u8], age: Duration) -> Result<(), SnapshotError> {
        self.shared.load(snapshot, age)
    }
}

impl<K: Hash + ?Sized> BloomGuard<K, ExactSet> {
    /// A guard that holds each key, for small key spaces: no false positives, and keys can be
    /// [removed](Self::remove).
    ///
    /// # Errors
    ///
    /// A policy that cannot work.
    pub fn exact(policy: Policy) -> Result<Self, InvalidPolicy> {
        Self::exact_in(policy, &Environment::new())
    }

    /// A guard that holds each key, and takes time and observer from `environment`.
    ///
    /// # Errors
    ///
    /// As [`exact`](Self::exact).
    pub fn exact_in(policy: Policy, environment: &Environment) -> Result<Self, InvalidPolicy> {
        Shared::exact(&policy, environment).map(Self::with)
    }

    /// From now on `key` does not exist; whether it did.
    ///
    /// The filter of bits cannot do this, since other keys may have set the same bits: rebuild it
    /// now and then. A key that was deleted passes until then, and the service says what it knows.
    pub fn remove(&self, key: &K) -> bool {
        self.shared.remove(key)
    }
}

impl<K: Hash + ?Sized, F: Filter> BloomGuard<K, F> {
    pub(super) const fn with(shared: Arc<Shared<F>>) -> Self {
        Self {
            shared,
            key: PhantomData,
        }
    }

    /// Whether `key` exists. Takes no lock (an [`ExactSet`] does), allocates nothing, and never
    /// waits.
    #[inline]
    #[must_use]
    pub fn check(&self, key: &K) -> Presence {
        match self.shared.look(key) {
            Look::Absent => Presence::Absent,
            Look::Unknown | Look::Maybe(_) => Presence::Maybe,
        }
    }

    /// From now on `key` exists: before this returns, every thread sees it.
    ///
    /// Call it before others can learn of the key, such as ahead of the commit that creates it: a
    /// "not found" for one of the last 4096 keys inserted is not remembered, and a rebuild takes
    /// them along. Inserting again is cheap and changes nothing.
    pub fn insert(&self, key: &K) {
        self.shared.insert(key);
    }

    /// Asks to look for `key`.
    ///
    /// # Errors
    ///
    /// [`Reason::Absent`](crate::Reason::Absent): it surely does not exist.
    #[inline(always)]
    pub fn try_acquire(&self, key: &K) -> Result<Permit<F>, Rejected> {
        match self.shared.look(key) {
            Look::Absent => Err(self.shared.refuse()),
            Look::Unknown => Ok(Permit::unasked(&self.shared)),
            Look::Maybe(asked) => Ok(Permit::new(&self.shared, asked)),
        }
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
        let Ok(mut permit) = self.try_acquire(key) else {
            return Ok(None);
        };
        let found = operation().await?;
        if found.is_none() {
            permit.not_found();
        }
        permit.settle(crate::Outcome::Success);
        Ok(found)
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
    ) -> Result<T, Error<E>>
    where
        Fut: Future<Output = Result<T, E>>,
    {
        gate::call(self, &key, operation).await
    }

    /// A layer for HTTP and gRPC, which takes 404 and `NOT_FOUND` for "not found".
    ///
    /// A request that names no key passes.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn layer_by<X>(&self, extractor: X) -> Layer<K, X, crate::Http, F> {
        self.layer_with(extractor, crate::Http::new())
    }

    /// A layer for any service: `extractor` finds the key, and `classifier` tells what was not
    /// found, as [`NotFound`](super::NotFound) does. A request that names no key passes.
    #[must_use]
    pub fn layer_with<X, C>(&self, extractor: X, classifier: C) -> Layer<K, X, C, F> {
        gate::Layer::new(Gate::new(self.clone(), extractor), classifier)
    }
}

/// A guard is asked by the key itself.
impl<K: Hash + ?Sized, F: Filter> gate::Gate<&K> for BloomGuard<K, F> {
    type Permit = Permit<F>;
    type Wait = Never<Permit<F>>;

    fn enter(&self, key: &&K) -> Entry<Permit<F>, Never<Permit<F>>> {
        match self.try_acquire(key) {
            Ok(permit) => Entry::Admitted(permit),
            Err(rejected) => Entry::Refused(rejected),
        }
    }
}

/// By hand, since keys need not be `Clone` for this.
impl<K: ?Sized, F: Filter> Clone for BloomGuard<K, F> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            key: PhantomData,
        }
    }
}

impl<K: ?Sized, F: Filter> fmt::Debug for BloomGuard<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BloomGuard")
            .field("name", &self.shared.name)
            .field("filter", &self.shared.filter)
            .finish_non_exhaustive()
    }
}
