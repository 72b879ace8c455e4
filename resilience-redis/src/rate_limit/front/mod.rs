//! What callers decide before they come to the line.
//!
//! A line has a lock of its own: those who stand in it, and those who ask the server for them, hold
//! on to it even when the table has forgotten the key. Who comes has the lock of the table already,
//! and should need no other to hear what is known: so the line lends what is left of a lease, or the
//! certainty that there is no room before a certain time. To take of it is one atomic operation,
//! and to be refused none. Whoever locks the line takes back before anything else what was lent, and
//! finds it as if it had been asked each time.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

use resilience_core::Timestamp;

use super::{
    denial::Denied,
    lease::{Held, Spent},
    line::{Caller, Entered},
    table::Entry,
};

/// What the line of a key has lent, as those know it who have the lock of the table.
#[derive(Debug, Default)]
pub(super) struct Front(Option<Box<Loan>>);

/// What a line lends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loan {
    /// Units that were taken ahead.
    Units(Held),
    /// What the server refused.
    Refusal(Denied),
}

/// How much of a loan is left. Set by those who have the lock of the table and the line's; units are
/// taken by those who have the one, and all is taken back by those who have the other.
#[derive(Debug, Default)]
pub(super) struct Left(AtomicU64);

impl Front {
    /// A caller comes for `entry`.
    #[inline]
    pub(super) fn enter(&mut self, entry: &Entry, caller: Caller<'_>) -> Entered {
        match self.decide(entry.left(), &caller) {
            Some(entered) => entered,
            None => self.join(entry, caller),
        }
    }

    #[inline]
    fn decide(&self, left: &Left, caller: &Caller<'_>) -> Option<Entered> {
        let &Caller {
            cost, now, until, ..
        } = caller;
        match self.0.as_deref()? {
            Loan::Units(held) => spend(held, left, cost, now).map(Entered::Leased),
            Loan::Refusal(denied) => {
                // Who has time waits in line.
                let verdict = denied
                    .verdict_unasked(cost, now)
                    .filter(|_| denied.is_after(until))?;
                left.is_refusal().then_some(Entered::Denied(verdict))
            }
        }
    }

    /// The line decides, and lends what those who come next can do without it.
    #[inline(never)]
    fn join(&mut self, entry: &Entry, caller: Caller<'_>) -> Entered {
        let mut line = entry.line();
        let entered = line.enter(caller);
        if let Entered::Denied(_) | Entered::Leased(_) = entered
            && let Some(loan) = line.lend()
        {
            entry.left().lend(&loan);
            match &mut self.0 {
                Some(before) => **before = loan,
                None => self.0 = Some(Box::new(loan)),
            }
        }
        entered
    }
}

#[inline]
fn spend(held: &Held, left: &Left, cost: u64, now: Timestamp) -> Option<Spent> {
    let time = held.time(now)?;
    let left = left.take(cost)?;
    Some(held.spent(left, time))
}

impl Left {
    fn lend(&self, loan: &Loan) {
        let left = match loan {
            Loan::Units(held) => held.left(),
            Loan::Refusal(_) => REFUSAL,
        };
        self.0.store(left, Ordering::Relaxed);
    }

    /// Takes `units` where there are as many, and says how many are left.
    #[inline]
    fn take(&self, units: u64) -> Option<u64> {
        // No other caller is here: if it changes meanwhile, all was taken back.
        let before = self.0.load(Ordering::Relaxed);
        let left = before.checked_sub(units).filter(|_| units > 0)?;
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        let taken = self.0.compare_exchange(before, left, success, failure);
        taken.is_ok().then_some(left)
    }

    #[inline]
    fn is_refusal(&self) -> bool {
        self.0.load(Ordering::Relaxed) == REFUSAL
    }

    /// Ends the loan, and says how many units are left of it.
    #[inline]
    pub(super) fn take_back(&self) -> u64 {
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
const REFUSAL: u64 = u64::MAX;
