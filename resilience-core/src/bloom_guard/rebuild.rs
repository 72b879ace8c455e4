use std::{
    error::Error,
    fmt,
    future::poll_fn,
    hash::Hash,
    marker::PhantomData,
    pin::{Pin, pin},
};

use futures_core::Stream;

use super::{Bloom, BloomGuard, Filter, shared::Shared};
use crate::sync::Arc;

/// A new filter that is being filled beside the one that is asked.
///
/// Keys that are inserted into the guard meanwhile go into both. Dropped without
/// [`finish`](Self::finish), it leaves everything as it was.
#[must_use = "a rebuild that is dropped changes nothing"]
pub struct Rebuild<K: ?Sized, F: Filter = Bloom> {
    shared: Arc<Shared<F>>,
    keys: u64,
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
            finished: false,
            key: PhantomData,
        };
        rebuild.keys = rebuild.shared.stage_recent();
        Ok(rebuild)
    }

    /// Adds a key.
    pub fn insert(&mut self, key: &K) {
        self.keys += u64::from(self.shared.stage_key(key));
    }

    /// The new filter takes over.
    pub fn finish(mut self) {
        self.finished = true;
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
