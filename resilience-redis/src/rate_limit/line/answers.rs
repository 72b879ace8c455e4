//! What a line hears about those whom it asked for.

use resilience_core::Timestamp;

use super::{
    Line,
    denial::Denial,
    places::{Answer, Places, Turn},
    question::{Aftermath, Question},
};
use crate::{
    StoreError,
    rate_limit::quota::{Before, Outlook, Reading, Rule, Verdict, Window, verdicts},
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
    /// while yet, or have time for one more question. Says whether there is more to ask.
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
        let (mut early, mut again) = (Vec::new(), Vec::new());
        for index in self.callers.drain(..std::mem::take(&mut self.asked)) {
            let waited = self.places.waiting(index, Turn::Called);
            if let (Some(cost), Some(waiters)) = (waited, &mut self.waiters)
                && !waiters.give_up(cost, now)
            {
                early.push(index);
                continue;
            }
            // An answer that is late says little of the server: it may be this process that is.
            if matches!(error, StoreError::Timeout(_)) && self.places.spare(index, now) {
                let waits = if early.is_empty() {
                    &mut again
                } else {
                    &mut early
                };
                waits.push(index);
                continue;
            }
            let answer = Answer::Failed(error.clone());
            self.places.answer(index, answer, aftermath);
        }
        self.callers.insert_many(0, again);
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
        let mut hearing = Hearing {
            rules,
            times: (sent, heard, now),
            from_memory: question.is_from_memory(rules),
            again: Vec::new(),
            left: Vec::new(),
        };
        let taken = self.tell_callers(&mut hearing, question, before, aftermath);
        let ahead = &mut aftermath.ahead;
        let taken = taken + self.hear_ahead(rules, (before, taken), (sent, heard, now), ahead);
        self.remember(rules, (before, taken), (sent, now));
        self.heard = heard;
        let Hearing {
            again,
            left,
            from_memory,
            ..
        } = hearing;
        if left.iter().any(|it| it.is_refused) || self.waiters.is_some() {
            let outlook = Outlook::new(rules, (before, taken), (sent, now));
            // Where nobody waits behind those who are asked for again nothing is left of the queue; should
            // they be refused once more, they are the first of another.
            self.settle(&left, (outlook, from_memory), heard, aftermath);
        } else {
            // Nobody before them waits after all.
            self.callers.insert_many(0, left.iter().map(|it| it.index));
        }
        self.resolve_doubts(!again.is_empty());
        self.callers.insert_many(0, again);
        self.serve_ahead(heard, aftermath);
        let waiters = self.waiters.as_ref();
        if self.callers.is_empty() && waiters.is_some_and(|it| it.are_behind()) {
            // Those who were before them have what was taken ahead.
            self.pass_on(heard, aftermath);
        }
        self.goes_on()
    }

    /// Those who were asked for hear what became of them, as far as that is for sure. Gives what they
    /// took.
    #[inline]
    fn tell_callers(
        &mut self,
        hearing: &mut Hearing<'_>,
        question: Question<'_>,
        before: &[Before<'_>],
        aftermath: &mut Aftermath,
    ) -> u64 {
        let Self {
            callers,
            places,
            denial,
            ..
        } = self;
        let mut callers = callers.drain(..std::mem::take(&mut self.asked));
        let is_ahead = self.lease.as_ref().is_some_and(|lease| lease.asked() > 0);
        let runs = question.runs.iter().copied();
        let runs = runs.take(question.runs.len() - usize::from(is_ahead));
        let (_, _, now) = hearing.times;
        verdicts(hearing.rules, before, runs, now, |cost, verdict| {
            let Some(index) = callers.next() else { return };
            let Some(verdict) = verdict else {
                return hearing.hold_up(index);
            };
            if verdict.is_grant() {
                denial.granted(cost);
            } else if !hearing.is_final(places, denial, (index, cost), verdict) {
                return;
            }
            places.answer(index, Answer::Decided(verdict, now), aftermath);
        })
    }

    /// What is known from now on, since callers and a lease `took` of what stood `before`.
    #[inline]
    fn remember(
        &mut self,
        rules: &[Rule],
        (before, took): (&[Before<'_>], u64),
        times: (Timestamp, u64),
    ) {
        if took > 0 {
            self.denial.took();
        }
        for (known, before) in self.windows.iter_mut().zip(before) {
            if let Before::Window(window) = before {
                *known = window.with(took);
            }
        }
        self.last_word.hear(rules, (before, took), times);
    }

    /// Nothing is left of what became doubtful while somebody asked, nor of the past where it was
    /// `found` to be so.
    fn resolve_doubts(&mut self, found: bool) {
        let doubtful = std::mem::take(&mut self.doubtful);
        if doubtful {
            self.denial.forget();
        }
        if doubtful || found {
            self.windows.iter_mut().for_each(Window::doubt);
        }
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
            self.callers.shrink_to_fit();
        }
    }
}

/// An answer, while those who were asked for hear of it.
struct Hearing<'a> {
    rules: &'a [Rule],
    /// When the question was sent and the answer heard, and in between the time on the server.
    times: (Timestamp, Timestamp, u64),
    /// Whether the past that was remembered played a part, which may hold units that were given back
    /// since.
    from_memory: bool,
    /// Who must be asked for again at once.
    again: Vec<usize>,
    left: Vec<Left>,
}

/// One who is not told yet: who had no room and has time, or was held up by one before him.
#[derive(Clone, Copy)]
pub(super) struct Left {
    pub(super) index: usize,
    pub(super) is_refused: bool,
}

impl Hearing<'_> {
    /// Notes that nothing was decided about the caller at `index`.
    fn hold_up(&mut self, index: usize) {
        if self.from_memory {
            self.again.push(index);
        } else {
            self.left.push(Left {
                index,
                is_refused: false,
            });
        }
    }

    /// Notes the refusal of the caller at `index`, who wanted `cost`. Says whether he hears of it now.
    fn is_final(
        &mut self,
        places: &mut Places,
        denial: &mut Denial,
        (index, cost): (usize, u64),
        verdict: Verdict,
    ) -> bool {
        let (sent, heard, _) = self.times;
        // A refusal is told only when all of the past was just read.
        if self.from_memory {
            self.again.push(index);
            return false;
        }
        if places.waits_on(index, sent.saturating_add(verdict.wait), heard) {
            self.left.push(Left {
                index,
                is_refused: true,
            });
            return false;
        }
        let pause = self.rules[verdict.rule].pause();
        denial.note(cost, verdict, sent, pause);
        true
    }
}
