//! A server that has one key of one quota.

use std::{collections::VecDeque, time::Duration};

use resilience_core::rate_limit::{Algorithm, Policy, Quota};

use crate::rate_limit::quota::{Kind, PAST, Past, Reading, Rule, Run, rules};

pub(super) struct Server {
    algorithm: Algorithm,
    pub(super) limit: u64,
    /// How far its clock is ahead of that of the processes.
    pub(super) skew: i64,
    /// Whether it gives no decision.
    pub(super) fails: bool,
    /// Whether it does nothing about the next question, since its clock shows another step.
    pub(super) undecided: bool,
    /// When units were taken; of cells, the level and since when.
    taken: VecDeque<u64>,
    level: (u64, u64),
}

impl Server {
    pub(super) const fn new(algorithm: Algorithm, limit: u64) -> Self {
        Self {
            algorithm,
            limit,
            skew: 0,
            fails: false,
            undecided: false,
            taken: VecDeque::new(),
            level: (0, 0),
        }
    }

    pub(super) fn policy(&self) -> Policy {
        let quota = Quota::new(self.limit, Duration::from_secs(1)).algorithm(self.algorithm);
        Policy::new("test", quota)
    }

    pub(super) fn rules(&self) -> Box<[Rule]> {
        rules(&self.policy().terms().expect("a quota").quotas).expect("a valid policy")
    }

    /// What its clock shows at `now`.
    pub(super) const fn time(&self, now: u64) -> u64 {
        now.strict_add_signed(self.skew)
    }

    /// What the script does, and answers.
    pub(super) fn decide(&mut self, asking: &mut Asking, now: u64) -> Vec<u64> {
        let now = self.time(now);
        if let (Some(most), Kind::Window { step }) = (asking.most(), asking.rules[0].kind) {
            let present: u64 = self.counts(now / step, step, 0).iter().sum();
            asking.undone = present + asking.units() > most;
        }
        let rule = &asking.rules[0];
        let used = self.used(rule, now);
        let (taken, short) = asking.grants(rule.burst().saturating_sub(used));
        let mut counts = match rule.kind {
            Kind::Window { step } => self.counts(now / step, step, asking.past[0].asked),
            Kind::Log { length } => {
                self.taken.retain(|at| at + length > now);
                let oldest = self.taken.front().copied().unwrap_or(0);
                vec![used, oldest, short.len() as u64]
            }
            Kind::Cells { .. } => vec![self.level.0],
        };
        self.taken.extend((0..taken).map(|_| now));
        match rule.kind {
            Kind::Log { .. } => {
                let time = |units: &u64| match (used + units).checked_sub(rule.limit() + 1) {
                    Some(index) => self.taken[usize::try_from(index).expect("small")],
                    None => 0,
                };
                counts.extend(short.iter().map(time));
                counts.extend(&self.taken);
            }
            Kind::Cells { length } => self.level.0 += taken * length,
            Kind::Window { .. } => {}
        }
        counts
    }

    /// Units of the step `present` and of so many before it.
    fn counts(&self, present: u64, step: u64, past: usize) -> Vec<u64> {
        let count = |age: usize| {
            let then = present - age as u64;
            self.taken.iter().filter(|at| **at / step == then).count() as u64
        };
        (0..=past).map(count).collect()
    }

    /// Units that count now.
    fn used(&mut self, rule: &Rule, now: u64) -> u64 {
        match rule.kind {
            Kind::Window { step } => {
                let steps = now / step - PAST as u64..=now / step;
                let counts = |at: &&u64| steps.contains(&(**at / step));
                self.taken.iter().filter(counts).count() as u64
            }
            Kind::Log { length } => {
                // Where the clock was set back, all count as of now.
                self.taken.iter_mut().for_each(|at| *at = now.min(*at));
                let counts = |at: &&u64| **at + length > now;
                self.taken.iter().filter(counts).count() as u64
            }
            Kind::Cells { length } => {
                let (level, since) = self.level;
                let drained = now.saturating_sub(since) * rule.limit();
                self.level = (level.saturating_sub(drained), now);
                self.level.0.div_ceil(length)
            }
        }
    }

    pub(super) fn give_back(&mut self, units: u64, taken: u64) {
        for _ in 0..units {
            let found = self.taken.iter().position(|at| *at == taken);
            found.map(|index| self.taken.remove(index));
        }
        if let Kind::Cells { length } = self.rules()[0].kind {
            self.level.0 = self.level.0.saturating_sub(units * length);
        }
    }
}

/// What was asked, and by which rules.
pub(super) struct Asking {
    pub(super) rules: Box<[Rule]>,
    pub(super) runs: Vec<Run>,
    pub(super) past: Vec<Past>,
    pub(super) sent: u64,
    pub(super) fails: bool,
    pub(super) undecided: bool,
    /// Whether all were to get what they want or nobody, and nobody did.
    pub(super) undone: bool,
}

impl Asking {
    /// What the present step may hold, where all take their units whole: as a batch has it.
    fn most(&self) -> Option<u64> {
        let ([rule], [past]) = (&self.rules[..], &self.past[..]) else {
            return None;
        };
        let is_known = matches!(rule.kind, Kind::Window { .. }) && past.asked == 0;
        let most = rule.limit().checked_sub(past.known)?;
        let used = past.present.saturating_add(self.units());
        let fits = used <= most && self.runs.iter().all(|it| it.cost > 0);
        (is_known && fits).then_some(most)
    }

    fn units(&self) -> u64 {
        let units = |run: &Run| run.cost.saturating_mul(run.callers);
        self.runs.iter().map(units).fold(0, u64::saturating_add)
    }

    /// Of so much room, what the callers take, and how much had to be there for each run that was cut
    /// short.
    fn grants(&self, room: u64) -> (u64, Vec<u64>) {
        let (mut taken, mut short, mut room) = (0, Vec::new(), room);
        let nothing = self.fails || self.undecided || self.undone;
        for run in self.runs.iter().filter(|_| !nothing) {
            let fits = (room.saturating_sub(taken)).checked_div(run.cost);
            let granted = fits.unwrap_or(run.callers).min(run.callers);
            taken += granted * run.cost;
            if granted < run.callers {
                short.push(taken + run.cost);
                room = if run.holds_up { taken } else { room };
            }
        }
        (taken, short)
    }

    /// What the server said by `counts`.
    pub(super) fn reading<'a>(&self, counts: &'a [u64]) -> Reading<'a> {
        match self.rules[0].kind {
            Kind::Window { .. } => Reading::Window(counts),
            Kind::Log { .. } => {
                let short = usize::try_from(counts[2]).expect("few");
                let (short, times) = counts[3..].split_at(short);
                Reading::Log {
                    used: counts[0],
                    oldest: counts[1],
                    short,
                    times: if short.is_empty() { &[] } else { times },
                }
            }
            Kind::Cells { .. } => Reading::Cells(counts[0]),
        }
    }
}
