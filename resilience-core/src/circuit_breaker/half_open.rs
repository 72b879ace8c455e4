use super::{
    policy::Policy,
    sums::{Ballot, Sums},
    terms::Refusal,
};
use crate::Timestamp;

/// The probes of one half-open, all of which decide together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probes {
    permits: u32,
    out: u32,
    deadline: Timestamp,
    sums: Sums,
}

/// What the probes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Recovered,
    StillFailing,
}

impl Probes {
    pub(super) const fn new(permits: u32, deadline: Timestamp) -> Self {
        Self {
            permits,
            out: 0,
            deadline,
            sums: Sums {
                calls: 0,
                failures: 0,
                slow: 0,
            },
        }
    }

    pub(super) const fn deadline(&self) -> Timestamp {
        self.deadline
    }

    pub(super) const fn sums(&self) -> Sums {
        self.sums
    }

    pub(super) const fn permits(&self) -> u32 {
        self.permits
    }

    /// Probes that may still be sent.
    pub(super) fn permits_left(&self) -> u32 {
        let settled = u32::try_from(self.sums.calls).unwrap_or(u32::MAX);
        self.permits
            .saturating_sub(self.out)
            .saturating_sub(settled)
    }

    /// Sends one, where one is left.
    pub(super) fn send(&mut self) -> Result<(), Refusal> {
        if self.permits_left() == 0 {
            return Err(Refusal::Probing);
        }
        self.out += 1;
        Ok(())
    }

    /// One came back without an answer: another may go in its place.
    pub(super) const fn give_back(&mut self) {
        self.out = self.out.saturating_sub(1);
    }

    pub(super) fn settle(&mut self, ballot: Ballot) {
        self.give_back();
        self.sums.add(ballot);
    }

    /// Decided as soon as the probes not yet settled could not change it. Rates are taken over
    /// all permits: those not settled count as good, which is the best that can come.
    pub(super) fn verdict(&self, policy: &Policy) -> Option<Verdict> {
        let permits = f64::from(self.permits);
        let reaches = |bad: u64, rate: f64| bad as f64 / permits >= rate;
        let failing = match policy.failure_rate {
            Some(rate) => reaches(self.sums.failures, rate),
            // A run is what opens this circuit: one more failure goes on with it.
            None => policy.consecutive_failures.is_some() && self.sums.failures > 0,
        };
        let slow = policy.slow_calls;
        if failing || slow.is_some_and(|slow| reaches(self.sums.slow, slow.rate)) {
            return Some(Verdict::StillFailing);
        }
        (self.sums.calls >= u64::from(self.permits)).then_some(Verdict::Recovered)
    }
}
