//! What was decided, by whom, elsewhere than in the table.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::rate_limit::decision::Source;

/// Counts decisions, so that threads meet nowhere.
#[derive(Debug, Default)]
pub(in crate::rate_limit) struct Tally([Stripe; STRIPES]);

/// Admissions, refusals and how many of these went on, by source; apart from the next stripe in
/// memory.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe([[AtomicU64; SOURCES]; 3]);

impl Tally {
    pub(super) fn admit(&self, source: Source) {
        self.count(0, source);
    }

    pub(super) fn refuse(&self, source: Source) {
        self.count(1, source);
    }

    /// Counts a call that is counted as refused, and goes on.
    pub(super) fn spare(&self, source: Source) {
        self.count(2, source);
    }

    pub(in crate::rate_limit) fn admitted(&self, source: Source) -> u64 {
        self.sum(0, source)
    }

    pub(in crate::rate_limit) fn refused(&self, source: Source) -> u64 {
        self.sum(1, source)
    }

    pub(in crate::rate_limit) fn spared(&self, source: Source) -> u64 {
        self.sum(2, source)
    }

    fn count(&self, row: usize, source: Source) {
        let Stripe(counts) = &self.0[stripe()];
        counts[row][source as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn sum(&self, row: usize, source: Source) -> u64 {
        let counts = self.0.iter().map(|Stripe(counts)| &counts[row]);
        counts
            .map(|counts| counts[source as usize].load(Ordering::Relaxed))
            .sum()
    }
}

/// The stripe of this thread; of a thread that is going away, the first.
fn stripe() -> usize {
    thread_local! {
        static STRIPE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES;
    }
    STRIPE.try_with(|stripe| *stripe).unwrap_or(0)
}

static THREADS: AtomicUsize = AtomicUsize::new(0);
const STRIPES: usize = 8;
const SOURCES: usize = Source::ALL.len();
