use super::sums::{Ballot, Sums};

/// The last so many calls, as bits in a ring.
///
/// Places that were never written hold zeros, so that what leaves can be subtracted without a
/// look at how full the ring is.
#[derive(Debug)]
pub(super) struct CountRing {
    failed: Bits,
    slow: Bits,
    capacity: usize,
    next: usize,
    sums: Sums,
}

impl CountRing {
    pub(super) fn new(capacity: u32) -> Self {
        let capacity = capacity as usize;
        Self {
            failed: Bits::new(capacity),
            slow: Bits::new(capacity),
            capacity,
            next: 0,
            sums: Sums::default(),
        }
    }

    pub(super) const fn sums(&self) -> Sums {
        self.sums
    }

    pub(super) fn append(&mut self, ballot: Ballot) {
        self.append_successes(1);
        let place = self.next.checked_sub(1).unwrap_or(self.capacity - 1);
        if ballot.failed {
            self.failed.set(place);
            self.sums.failures += 1;
        }
        if ballot.slow {
            self.slow.set(place);
            self.sums.slow += 1;
        }
    }

    pub(super) fn append_successes(&mut self, calls: u64) {
        let calls = usize::try_from(calls).map_or(self.capacity, |calls| calls.min(self.capacity));
        let to_end = calls.min(self.capacity - self.next);
        self.forget(self.next, to_end);
        self.forget(0, calls - to_end);
        self.next = (self.next + calls) % self.capacity;
        self.sums.calls = (self.sums.calls + calls as u64).min(self.capacity as u64);
    }

    pub(super) fn clear(&mut self) {
        self.forget(0, self.capacity);
        self.sums = Sums::default();
        self.next = 0;
    }

    fn forget(&mut self, start: usize, length: usize) {
        self.sums.failures -= self.failed.take(start, length);
        self.sums.slow -= self.slow.take(start, length);
    }
}

#[derive(Debug)]
struct Bits(Box<[u64]>);

impl Bits {
    fn new(length: usize) -> Self {
        Self(vec![0; length.div_ceil(64)].into())
    }

    fn set(&mut self, place: usize) {
        self.0[place / 64] |= 1 << (place % 64);
    }

    /// Clears `length` bits from `start` on, a word at a time, and counts those that were set.
    fn take(&mut self, start: usize, length: usize) -> u64 {
        let (mut place, end) = (start, start + length);
        let mut taken = 0;
        while place < end {
            let offset = place % 64;
            let width = (64 - offset).min(end - place);
            let mask = (u64::MAX >> (64 - width)) << offset;
            let word = &mut self.0[place / 64];
            taken += u64::from((*word & mask).count_ones());
            *word &= !mask;
            place += width;
        }
        taken
    }
}
