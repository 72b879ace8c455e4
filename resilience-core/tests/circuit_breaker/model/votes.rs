//! What calls came to, and what follows from it.

use resilience_core::{
    Outcome,
    circuit_breaker::{Mode, Threshold},
};

use super::{Heard, Model, Ramp, Share, Stage, Vote, Votes};

impl Model {
    pub(super) fn settle(&mut self, (epoch, start): (usize, u64), outcome: Outcome) {
        self.pass();
        if matches!(self.stage, Stage::Disabled) {
            return;
        }
        let slow = self
            .setup
            .slow_calls
            .is_some_and(|(after, _)| self.now - start >= after);
        let (kind, failed) = match outcome {
            Outcome::Success => (0, Some(false)),
            Outcome::Failure => (1, Some(true)),
            Outcome::Overload { .. } => (2, Some(true)),
            Outcome::NotCalled => (3, None),
            Outcome::Canceled => (4, None),
            _ => (5, None),
        };
        self.totals[kind] += 1;
        self.totals[6] += u64::from(failed.is_some() && slow);
        if epoch != self.epoch {
            return;
        }
        if let Stage::HalfOpen { out, .. } = &mut self.stage {
            *out -= 1;
        }
        let Some(failed) = failed else { return };
        if let Outcome::Overload {
            retry_after: Some(wait),
        } = outcome
        {
            let wait = (wait.as_nanos() as u64).min(self.setup.max_retry_after);
            self.leave_alone_until = self.leave_alone_until.max(self.now + wait);
        }
        if matches!(self.stage, Stage::Closed) {
            self.sweep();
        }
        self.votes.push(Vote {
            at: self.now,
            failed,
            slow,
        });
        match self.stage {
            Stage::Closed => self.decide_closed(outcome),
            Stage::HalfOpen { permits, .. } => self.decide_half_open(permits as u64),
            _ => unreachable!("no ticket is given here"),
        }
    }

    fn decide_closed(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Success => self.run = 0,
            Outcome::Failure => self.run += 1,
            _ => {}
        }
        let reached = self.reached(&self.evidence().0);
        for (i, threshold) in THRESHOLDS.into_iter().enumerate() {
            if reached[i] && !self.noted[i] {
                self.heard.push(Heard::Reached(threshold));
            }
        }
        self.noted = reached;
        if self.setup.mode == Mode::Enforce && reached.contains(&true) {
            self.open(self.now);
        }
    }

    /// Whether every way to settle the rest ends badly, or all have settled well.
    fn decide_half_open(&mut self, permits: u64) {
        let failed = self.votes.iter().filter(|vote| vote.failed).count() as u64;
        let slow = self.votes.iter().filter(|vote| vote.slow).count() as u64;
        let lost = |bad: u64, (part, whole): Share| bad * whole >= part * permits;
        let failing = match self.setup.failure_rate {
            Some(share) => lost(failed, share),
            None => failed > 0 && self.setup.consecutive_failures.is_some(),
        };
        if failing
            || self
                .setup
                .slow_calls
                .is_some_and(|(_, share)| lost(slow, share))
        {
            self.failed_half_opens += 1;
            self.open(self.now);
        } else if self.votes.len() as u64 == permits {
            self.close();
            if self.setup.ramp > 0 {
                self.ramp = Some(Ramp {
                    since: self.now,
                    length: u128::from(self.setup.ramp),
                    sum: 0,
                    admitted: 0,
                });
            }
        }
    }

    /// The votes that count now, and how many are needed.
    pub(super) fn evidence(&self) -> (Vec<Vote>, usize) {
        match self.stage {
            Stage::Closed => (self.window(self.bucket(self.now)), self.enough()),
            Stage::HalfOpen { permits, .. } => {
                (self.votes.clone(), self.enough().min(permits as usize))
            }
            Stage::Open { .. } | Stage::ForcedOpen => self.shown.clone(),
            Stage::Disabled => (vec![], 1),
        }
    }

    fn reached(&self, votes: &[Vote]) -> [bool; 3] {
        let known = votes.len() >= self.enough().max(1);
        let at_least = |bad: usize, (part, whole): Share| {
            known && bad as u64 * whole >= part * votes.len() as u64
        };
        let failed = votes.iter().filter(|vote| vote.failed).count();
        let slow = votes.iter().filter(|vote| vote.slow).count();
        [
            self.setup
                .failure_rate
                .is_some_and(|share| at_least(failed, share)),
            self.setup
                .slow_calls
                .is_some_and(|(_, share)| at_least(slow, share)),
            self.setup
                .consecutive_failures
                .is_some_and(|most| self.run >= most),
        ]
    }

    /// The votes that the window of a closed circuit holds while bucket `current` is the last.
    fn window(&self, current: u64) -> Vec<Vote> {
        match self.setup.window {
            Votes::Last(calls) => {
                let old = self.votes.len().saturating_sub(calls as usize);
                self.votes[old..].to_vec()
            }
            Votes::Within { buckets, .. } => self
                .votes
                .iter()
                .filter(|vote| current <= self.bucket(vote.at) + u64::from(buckets))
                .copied()
                .collect(),
        }
    }

    fn enough(&self) -> usize {
        let most = match self.setup.window {
            Votes::Last(calls) => calls,
            Votes::Within { .. } => u32::MAX,
        };
        self.setup.min_calls.min(most) as usize
    }

    /// Notes what fell below its threshold as bucket after bucket left.
    pub(super) fn sweep(&mut self) {
        let current = self.bucket(self.now);
        let noted = self.noted.contains(&true);
        for bucket in (self.swept + 1..=current).filter(|_| noted) {
            let reached = self.reached(&self.window(bucket));
            self.noted = std::array::from_fn(|i| self.noted[i] && reached[i]);
        }
        self.swept = self.swept.max(current);
    }

    pub(super) fn bucket(&self, at: u64) -> u64 {
        match self.setup.window {
            Votes::Last(_) => 0,
            Votes::Within { length, buckets } => at * u64::from(buckets) / length,
        }
    }
}

const THRESHOLDS: [Threshold; 3] = [
    Threshold::FailureRate,
    Threshold::SlowRate,
    Threshold::ConsecutiveFailures,
];
