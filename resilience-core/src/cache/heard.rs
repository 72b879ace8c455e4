use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What other processes changed, as a second tier hears of it.
///
/// Keys go by marks and share a fixed number of slots, so that whatever is heard costs one write
/// and no memory. Those that share a slot are invalidated together: at worst one is loaded once
/// more.
#[derive(Debug)]
pub(super) struct Heard {
    /// When something in a slot was changed for the last time; none where nothing is heard.
    slots: Box<[AtomicU64]>,
    /// What was loaded before this may have been changed by others, and nobody heard of it.
    doubted: AtomicU64,
    in_touch: AtomicBool,
}

/// Which slot a key is in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot(usize);

/// What had been invalidated when a load began, and where others' changes of its key are noted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) epoch: u64,
    pub(super) slot: Slot,
}

impl Heard {
    /// Ears that are deaf: there is nobody to hear of.
    pub(super) fn nothing() -> Self {
        Self::with_slots(0)
    }

    /// Ears for about `keys` keys.
    pub(super) fn of(keys: usize) -> Self {
        let slots = keys.saturating_mul(SLOTS_PER_KEY);
        let slots = slots.clamp(LEAST_SLOTS, MOST_SLOTS);
        Self::with_slots(slots.next_power_of_two())
    }

    /// The same, which begin to hear later.
    pub(super) fn out_of_touch(self) -> Self {
        self.in_touch.store(false, Ordering::Relaxed);
        self
    }

    fn with_slots(slots: usize) -> Self {
        Self {
            slots: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            doubted: AtomicU64::new(0),
            in_touch: AtomicBool::new(true),
        }
    }

    /// The slot of the key with this mark.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the slots are a power of two far below 2^32, and marks are hashes"
    )]
    pub(super) fn slot(&self, mark: u64) -> Slot {
        Slot(mark as usize & self.slots.len().saturating_sub(1))
    }

    /// Whether something in the slot was changed since.
    #[inline]
    pub(super) fn concerns(&self, stamp: Stamp) -> bool {
        let last = self.slots.get(stamp.slot.0);
        last.is_some_and(|last| last.load(Ordering::Acquire) > stamp.epoch)
    }

    /// Whether something may have been changed since, and nobody heard of it.
    #[inline]
    pub(super) fn doubts(&self, stamp: Stamp) -> bool {
        self.doubted.load(Ordering::Acquire) > stamp.epoch
    }

    pub(super) fn is_in_touch(&self) -> bool {
        self.in_touch.load(Ordering::Acquire)
    }

    /// Something in the slot of `mark` was changed at `now`.
    pub(super) fn changed(&self, mark: u64, now: u64) {
        if let Some(last) = self.slots.get(self.slot(mark).0) {
            last.fetch_max(now, Ordering::AcqRel);
        }
    }

    /// Nothing is heard, or something is heard again; either way what was loaded before `now` may
    /// not be what it was. What takes note of that instant finds how it is from then on.
    pub(super) fn touch(&self, in_touch: bool, now: impl FnOnce() -> u64) {
        self.in_touch.store(in_touch, Ordering::Release);
        self.doubted.fetch_max(now(), Ordering::AcqRel);
    }
}

/// So that of four invalidations elsewhere about one takes a key with it that was not meant.
const SLOTS_PER_KEY: usize = 4;
const LEAST_SLOTS: usize = 1 << 10;
/// 8 MiB.
const MOST_SLOTS: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_after_touch_was_lost_finds_that_it_was() {
        let heard = Heard::of(1);
        let lost = || {
            assert!(!heard.is_in_touch());
            1
        };
        heard.touch(false, lost);
        let before = Stamp {
            epoch: 0,
            slot: Slot::default(),
        };
        assert!(heard.doubts(before));
    }
}
