//! Whom a line asks for, and for what.

use resilience_core::Timestamp;

use super::{Leasing, Line};
use crate::rate_limit::quota::{Kind, Past, Rule, Run};

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
    /// for whom; `None` where nobody is in line any more, and then it is to be [passed on](Self::pass_on).
    pub(in crate::rate_limit) fn ask(
        &mut self,
        rules: &[Rule],
        steps: &[u64],
        (runs, past): (&mut Vec<Run>, &mut Vec<Past>),
        leasing: Option<Leasing>,
    ) -> Option<Asked> {
        self.call();
        let first = runs.len();
        let Some(asked) = self.line_up(rules, steps, runs) else {
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
    fn line_up(&mut self, rules: &[Rule], steps: &[u64], runs: &mut Vec<Run>) -> Option<Asked> {
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
            units = units
                .filter(|_| cost > 0)
                .and_then(|it| it.checked_add(cost));
            let (last, count) = (runs[first..].last(), runs.len() - first);
            let begins_run = last.is_none_or(|run| run.cost != cost);
            // Who wants less could have room where who came before him has none, and waits.
            let overtakes = asked.is_some_and(|it| cost > 0 && cost < it.largest);
            if as_one || overtakes || begins_run && count == MOST_RUNS {
                // Where there is room for all, as far as is known, all of them get it or none does.
                let room = *room.get_or_insert_with(|| self.room(rules, steps));
                as_one = units.is_some_and(|units| units <= room);
                if !as_one {
                    break;
                }
            }
            match runs.last_mut().filter(|_| !begins_run) {
                Some(run) => run.callers += 1,
                None => runs.push(Run { cost, callers: 1 }),
            }
            // Who has time waits for nothing but his turn as long as the server is heard.
            let since = since.max(self.heard.min(self.places.until(index)));
            let asked = asked.get_or_insert(Asked { since, largest: 0 });
            if self.places.has_time(index) {
                asked.largest = asked.largest.max(cost);
            }
            self.callers[self.asked] = index;
            self.asked += 1;
        }
        self.callers.drain(self.asked..self.asked + gone);
        asked
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
