//! Those who wait for a word about one key, and what is known of it meanwhile.
//!
//! A pure machine: time comes in, wakers and answers go out. Callers stand in line in the order in
//! which they came. All of them are asked for together, by somebody who outlives each of them; who
//! goes away first is skipped, or what was granted to him comes back.

mod ahead;
mod answers;
mod asking;
mod denial;
mod entry;
mod front;
mod lease;
mod places;
mod question;
#[cfg(test)]
mod tests;
mod waiters;
mod waiting;

use std::task::Waker;

use resilience_core::Timestamp;
use smallvec::SmallVec;

use self::{
    denial::Denial,
    lease::Lease,
    places::{Places, Turn},
    waiters::Waiters,
};
use crate::rate_limit::quota::{LastWord, Own, Rule, Verdict, Window, Windows};

pub(super) use self::{
    asking::Asked,
    entry::Entry,
    front::Front,
    lease::{Spent, Unused},
    places::Answer,
    question::{Aftermath, Leasing, Question},
};

/// The callers of one key.
#[derive(Debug)]
pub(super) struct Line {
    places: Places,
    /// Places of all who are in line, in this order, but for those who wait until there is room.
    callers: SmallVec<[usize; 2]>,
    /// How many of them, the first, are being asked for.
    asked: usize,
    /// Whether somebody is to ask, or asks.
    scheduled: bool,
    /// One for each rule; those of rules that are no windows stay empty.
    windows: Windows,
    /// Whether what is known of the past became doubtful while somebody asks.
    doubtful: bool,
    denial: Denial,
    /// Where units may be taken ahead, what was.
    lease: Option<Box<Lease>>,
    /// Where somebody waits until there is room, all who do.
    waiters: Option<Box<Waiters>>,
    /// Units that were allowed here without the server.
    own: Own,
    last_word: LastWord,
    /// When the server decided something last.
    heard: Timestamp,
}

/// One who comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller<'a> {
    /// Units that he wants.
    pub(super) cost: u64,
    pub(super) now: Timestamp,
    /// Until when he waits where there is no room; the same where he does not.
    pub(super) until: Timestamp,
    /// Who is woken when there is an answer, as far as that is known by now.
    pub(super) waker: Option<&'a Waker>,
}

/// How a caller found the line.
#[derive(Debug, PartialEq)]
pub(super) enum Entered {
    /// There is no room before a time that is known; the wait is in the verdict.
    Denied(Verdict),
    /// Has what it wants, out of units that were taken ahead.
    Leased(Spent),
    /// Stands at this place.
    Waits(usize),
    /// Stands at this place, and somebody must be sent to ask.
    First(usize),
    /// Waits at this place behind others until there is room; at this time, where there is one,
    /// somebody must ring.
    Queued(usize, Option<Timestamp>),
}

impl Line {
    pub(super) fn new(rules: &[Rule], leases: bool) -> Self {
        Self {
            places: Places::default(),
            callers: SmallVec::new(),
            asked: 0,
            scheduled: false,
            windows: Windows::new(rules.len()),
            doubtful: false,
            denial: Denial::default(),
            lease: leases.then(Box::default),
            waiters: None,
            own: Own::default(),
            last_word: LastWord::new(rules),
            heard: Timestamp::ZERO,
        }
    }

    /// What the server said last was used of each quota, as far as that counts at `now`; `None` where
    /// it has said nothing since this was last asked.
    pub(super) fn last_word(&mut self, rules: &[Rule], now: Timestamp) -> Option<Vec<u64>> {
        self.last_word.tell(rules, &self.windows, now)
    }

    /// Units were allowed here without the server.
    pub(super) fn allowed(&mut self, own: Own) {
        self.own = self.own.and(own);
    }

    pub(super) const fn own(&self) -> Own {
        self.own
    }

    /// A caller comes.
    pub(super) fn enter(&mut self, caller: Caller<'_>) -> Entered {
        let Caller {
            cost, now, until, ..
        } = caller;
        if cost > 0
            && let Some(waiters) = &mut self.waiters
            && let Some(entered) = waiters.join(&mut self.places, caller)
        {
            return entered;
        }
        // Nobody overtakes those in line.
        if let Some(lease) = &mut self.lease
            && !self.scheduled
            && let Some(spent) = lease.spend(cost, now)
        {
            return Entered::Leased(spent);
        }
        if let Some(verdict) = self.denial.verdict(cost, now)
            && now.saturating_add(verdict.wait) > until
        {
            return Entered::Denied(verdict);
        }
        let index = self.places.enter(caller);
        self.callers.push(index);
        if std::mem::replace(&mut self.scheduled, true) {
            Entered::Waits(index)
        } else {
            Entered::First(index)
        }
    }

    /// What is known of a call that wants `cost`, where it has no room.
    pub(super) fn denied(&mut self, cost: u64, now: Timestamp) -> Option<Verdict> {
        self.denial.known(cost, now)
    }

    /// What a call would hear that wants `cost`, where it has no room and nobody is to ask all the same.
    pub(super) fn refusal(&self, cost: u64, now: Timestamp) -> Option<Verdict> {
        let denied = self.denial.lend()?;
        denied.verdict_unasked(cost, now)
    }

    /// The caller at `index` asks for the answer; `waker` is woken when it is there.
    pub(super) fn poll(&mut self, index: usize, waker: &Waker) -> Option<Answer> {
        let answer = self.places.poll(index, waker);
        if answer.is_some() {
            self.rest();
        }
        answer
    }

    /// The caller at `index` goes away. What was granted to him meanwhile must be given back. Says
    /// whether somebody must be sent to ask.
    pub(super) fn leave(
        &mut self,
        index: usize,
        now: Timestamp,
        aftermath: &mut Aftermath,
    ) -> bool {
        let waited = self.places.waiting(index, Turn::Waits);
        aftermath.orphans.extend(self.places.leave(index));
        waited.is_some_and(|cost| self.went_away((index, cost), now, aftermath))
    }

    /// Something changed that the server said: units came back, or a limit is another.
    pub(super) fn doubt(&mut self) {
        self.denial.forget();
        if self.asked == 0 {
            self.windows.iter_mut().for_each(Window::doubt);
        } else {
            self.doubtful = true;
        }
    }

    /// Nothing is used any more: what the server said last is so no more, nor what was allowed here.
    pub(super) fn forget(&mut self) {
        self.doubt();
        self.last_word.forget();
        self.own = Own::default();
    }

    /// Whether somebody is served here, or held back by `now`.
    pub(super) fn is_busy(&self, now: Timestamp) -> bool {
        let holds_back = self.denial.holds(now) || self.own.counts(now);
        self.scheduled || !self.places.are_free() || holds_back
    }
}
