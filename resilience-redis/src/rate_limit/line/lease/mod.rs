//! Units of one key that this process has taken ahead of its callers.
//!
//! A pure machine: time comes in. Where calls come in a row, a question asks for more than the
//! callers in line want, up to a cap, and those who come after them need no question.
//!
//! The server counts such units in the step in which they were taken, and they are used in that step
//! alone. Used later, one of them and all that the server allows once it counts the unit no more
//! could lie in one window. What time it is on the server is known to within the time that a
//! question takes, and what two clocks drift apart since; the latest that it can be is believed.

#[cfg(test)]
mod tests;

use std::time::Duration;

use resilience_core::Timestamp;

use crate::rate_limit::quota::Verdict;

/// What one process holds of one key.
#[derive(Debug, Default)]
pub(super) struct Lease {
    held: Option<Held>,
    /// Units in the question that is under way.
    asked: u64,
    /// Units that the last question asked for, as far as there was demand.
    appetite: u64,
    /// When a question was sent last, and when the one before.
    questions: [Option<Timestamp>; 2],
    /// Whether somebody looks after what is held.
    watched: bool,
}

/// Units, all of one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    left: u64,
    size: u64,
    term: Term,
    /// What whoever took the last unit of the question heard.
    verdict: Verdict,
}

/// When the units of a lease were taken, and when they must be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rate_limit) struct Term {
    /// When they were taken by the server's clock, in microseconds, and when that question was sent.
    pub(in crate::rate_limit) taken: u64,
    pub(super) sent: Timestamp,
    /// The end of the step by the server's clock.
    pub(in crate::rate_limit) end: u64,
}

/// Units that were used of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rate_limit) struct Spent {
    pub(in crate::rate_limit) verdict: Verdict,
    pub(in crate::rate_limit) term: Term,
    /// The latest that it can be on the server.
    pub(in crate::rate_limit) time: u64,
}

/// Units that nobody used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rate_limit) struct Unused {
    pub(in crate::rate_limit) units: u64,
    pub(in crate::rate_limit) taken: u64,
}

impl Lease {
    /// Uses `cost` units, where there are as many and it is not too late.
    pub(super) fn spend(&mut self, cost: u64, now: Timestamp) -> Option<Spent> {
        let held = self.held.as_mut()?;
        let time = held.time(now)?;
        held.left = held.left.checked_sub(cost).filter(|_| cost > 0)?;
        Some(held.spent(held.left, time))
    }

    /// Lends what is left, which is nothing from now on.
    pub(super) fn lend(&mut self) -> Option<Held> {
        let held = self.held.as_mut().filter(|held| held.left > 0)?;
        let lent = *held;
        held.left = 0;
        Some(lent)
    }

    /// Takes `units` back that were lent and not used.
    pub(super) fn take_back(&mut self, units: u64) {
        if let Some(held) = &mut self.held {
            held.left += units;
        }
    }

    /// Takes back what was spent of the lease until `end`, and says whether that is still there.
    pub(super) fn put_back(&mut self, units: u64, end: u64) -> bool {
        let Some(held) = self.held.as_mut().filter(|held| held.term.end == end) else {
            return false;
        };
        held.left += units;
        true
    }

    /// A question is about to be sent for callers who want `units`; says how many more it is to ask
    /// for, at most `cap`. Steps are `step` long.
    pub(super) fn ask(&mut self, units: u64, cap: u64, step: Duration, now: Timestamp) -> u64 {
        let last = self.questions[0];
        self.questions = [Some(now), last];
        let in_a_row = last.is_some_and(|last| now.saturating_since(last) < step && last <= now);
        self.appetite = match self.held {
            _ if !in_a_row => 0,
            // As many as were used while it lasted.
            Some(held) if held.left > 0 => held.size - held.left.min(held.size),
            Some(_) | None => self.appetite.saturating_mul(2).max(units),
        };
        self.asked = self.appetite.min(cap);
        self.asked
    }

    /// Units in the question that is under way.
    pub(super) const fn asked(&self) -> u64 {
        self.asked
    }

    /// The question under way was not looked at, and is sent once more.
    pub(super) const fn unask(&mut self) {
        self.asked = 0;
        self.questions[0] = self.questions[1];
    }

    /// Nobody heard an answer to the question under way. Gives what it had asked for.
    pub(super) const fn fail(&mut self) -> u64 {
        std::mem::replace(&mut self.asked, 0)
    }

    /// The server granted `units` of those asked for; `verdict` is of the last of them, and this is
    /// heard at `now`. Gives what nobody can use any more.
    pub(super) fn hold(
        &mut self,
        units: u64,
        term: Term,
        verdict: Verdict,
        now: Timestamp,
    ) -> Option<Unused> {
        self.asked = 0;
        let new = Held {
            left: units,
            size: units,
            term,
            verdict,
        };
        if units == 0 {
            return None;
        }
        // That nobody used them says nothing of how many are wanted.
        if new.time(now).is_none() {
            return new.unused();
        }
        let earlier = self.held.replace(new);
        match (earlier, &mut self.held) {
            (Some(held), Some(new)) if held.term.end == term.end => {
                new.left += held.left;
                new.size += held.left;
                None
            }
            (earlier, _) => earlier.and_then(Held::unused),
        }
    }

    /// Gives what nobody can use any more.
    pub(super) fn expire(&mut self, now: Timestamp) -> Option<Unused> {
        let held = self.held.filter(|held| held.term.time(now).is_none())?;
        self.appetite = held.size - held.left.min(held.size);
        self.held = None;
        held.unused()
    }

    /// Gives everything.
    pub(super) fn surrender(&mut self) -> Option<Unused> {
        self.held.take()?.unused()
    }

    pub(super) const fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether nobody looked after what is held so far; from now on somebody does, or not.
    pub(super) const fn watch(&mut self, watched: bool) -> bool {
        !std::mem::replace(&mut self.watched, watched)
    }
}

impl Held {
    /// The latest that it can be on the server, where the units can be used still.
    #[inline]
    pub(super) fn time(&self, now: Timestamp) -> Option<u64> {
        self.term.time(now)
    }

    /// What somebody hears who has used some at `time`, and left so many.
    #[inline]
    pub(super) fn spent(&self, left: u64, time: u64) -> Spent {
        let passed = Duration::from_micros(time - self.term.taken);
        let verdict = Verdict {
            remaining: self.verdict.remaining + left,
            next_back: self.verdict.next_back.saturating_sub(passed),
            ..self.verdict
        };
        Spent {
            verdict,
            term: self.term,
            time,
        }
    }

    pub(super) const fn left(&self) -> u64 {
        self.left
    }

    fn unused(self) -> Option<Unused> {
        (self.left > 0).then_some(Unused {
            units: self.left,
            taken: self.term.taken,
        })
    }
}

impl Term {
    /// The latest that it can be on the server at `now`; `None` where that is too late, or where our
    /// clock was set back, and with it the end moved away.
    #[inline]
    fn time(&self, now: Timestamp) -> Option<u64> {
        // The server read its clock after the question was sent, and it may run faster than ours.
        let passed = now.as_nanos().checked_sub(self.sent.as_nanos())?;
        let passed = passed.saturating_add(passed / DRIFT);
        let time = self.taken.checked_add(passed.div_ceil(1000))?;
        (time < self.end).then_some(time)
    }
}

/// By a thousandth: each of the two may be 500 ppm off, which is as much as NTP makes up for.
const DRIFT: u64 = 1000;
