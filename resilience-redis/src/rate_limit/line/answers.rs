//! What a line hears about those whom it asked for.

use resilience_core::Timestamp;

use super::{
    Line,
    places::{Answer, Turn},
    question::{Aftermath, Question},
};
use crate::{
    StoreError,
    rate_limit::quota::{Before, Kind, Outlook, PAST, Reading, Rule, Window, verdicts},
};

impl Line {
    /// Who was asked for waits on: nothing was heard, and nothing done.
    pub(in crate::rate_limit) fn unask(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.unask();
        }
        self.asked = 0;
    }

    /// There was no room for all who were asked for together, as far as the past is remembered: they
    /// are asked for once more, one by one, of all that was just read.
    pub(in crate::rate_limit) fn ask_again(&mut self) {
        self.unask();
        self.doubt();
    }

    /// Those who were asked for hear that the server gives no decision, unless they were to wait for a
    /// while yet. Says whether there is more to ask.
    pub(in crate::rate_limit) fn fail(
        &mut self,
        error: &StoreError,
        now: Timestamp,
        aftermath: &mut Aftermath,
    ) -> bool {
        if let Some(lease) = &mut self.lease {
            let ahead = lease.fail();
            aftermath.ahead.lost += if error.may_have_run() { ahead } else { 0 };
        }
        let mut early = Vec::new();
        for index in self.callers.drain(..std::mem::take(&mut self.asked)) {
            let waited = self.places.waiting(index, Turn::Called);
            if let (Some(cost), Some(waiters)) = (waited, &mut self.waiters)
                && !waiters.give_up(cost, now)
            {
                early.push(index);
                continue;
            }
            let answer = Answer::Failed(error.clone());
            self.places.answer(index, answer, aftermath);
        }
        self.unsettle(&early, now, aftermath);
        self.goes_on()
    }

    /// Nobody will ask for those who are in line, who hear of `error`.
    pub(in crate::rate_limit) fn abandon(
        &mut self,
        error: &StoreError,
        now: Timestamp,
        aftermath: &mut Aftermath,
    ) {
        self.call_off();
        self.asked = self.callers.len();
        self.fail(error, now, aftermath);
    }

    /// The server answered `question`, which was sent at `sent`, at the time `now` by its clock, and
    /// `told` what stood in each quota; it is heard at `heard`. Says whether there is more to ask.
    pub(in crate::rate_limit) fn hear(
        &mut self,
        rules: &[Rule],
        question: Question<'_>,
        told: &[Reading<'_>],
        (sent, heard, now): (Timestamp, Timestamp, u64),
        aftermath: &mut Aftermath,
    ) -> bool {
        // Nearly all policies have one quota, and need no list.
        let (one, several);
        let before = match (told, &self.windows[..], rules) {
            ([told], [window], [rule]) => {
                one = [told.learned(*window, rule.step(now))];
                &one[..]
            }
            _ => {
                let told = told.iter().zip(&self.windows[..]).zip(rules);
                several = told
                    .map(|((told, window), rule)| told.learned(*window, rule.step(now)))
                    .collect::<Vec<_>>();
                &several
            }
        };
        let asked = std::mem::take(&mut self.asked);
        let mut callers = self.callers.drain(..asked);
        let (mut again, mut refused) = (Vec::new(), Vec::new());
        // The past that was remembered may hold units that were given back since: a refusal is
        // told only when all of it was just read.
        let from_memory = question
            .past
            .iter()
            .zip(rules)
            .any(|(past, rule)| matches!(rule.kind, Kind::Window { .. }) && past.asked < PAST);
        let ahead = self.lease.as_ref().map_or(0, |lease| lease.asked());
        let runs = question.runs.iter().copied();
        let runs = runs.take(question.runs.len() - usize::from(ahead > 0));
        let mut taken = verdicts(rules, before, runs, now, |cost, verdict| {
            let Some(index) = callers.next() else { return };
            if !verdict.is_grant() {
                if from_memory {
                    return again.push(index);
                }
                if self
                    .places
                    .waits_on(index, sent.saturating_add(verdict.wait), heard)
                {
                    return refused.push(index);
                }
                let pause = rules[verdict.rule].pause();
                self.denial.note(cost, verdict, sent, pause);
            } else if cost > 0 {
                self.denial.granted(cost);
            }
            let answer = Answer::Decided(verdict, now);
            self.places.answer(index, answer, aftermath);
        });
        drop(callers);
        if ahead > 0 {
            taken += self.hear_ahead(rules, (before, taken), (sent, now), &mut aftermath.ahead);
        }
        if taken > 0 {
            self.denial.took();
        }
        for (known, before) in self.windows.iter_mut().zip(before) {
            if let Before::Window(window) = before {
                *known = window.with(taken);
            }
        }
        self.last_word.hear(rules, (before, taken), (sent, now));
        if !refused.is_empty() || self.waiters.is_some() {
            let outlook = Outlook::new(rules, (before, taken), (sent, now));
            self.settle(&refused, outlook, heard, aftermath);
        }
        let doubtful = std::mem::take(&mut self.doubtful);
        if doubtful {
            self.denial.forget();
        }
        if doubtful || !again.is_empty() {
            self.windows.iter_mut().for_each(Window::doubt);
        }
        for index in again.into_iter().rev() {
            self.callers.push_front(index);
        }
        self.serve_ahead(heard, aftermath);
        self.goes_on()
    }

    /// Whether somebody waits who must be asked for; where nobody does, nobody is to ask.
    fn goes_on(&mut self) -> bool {
        self.scheduled = !self.callers.is_empty() || self.is_called();
        self.rest();
        self.scheduled
    }

    /// Gives memory back that many callers needed, where there is none.
    pub(super) fn rest(&mut self) {
        if self.places.are_free() {
            self.callers.shrink_to(IDLE_CALLERS);
        }
    }
}

/// Callers for whom there is memory where nobody waits: as many as the first one takes it for.
const IDLE_CALLERS: usize = 4;
