use std::time::Duration;

use super::{
    count_ring::CountRing,
    sums::{Ballot, Sums},
    time_ring::TimeRing,
};
use crate::{InvalidPolicy, Timestamp, clock::nanos};

/// Which calls the rates are taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(Span);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Span {
    Count(u32),
    Time { length: Duration, buckets: u32 },
}

/// Calls that a window may hold: two bits each, 4 MiB.
const MAX_CALLS: u32 = 1 << 24;

/// Buckets that a window may have: 24 bytes each, 1.5 MiB.
const MAX_BUCKETS: u32 = 1 << 16;

impl Window {
    /// The last `calls` calls, at most 2^24, in two bits each. A new one pushes the oldest out.
    #[must_use]
    pub const fn count(calls: u32) -> Self {
        Self(Span::Count(calls))
    }

    /// The calls of the last `length`, which are forgotten in `buckets` steps, at most 2^16.
    ///
    /// A bucket leaves when all of it is older than `length`.
    #[must_use]
    pub const fn time(length: Duration, buckets: u32) -> Self {
        Self(Span::Time { length, buckets })
    }

    /// Calls that it can hold.
    pub(super) fn capacity(self) -> u64 {
        match self.0 {
            Span::Count(calls) => u64::from(calls),
            Span::Time { .. } => u64::MAX,
        }
    }

    pub(super) fn check(self) -> Result<(), InvalidPolicy> {
        let problem = match self.0 {
            Span::Count(1..=MAX_CALLS) => return Ok(()),
            Span::Count(_) => "must hold at least 1 and at most 2^24 calls",
            Span::Time { buckets, .. } if buckets == 0 || buckets > MAX_BUCKETS => {
                "must have at least 1 and at most 2^16 buckets"
            }
            Span::Time { length, buckets } if nanos(length) < u64::from(buckets) => {
                "must be long enough for buckets of a nanosecond"
            }
            Span::Time { .. } => return Ok(()),
        };
        Err(InvalidPolicy::new("window", problem))
    }
}

/// The calls of a window, and their sums.
#[derive(Debug)]
pub(super) enum History {
    Count(CountRing),
    Time(TimeRing),
}

impl History {
    pub(super) fn new(window: Window, now: Timestamp) -> Self {
        match window.0 {
            Span::Count(calls) => Self::Count(CountRing::new(calls)),
            Span::Time { length, buckets } => Self::Time(TimeRing::new(length, buckets, now)),
        }
    }

    pub(super) const fn sums(&self) -> Sums {
        match self {
            Self::Count(ring) => ring.sums(),
            Self::Time(ring) => ring.sums(),
        }
    }

    pub(super) fn append(&mut self, ballot: Ballot) {
        match self {
            Self::Count(ring) => ring.append(ballot),
            Self::Time(ring) => ring.append(ballot),
        }
    }

    /// As many calls that neither failed nor were slow.
    pub(super) fn append_successes(&mut self, calls: u64) {
        match self {
            Self::Count(ring) => ring.append_successes(calls),
            Self::Time(ring) => ring.append_successes(calls),
        }
    }

    /// Forgets the oldest bucket that `now` has outlived; says whether there may be more.
    pub(super) fn forget(&mut self, now: Timestamp) -> bool {
        match self {
            Self::Count(_) => false,
            Self::Time(ring) => ring.forget(now),
        }
    }

    /// Until when nothing is forgotten.
    pub(super) const fn stable_until(&self) -> Timestamp {
        match self {
            Self::Count(_) => Timestamp::MAX,
            Self::Time(ring) => ring.stable_until(),
        }
    }

    pub(super) fn clear(&mut self, now: Timestamp) {
        match self {
            Self::Count(ring) => ring.clear(),
            Self::Time(ring) => ring.clear(now),
        }
    }
}
