//! What is seen, and whether it is enough to open.

use super::{
    super::{
        Threshold,
        terms::{Change, Evidence},
    },
    Stage, State,
};
use crate::{Timestamp, keyed::Retention};

impl State {
    /// How much would be lost if this circuit were forgotten, with no call under way.
    pub(in super::super) fn retention(&mut self, now: Timestamp) -> Retention {
        // A circuit whose wait is over would send the next caller as a probe, where a new one
        // admits everybody: the last to go among those that can.
        let unless = |refuses: bool| match refuses {
            true => Retention::Pinned,
            false => Retention::Used(u64::MAX),
        };
        match self.stage {
            Stage::Disabled => Retention::Idle,
            Stage::Closed => {
                self.forget(now);
                let sums = self.evidence().sums;
                match self.ramp {
                    Some(ramp) if !ramp.is_over(now) => Retention::Pinned,
                    Some(_) | None if sums.calls == 0 => Retention::Idle,
                    Some(_) | None => Retention::Used(sums.failures.saturating_add(sums.slow)),
                }
            }
            Stage::Open { until, .. } => unless(now < until),
            Stage::HalfOpen(probes) => {
                let failed = self.failed_half_opens.saturating_add(1);
                let wait = self.policy.open.wait(failed, 0.0);
                unless(now < probes.deadline().saturating_add(wait))
            }
            Stage::ForcedOpen => Retention::Pinned,
        }
    }

    /// What the present stage goes by; for an open one, what was seen last.
    pub(in super::super) fn evidence(&self) -> Evidence {
        let enough = self.policy.enough_calls();
        match &self.stage {
            Stage::Closed => Evidence {
                sums: self.history.sums(),
                enough,
            },
            Stage::HalfOpen(probes) => Evidence {
                sums: probes.sums(),
                enough: enough.min(u64::from(probes.permits())),
            },
            Stage::Open { .. } | Stage::ForcedOpen => self.last_seen,
            Stage::Disabled => Evidence::default(),
        }
    }

    /// How many successes could come now without anything happening.
    ///
    /// A success lowers every rate that is known, and ends a run: it matters only where it makes
    /// a rate known, or where time alone has brought one to its threshold.
    pub(super) fn quiet_successes(&self) -> u32 {
        let evidence = self.evidence();
        let mut thresholds = Threshold::ALL.iter().zip(self.reached);
        if thresholds.any(|(&threshold, noted)| !noted && self.is_reached(threshold)) {
            return 0;
        }
        match evidence.enough.checked_sub(evidence.sums.calls) {
            None | Some(0) => u32::MAX,
            Some(missing) => u32::try_from(missing - 1).unwrap_or(u32::MAX),
        }
    }

    /// Forgets what is too old, one bucket after the other, so that what is reported depends on
    /// time alone and not on when somebody looked.
    pub(super) fn forget(&mut self, now: Timestamp) {
        while self.history.forget(now) {
            self.note_falls();
        }
    }

    /// Notes thresholds that are no longer reached.
    pub(super) fn note_falls(&mut self) {
        for threshold in Threshold::ALL {
            let noted = &mut self.reached[threshold as usize];
            if *noted {
                *noted = false;
                self.reached[threshold as usize] = self.is_reached(threshold);
            }
        }
    }

    /// Notes what is reached, announces what was not before, and says whether anything is.
    pub(super) fn note_reached(&mut self) -> bool {
        let mut any = false;
        for threshold in Threshold::ALL {
            let reached = self.is_reached(threshold);
            let noted = std::mem::replace(&mut self.reached[threshold as usize], reached);
            if reached && !noted {
                self.counts.thresholds_reached += 1;
                self.changes.push_back(Change::Reached(threshold));
            }
            any |= reached;
        }
        any
    }

    pub(super) fn is_reached(&self, threshold: Threshold) -> bool {
        let at_least = |rate: Option<f64>, limit: Option<f64>| {
            rate.zip(limit).is_some_and(|(rate, limit)| rate >= limit)
        };
        let evidence = self.evidence();
        match threshold {
            Threshold::FailureRate => at_least(evidence.failure_rate(), self.policy.failure_rate),
            Threshold::SlowRate => {
                let limit = self.policy.slow_calls.map(|slow| slow.rate);
                at_least(evidence.slow_rate(), limit)
            }
            Threshold::ConsecutiveFailures => self
                .policy
                .consecutive_failures
                .is_some_and(|limit| self.run >= limit),
        }
    }
}
