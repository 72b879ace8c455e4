//! Whom a line asks for, and for what.

use resilience_core::Timestamp;

use super::{
    Aftermath, Leasing, Line,
    places::{Answer, Turn},
};
use crate::{
    StoreError,
    rate_limit::quota::{Kind, Past, Rule, Run},
};

/// Those for whom a line asks.
#[derive(Clone, Copy, Debug)]
pub(in crate::rate_limit) struct Asked {
    /// Since when the first of them waits for an answer.
    pub(in crate::rate_limit) since: Timestamp,
    /// What those want at the most who have time to wait until there is room; 0 where none has.
    largest: u64,
}

impl Asked {
    /// Whether one of them has time to wait until there is room.
    pub(in crate::rate_limit) const fn has_time(self) -> bool {
        self.largest > 0
    }
}

impl Line {
    /// Adds to `runs` and `past` what to ask about at `steps`, the present ones of `rules`, and says
    /// for whom; `None` where nobody is in line any more. Who has waited since before `deadline` hears
    /// `now` of `late`.
    pub(in crate::rate_limit) fn ask(
        &mut self,
        rules: &[Rule],
        steps: &[u64],
        (runs, past): (&mut Vec<Run>, &mut Vec<Past>),
        leasing: Option<Leasing>,
        (now, deadline, late): (Timestamp, Timestamp, &StoreError),
        aftermath: &mut Aftermath,
    ) -> Option<Asked> {
        let before = (runs.len(), past.len());
        loop {
            match self.ask_first(rules, steps, (&mut *runs, &mut *past), leasing, deadline) {
                Some(asked) if asked.since < deadline => {
                    self.fail(late, now, aftermath);
                    runs.truncate(before.0);
                    past.truncate(before.1);
                }
                None if self.pass_on(now, aftermath) => {}
                None => return None,
                Some(asked) => {
                    self.turn_away((now, deadline, late), aftermath);
                    return Some(asked);
                }
            }
        }
    }

    /// Whether the caller at `index` is being asked for.
    pub(in crate::rate_limit) fn is_asked(&self, index: usize) -> bool {
        self.callers[..self.asked].contains(&index)
    }

    /// Asks for the first in line, where somebody is: for those who have waited since before `deadline`,
    /// or for those who have not.
    fn ask_first(
        &mut self,
        rules: &[Rule],
        steps: &[u64],
        (runs, past): (&mut Vec<Run>, &mut Vec<Past>),
        leasing: Option<Leasing>,
        deadline: Timestamp,
    ) -> Option<Asked> {
        self.call();
        let first = runs.len();
        let Some(asked) = self.line_up(rules, steps, runs, deadline) else {
            self.scheduled = false;
            return None;
        };
        // What the server grants a key that has some must fit into this process' part as well. Nobody
        // overtakes those who wait, nor do units that were taken ahead.
        if let Some(leasing) = leasing
            && !self.own.counts(leasing.now)
            && self.may_ask_ahead(asked.largest)
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
        Some(asked)
    }

    /// Adds to `runs` what those want, the first in line, who can be asked for in one question.
    fn line_up(
        &mut self,
        rules: &[Rule],
        steps: &[u64],
        runs: &mut Vec<Run>,
        deadline: Timestamp,
    ) -> Option<Asked> {
        let (first, mut asked) = (runs.len(), None::<Asked>);
        // What all want; where one only looks that is not taken whole.
        let (mut units, mut room) = (Some(0_u64), None);
        let mut as_one = false;
        let mut gone = 0;
        while let Some(&index) = self.callers.get(self.asked + gone) {
            let Some((cost, since)) = self.places.wanted(index) else {
                gone += 1;
                continue;
            };
            let since = self.waits_since(index, since);
            // Who is late is not asked for, and nobody else is failed with him.
            let is_late = since < deadline;
            if asked.is_some_and(|it| (it.since < deadline) != is_late) {
                break;
            }
            units = units
                .filter(|_| cost > 0)
                .and_then(|it| it.checked_add(cost));
            let (last, count) = (runs[first..].last(), runs.len() - first);
            let begins_run = last.is_none_or(|run| run.cost != cost);
            if as_one || begins_run && count == MOST_RUNS {
                // Where there is room for all, as far as is known, all of them get it or none does.
                let room = *room.get_or_insert_with(|| self.room(rules, steps));
                as_one = units.is_some_and(|units| units <= room);
                if !as_one {
                    break;
                }
            }
            if begins_run {
                runs.push(Run {
                    cost,
                    callers: 0,
                    holds_up: false,
                });
            }
            let asked = asked.get_or_insert(Asked { since, largest: 0 });
            // Who has time may have been heard of later than one behind him came.
            asked.since = asked.since.min(since);
            if let Some(run) = runs.last_mut() {
                run.callers += 1;
                // Who wants less could have room where he has none, and waits.
                if self.places.has_time(index) {
                    run.holds_up = true;
                    asked.largest = asked.largest.max(cost);
                }
            }
            self.callers[self.asked] = index;
            self.asked += 1;
        }
        self.callers.drain(self.asked..self.asked + gone);
        asked
    }

    /// Since when the caller at `index`, in line since `since`, waits for an answer: who has time waits for
    /// nothing but his turn as long as the server is heard.
    fn waits_since(&self, index: usize, since: Timestamp) -> Timestamp {
        since.max(self.heard.min(self.places.until(index)))
    }

    /// Those behind whom the line asks for, and who have waited since before `deadline`, hear `now` of
    /// `late`, unless they have time for a question of their own: there may be many before it is their
    /// turn.
    fn turn_away(
        &mut self,
        (now, deadline, late): (Timestamp, Timestamp, &StoreError),
        aftermath: &mut Aftermath,
    ) {
        // Who came later stands further behind: where nobody is late the first one shows it.
        let behind = self.callers[self.asked..].iter().copied();
        let old = behind.take_while(|index| self.places.came(*index) < deadline);
        let is_late = |index: &usize| {
            let is_new = self.places.waiting(*index, Turn::First).is_some();
            is_new && self.waits_since(*index, self.places.since(*index)) < deadline
        };
        let mut late_ones: Vec<usize> = old.filter(is_late).collect();
        late_ones.retain(|index| !self.places.spare(*index, now));
        if late_ones.is_empty() {
            return;
        }
        for &index in &late_ones {
            let answer = Answer::Failed(late.clone());
            self.places.answer(index, answer, aftermath);
        }
        let mut late_ones = late_ones.into_iter().peekable();
        self.callers
            .retain(|index| late_ones.next_if_eq(index).is_none());
    }

    /// Units that a question about `steps` can take whole, as far as is known.
    fn room(&self, rules: &[Rule], steps: &[u64]) -> u64 {
        let ([window], [rule], [step]) = (&self.windows[..], rules, steps) else {
            return 0;
        };
        match (rule.kind, window.at(*step)) {
            (
                Kind::Window { .. },
                Past {
                    asked: 0,
                    known,
                    present,
                },
            ) => rule.limit().saturating_sub(known + present),
            _ => 0,
        }
    }
}

/// Callers who want different things in a row, of whom each may be refused.
const MOST_RUNS: usize = 64;
