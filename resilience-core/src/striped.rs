//! What threads do not meet at: counters, and counts of owners, kept once for some threads each.
//!
//! An atomic that one thread changes costs some nanoseconds; one that two change in turn costs ten
//! times as much, since its cache line travels between them. Every admitted call counts itself
//! and owns its engine until it is over: neither may be where all threads of a service meet.

use std::{
    array,
    cell::Cell,
    fmt,
    ops::Deref,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use crossbeam_utils::CachePadded;

use crate::sync::Arc;

/// `N` counters, each kept once for some threads, on a cache line of their own.
#[derive(Debug)]
pub(crate) struct Striped<const N: usize>([CachePadded<[AtomicU64; N]>; STRIPES]);

impl<const N: usize> Striped<N> {
    #[inline]
    pub(crate) fn count(&self, index: usize) {
        self.0[stripe()][index].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, index: usize) -> u64 {
        let counts = self.0.iter();
        counts
            .map(|line| line[index].load(Ordering::Relaxed))
            .fold(0, u64::wrapping_add)
    }
}

/// By hand, since arrays of any length have no default.
impl<const N: usize> Default for Striped<N> {
    fn default() -> Self {
        let line = || array::from_fn(|_| AtomicU64::new(0));
        Self(array::from_fn(|_| CachePadded::new(line())))
    }
}

/// What all clones of an engine share.
///
/// A clone is one more handle. A call does not clone it, but takes a [`Hold`].
pub(crate) enum Engine<T> {
    /// Calls of different threads do not meet.
    Striped(Arc<Lanes<T>>),
    /// One hold for all: for one engine of many, such as those of keys.
    Single(Hold<T>),
}

/// A value, and the holds for it that threads take theirs from.
pub(crate) struct Lanes<T> {
    value: Arc<T>,
    holds: [Hold<T>; STRIPES],
}

/// What keeps an engine for a call, wherever that goes: a permit owns one.
///
/// Its count of owners, on a cache line of its own, is that of some threads alone.
pub(crate) struct Hold<T>(Arc<CachePadded<Arc<T>>>);

impl<T> Engine<T> {
    pub(crate) fn striped(value: T) -> Self {
        let value = Arc::new(value);
        let holds = array::from_fn(|_| Hold(Arc::new(CachePadded::new(value.clone()))));
        Self::Striped(Arc::new(Lanes { value, holds }))
    }

    /// Keeps the engine for a call that this thread begins.
    #[inline]
    pub(crate) fn hold(&self) -> Hold<T> {
        match self {
            Self::Striped(lanes) => lanes.holds[stripe()].clone(),
            Self::Single(hold) => hold.clone(),
        }
    }
}

impl<T> Hold<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(CachePadded::new(Arc::new(value))))
    }

    /// Whether nobody else holds what an [`Engine::Single`] holds.
    pub(crate) fn is_only(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl<T> Deref for Engine<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match self {
            Self::Striped(lanes) => &lanes.value,
            Self::Single(hold) => hold,
        }
    }
}

impl<T> Deref for Hold<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// By hand, since the value need not be.
impl<T> Clone for Engine<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Striped(lanes) => Self::Striped(lanes.clone()),
            Self::Single(hold) => Self::Single(hold.clone()),
        }
    }
}

/// By hand, since the value need not be.
impl<T> Clone for Hold<T> {
    #[inline]
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: fmt::Debug> fmt::Debug for Engine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T: fmt::Debug> fmt::Debug for Hold<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

const STRIPES: usize = if cfg!(resilience_loom) { 1 } else { 8 };

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The stripe of this thread; of a thread that is going away, the first.
#[inline]
fn stripe() -> usize {
    let stripe = STRIPE.try_with(|stripe| stripe.get().unwrap_or_else(|| choose(stripe)));
    // The remainder is here so that an index by it needs no check.
    stripe.unwrap_or(0) % STRIPES
}

/// The next stripe, for a thread that comes here for the first time.
#[cold]
fn choose(stripe: &Cell<Option<usize>>) -> usize {
    let next = THREADS.fetch_add(1, Ordering::Relaxed);
    stripe.set(Some(next));
    next
}

#[cfg(all(test, not(resilience_loom)))]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    #[test]
    fn counts_of_all_threads_are_read_together() {
        let counters = Striped::<2>::default();
        thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| counters.count(1));
            }
        });
        assert_eq!((counters.read(0), counters.read(1)), (0, 20));
    }

    #[test]
    fn an_engine_goes_with_its_last_owner_on_whatever_thread() {
        for engine in [Engine::striped, |value| Engine::Single(Hold::new(value))] {
            let value = Arc::new(());
            let engine = engine(value.clone());
            let owners: Vec<_> = thread::scope(|scope| {
                let threads: Vec<_> = (0..20)
                    .map(|_| scope.spawn(|| (engine.clone(), engine.hold())))
                    .collect();
                threads.into_iter().map(|it| it.join().unwrap()).collect()
            });
            drop(engine);
            let (handles, mut holds): (Vec<_>, Vec<_>) = owners.into_iter().unzip();
            drop(handles);
            let last = holds.pop();
            drop(holds);
            assert_eq!(Arc::strong_count(&value), 2);
            drop(last);
            assert_eq!(Arc::strong_count(&value), 1);
        }
    }
}
