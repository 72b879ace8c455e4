use std::time::Duration;

use super::sums::{Ballot, Sums};
use crate::{Timestamp, clock::nanos};

/// The calls of the last so long, as sums of buckets in a ring.
///
/// With `n` buckets of width `w = length / n`, bucket `k` is `[k·w, (k+1)·w)` counted from the
/// clock's origin, whatever the first call was, and leaves at `(k+1)·w + length`. A boundary that
/// is no whole nanosecond is rounded up alone, so that none drifts. The ring holds the current
/// bucket and the `n` before it.
///
/// Where a clock steps back, calls count in the current bucket until it has caught up: what was
/// counted is forgotten that much later, and nothing else happens.
#[derive(Debug)]
pub(super) struct TimeRing {
    buckets: Box<[Sums]>,
    length: u64,
    current: u64,
    end: Timestamp,
    sums: Sums,
}

impl TimeRing {
    pub(super) fn new(length: Duration, buckets: u32, now: Timestamp) -> Self {
        let mut ring = Self {
            buckets: vec![Sums::default(); buckets as usize + 1].into(),
            length: nanos(length),
            current: 0,
            end: Timestamp::ZERO,
            sums: Sums::default(),
        };
        ring.enter(ring.index(now));
        ring
    }

    pub(super) const fn sums(&self) -> Sums {
        self.sums
    }

    pub(super) const fn stable_until(&self) -> Timestamp {
        self.end
    }

    pub(super) fn append(&mut self, ballot: Ballot) {
        self.bucket().add(ballot);
        self.sums.add(ballot);
    }

    pub(super) fn append_successes(&mut self, calls: u64) {
        self.bucket().calls += calls;
        self.sums.calls += calls;
    }

    pub(super) fn forget(&mut self, now: Timestamp) -> bool {
        if now < self.end {
            return false;
        }
        let index = self.index(now);
        if index <= self.current {
            // The end of time, where a boundary further on has saturated.
            return false;
        }
        if index - self.current >= self.buckets.len() as u64 {
            // Nothing that the ring holds has survived; the cost is that of the ring, not of the
            // silence.
            self.clear(now);
            return true;
        }
        self.enter(self.current + 1);
        let left = std::mem::take(self.bucket());
        self.sums.calls -= left.calls;
        self.sums.failures -= left.failures;
        self.sums.slow -= left.slow;
        true
    }

    pub(super) fn clear(&mut self, now: Timestamp) {
        self.buckets.fill(Sums::default());
        self.sums = Sums::default();
        self.enter(self.index(now));
    }

    fn enter(&mut self, index: u64) {
        self.current = index;
        let end = (u128::from(index) + 1) * u128::from(self.length);
        let end = end.div_ceil(u128::from(self.count()));
        self.end = Timestamp::from_nanos(u64::try_from(end).unwrap_or(u64::MAX));
    }

    fn bucket(&mut self) -> &mut Sums {
        let slot = self.current % self.buckets.len() as u64;
        #[allow(
            clippy::cast_possible_truncation,
            reason = "a remainder of a length fits in what measures lengths"
        )]
        &mut self.buckets[slot as usize]
    }

    /// The bucket that `now` falls in.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "below 2^64, since a bucket is a nanosecond at least"
    )]
    fn index(&self, now: Timestamp) -> u64 {
        let scaled = u128::from(now.as_nanos()) * u128::from(self.count());
        (scaled / u128::from(self.length)) as u64
    }

    /// Buckets that make up the length.
    const fn count(&self) -> u64 {
        self.buckets.len() as u64 - 1
    }
}
