//! Those who wait for a word about one key, and what is known of it meanwhile.
//!
//! A pure machine: time comes in, wakers and answers go out. Callers stand in line in the order in
//! which they came. All of them are asked for together, by somebody who outlives each of them; who
//! goes away first is skipped, or what was granted to him comes back.

use std::{collections::VecDeque, task::Waker};

use resilience_core::Timestamp;

use super::{
    denial::Denial,
    grant::{Before, Run, Verdict, room, tightest, verdicts},
    last_word::LastWord,
    lease::{Lease, Spent, Term, Unused},
    own::Own,
    places::{Answer, Places},
    question::{Aftermath, Ahead, Leasing, Past, Question, Told},
    rules::{Kind, Rule},
    window::{PAST, Window, Windows},
};
use crate::StoreError;

/// The callers of one key.
#[derive(Debug)]
pub(super) struct Line {
    places: Places,
    /// Places of all who are in line, in this order.
    callers: VecDeque<usize>,
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
    /// Units that were allowed here without the server.
    own: Own,
    last_word: LastWord,
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
}

impl Line {
    pub(super) fn new(rules: &[Rule], leases: bool) -> Self {
        Self {
            places: Places::default(),
            callers: VecDeque::new(),
            asked: 0,
            scheduled: false,
            windows: Windows::new(rules.len()),
            doubtful: false,
            denial: Denial::default(),
            lease: leases.then(Box::default),
            own: Own::default(),
            last_word: LastWord::new(rules),
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

    /// A caller comes who wants `cost`.
    pub(super) fn enter(&mut self, cost: u64, now: Timestamp) -> Entered {
        // Nobody overtakes those in line.
        if let Some(lease) = &mut self.lease
            && !self.scheduled
            && let Some(spent) = lease.spend(cost, now)
        {
            return Entered::Leased(spent);
        }
        if let Some(verdict) = self.denial.verdict(cost, now) {
            return Entered::Denied(verdict);
        }
        let index = self.places.enter(cost, now);
        self.callers.push_back(index);
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

    /// The caller at `index` asks for the answer; `waker` is woken when it is there.
    pub(super) fn poll(&mut self, index: usize, waker: &Waker) -> Option<Answer> {
        self.places.poll(index, waker)
    }

    /// The caller at `index` goes away. What was granted to him meanwhile must be given back: the
    /// cost, and when it was taken.
    pub(super) fn leave(&mut self, index: usize) -> Option<(u64, u64)> {
        self.places.leave(index)
    }

    /// Adds to `runs` and `past` what to ask about at `steps`, the present ones of `rules`, and says
    /// since when the first caller waits; `None` where nobody does, and then nobody is to ask.
    pub(super) fn ask(
        &mut self,
        rules: &[Rule],
        steps: &[u64],
        (runs, past): (&mut Vec<Run>, &mut Vec<Past>),
        leasing: Option<Leasing>,
    ) -> Option<Timestamp> {
        let first = runs.len();
        let mut oldest = None;
        while let Some(&index) = self.callers.get(self.asked) {
            let Some((cost, since)) = self.places.wanted(index) else {
                self.callers.remove(self.asked);
                continue;
            };
            let is_full = runs.len() - first == MOST_RUNS;
            match runs[first..].last_mut() {
                Some(run) if run.cost == cost => run.callers += 1,
                Some(_) if is_full => break,
                Some(_) | None => runs.push(Run { cost, callers: 1 }),
            }
            oldest.get_or_insert(since);
            self.asked += 1;
        }
        if oldest.is_none() {
            self.scheduled = false;
            return None;
        }
        // What the server grants a key that has some must fit into this process' part as well.
        if let Some(leasing) = leasing
            && !self.own.counts(leasing.now)
        {
            let callers = &runs[first..];
            let ahead = self.ask_ahead(rules, callers, leasing);
            runs.extend(ahead);
        }
        let windows = self.windows.iter().zip(rules).zip(steps);
        past.extend(windows.map(|((window, rule), step)| match rule.kind {
            Kind::Window { .. } => window.at(*step),
            Kind::Log { .. } | Kind::Cells { .. } => Past::default(),
        }));
        oldest
    }

    /// What to ask for beyond what `callers` want, who come first.
    fn ask_ahead(&mut self, rules: &[Rule], callers: &[Run], leasing: Leasing) -> Option<Run> {
        let wanted: u64 = callers.iter().map(|run| run.cost * run.callers).sum();
        let quotas = self.windows.iter().zip(rules);
        // Where little is left it is for whoever comes first, in whatever process.
        let most = quotas.map(|(window, rule)| {
            let part = u128::from(rule.limit()) * u128::from(leasing.percent) / 100;
            let part = u64::try_from(part).unwrap_or(u64::MAX);
            part.min(rule.limit().saturating_sub(window.used() + wanted) / 2)
        });
        let most = most.min().unwrap_or(0) / leasing.nodes;
        let step = rules.iter().filter_map(Rule::step_length).min()?;
        let callers = self.lease.as_mut()?.ask(wanted, most, step, leasing.now);
        (callers > 0).then_some(Run { cost: 1, callers })
    }

    /// Who was asked for waits on: nothing was heard, and nothing done.
    pub(super) fn unask(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.unask();
        }
        self.asked = 0;
    }

    /// There was no room for all who were asked for together, as far as the past is remembered: they
    /// are asked for once more, one by one, of all that was just read.
    pub(super) fn ask_again(&mut self) {
        self.unask();
        self.doubt();
    }

    /// Those who were asked for hear that the server gives no decision. Says whether there is more
    /// to ask.
    pub(super) fn fail(&mut self, error: &StoreError, aftermath: &mut Aftermath) -> bool {
        if let Some(lease) = &mut self.lease {
            let ahead = lease.fail();
            aftermath.ahead.lost += if error.may_have_run() { ahead } else { 0 };
        }
        for index in self.callers.drain(..std::mem::take(&mut self.asked)) {
            let answer = Answer::Failed(error.clone());
            self.places.answer(index, answer, aftermath);
        }
        self.goes_on()
    }

    /// Nobody will ask for those who are in line, who hear of `error`.
    pub(super) fn abandon(&mut self, error: &StoreError, aftermath: &mut Aftermath) {
        self.asked = self.callers.len();
        self.fail(error, aftermath);
    }

    /// The server answered `question`, which was sent at `sent`, at the time `now` by its clock, and
    /// `told` what stood in each quota; it is heard at `heard`. Says whether there is more to ask.
    pub(super) fn hear(
        &mut self,
        rules: &[Rule],
        question: Question<'_>,
        told: &[Told<'_>],
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
        let mut again = Vec::new();
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

    /// Those who came meanwhile get what was taken ahead, as far as it goes.
    fn serve_ahead(&mut self, now: Timestamp, aftermath: &mut Aftermath) {
        let Some(lease) = &mut self.lease else { return };
        while let Some(&index) = self.callers.front() {
            if let Some((cost, _)) = self.places.wanted(index) {
                let Some(spent) = lease.spend(cost, now) else {
                    return;
                };
                self.places.answer(index, Answer::Leased(spent), aftermath);
            }
            self.callers.pop_front();
        }
    }

    /// What was granted beyond what callers wanted, who `took` of what stood `before`.
    fn hear_ahead(
        &mut self,
        rules: &[Rule],
        (before, took): (&[Before<'_>], u64),
        (sent, now): (Timestamp, u64),
        ahead: &mut Ahead,
    ) -> u64 {
        let Some(lease) = &mut self.lease else {
            return 0;
        };
        let granted = lease.asked().min(room(rules, before, took));
        let term = Term {
            taken: now,
            sent,
            end: rules.iter().map(|rule| rule.end(now)).min().unwrap_or(0),
        };
        let verdict = tightest(rules, before, took + granted, now);
        ahead.unused.extend(lease.hold(granted, term, verdict));
        ahead.granted += granted;
        ahead.begun = granted > 0 && lease.watch(true);
        granted
    }

    /// Whether somebody waits who must be asked for; where nobody does, nobody is to ask.
    fn goes_on(&mut self) -> bool {
        self.scheduled = !self.callers.is_empty();
        if self.places.shrink(IDLE_PLACES) {
            self.callers.shrink_to(IDLE_PLACES);
        }
        self.scheduled
    }

    /// Takes back what was spent of the lease until `end`, and says whether that is still there.
    pub(super) fn put_back(&mut self, units: u64, end: u64) -> bool {
        let lease = self.lease.as_mut();
        lease.is_some_and(|lease| lease.put_back(units, end))
    }

    /// Gives units taken ahead that nobody can use any more, and says whether there are others to
    /// look after.
    pub(super) fn expire(&mut self, now: Timestamp) -> (Option<Unused>, bool) {
        let Some(lease) = &mut self.lease else {
            return (None, false);
        };
        let unused = lease.expire(now);
        let goes_on = lease.is_held();
        lease.watch(goes_on);
        (unused, goes_on)
    }

    /// Gives all units that were taken ahead.
    pub(super) fn surrender(&mut self) -> Option<Unused> {
        self.lease.as_mut()?.surrender()
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

    /// Whether somebody is served here, or held back by `now`.
    pub(super) fn is_busy(&self, now: Timestamp) -> bool {
        let holds_back = self.denial.holds(now) || self.own.counts(now);
        self.scheduled || !self.places.are_free() || holds_back
    }
}

/// Different costs in a row that one question can hold.
const MOST_RUNS: usize = 64;
/// Places that are kept where nobody waits.
const IDLE_PLACES: usize = 16;
