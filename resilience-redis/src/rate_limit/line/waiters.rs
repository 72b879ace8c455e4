//! Those of a line who wait until there is room for them, and when that is to be.

use std::{collections::VecDeque, time::Duration};

use resilience_core::Timestamp;

use super::{
    Caller, Entered,
    lease::Lease,
    places::{Answer, Places},
    question::Aftermath,
};
use crate::rate_limit::quota::Outlook;

/// Those who wait, where somebody does, or is being asked for who did.
#[derive(Debug)]
pub(super) struct Waiters {
    queue: VecDeque<usize>,
    /// Units that those in the queue want.
    units: u64,
    /// Units that those want who are in line before the queue, called out of it or let by, until the
    /// server is heard: who went away since counts as well.
    called: u64,
    /// How many in the queue went away.
    gone: usize,
    outlook: Outlook,
    /// When there is room for the first, and when to look whether there is already.
    due: Timestamp,
    looks: Timestamp,
    /// Nobody's time is over before.
    ends: Timestamp,
    /// When it was said that they be asked for, until they are.
    calls: Option<Timestamp>,
    /// When somebody will ring.
    alarm: Option<Timestamp>,
}

impl Waiters {
    pub(super) const fn new(outlook: Outlook) -> Self {
        Self {
            queue: VecDeque::new(),
            units: 0,
            called: 0,
            gone: 0,
            outlook,
            due: Timestamp::ZERO,
            looks: Timestamp::ZERO,
            ends: Timestamp::MAX,
            calls: None,
            alarm: None,
        }
    }

    /// A caller comes while others wait, or are being asked for who did. `None` where there is room for
    /// him as well, as far as is known, and nobody waits any more: he comes into line behind them.
    pub(super) fn join(&mut self, places: &mut Places, caller: Caller<'_>) -> Option<Entered> {
        let Caller {
            cost, now, until, ..
        } = caller;
        let ahead = self.called + self.units;
        let verdict = self.outlook.verdict(ahead, cost, now);
        let is_late = !verdict.is_grant() && now.saturating_add(verdict.wait) > until;
        // A sum of units that has no place in a number is no wait that ends.
        if is_late || ahead.checked_add(cost).is_none() {
            return Some(Entered::Denied(verdict.refusal()));
        }
        if self.queue.is_empty() && verdict.is_grant() {
            self.let_by(cost);
            return None;
        }
        let index = places.enter(caller);
        // He is here, and asks next.
        drop(places.wait(index));
        self.queue.push_back(index);
        self.units += cost;
        self.ends = self.ends.min(until);
        // While the first are asked for, nobody need ring.
        let rings = self.alarm.is_some() && self.ring_at(until);
        Some(Entered::Queued(index, rings.then_some(until)))
    }

    /// One who wants `cost` is in line before them.
    pub(super) const fn let_by(&mut self, cost: u64) {
        self.called += cost;
    }

    /// Whether somebody is in line before them.
    pub(super) const fn are_behind(&self) -> bool {
        self.called > 0
    }

    /// The server gives no decision about one who waited and wants `cost`. Says whether he need not
    /// wait any longer, since there was to be room by now; what he wants is then his, as far as is known.
    pub(super) fn give_up(&mut self, cost: u64, now: Timestamp) -> bool {
        let gives_up = self.outlook.verdict(0, cost, now).is_grant();
        if gives_up {
            self.outlook.assume(cost);
        }
        gives_up
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) const fn outlook(&self) -> &Outlook {
        &self.outlook
    }

    /// Nobody is being asked for any more, and `outlook` is what follows from what the server said.
    pub(super) fn learn(&mut self, outlook: Outlook) {
        self.outlook = outlook;
        self.called = 0;
    }

    /// Nobody is being asked for any more, and nothing was heard.
    pub(super) const fn learn_nothing(&mut self) {
        self.called = 0;
    }

    /// It is not worth a look before a pause from `now` on.
    pub(super) fn pause(&mut self, now: Timestamp) {
        self.looks = now.saturating_add(self.outlook.pause());
    }

    /// They are to be asked for, unless they are already.
    pub(super) fn call(&mut self, now: Timestamp) {
        self.calls.get_or_insert(now);
    }

    pub(super) const fn are_called(&self) -> bool {
        self.calls.is_some()
    }

    /// Since when they are to be asked for, where they are: from now on somebody does.
    pub(super) const fn answer_call(&mut self) -> Option<Timestamp> {
        self.calls.take()
    }

    /// The next one of them is being asked for, since `since`.
    pub(super) fn next(&mut self, places: &mut Places, since: Timestamp) -> Option<usize> {
        let cost = self.first(places)?;
        let index = self.queue.pop_front()?;
        self.units -= cost;
        self.called += cost;
        places.call(index, since);
        Some(index)
    }

