//! Callers who wait until there is room for them.
//!
//! Whom the server has no room for and who has time waits, in the order in which all came, and is
//! asked for once more when there is room by what the server said, or when it is worth a look. Whoever
//! comes meanwhile waits behind him, or hears at once that it would take too long: so nobody is
//! overtaken here, and no more wait than get their units in time if nobody else takes any.

use resilience_core::Timestamp;

use super::{
    Line,
    answers::Left,
    places::{Answer, Turn},
    question::Aftermath,
    waiters::Waiters,
};
use crate::rate_limit::quota::{Outlook, Window};

impl Line {
    /// Those at the front of those who wait come into line again, if it is their turn.
    pub(super) fn call(&mut self) {
        let Some(waiters) = &mut self.waiters else {
            return;
        };
        let Some(since) = waiters.answer_call() else {
            return;
        };
        // What came back to steps that are over must be heard of.
        self.windows.iter_mut().for_each(Window::doubt);
        let before = self.callers.len();
        while self.callers.len() - before < MOST_CALLED
            && let Some(index) = waiters.next(&mut self.places, since)
        {
            self.callers.push(index);
        }
    }

    /// The server was heard, and `left` those who had no room and have time, and whom they held up.
    /// `outlook` is what follows from what it said, where part of that is `from_memory` with units that
    /// may be back.
    pub(super) fn settle(
        &mut self,
        left: &[Left],
        (outlook, from_memory): (Outlook, bool),
        heard: Timestamp,
        aftermath: &mut Aftermath,
    ) {
        let mut waiters = match self.waiters.take() {
            Some(mut waiters) => {
                waiters.learn(outlook);
                waiters
            }
            None => Box::new(Waiters::new(outlook)),
        };
        let first = self.sort_out(left, &mut waiters, heard, aftermath);
        // Those who wait stand for it: whoever comes hears how long that is.
        self.denial.forget();
        waiters.put_first(&mut self.places, &first, aftermath);
        if let Some(lease) = &mut self.lease {
            waiters.serve(&mut self.places, lease, heard, aftermath);
        }
        if !from_memory {
            waiters.pause(heard);
        }
        self.waiters = Some(waiters);
        // Who was refused this instant is not asked for again at once.
        let may = !left.iter().any(|it| it.is_refused);
        self.arrange(heard, may, aftermath);
    }

    /// Of those who were `left`, and who came into line meanwhile, gives those who wait. Who was not refused
    /// stays in line where there is room for him by now; those who would have to wait for too long hear so.
    fn sort_out(
        &mut self,
        left: &[Left],
        waiters: &mut Waiters,
        heard: Timestamp,
        aftermath: &mut Aftermath,
    ) -> Vec<usize> {
        let left = left.iter().map(|it| (it.index, !it.is_refused));
        let came = std::mem::take(&mut self.callers).into_iter();
        let came = came.map(|index| (index, true));
        let (mut first, mut ahead) = (Vec::new(), 0);
        for (index, stays) in left.chain(came) {
            let Some((cost, _)) = self.places.wanted(index) else {
                continue;
            };
            let verdict = waiters.outlook().verdict(ahead, cost, heard);
            let due = heard.saturating_add(verdict.wait);
            let fits = cost <= waiters.outlook().most();
            match u64::checked_add(ahead, cost) {
                _ if cost == 0 => self.callers.push(index),
                // Nobody waits before him.
                Some(sum) if stays && first.is_empty() && verdict.is_grant() => {
                    ahead = sum;
                    waiters.let_by(cost);
                    self.callers.push(index);
                }
                Some(sum) if fits && self.places.waits_on(index, due, heard) => {
                    ahead = sum;
                    first.push(index);
                }
                _ => {
                    let answer = Answer::Denied(verdict.refusal());
                    self.places.answer(index, answer, aftermath);
                }
            }
        }
        first
    }

