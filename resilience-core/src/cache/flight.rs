use std::{
    hash::Hash,
    sync::{Arc, atomic::Ordering},
};

use crossbeam_utils::CachePadded;
use indexmap::IndexSet;
use quick_cache::Equivalent;
use tokio::sync::{Notify, futures::Notified};

use super::{
    entry::Entry,
    hashed::{Given, Hashed, HashedRef},
    heard::Stamp,
};
use crate::{
    Error, Reason, Rejected, Timestamp,
    sync::{AtomicU64, Mutex, MutexGuard, lock},
};

/// The loads under way, at most one of each key.
///
/// A shard's lock is held by whoever begins or ends a load, and while the outcome is stored: a
/// load that is overtaken by a newer value or by an invalidation is not found here any more, and
/// what it brings is not stored.
#[derive(Debug)]
pub(super) struct Flights<K, V> {
    shards: Box<[Padded<K, V>]>,
}

/// A shard on cache lines of its own.
type Padded<K, V> = CachePadded<Mutex<Shard<K, V>>>;

pub(super) type Shard<K, V> = IndexSet<ByKey<K, V>, Given>;

/// One load, and those who wait for it.
#[derive(Debug)]
pub(super) struct Flight<K, V> {
    pub(super) key: Hashed<K>,
    pub(super) stamp: Stamp,
    /// When its present leader began, and from then on when that one's loader did: nanoseconds of
    /// a [`Timestamp`].
    began: AtomicU64,
    progress: Mutex<Progress<V>>,
    /// Wakes all who wait at the end, and one of them where the leader is gone.
    changed: Notify,
}

#[derive(Debug)]
struct Progress<V> {
    stage: Stage<V>,
    waiting: usize,
}

#[derive(Debug)]
enum Stage<V> {
    Loading,
    /// The leader is gone, and one of those who wait is to follow.
    Leaderless,
    Landed(Landing<V>),
}

/// How a load ended.
#[derive(Debug)]
pub(super) enum Landing<V> {
    /// With something that all who wait may have.
    Entry(Arc<Entry<V>>),
    /// With nothing.
    Refused(Refusal),
}

/// What those who waited are told of a load that brought nothing.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) rejected: Rejected,
    /// What the service answered, where it did.
    pub(super) status: Option<u16>,
}

impl Refusal {
    pub(super) fn into_error<E>(self) -> Error<E> {
        Error::Rejected(self.rejected)
    }
}

impl From<Rejected> for Refusal {
    fn from(rejected: Rejected) -> Self {
        Self {
            rejected,
            status: None,
        }
    }
}

impl<V> From<Result<Arc<Entry<V>>, Refusal>> for Landing<V> {
    fn from(landed: Result<Arc<Entry<V>>, Refusal>) -> Self {
        landed.map_or_else(Self::Refused, Self::Entry)
    }
}

/// By hand, since an entry is shared whatever it holds.
impl<V> Clone for Landing<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Entry(entry) => Self::Entry(entry.clone()),
            Self::Refused(refusal) => Self::Refused(refusal.clone()),
        }
    }
}

/// What one who waits is told.
#[derive(Debug)]
pub(super) enum News<V> {
    /// The load is over.
    Landed(Landing<V>),
    /// The leader is gone, and this one is the next.
    Lead,
}

impl<K: Eq, V> Flights<K, V> {
    pub(super) fn new() -> Self {
        let shard = || CachePadded::new(Mutex::new(Shard::with_hasher(Given::default())));
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
        }
    }

    pub(super) fn shard(&self, hash: u64) -> MutexGuard<'_, Shard<K, V>> {
        // The table inside takes its place from the low bits and its tag from the top seven.
        lock(&self.shards[(hash >> 32) as usize % SHARDS])
    }

    /// Takes `flight` off the list, where it is on it.
    pub(super) fn remove(&self, flight: &Arc<Flight<K, V>>) {
        let removed = self.shard(flight.key.hash).swap_take(&Own(flight));
        drop(removed);
    }

    /// Loads under way.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }
}

const SHARDS: usize = 32;

