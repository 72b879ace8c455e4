//! Counters that threads do not meet at.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use crossbeam_utils::CachePadded;

/// `N` counters, each kept once for some threads, on a cache line of their own.
#[derive(Debug)]
pub(crate) struct Striped<const N: usize>([CachePadded<[AtomicU64; N]>; STRIPES]);

const STRIPES: usize = 8;

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: Cell<Option<usize>> = const { Cell::new(None) };
}

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
        let line = || std::array::from_fn(|_| AtomicU64::new(0));
        Self(std::array::from_fn(|_| CachePadded::new(line())))
    }
}

/// The stripe of this thread; of a thread that is going away, the first.
#[inline]
fn stripe() -> usize {
    let stripe = STRIPE.try_with(|stripe| {
        stripe.get().unwrap_or_else(|| {
            let next = THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES;
            stripe.set(Some(next));
            next
        })
    });
    stripe.unwrap_or(0)
}
