//! Counters that threads do not meet at.
//!
//! An atomic that one thread changes costs some nanoseconds; one that two change in turn costs ten
//! times as much, since its cache line travels between them.

use std::{
    array,
    cell::Cell,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use crossbeam_utils::CachePadded;

/// `N` counters, each kept once for some threads, on a cache line of their own.
#[derive(Debug)]
pub(crate) struct Striped<const N: usize>([CachePadded<[AtomicU64; N]>; STRIPES]);

impl<const N: usize> Striped<N> {
    #[inline]
    pub(crate) fn count(&self, index: usize) {
        self.add(index, 1);
    }

    /// Adds a number, or what makes up for one that was added elsewhere: sums go round.
    #[inline]
    pub(crate) fn add(&self, index: usize, number: u64) {
        self.0[stripe()][index].fetch_add(number, Ordering::Relaxed);
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

/// How many of each there are.
pub(crate) const STRIPES: usize = if cfg!(resilience_loom) { 1 } else { 8 };

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The stripe of this thread; of a thread that is going away, the first.
#[inline]
pub(crate) fn stripe() -> usize {
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
    use std::thread;

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
}