    /// Those who wait get what there is of units that were taken ahead. Says whether somebody must be
    /// sent to ask.
    pub(in crate::rate_limit) fn serve(
        &mut self,
        now: Timestamp,
        aftermath: &mut Aftermath,
    ) -> bool {
        if let (Some(waiters), Some(lease)) = (&mut self.waiters, &mut self.lease) {
            waiters.serve(&mut self.places, lease, now, aftermath);
            self.arrange(now, true, aftermath);
        }
        self.schedule()
    }

    /// Sees to it that those who wait are asked for when it is time: at once, where there is room by
    /// what is known and they `may` be, or when somebody rings.
    pub(super) fn arrange(&mut self, now: Timestamp, may: bool, aftermath: &mut Aftermath) {
        let places = &mut self.places;
        let is_over = |it: &mut Box<Waiters>| !it.arrange(places, now, may, aftermath);
        self.waiters.take_if(is_over);
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
        if !waiters.ring(time) {
            return false;
        }
        if waiters.is_early(time, now) {
            self.arrange(now, true, aftermath);
        } else {
            waiters.call(now);
        }
        self.schedule()
    }

    /// Those who wait are to be asked for, since there may be room now. Says whether somebody must be
    /// sent to ask.
    pub(in crate::rate_limit) fn recall(&mut self, now: Timestamp) -> bool {
        if let Some(waiters) = &mut self.waiters {
            waiters.call(now);
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
            waiters.learn_nothing();
        }
        self.arrange(now, true, aftermath);
        self.schedule()
    }

    /// Whether the caller at `index` waits until there is room, or did so.
    pub(in crate::rate_limit) fn waits(&self, index: usize) -> bool {
        self.places.waits(index)
    }

    /// Callers who wait until there is room, those included who are being asked for again.
    pub(super) fn waiting(&self) -> usize {
        let waiters = self.waiters.as_ref();
        waiters.map_or(0, |_| self.places.count_waiting())
    }

    /// Whether there is somebody to ask for, and nobody yet who is to ask.
    fn schedule(&mut self) -> bool {
        self.is_called() && !std::mem::replace(&mut self.scheduled, true)
    }

    /// Whether those who wait are to be asked for.
    pub(super) fn is_called(&self) -> bool {
        let waiters = self.waiters.as_ref();
        waiters.is_some_and(|it| it.are_called())
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

    /// A `caller`, with what he wanted, went away from those who wait, and holds up nobody behind him.
    /// Says whether somebody must be sent to ask.
    pub(super) fn went_away(
        &mut self,
        caller: (usize, u64),
        now: Timestamp,
        aftermath: &mut Aftermath,
    ) -> bool {
        let Some(waiters) = &mut self.waiters else {
            return false;
        };
        if waiters.leave(&mut self.places, caller) {
            self.arrange(now, true, aftermath);
        }
        self.schedule()
    }

    /// The question failed. Those who were asked for too `early` go on waiting, and with them those who
    /// came into line behind.
    pub(super) fn unsettle(&mut self, early: &[usize], now: Timestamp, aftermath: &mut Aftermath) {
        let Some(waiters) = &mut self.waiters else {
            return;
        };
        waiters.learn_nothing();
        waiters.pause(now);
        let (places, mut behind) = (&self.places, Vec::new());
        self.callers.retain(|&mut index| {
            let waits = places.waiting(index, Turn::Called).is_some();
            behind.extend(waits.then_some(index));
            !waits
        });
        waiters.put_first(&mut self.places, &behind, aftermath);
        waiters.put_first(&mut self.places, early, aftermath);
        self.arrange(now, true, aftermath);
    }

    /// Nobody will ask any more for those who wait.
    pub(super) fn call_off(&mut self) {
        if let Some(waiters) = self.waiters.take() {
            self.callers.extend(waiters.into_queue());
        }
    }
}

/// Callers who are asked for at once. Where all of them had room the next ones are asked for.
const MOST_CALLED: usize = 1024;
