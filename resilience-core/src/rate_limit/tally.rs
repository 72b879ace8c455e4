use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use crossbeam_utils::CachePadded;

/// What became of a call at the limiter.
#[derive(Clone, Copy, Debug)]
pub(super) enum Decision {
    Allowed,
    Waited,
    Denied,
    WouldDeny,
}

impl Decision {
    pub(super) const ALL: [Self; 4] = [Self::Allowed, Self::Waited, Self::Denied, Self::WouldDeny];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Waited => "waited",
            Self::Denied => "denied",
            Self::WouldDeny => "would_deny",
        }
    }
}

/// Counts decisions, on a cache line of its own for some threads each, so that callers with
/// different keys meet nowhere.
#[derive(Debug, Default)]
pub(super) struct Tally([CachePadded<[AtomicU64; 4]>; STRIPES]);

const STRIPES: usize = 8;

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: Cell<Option<usize>> = const { Cell::new(None) };
}

impl Tally {
    pub(super) fn count(&self, decision: Decision) {
        self.0[stripe()][decision as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, decision: Decision) -> u64 {
        let counts = self
            .0
            .iter()
            .map(|line| line[decision as usize].load(Ordering::Relaxed));
        counts.fold(0, u64::wrapping_add)
    }
}

/// The stripe of this thread; of a thread that is going away, the first.
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
