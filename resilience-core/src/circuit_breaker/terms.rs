//! What the machine is told, and what it says.

use std::time::Duration;

use super::{
    Phase, Threshold,
    sums::{Ballot, Sums},
};
use crate::Timestamp;

/// Proof of an admission: the generation it was given in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ticket(pub(super) u64);

/// When something happens, and the draw in `[0, 1)` that it may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Timestamp,
    pub(super) random: f64,
}

/// What an admitted call has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vote {
    pub(super) answer: Answer,
    pub(super) slow: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Success,
    Failure,
    Overload { retry_after: Option<Duration> },
}

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Open { retry_after: Duration },
    Probing,
    Ramping { retry_after: Duration },
    ForcedOpen,
}

/// What callers may do without asking the machine, until it is asked the next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Go, and tell later of that many successes at most, while it is earlier than `until`.
    Admit { untold: u32, until: Timestamp },
    /// Ask.
    Ask,
    /// Refused until then.
    Open { until: Timestamp },
    /// Refused until then, unless a probe comes back.
    Probing { until: Timestamp },
    /// Refused.
    ForcedOpen,
    /// Go, and tell nothing.
    Bypass,
}

/// Something to announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Phase { from: Phase, to: Phase },
    Reached(Threshold),
}

/// Sums, and how many calls they need to say anything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evidence {
    pub(super) sums: Sums,
    pub(super) enough: u64,
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) successes: u64,
    pub(super) failures: u64,
    pub(super) overloads: u64,
    pub(super) slow: u64,
    pub(super) transitions: u64,
    pub(super) thresholds_reached: u64,
}

impl Ticket {
    /// Bits of a generation. It comes round again after 2^29 transitions, of which each takes
    /// longer than a call.
    pub(super) const BITS: u32 = 29;

    pub(super) const fn next(self) -> Self {
        Self((self.0 + 1) & ((1 << Self::BITS) - 1))
    }
}

impl Vote {
    /// What it adds to a window. An overload is a failure there.
    pub(super) const fn ballot(self) -> Ballot {
        Ballot {
            failed: match self.answer {
                Answer::Success => false,
                Answer::Failure | Answer::Overload { .. } => true,
            },
            slow: self.slow,
        }
    }
}

impl Evidence {
    pub(super) fn failure_rate(&self) -> Option<f64> {
        self.rate(self.sums.failures)
    }

    pub(super) fn slow_rate(&self) -> Option<f64> {
        self.rate(self.sums.slow)
    }

    /// The share of `part`, where enough calls are known.
    ///
    /// Counts below 2^53 are exact and a division is rounded to the nearest number, as a rate
    /// written in decimals is: 7 of 100 is 0.07 to the last bit, and no tolerance is needed.
    fn rate(&self, part: u64) -> Option<f64> {
        let calls = self.sums.calls;
        (calls >= self.enough.max(1)).then(|| part as f64 / calls as f64)
    }
}

impl Counts {
    pub(super) const fn count(&mut self, vote: Vote) {
        match vote.answer {
            Answer::Success => self.successes += 1,
            Answer::Failure => self.failures += 1,
            Answer::Overload { .. } => self.overloads += 1,
        }
        self.slow += vote.slow as u64;
    }
}
