use std::{
    borrow::Borrow,
    convert::Infallible,
    error::Error,
    fmt,
    future::poll_fn,
    hash::Hash,
    pin::{Pin, pin},
};

use futures_core::Stream;

use super::{BloomGuard, build::Build};
use crate::StoreError;

/// A new generation of a filter, which is being filled beside the one that is asked.
///
/// Keys that anybody in the fleet inserts meanwhile are in both. Dropped without
/// [`finish`](Self::finish), it leaves everything as it was.
#[must_use = "a rebuild that is dropped changes nothing"]
pub struct Rebuild<K: ?Sized> {
    guard: BloomGuard<K>,
    build: Build,
}

impl<K: Hash + ?Sized> Rebuild<K> {
    /// Adds a key.
    pub fn insert(&mut self, key: &K) {
        self.build.insert(self.guard.local.fingerprint(key));
    }

    /// The new generation takes over, for the whole fleet.
    ///
    /// A generation takes at least a quarter of a second from its beginning to here.
    ///
    /// # Errors
    ///
    /// [`RebuildError::Lost`] and [`RebuildError::Store`]; after the latter it may still take over.
    ///
    /// # Cancellation
    ///
    /// Dropped, it has taken over for all or for nobody.
    pub async fn finish(self) -> Result<(), RebuildError> {
        self.build.finish().await
    }
}

impl<K: Hash + ?Sized> BloomGuard<K> {
    /// Begins to fill a new generation for the whole fleet, which takes over when it is
    /// [finished](Rebuild::finish), while the one there is goes on answering.
    ///
    /// Read the keys *after* this call. What was inserted before must be among them, but for the
    /// last 4096, which are taken along; what is inserted from now on, by whatever process, is in
    /// both.
    ///
    /// # Errors
    ///
    /// [`RebuildError::UnderWay`] and [`RebuildError::Store`].
    pub async fn rebuild(&self) -> Result<Rebuild<K>, RebuildError> {
        self.begin().await
    }

    /// Fills a new generation with what `keys` gives, which is called once inserts go there as well.
    ///
    /// The iterator blocks the task; where it takes longer than ten seconds without an await of
    /// its runtime, another process may begin anew: rather use
    /// [`rebuild_from_stream`](Self::rebuild_from_stream).
    ///
    /// # Errors
    ///
    /// As [`rebuild`](Self::rebuild) and [`Rebuild::finish`].
    pub async fn rebuild_from<I>(&self, keys: impl FnOnce() -> I) -> Result<(), RebuildError>
    where
        I: IntoIterator<Item: Borrow<K>>,
    {
        let mut rebuild = self.rebuild().await?;
        for key in keys() {
            rebuild.insert(key.borrow());
        }
        rebuild.finish().await
    }

    /// Fills a new generation with what a stream gives, as database drivers have them; `keys` is
    /// called once inserts go there as well.
    ///
    /// # Errors
    ///
    /// As [`rebuild_from`](Self::rebuild_from), or the first error of the stream. The generation
    /// before goes on answering.
    ///
    /// # Cancellation
    ///
    /// Dropped, it leaves the generation before.
    pub async fn rebuild_from_stream<S, T, E>(
        &self,
        keys: impl FnOnce() -> S,
    ) -> Result<(), RebuildError<E>>
    where
        S: Stream<Item = Result<T, E>>,
        T: Borrow<K>,
    {
        let mut rebuild = self.begin().await?;
        let mut keys = pin!(keys());
        while let Some(key) = next(keys.as_mut()).await {
            rebuild.insert(key.map_err(RebuildError::Source)?.borrow());
        }
        rebuild.build.finish().await
    }

    /// Waits until everything passes for want of keys: the filter was never built, Redis has lost
    /// it, or it holds too many keys.
    ///
    /// Then one process should rebuild it; where several try, all but one hear that it is
    /// [under way](RebuildError::UnderWay).
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] where the runtime that the store was connected on has ended: nobody
    /// hears of Redis any more, and everything passes.
    ///
    /// # Cancellation
    ///
    /// Dropped, it has changed nothing.
    pub async fn rebuild_is_wanted(&self) -> Result<(), StoreError> {
        let mut progress = self.shared.progress.subscribe();
        let seen = progress.wait_for(|progress| progress.wanted || progress.is_over);
        match seen.await {
            Ok(progress) if !progress.is_over => Ok(()),
            // The other end is never gone: we hold it.
            Ok(_) | Err(_) => Err(StoreError::Unavailable),
        }
    }

    async fn begin<E>(&self) -> Result<Rebuild<K>, RebuildError<E>> {
        Ok(Rebuild {
            guard: self.clone(),
            build: Build::begin(self.shared.clone()).await?,
        })
    }
}

async fn next<S: Stream>(mut stream: Pin<&mut S>) -> Option<S::Item> {
    poll_fn(|context| stream.as_mut().poll_next(context)).await
}

/// By hand, since keys are nobody's business.
impl<K: ?Sized> fmt::Debug for Rebuild<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rebuild").finish_non_exhaustive()
    }
}

/// Why a new generation did not take over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RebuildError<E = Infallible> {
    /// Another one is being built, by this process or another.
    UnderWay,
    /// Redis has forgotten what was built, or this process gave no sign of life for ten seconds.
    Lost,
    /// Redis gave no answer.
    Store(StoreError),
    /// The stream of keys failed.
    Source(E),
}

impl<E> From<StoreError> for RebuildError<E> {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl<E: fmt::Display> fmt::Display for RebuildError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnderWay => f.write_str("another rebuild is under way"),
            Self::Lost => f.write_str("what was built was lost or given up on the way"),
            Self::Store(error) => error.fmt(f),
            Self::Source(error) => error.fmt(f),
        }
    }
}

impl<E: Error + 'static> Error for RebuildError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::UnderWay | Self::Lost => None,
            Self::Store(error) => Some(error),
            Self::Source(error) => Some(error),
        }
    }
}
