//! The words in front of a machine.
//!
//! A limit that all callers share is asked by all threads at once. Its machine stands behind a
//! lock, and lends callers what they can decide without it: units that count alike until a certain
//! instant, the end of a line that whoever joins moves on, or the certainty that nothing is free
//! before a certain instant. To take is one atomic operation, and to be refused is none. Whoever
//! asks for more takes the lock, and before anything else takes back what was lent: the machine
//! hears of all that was taken at once, and stands where it would stand had it been asked each
//! time.

mod lend;
mod line;
#[cfg(feature = "http")]
mod look;
mod take;

use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::{
    booking::Passed,
    line::Scale,
    timeline::{DISORDER, Timeline},
};
use crate::{
    QuotaStatus, Timestamp,
    clock::Reading,
    sync::{AtomicU64, Ordering},
};

/// What callers decide by themselves.
#[derive(Debug, Default)]
pub(in crate::rate_limit) struct Front {
    words: CachePadded<Words>,
    terms: CachePadded<Terms>,
}

/// What callers write. Threads take turns at it, and to look before writing is to wait twice.
#[derive(Debug, Default)]
struct Words {
    /// Units that may be taken, a signed number: where there are none it may be less.
    units: AtomicU64,
    /// Where a line ends: a [`LineWord`].
    line: AtomicU64,
    /// The latest instant at which anybody took something, on the machine's timeline.
    latest: AtomicU64,
}

/// What callers read, on a cache line that all threads can have at once. Written by the holder of
/// the machine's lock, while nothing is lent.
#[derive(Debug, Default)]
struct Terms {
    /// What is lent: one of the kinds below.
    kind: AtomicU64,
    /// What the machine's timeline adds to the clock.
    lag: AtomicU64,
    /// From when on what is lent is good.
    since: AtomicU64,
    /// Until when units are, and the tick of the clock at which they are no more. Never goes back,
    /// so that whoever has read an earlier one knows enough.
    until: AtomicU64,
    until_tick: AtomicU64,
    /// The tick from which on a line is good, for how many ticks, and its [`Scale`].
    line_from: AtomicU64,
    line_length: AtomicU64,
    /// Ticks in which a line of one unit has drained.
    drained: AtomicU64,
    pace: AtomicU64,
    unit: AtomicU64,
    room: AtomicU64,
    /// The end of a line when it was lent, and the place of its last unit then.
    end: AtomicU64,
    place: AtomicU64,
    /// Until when no unit is free.
    refused_until: AtomicU64,
    /// When units come back.
    next_back: AtomicU64,
    /// The rule's.
    limit: AtomicU64,
    per: AtomicU64,
}

/// Kinds of what is lent: nothing, units, a line, or only that no unit is free.
const NOTHING: u64 = 0;
const UNITS: u64 = 1;
const LINE: u64 = 2;
const REFUSAL: u64 = 3;

/// What a machine can lend.
#[derive(Clone, Copy, Debug)]
pub(in crate::rate_limit) enum Offer {
    /// Units that count alike until an instant.
    Units {
        units: u64,
        until: u64,
        next_back: u64,
    },
    /// No unit is free until an instant.
    Nothing { until: u64, next_back: u64 },
    /// A line: how much of it is left, and the place of its last unit.
    Line { level: u64, place: u64 },
}

/// What was lent, as the lender remembers it.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::rate_limit) enum Lent {
    #[default]
    Nothing,
    Units(u64),
    Line {
        scale: Scale,
        now: Timeline,
        level: u64,
    },
}

/// What callers have taken by themselves.
#[derive(Clone, Copy, Debug)]
pub(in crate::rate_limit) enum Taken {
    Units(u64),
    /// Places in a line, and the level it would have had when it was lent had all come then.
    Places {
        places: u64,
        level: u64,
    },
}

/// Units that a caller has taken.
#[derive(Clone, Copy, Debug)]
pub(in crate::rate_limit) struct Pass {
    pub(in crate::rate_limit) passed: Passed,
    /// As how many calls the machine will hear of this one; less than none where a word has counted
    /// as many as it can, and starts again.
    pub(in crate::rate_limit) heard_as: u64,
    pub(in crate::rate_limit) clock: ClockSeen,
}

/// What a caller's clock says of the machine's timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rate_limit) enum ClockSeen {
    InOrder,
    /// The clock has fallen back: the machine must be told the time, since its timeline changes.
    FallenBack(Timestamp),
}

/// A unit that a caller cannot have.
#[derive(Clone, Copy, Debug)]
pub(in crate::rate_limit) struct Refused {
    pub(in crate::rate_limit) wait: Duration,
    pub(in crate::rate_limit) status: QuotaStatus,
}

impl Front {
    #[inline]
    fn kind(&self) -> u64 {
        self.terms.kind.load(Ordering::Acquire)
    }

    /// The instant of a caller on the machine's timeline.
    #[inline]
    fn moment(&self, reading: Reading) -> u64 {
        let lag = self.terms.lag.load(Ordering::Relaxed);
        reading.time().as_nanos().saturating_add(lag)
    }

    /// Somebody came at `now` and took something.
    #[inline]
    fn come_at(&self, now: u64, reading: Reading) -> ClockSeen {
        let latest = self.words.latest.load(Ordering::Relaxed);
        if now > latest {
            // Of two at once either may stay: they came so close together.
            self.words.latest.store(now, Ordering::Relaxed);
        } else if latest - now > DISORDER {
            return ClockSeen::FallenBack(reading.time());
        }
        ClockSeen::InOrder
    }

    #[inline]
    fn status(&self, remaining: u64) -> QuotaStatus {
        QuotaStatus {
            limit: self.terms.limit.load(Ordering::Relaxed),
            window: Duration::from_nanos(self.terms.per.load(Ordering::Relaxed)),
            remaining,
        }
    }
}

/// The instant at which a caller comes, or the latest one, where others came from a little later;
/// `None` where the clock has fallen back further.
#[inline]
fn in_order(now: u64, latest: u64) -> Option<u64> {
    (latest.saturating_sub(DISORDER) <= now).then_some(now.max(latest))
}
