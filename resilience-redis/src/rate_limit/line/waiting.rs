//! Callers who wait until there is room for them.
//!
//! Whom the server has no room for and who has time waits, in the order in which all came, and is
//! asked for once more when there is room by what the server said, or when it is worth a look. Whoever
//! comes meanwhile waits behind him, or hears at once that it would take too long: so nobody is
//! overtaken here, and no more wait than get their units in time if nobody else takes any.

use std::{collections::VecDeque, time::Duration};

use resilience_core::Timestamp;

use super::{
    Caller, Entered, Line,
    places::{Answer, Places, Turn},
    question::Aftermath,
};
use crate::rate_limit::quota::{Outlook, Window};

/// Those who wait, where somebody does, or is being asked for who did.
#[derive(Debug)]
pub(super) struct Waiters {
    queue: VecDeque<usize>,
    /// Units that those in the queue want, and those who are being asked for.
    units: u64,
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
    const fn new(outlook: Outlook) -> Self {
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

    /// A caller comes while others wait.
    pub(super) fn join(&mut self, places: &mut Places, caller: Caller<'_>) -> Entered {
        let Caller {
            cost, now, until, ..
        } = caller;
        let ahead = self.called + self.units;
        let verdict = self.outlook.verdict(ahead, cost, now);
        let is_late = !verdict.is_grant() && now.saturating_add(verdict.wait) > until;
        // A sum of units that has no place in a number is no wait that ends.
        if is_late || ahead.checked_add(cost).is_none() {
            return Entered::Denied(verdict.refusal());
        }
        let index = places.enter(caller);
        places.wait(index);
        self.queue.push_back(index);
        self.units += cost;
        self.ends = self.ends.min(until);
        // While the first are asked for, nobody need ring.
        let rings = self.alarm.is_some() && self.ring_at(until);
        Entered::Queued(index, rings.then_some(until))
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

    /// Somebody must ring at `time`. Says whether nobody would so far.
    fn ring_at(&mut self, time: Timestamp) -> bool {
        let is_first = self.alarm.is_none_or(|alarm| time < alarm);
        if is_first {
            self.alarm = Some(time);
        }
        is_first
    }
}

impl Line {
    /// Those at the front of those who wait come into line again, if it is their turn.
    pub(super) fn call(&mut self) {
        let Some(waiters) = &mut self.waiters else {
            return;
        };
        let Some(since) = waiters.calls.take() else {
            return;
        };
        // What came back to steps that are over must be heard of.
        self.windows.iter_mut().for_each(Window::doubt);
        let before = self.callers.len();
        while self.callers.len() - before < MOST_CALLED
            && let Some(index) = waiters.queue.pop_front()
        {
            let Some((cost, _)) = self.places.wanted(index) else {
                waiters.gone -= 1;
                continue;
            };
            waiters.units -= cost;
            waiters.called += cost;
            self.places.call(index, since);
            self.callers.push_back(index);
        }
    }

    /// The server was heard, and had no room for those who were `refused` and have time. `outlook` is
    /// what follows from what it said.
    pub(super) fn settle(
        &mut self,
        refused: &[usize],
        outlook: Outlook,
        heard: Timestamp,
        aftermath: &mut Aftermath,
    ) {
        let came = std::mem::take(&mut self.callers);
        let mut waiters = match self.waiters.take() {
            Some(waiters) => Waiters {
                outlook,
                ..*waiters
            },
            None => Waiters::new(outlook),
        };
        waiters.called = 0;
        let mut first = Vec::new();
        let mut ahead = 0;
        for &index in refused.iter().chain(&came) {
            let Some((cost, _)) = self.places.wanted(index) else {
                continue;
            };
            if cost == 0 {
                self.callers.push_back(index);
                continue;
            }
            let verdict = waiters.outlook.verdict(ahead, cost, heard);
            let due = heard.saturating_add(verdict.wait);
            let waits = cost <= waiters.outlook.most() && self.places.waits_on(index, due, heard);
            match u64::checked_add(ahead, cost).filter(|_| waits) {
                Some(sum) => {
                    ahead = sum;
                    first.push(index);
                }
                None => {
                    let answer = Answer::Denied(verdict.refusal());
                    self.places.answer(index, answer, aftermath);
                }
            }
        }
        // Those who wait stand for it: whoever comes hears how long that is.
        self.denial.forget();
        self.waiters = Some(Box::new(waiters));
        self.put_first(&first);
        self.serve_waiters(heard, aftermath);
        if let Some(waiters) = &mut self.waiters {
            waiters.looks = heard.saturating_add(waiters.outlook.pause());
        }
        // Who was refused this instant is not asked for again at once.
        self.arrange(heard, refused.is_empty(), aftermath);
    }

    /// Those who were asked for in vain wait again, before all others.
    pub(super) fn put_first(&mut self, indices: &[usize]) {
        let Some(waiters) = &mut self.waiters else {
            return;
        };
        for &index in indices.iter().rev() {
            let Some((cost, _)) = self.places.wanted(index) else {
                continue;
            };
            self.places.wait(index);
            waiters.units += cost;
            waiters.ends = waiters.ends.min(self.places.until(index));
            waiters.queue.push_front(index);
        }
    }

    /// Those who wait get what was taken ahead, as far as it goes.
    fn serve_waiters(&mut self, now: Timestamp, aftermath: &mut Aftermath) {
        let (Some(lease), Some(waiters)) = (&mut self.lease, &mut self.waiters) else {
            return;
        };
        while let Some(&index) = waiters.queue.front() {
            match self.places.wanted(index) {
                None => waiters.gone -= 1,
                Some((cost, _)) => {
                    let Some(spent) = lease.spend(cost, now) else {
                        return;
                    };
                    waiters.units -= cost;
                    self.places.answer(index, Answer::Leased(spent), aftermath);
                }
            }
            waiters.queue.pop_front();
        }
    }

    /// Sees to it that those who wait are asked for when it is time: at once, where there is room by
    /// what is known and they `may` be, or when somebody rings.
    pub(super) fn arrange(&mut self, now: Timestamp, may: bool, aftermath: &mut Aftermath) {
        self.send_away(now, aftermath);
        let Some(waiters) = &mut self.waiters else {
            return;
        };
        let cost = loop {
            let Some(&index) = waiters.queue.front() else {
                if waiters.called == 0 {
                    self.waiters = None;
                }
                return;
            };
            match self.places.wanted(index) {
                Some((cost, _)) => break cost,
                None => waiters.gone -= 1,
            }
            waiters.queue.pop_front();
        };
        // Somebody asks, and what is heard then counts.
        if waiters.called > 0 || waiters.calls.is_some() {
            return;
        }
        let wait = waiters.outlook.verdict(0, cost, now).wait;
        if may && wait.is_zero() {
            waiters.calls = Some(now);
            return;
        }
        waiters.due = now.saturating_add(wait.max(SOON));
        let time = waiters.due.min(waiters.looks).min(waiters.ends);
        if waiters.ring_at(time) {
            aftermath.alarm = Some(time);
        }
    }

    /// Those whose time is over hear that there was no room.
    fn send_away(&mut self, now: Timestamp, aftermath: &mut Aftermath) {
        let (places, waiters) = (&mut self.places, &mut self.waiters);
        let Some(waiters) = waiters
            .as_deref_mut()
            .filter(|it| now >= it.ends || it.outlook.is_ahead_of(now))
        else {
            return;
        };
        (waiters.units, waiters.gone, waiters.ends) = (0, 0, Timestamp::MAX);
        let Waiters {
            queue,
            units,
            called,
            outlook,
            ends,
            ..
        } = waiters;
        queue.retain(|&index| {
            let Some((cost, _)) = places.wanted(index) else {
                return false;
            };
            let waits = places.can_wait(index, now, now);
            if waits {
                *units += cost;
                *ends = places.until(index).min(*ends);
            } else {
                let verdict = outlook.verdict(*called + *units, cost, now);
                let answer = Answer::Denied(verdict.refusal());
                places.answer(index, answer, aftermath);
            }
            waits
        });
    }

    /// Somebody rings who was to do so at `time`. Says whether somebody must be sent to ask.
    pub(in crate::rate_limit) fn ring(
        &mut self,
        time: Timestamp,
        now: Timestamp,
        aftermath: &mut Aftermath,
    ) -> bool {
        let Some(waiters) = &mut self.waiters else {
            return false;
        };
        if waiters.alarm != Some(time) {
            return false;
        }
        waiters.alarm = None;
        // A clock that was set back must not keep them waiting.
        let is_early = time <= now && now < waiters.due.min(waiters.looks);
        if is_early {
            self.arrange(now, true, aftermath);
        } else {
            waiters.calls.get_or_insert(now);
        }
        self.schedule()
    }

    /// Those who wait are to be asked for, since there may be room now. Says whether somebody must be
    /// sent to ask.
    pub(in crate::rate_limit) fn recall(&mut self, now: Timestamp) -> bool {
        if let Some(waiters) = &mut self.waiters {
            waiters.calls.get_or_insert(now);
        }
        self.schedule()
    }

    /// All who were called went away before they were asked for: it is the turn of those behind them. Says
    /// whether that is now; else somebody rings.
    pub(in crate::rate_limit) fn pass_on(
        &mut self,
        now: Timestamp,
        aftermath: &mut Aftermath,
    ) -> bool {
        if let Some(waiters) = &mut self.waiters {
            waiters.called = 0;
        }
        self.arrange(now, true, aftermath);
        self.schedule()
    }

    /// Whether there is somebody to ask for, and nobody yet who is to ask.
    fn schedule(&mut self) -> bool {
        self.is_called() && !std::mem::replace(&mut self.scheduled, true)
    }

    /// Whether those who wait are to be asked for.
    pub(super) fn is_called(&self) -> bool {
        let waiters = self.waiters.as_ref();
        waiters.is_some_and(|it| it.calls.is_some())
    }

    /// Whether the question may ask for units ahead: not where somebody waits, or would then, who wants
    /// more than one unit, `largest`, or whom it leaves out.
    pub(super) fn may_ask_ahead(&self, largest: u64) -> bool {
        let asks_for_all = self.asked == self.callers.len();
        match &self.waiters {
            Some(waiters) => largest <= 1 && asks_for_all && waiters.is_empty(),
            None => largest == 0 || largest == 1 && asks_for_all,
        }
    }

    /// One who wanted `cost` went away from those who wait, and holds up nobody behind him. Says
    /// whether somebody must be sent to ask.
    pub(super) fn went_away(
        &mut self,
        (index, cost): (usize, u64),
        now: Timestamp,
        aftermath: &mut Aftermath,
    ) -> bool {
        let Some(waiters) = &mut self.waiters else {
            return false;
        };
        waiters.units -= cost;
        waiters.gone += 1;
        if waiters.queue.front() == Some(&index) {
            self.arrange(now, true, aftermath);
        } else if waiters.gone > waiters.queue.len() / 2 {
            let is_there = |index: &usize| self.places.wanted(*index).is_some();
            waiters.queue.retain(is_there);
            waiters.gone = 0;
        }
        self.schedule()
    }

    /// The question failed. Those who were asked for too `early` go on waiting, and with them those who
    /// came into line behind.
    pub(super) fn unsettle(&mut self, early: &[usize], now: Timestamp, aftermath: &mut Aftermath) {
        let Some(waiters) = &mut self.waiters else {
            return;
        };
        waiters.called = 0;
        waiters.looks = now.saturating_add(waiters.outlook.pause());
        let (places, mut behind) = (&self.places, Vec::new());
        self.callers.retain(|&index| {
            let waits = places.waiting(index, Turn::Called).is_some();
            behind.extend(waits.then_some(index));
            !waits
        });
        self.put_first(&behind);
        self.put_first(early);
        self.arrange(now, true, aftermath);
    }

    /// Nobody will ask any more for those who wait.
    pub(super) fn call_off(&mut self) {
        if let Some(waiters) = self.waiters.take() {
            self.callers.extend(waiters.queue);
        }
    }
}

/// Callers who are asked for at once. Where all of them had room the next ones are asked for.
const MOST_CALLED: usize = 1024;
/// Timers count in milliseconds.
const SOON: Duration = Duration::from_millis(1);
