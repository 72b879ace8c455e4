//! What is asked about one key, and what follows from the answer.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::Waker,
};

use resilience_core::Timestamp;
use smallvec::SmallVec;

use super::lease::Unused;
use crate::rate_limit::quota::{Kind, PAST, Past, Rule, Run};

/// What to ask the server about one line.
#[derive(Clone, Copy, Debug)]
pub(in crate::rate_limit) struct Question<'a> {
    pub(in crate::rate_limit) runs: &'a [Run],
    /// For each rule.
    pub(in crate::rate_limit) past: &'a [Past],
}

impl Question<'_> {
    /// Whether it builds on a part of the past of some window that was remembered, and not read.
    pub(super) fn is_from_memory(&self, rules: &[Rule]) -> bool {
        let windows = self.past.iter().zip(rules);
        let mut windows = windows.filter(|(_, rule)| matches!(rule.kind, Kind::Window { .. }));
        windows.any(|(past, _)| past.asked < PAST)
    }
}

/// What must happen after an answer.
#[derive(Debug, Default)]
pub(in crate::rate_limit) struct Aftermath {
    /// Of those who have an answer, of a key mostly one.
    pub(super) wakers: SmallVec<[Waker; 1]>,
    /// Units of those who were granted what they wanted and are gone, and when they were taken.
    pub(in crate::rate_limit) orphans: Vec<(u64, u64)>,
    pub(in crate::rate_limit) ahead: Ahead,
    /// When somebody must ring for those who wait in the line.
    pub(in crate::rate_limit) alarm: Option<Timestamp>,
}

/// What an answer means for units that were taken ahead.
#[derive(Debug, Default)]
pub(in crate::rate_limit) struct Ahead {
    pub(in crate::rate_limit) granted: u64,
    /// Asked for by a question whose answer nobody heard.
    pub(in crate::rate_limit) lost: u64,
    pub(in crate::rate_limit) unused: Vec<Unused>,
    /// Somebody must look after what is held.
    pub(in crate::rate_limit) begun: bool,
}

/// How many units a question may ask for ahead.
#[derive(Clone, Copy, Debug)]
pub(in crate::rate_limit) struct Leasing {
    /// Of the limit, all processes together.
    pub(in crate::rate_limit) percent: u64,
    pub(in crate::rate_limit) nodes: u64,
    pub(in crate::rate_limit) now: Timestamp,
}

impl Aftermath {
    /// Wakes whoever waits for one of the answers, and says how many do.
    pub(in crate::rate_limit) fn wake(self) -> usize {
        let count = self.wakers.len();
        for waker in self.wakers {
            // It belongs to whatever runs the caller: where that panics, all others must hear still, and
            // whoever tells them goes on. The panic hook has told of it by then.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                // Dropping a payload may panic once more.
                std::mem::forget(payload);
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use smallvec::smallvec;

    use super::*;

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("cannot be woken");
        }
    }

    #[derive(Default)]
    struct Counts(AtomicUsize);

    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn one_that_cannot_be_woken_keeps_no_other_waiting() {
        let woken = Arc::<Counts>::default();
        let other = || Waker::from(Arc::clone(&woken));
        let aftermath = Aftermath {
            wakers: smallvec![other(), Arc::new(Panics).into(), other()],
            ..Aftermath::default()
        };
        assert_eq!(aftermath.wake(), 3);
        assert_eq!(woken.0.load(Ordering::Relaxed), 2);
    }
}