    /// Those who were asked for in vain wait again, before all others.
    pub(super) fn put_first(
        &mut self,
        places: &mut Places,
        indices: &[usize],
        aftermath: &mut Aftermath,
    ) {
        for &index in indices.iter().rev() {
            let Some((cost, _)) = places.wanted(index) else {
                continue;
            };
            aftermath.wakers.extend(places.wait(index));
            self.units += cost;
            self.ends = self.ends.min(places.until(index));
            self.queue.push_front(index);
        }
    }

    /// They get what was taken ahead, as far as it goes.
    pub(super) fn serve(
        &mut self,
        places: &mut Places,
        lease: &mut Lease,
        now: Timestamp,
        aftermath: &mut Aftermath,
    ) {
        // Nobody overtakes those in line.
        while !self.are_behind()
            && let Some(cost) = self.first(places)
            && let Some(spent) = lease.spend(cost, now)
        {
            self.units -= cost;
            let index = self.queue.pop_front().expect("the first");
            places.answer(index, Answer::Leased(spent), aftermath);
        }
    }

    /// Sees to it that they are asked for when it is time: at once, where there is room by what is
    /// known and they `may` be, or when somebody rings. Says whether there is anybody.
    pub(super) fn arrange(
        &mut self,
        places: &mut Places,
        now: Timestamp,
        may: bool,
        aftermath: &mut Aftermath,
    ) -> bool {
        self.send_away(places, now, aftermath);
        let Some(cost) = self.first(places) else {
            return self.called > 0;
        };
        // Somebody asks, and what is heard then counts.
        if self.called > 0 || self.are_called() {
            return true;
        }
        let wait = self.outlook.verdict(0, cost, now).wait;
        if may && wait.is_zero() {
            self.calls = Some(now);
            return true;
        }
        self.due = now.saturating_add(wait.max(SOON));
        let time = self.due.min(self.looks).min(self.ends);
        if self.ring_at(time) {
            aftermath.alarm = Some(time);
        }
        true
    }

    /// What the first of them wants, where one is there still.
    fn first(&mut self, places: &mut Places) -> Option<u64> {
        while let Some(&index) = self.queue.front() {
            if let Some((cost, _)) = places.wanted(index) {
                return Some(cost);
            }
            self.gone -= 1;
            self.queue.pop_front();
        }
        None
    }

    /// Those whose time is over hear that there was no room.
    fn send_away(&mut self, places: &mut Places, now: Timestamp, aftermath: &mut Aftermath) {
        if now < self.ends && !self.outlook.is_ahead_of(now) {
            return;
        }
        (self.units, self.gone, self.ends) = (0, 0, Timestamp::MAX);
        let Self {
            queue,
            units,
            called,
            outlook,
            ends,
            ..
        } = self;
        queue.retain(|&index| {
            let Some((cost, _)) = places.wanted(index) else {
                return false;
            };
            let verdict = outlook.verdict(*called + *units, cost, now);
            let has_time = places.can_wait(index, now, now);
            // For whom there is room by now is asked for first.
            let waits = has_time || verdict.is_grant();
            if waits {
                *units += cost;
            } else {
                let answer = Answer::Denied(verdict.refusal());
                places.answer(index, answer, aftermath);
            }
            if has_time {
                *ends = places.until(index).min(*ends);
            }
            waits
        });
    }

    /// One who wanted `cost` goes away, and holds up nobody behind him. Says whether he was the first.
    pub(super) fn leave(&mut self, places: &mut Places, (index, cost): (usize, u64)) -> bool {
        self.units -= cost;
        self.gone += 1;
        let was_first = self.queue.front() == Some(&index);
        if !was_first && self.gone > self.queue.len() / 2 {
            self.queue.retain(|index| places.wanted(*index).is_some());
            self.gone = 0;
        }
        was_first
    }

    /// Somebody rings who was to do so at `time`. Says whether it was the last who was to.
    pub(super) fn ring(&mut self, time: Timestamp) -> bool {
        let is_last = self.alarm == Some(time);
        if is_last {
            self.alarm = None;
        }
        is_last
    }

    /// Whether who rings `now`, and was to at `time`, came too early for a look.
    pub(super) fn is_early(&self, time: Timestamp, now: Timestamp) -> bool {
        // A clock that was set back must not keep them waiting.
        time <= now && now < self.due.min(self.looks)
    }

    /// Somebody must ring at `time`. Says whether nobody would so far.
    fn ring_at(&mut self, time: Timestamp) -> bool {
        let is_first = self.alarm.is_none_or(|alarm| time < alarm);
        if is_first {
            self.alarm = Some(time);
        }
        is_first
    }

    /// All of them, in their order.
    pub(super) fn into_queue(self) -> VecDeque<usize> {
        self.queue
    }
}

/// Timers count in milliseconds.
const SOON: Duration = Duration::from_millis(1);
