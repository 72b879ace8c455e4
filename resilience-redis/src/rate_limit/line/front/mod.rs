//! What callers decide before they come to the line.
//!
//! A line has a lock of its own: those who stand in it, and those who ask the server for them, hold
//! on to it even when the table has forgotten the key. Who comes has the lock of the table already,
//! and should need no other to hear what is known: so the line lends what is left of a lease, or the
//! certainty that there is no room before a certain time. To take of it is one atomic operation,
//! and to be refused none. Whoever locks the line takes back before anything else what was lent, and
//! finds it as if it had been asked each time.

mod left;
#[cfg(all(test, resilience_loom))]
mod loom;
#[cfg(all(test, not(resilience_loom)))]
mod tests;

use resilience_core::Timestamp;

use self::left::REFUSAL;
use super::{
    Caller, Entered, Entry, Line,
    denial::Denied,
    lease::{Held, Spent},
};
use crate::rate_limit::quota::Verdict;

pub(super) use self::left::Left;

/// What the line of a key has lent, as those know it who have the lock of the table.
#[derive(Debug, Default)]
pub(in crate::rate_limit) struct Front(Option<Box<Loan>>);

/// What a line lends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loan {
    /// Units that were taken ahead.
    Units(Held),
    /// What the server refused.
    Refusal(Denied),
}

impl Front {
    /// A caller comes for `entry`.
    #[inline]
    pub(in crate::rate_limit) fn enter(&mut self, entry: &Entry, caller: Caller<'_>) -> Entered {
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

    /// What a caller for `entry` would hear who is surely refused, and need not ask all the same. Of units
    /// that were taken ahead it is not known before they are wanted.
    pub(in crate::rate_limit) fn denied(
        &mut self,
        entry: &Entry,
        cost: u64,
        now: Timestamp,
    ) -> Option<Verdict> {
        if !entry.left().is_lent() {
            let mut line = entry.line();
            let verdict = line.refusal(cost, now)?;
            self.borrow(entry, &mut line);
            return Some(verdict);
        }
        match self.0.as_deref()? {
            Loan::Units(_) => None,
            Loan::Refusal(denied) => denied.verdict_unasked(cost, now),
        }
    }

    /// The line decides, and lends what those who come next can do without it.
    #[inline(never)]
    fn join(&mut self, entry: &Entry, caller: Caller<'_>) -> Entered {
        let mut line = entry.line();
        let entered = line.enter(caller);
        if let Entered::Denied(_) | Entered::Leased(_) = entered {
            self.borrow(entry, &mut line);
        }
        entered
    }

    fn borrow(&mut self, entry: &Entry, line: &mut Line) {
        if let Some(loan) = line.lend() {
            entry.left().lend(loan.left());
            match &mut self.0 {
                Some(before) => **before = loan,
                None => self.0 = Some(Box::new(loan)),
            }
        }
    }
}

#[inline]
fn spend(held: &Held, left: &Left, cost: u64, now: Timestamp) -> Option<Spent> {
    let time = held.time(now)?;
    let left = left.take(cost)?;
    Some(held.spent(left, time))
}

impl Loan {
    /// How much there is to take of it, as it stands in [`Left`].
    const fn left(&self) -> u64 {
        match self {
            Self::Units(held) => held.left(),
            Self::Refusal(_) => REFUSAL,
        }
    }
}
