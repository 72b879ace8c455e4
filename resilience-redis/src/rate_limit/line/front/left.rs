//! What is left of a loan.

#[cfg(resilience_loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(resilience_loom))]
use std::sync::atomic::{AtomicU64, Ordering};

/// How much of a loan is left. Set by those who have the lock of the table and the line's; units are
/// taken by those who have the one, and all is taken back by those who have the other.
#[derive(Debug)]
pub(in crate::rate_limit::line) struct Left(AtomicU64);

/// By hand, since loom's atomics have no default.
impl Default for Left {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Left {
    /// Lends `left` units, or a [`REFUSAL`].
    pub(super) fn lend(&self, left: u64) {
        self.0.store(left, Ordering::Relaxed);
    }

    /// Takes `units` where there are as many, and says how many are left.
    #[inline]
    pub(super) fn take(&self, units: u64) -> Option<u64> {
        // No other caller is here: if it changes meanwhile, all was taken back.
        let before = self.0.load(Ordering::Relaxed);
        let left = before.checked_sub(units).filter(|_| units > 0)?;
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        let taken = self.0.compare_exchange(before, left, success, failure);
        taken.is_ok().then_some(left)
    }

    pub(super) fn is_lent(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    #[inline]
    pub(super) fn is_refusal(&self) -> bool {
        self.0.load(Ordering::Relaxed) == REFUSAL
    }

    /// Ends the loan, and says how many units are left of it.
    #[inline]
    pub(in crate::rate_limit::line) fn take_back(&self) -> u64 {
        // Nobody lends but who has the lock of the line, as the caller of this.
        if self.0.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        match self.0.swap(0, Ordering::Relaxed) {
            REFUSAL => 0,
            units => units,
        }
    }
}

/// Stands for a refusal, which is never used up. No lease has so many units.
pub(super) const REFUSAL: u64 = u64::MAX;