impl<K, V> Flight<K, V> {
    pub(super) fn new(key: Hashed<K>, stamp: Stamp, now: Timestamp) -> Self {
        let progress = Progress {
            stage: Stage::Loading,
            waiting: 0,
        };
        Self {
            key,
            stamp,
            began: AtomicU64::new(now.as_nanos()),
            progress: Mutex::new(progress),
            changed: Notify::new(),
        }
    }

    /// When its present leader began, or that one's loader.
    pub(super) fn began(&self) -> Timestamp {
        Timestamp::from_nanos(self.began.load(Ordering::Relaxed))
    }

    /// Its loader begins.
    pub(super) fn begin(&self, now: Timestamp) {
        self.began.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// One more waits.
    pub(super) fn join(&self) {
        lock(&self.progress).waiting += 1;
    }

    /// Ends it, where it has not ended otherwise, and says how it ended.
    pub(super) fn land(&self, landing: Landing<V>) -> Landing<V> {
        let landed = {
            let mut progress = lock(&self.progress);
            if let Stage::Landed(landed) = &progress.stage {
                return landed.clone();
            }
            progress.stage = Stage::Landed(landing.clone());
            landing
        };
        self.changed.notify_waiters();
        landed
    }

    /// The leader is gone. Says whether nobody is left to follow; else one of those who wait is
    /// woken once the locks are gone.
    pub(super) fn leave(&self) -> bool {
        let mut progress = lock(&self.progress);
        match progress.stage {
            Stage::Loading => {
                progress.stage = Stage::Leaderless;
                progress.waiting == 0
            }
            Stage::Leaderless | Stage::Landed(_) => false,
        }
    }

    /// Wakes one who is to follow the leader.
    pub(super) fn call_next(&self) {
        self.changed.notify_one();
    }

    /// One who waited goes away. Says whether that leaves nobody at all.
    pub(super) fn quit(&self) -> bool {
        let mut progress = lock(&self.progress);
        progress.waiting -= 1;
        progress.waiting == 0 && matches!(progress.stage, Stage::Leaderless)
    }

    /// Whether there is neither a leader nor one who could be the next.
    pub(super) fn is_deserted(&self) -> bool {
        let progress = lock(&self.progress);
        progress.waiting == 0 && matches!(progress.stage, Stage::Leaderless)
    }

    /// Wakes one who waits when there may be something to [tell](Self::look).
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// What there is to tell; `now` is asked when this one is to lead.
    pub(super) fn look(&self, now: impl FnOnce() -> Timestamp) -> Option<News<V>> {
        let mut progress = lock(&self.progress);
        match &progress.stage {
            Stage::Loading => None,
            Stage::Leaderless => {
                progress.stage = Stage::Loading;
                self.begin(now());
                Some(News::Lead)
            }
            Stage::Landed(landing) => Some(News::Landed(landing.clone())),
        }
    }
}

/// A flight, found by its key.
#[derive(Debug)]
pub(super) struct ByKey<K, V>(pub(super) Arc<Flight<K, V>>);

impl<K, V> Hash for ByKey<K, V> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.key.hash);
    }
}

impl<K: Eq, V> PartialEq for ByKey<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl<K: Eq, V> Eq for ByKey<K, V> {}

/// A flight, found by what it is: the `Eq` of its key is foreign code, and may panic.
#[derive(Debug)]
pub(super) struct Own<'a, K, V>(pub(super) &'a Arc<Flight<K, V>>);

impl<K, V> Hash for Own<'_, K, V> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.key.hash);
    }
}

impl<K, V> Equivalent<ByKey<K, V>> for Own<'_, K, V> {
    fn equivalent(&self, held: &ByKey<K, V>) -> bool {
        Arc::ptr_eq(self.0, &held.0)
    }
}

impl<K, V, Q> Equivalent<ByKey<K, V>> for HashedRef<'_, Q>
where
    Q: ?Sized,
    Self: Equivalent<Hashed<K>>,
{
    fn equivalent(&self, held: &ByKey<K, V>) -> bool {
        Equivalent::<Hashed<K>>::equivalent(self, &held.0.key)
    }
}

/// What those who wait are told when a load ends without an outcome: its runtime is gone.
pub(super) const fn closed(policy: &'static str) -> Rejected {
    Rejected::new(Reason::Closed, policy)
}
