//! What was used of one quota, whichever way it is counted.

use super::{
    front::{Offer, Taken},
    gcra::Gcra,
    log::{Log, Search},
    quota::{Algorithm, Rule},
    run::Run,
};
use crate::keyed::Retention;

/// What was used of one quota.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Usage {
    pub(super) rule: Rule,
    used: Used,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
enum Used {
    Log(Log),
    Gcra(Gcra),
}

/// A search through one quota.
#[derive(Debug)]
pub(super) enum Seek<'a> {
    Log(Search<'a>),
    Gcra(u64),
}

impl Seek<'_> {
    pub(super) fn from(&mut self, wait: u64) -> u64 {
        match self {
            Self::Log(search) => search.from(wait),
            Self::Gcra(earliest) => wait.max(*earliest),
        }
    }
}

impl Usage {
    pub(super) fn new(rule: Rule) -> Self {
        let used = match rule.algorithm {
            Algorithm::SlidingLog | Algorithm::SlidingWindow => Used::Log(Log::default()),
            Algorithm::Gcra => Used::Gcra(Gcra::default()),
        };
        Self { rule, used }
    }

    /// Nothing but `run`, as it stands at `now`.
    pub(super) fn of_run(run: Run, rule: Rule, now: u64) -> Self {
        let used = match rule.algorithm {
            Algorithm::SlidingLog | Algorithm::SlidingWindow => Used::Log(Log::of_run(run, &rule)),
            Algorithm::Gcra => Used::Gcra(Gcra::of_run(run, now, &rule)),
        };
        Self { rule, used }
    }

    /// The run that is all there is, where it is.
    pub(super) fn run(&self, now: u64) -> Option<Run> {
        match &self.used {
            Used::Log(log) => log.run(now, &self.rule),
            Used::Gcra(gcra) => gcra.run(&self.rule),
        }
    }

    pub(super) fn forget(&mut self, now: u64) {
        match &mut self.used {
            Used::Log(log) => log.forget(now, &self.rule),
            Used::Gcra(gcra) => gcra.drain(now, &self.rule),
        }
    }

    pub(super) fn fits(&self, now: u64, units: u64) -> bool {
        match &self.used {
            Used::Log(log) => {
                log.peak(now, &self.rule) + u128::from(units) <= u128::from(self.rule.limit)
            }
            Used::Gcra(gcra) => gcra.fits(units, &self.rule),
        }
    }

    /// What callers may decide by themselves.
    pub(super) fn offer(&self, now: u64) -> Option<Offer> {
        match &self.used {
            Used::Log(log) => log.offer(now, &self.rule),
            Used::Gcra(gcra) => gcra.offer(&self.rule),
        }
    }

    /// Counts what callers have taken by themselves since it was [offered](Self::offer) at `at`.
    pub(super) fn redeem(&mut self, at: u64, taken: Taken) {
        match (&mut self.used, taken) {
            (Used::Log(log), Taken::Units(units)) => log.book(at, units, &self.rule),
            (Used::Gcra(gcra), Taken::Places { places, level }) => {
                gcra.resume(places, level, &self.rule);
            }
            (Used::Log(_), Taken::Places { .. }) | (Used::Gcra(_), Taken::Units(_)) => {
                unreachable!("what was taken was offered")
            }
        }
    }

    pub(super) fn seek(&self, now: u64, units: u64) -> Seek<'_> {
        match &self.used {
            Used::Log(log) => Seek::Log(log.search(now, &self.rule, units)),
            Used::Gcra(gcra) => Seek::Gcra(gcra.wait(units, &self.rule)),
        }
    }

    pub(super) fn remaining(&self, now: u64) -> u64 {
        match &self.used {
            Used::Log(log) => {
                let peak = u64::try_from(log.peak(now, &self.rule)).unwrap_or(u64::MAX);
                self.rule.limit.saturating_sub(peak)
            }
            Used::Gcra(gcra) => gcra.remaining(&self.rule),
        }
    }

    pub(super) fn next_back(&self, now: u64) -> u64 {
        match &self.used {
            Used::Log(log) => log.next_back(now, &self.rule),
            Used::Gcra(gcra) => gcra.next_back(&self.rule),
        }
    }

    /// Counts units, and says what `cancel` wants to know of them.
    pub(super) fn book(&mut self, now: u64, wait: u64, units: u64) -> u64 {
        let at = now.saturating_add(wait);
        match &mut self.used {
            Used::Log(log) => {
                log.book(at, units, &self.rule);
                at
            }
            Used::Gcra(gcra) => gcra.book(wait, units, &self.rule),
        }
    }

    pub(super) fn cancel(&mut self, mark: u64, units: u64) {
        match &mut self.used {
            Used::Log(log) => log.cancel(mark, units),
            Used::Gcra(gcra) => gcra.cancel(mark, units, &self.rule),
        }
    }

    pub(super) fn refund(&mut self, now: u64, units: u64) {
        match &mut self.used {
            Used::Log(log) => log.refund(now, units),
            Used::Gcra(gcra) => gcra.refund(units, &self.rule),
        }
    }

    /// Goes on under `rule`. What was forgotten under the old rule stays forgotten.
    pub(super) fn follow(&mut self, now: u64, rule: Rule) {
        let old = std::mem::replace(&mut self.rule, rule);
        let changed = match (&mut self.used, rule.algorithm) {
            (Used::Log(_), Algorithm::SlidingLog | Algorithm::SlidingWindow) => None,
            (Used::Gcra(gcra), Algorithm::Gcra) => {
                gcra.follow(&old, &rule);
                None
            }
            (Used::Log(log), Algorithm::Gcra) => {
                let units = u64::try_from(log.peak(now, &old)).unwrap_or(u64::MAX);
                Some(Used::Gcra(Gcra::with_units(now, units, &rule)))
            }
            (Used::Gcra(gcra), Algorithm::SlidingLog | Algorithm::SlidingWindow) => {
                let mut log = Log::default();
                match gcra.units(&old) {
                    0 => {}
                    units => log.book(now, units, &rule),
                }
                Some(Used::Log(log))
            }
        };
        if let Some(used) = changed {
            self.used = used;
        }
    }

    pub(super) fn retention(&self, now: u64) -> Retention {
        let empty = match &self.used {
            Used::Log(log) => log.is_empty(),
            Used::Gcra(gcra) => gcra.is_empty(),
        };
        if empty {
            return Retention::Idle;
        }
        match self.remaining(now) {
            0 => Retention::Pinned,
            remaining => {
                let used = self.rule.most.saturating_sub(remaining);
                Retention::Used(self.rule.share_of(used))
            }
        }
    }
}
