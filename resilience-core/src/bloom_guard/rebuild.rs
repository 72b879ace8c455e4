use std::{
    error::Error,
    fmt,
    future::poll_fn,
    hash::Hash,
    marker::PhantomData,
    pin::{Pin, pin},
    sync::Arc,
};

use futures_core::Stream;

use super::{Bloom, BloomGuard, Filter, Hashed, shared::Shared, state::Source};
use crate::sync::{Ordering, lock};

/// A new filter that is being filled beside the one that is asked.
///
/// Keys that are inserted into the guard meanwhile go into both. Dropped without
/// [`finish`](Self::finish), it leaves everything as it was.
#[must_use = "a rebuild that is dropped changes nothing"]
pub struct Rebuild<K: ?Sized, F: Filter = Bloom> {
    shared: Arc<Shared<F>>,
    keys: u64,
    given: u64,
    finished: bool,
    key: PhantomData<fn(&K)>,
}

impl<K: Hash + ?Sized, F: Filter> Rebuild<K, F> {
    fn begin(shared: Arc<Shared<F>>) -> Result<Self, RebuildUnderWay> {
        if !shared.begin() {
            return Err(RebuildUnderWay);
        }
        let mut rebuild = Self {
            shared,
            keys: 0,
            given: 0,
            finished: false,
            key: PhantomData,
        };
        rebuild.keys = rebuild.shared.stage_recent();
        Ok(rebuild)
    }

    /// Adds a key.
    pub fn insert(&mut self, key: &K) {
        self.keys += u64::from(self.shared.stage_key(key));
        self.given += 1;
    }

    /// The new filter takes over.
    pub fn finish(mut self) {
        self.finished = true;
        lock(&self.shared.inner).state.given(self.given);
        self.shared.commit(self.keys);
    }
}

impl<K: ?Sized, F: Filter> Drop for Rebuild<K, F> {
    fn drop(&mut self) {
        if !self.finished {
            self.shared.abandon();
        }
    }
}

impl<K: Hash + ?Sized, F: Filter> BloomGuard<K, F> {
    /// Begins to fill a new filter, which takes over when it is
    /// [finished](Rebuild::finish), while the one there is goes on answering.
    ///
    /// Read the keys *after* this call. What was inserted before must be among them, but for the
    /// last 4096, which are taken along; what is inserted from now on is in both filters.
    ///
    /// # Errors
    ///
    /// Another rebuild is under way.
    pub fn rebuild(&self) -> Result<Rebuild<K, F>, RebuildUnderWay> {
        Rebuild::begin(self.shared.clone())
    }

    /// Fills a new filter with what `keys` gives, which is called once inserts go there as well.
    ///
    /// Blocks for as long as the keys take; a panic in their iterator leaves the old filter.
    ///
    /// # Errors
    ///
    /// Another rebuild is under way.
    pub fn rebuild_from<I>(&self, keys: impl FnOnce() -> I) -> Result<(), RebuildUnderWay>
    where
        I: IntoIterator<Item: std::borrow::Borrow<K>>,
    {
        let mut rebuild = self.rebuild()?;
        for key in keys() {
            rebuild.insert(std::borrow::Borrow::borrow(&key));
        }
        rebuild.finish();
        Ok(())
    }

    /// Fills a new filter with what a stream gives, as database drivers have them; `keys` is
    /// called once inserts go there as well.
    ///
    /// # Errors
    ///
    /// Another rebuild is under way, or the first error of the stream. The old filter stays.
    ///
    /// # Cancellation
    ///
    /// Dropped, it leaves the old filter.
    pub async fn rebuild_from_stream<S, T, E>(
        &self,
        keys: impl FnOnce() -> S,
    ) -> Result<(), RebuildError<E>>
    where
        S: Stream<Item = Result<T, E>>,
        T: std::borrow::Borrow<K>,
    {
        let mut rebuild = self.rebuild().map_err(|_| RebuildError::UnderWay)?;
        let mut keys = pin!(keys());
        while let Some(key) = next(keys.as_mut()).await {
            rebuild.insert(key.map_err(RebuildError::Source)?.borrow());
        }
        rebuild.finish();
        Ok(())
    }
}

impl<F: Filter> Shared<F> {
    /// Begins a rebuild; whether none was under way.
    fn begin(&self) -> bool {
        let Some(capacity) = lock(&self.inner).state.begin(Source::Keys) else {
            return false;
        };
        self.filter.stage(capacity);
        true
    }

    /// Takes the keys along that were inserted shortly before: whoever reads the source may not
    /// see them yet. Those inserted since it is beside are in it. How many were new.
    pub(super) fn stage_recent(&self) -> u64 {
        let recent = lock(&self.inner).recent.keys();
        let new = recent
            .into_iter()
            .filter(|key| self.filter.insert_staged(*key));
        new.count() as u64
    }

    /// Adds a key to the set beside alone; whether it is new there.
    pub(super) fn stage_key<K: Hash + ?Sized>(&self, key: &K) -> bool {
        let key = Hashed::new(&self.seed, key).fingerprint();
        self.filter.insert_staged(key)
    }

    pub(super) fn commit(&self, keys: u64) {
        let now = self.environment.now();
        let alarm = {
            let mut inner = lock(&self.inner);
            self.filter.commit();
            // What was not found before may be there now, as the source knows better.
            inner.recent.forget_order();
            self.inserted
                .store(inner.recent.inserted(), Ordering::Release);
            if let Some(misses) = &self.misses {
                misses.clear();
            }
            inner.base = self.counts();
            let alarm = inner.state.commit(keys, now);
            self.publish(&inner.state);
            alarm
        };
        self.tell(alarm);
    }

    pub(super) fn abandon(&self) {
        let mut inner = lock(&self.inner);
        self.filter.discard();
        inner.state.abandon();
    }
}

async fn next<S: Stream>(mut stream: Pin<&mut S>) -> Option<S::Item> {
    poll_fn(|cx| stream.as_mut().poll_next(cx)).await
}

/// By hand, since keys are nobody's business.
impl<K: ?Sized, F: Filter> fmt::Debug for Rebuild<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rebuild")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// Another rebuild of the same guard is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RebuildUnderWay;

impl fmt::Display for RebuildUnderWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another rebuild is under way")
    }
}

impl Error for RebuildUnderWay {}

/// Why a rebuild from a stream did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebuildError<E> {
    /// Another rebuild is under way.
    UnderWay,
    /// The stream failed.
    Source(E),
}

impl<E: fmt::Display> fmt::Display for RebuildError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnderWay => RebuildUnderWay.fmt(f),
            Self::Source(error) => error.fmt(f),
        }
    }
}

impl<E: Error + 'static> Error for RebuildError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::UnderWay => None,
            Self::Source(error) => Some(error),
        }
    }
}
