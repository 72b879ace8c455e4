use std::{fmt, hash::Hash, sync::OnceLock};

use super::{
    Filter, Fingerprint, Hashed,
    filter::{Added, sealed::Sealed},
    format::Saved,
    geometry::{Geometry, Remainder, place},
    hash::{Seed, nth},
};
use crate::sync::{AtomicU64, Ordering, fence};

/// The filter of bits: a few bits a key, no false negatives, a chosen rate of false positives.
///
/// The `bloomfilter` crate says how many bits and hashes there are, which bits a key sets, and
/// what a snapshot looks like. The bits themselves live here, in atomics, since the crate's can
/// only be set by one who has them alone.
///
/// Whoever asks takes no lock and writes nothing. Bits live in slots that are used again but never
/// freed, so that a reader who lost its way finds bits of another filter and no freed memory, and
/// one more look at `current` tells it so. (A counted reference would be two atomic
/// read-modify-writes a check.) Slots of one size come in pairs, sizes grow by a quarter: all
/// together take a few times the largest filter.
pub struct Bloom {
    seed: Seed,
    rate: f64,
    /// The slot that is asked in the lowest eight bits, above them how many were before.
    current: AtomicU64,
    /// The slot beside, plus one.
    staged: AtomicU64,
    slots: Box<[Slot]>,
}

/// The bits of one filter.
#[derive(Default)]
struct Slot {
    words: OnceLock<Box<[AtomicU64]>>,
    geometry: AtomicU64,
    ones: AtomicU64,
}

/// Four sizes from each power of two to the next, 2^26 words at most, two slots each.
#[cfg(not(resilience_loom))]
const SLOTS: usize = 2 * (4 * 26 + 2);

/// Enough for a model, which pays for each.
#[cfg(resilience_loom)]
const SLOTS: usize = 2;

const SLOT_BITS: u32 = 8;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;

impl Slot {
    fn geometry(&self) -> Geometry {
        Geometry::of_word(self.geometry.load(Ordering::Relaxed))
    }

    fn words(&self) -> &[AtomicU64] {
        self.words.get().map_or(&[], |words| words)
    }

    /// Sets the bits of a key; whether one was not set before.
    fn insert(&self, key: Fingerprint) -> bool {
        let geometry = self.geometry();
        let mut new = 0;
        for index in 0..geometry.hashes {
            let (word, bit) = place(nth(key.first, || key.second, index) % geometry.bits);
            let old = self.words()[word].fetch_or(bit, Ordering::Relaxed);
            new += u64::from(old & bit == 0);
        }
        self.ones.fetch_add(new, Ordering::Relaxed);
        new > 0
    }

    fn add_word(&self, index: usize, bits: u64) {
        let old = self.words()[index].fetch_or(bits, Ordering::Relaxed);
        let new = u64::from((bits & !old).count_ones());
        self.ones.fetch_add(new, Ordering::Relaxed);
    }
}

impl Bloom {
    pub(super) fn new(capacity: u64, rate: f64, seed: Seed) -> Self {
        let bloom = Self {
            seed,
            rate,
            current: AtomicU64::new(SLOT_MASK),
            staged: AtomicU64::new(0),
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
        };
        bloom.stage(capacity);
        bloom.commit();
        bloom
    }

    /// The largest filter is as large as this many keys need.
    pub(super) fn most_keys(expected: u64, rate: f64) -> u64 {
        let mut most = expected;
        while let Some(next) = most.checked_mul(2).filter(|it| Geometry::fits(*it, rate)) {
            most = next;
        }
        most
    }

    /// Empties a slot that nobody is sent to, and puts it beside.
    ///
    /// Those who still read it as it was will find out: the fence makes `current`, which has
    /// moved on, visible to whoever reads a cleared word and then looks at `current` again.
    pub(super) fn stage_as(&self, geometry: Geometry) {
        let room = geometry.room();
        let current = slot_of(self.current.load(Ordering::Relaxed));
        let free = |(index, slot): &(usize, &Slot)| {
            *index != current && slot.words.get().is_none_or(|it| it.len() == room)
        };
        let (index, slot) = self
            .slots
            .iter()
            .enumerate()
            .find(free)
            .expect("there are two slots of each size");
        fence(Ordering::Release);
        let words = slot
            .words
            .get_or_init(|| (0..room).map(|_| AtomicU64::new(0)).collect());
        for word in words {
            word.store(0, Ordering::Relaxed);
        }
        slot.ones.store(0, Ordering::Relaxed);
        slot.geometry.store(geometry.word(), Ordering::Relaxed);
        self.staged.store(index as u64 + 1, Ordering::Release);
    }

    fn slot(&self) -> &Slot {
        &self.slots[slot_of(self.current.load(Ordering::Acquire))]
    }

    fn staged(&self) -> Option<&Slot> {
        let staged = self.staged.load(Ordering::Acquire).checked_sub(1)?;
        self.slots.get(slot_of(staged))
    }

    /// The bytes of the filter that is asked, after what `header` gives.
    ///
    /// Every key is in that was inserted before.
    pub(super) fn copy(&self, header: impl Fn(Geometry) -> Vec<u8>) -> Vec<u8> {
        loop {
            let current = self.current.load(Ordering::Acquire);
            let slot = &self.slots[slot_of(current)];
            let geometry = slot.geometry();
            let mut bytes = header(geometry);
            let end = bytes.len() + geometry.bytes();
            for word in &slot.words()[..geometry.words()] {
                bytes.extend(word.load(Ordering::Relaxed).to_le_bytes());
            }
            bytes.truncate(end);
            fence(Ordering::Acquire);
            if self.current.load(Ordering::Relaxed) == current {
                return bytes;
            }
        }
    }

    pub(super) fn same_geometry(&self, saved: &Saved<'_>) -> bool {
        self.slot().geometry() == saved.geometry
    }

    /// Puts a snapshot beside; about how many keys it holds.
    pub(super) fn stage_saved(&self, saved: &Saved<'_>) -> u64 {
        self.stage_as(saved.geometry);
        self.add_to_staged(0, saved.bits);
        self.staged_keys()
    }

    /// Adds bits to the filter beside, from word `first` on; those beyond its end are none.
    pub(super) fn add_to_staged(&self, first: usize, bits: &[u8]) {
        let Some(slot) = self.staged() else { return };
        let words = first..slot.geometry().words();
        for (index, bytes) in words.zip(bits.chunks(8)) {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            slot.add_word(index, u64::from_le_bytes(word));
        }
    }

    /// The bits of so many words of the filter beside, from word `first` on, or up to its end.
    pub(super) fn read_staged(&self, first: usize, words: usize) -> Vec<u8> {
        let Some(slot) = self.staged() else {
            return Vec::new();
        };
        let geometry = slot.geometry();
        let words = slot.words()[..geometry.words()]
            .iter()
            .skip(first)
            .take(words);
        let mut bytes: Vec<u8> = words
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
            .collect();
        bytes.truncate(geometry.bytes().saturating_sub(first.saturating_mul(8)));
        bytes
    }

    /// About how many keys are in the filter beside.
    pub(super) fn staged_keys(&self) -> u64 {
        self.staged().map_or(0, |slot| {
            slot.geometry().keys(slot.ones.load(Ordering::Relaxed))
        })
    }

    /// A filter for so many keys.
    pub(super) fn geometry_for(&self, capacity: u64) -> Geometry {
        Geometry::for_keys(capacity, self.rate, &self.seed)
    }

    /// Adds every key of the filter that is asked to the one beside, which has the same geometry;
    /// about how many that has then.
    pub(super) fn merge_into_staged(&self) -> u64 {
        let Some(staged) = self.staged() else {
            return 0;
        };
        for (index, word) in self.slot().words().iter().enumerate() {
            staged.add_word(index, word.load(Ordering::Relaxed));
        }
        self.staged_keys()
    }
}

impl Sealed for Bloom {}

impl Filter for Bloom {
    #[inline]
    fn contains<Q: Hash + ?Sized>(&self, key: &Hashed<'_, Q>) -> bool {
        let current = self.current.load(Ordering::Acquire);
        let slot = &self.slots[slot_of(current)];
        let (geometry, words) = (slot.geometry(), slot.words());
        let bits = Remainder::by(geometry.bits);
        for index in 0..geometry.hashes {
            let (word, bit) = place(bits.of(nth(key.first(), || key.second(), index)));
            if words[word].load(Ordering::Relaxed) & bit == 0 {
                // Another filter took over meanwhile? Then nobody knows whose bit this was.
                fence(Ordering::Acquire);
                return self.current.load(Ordering::Relaxed) != current;
            }
        }
        true
    }

    fn insert(&self, key: Fingerprint) -> Added {
        Added {
            current: self.slot().insert(key),
            staged: self.insert_staged(key),
        }
    }

    fn stage(&self, capacity: u64) {
        self.stage_as(self.geometry_for(capacity));
    }

    fn insert_staged(&self, key: Fingerprint) -> bool {
        self.staged().is_some_and(|slot| slot.insert(key))
    }

    fn commit(&self) {
        let Some(staged) = self.staged.load(Ordering::Acquire).checked_sub(1) else {
            return;
        };
        let before = self.current.load(Ordering::Relaxed) >> SLOT_BITS;
        let current = before.wrapping_add(1) << SLOT_BITS | staged;
        self.current.store(current, Ordering::Release);
        self.staged.store(0, Ordering::Release);
    }

    fn discard(&self) {
        self.staged.store(0, Ordering::Release);
    }

    fn fill(&self) -> f64 {
        let slot = self.slot();
        let ones = slot.ones.load(Ordering::Relaxed);
        (ones as f64 / slot.geometry().bits as f64).min(1.0)
    }

    /// The fill to the power of the number of hashes (Bloom, 1970).
    fn false_positive_rate(&self) -> f64 {
        self.fill().powf(f64::from(self.slot().geometry().hashes))
    }
}

/// By hand, since bits are many and the seed is secret.
impl fmt::Debug for Bloom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bloom")
            .field("geometry", &self.slot().geometry())
            .field("fill", &self.fill())
            .finish_non_exhaustive()
    }
}

#[inline]
fn slot_of(word: u64) -> usize {
    (word & SLOT_MASK) as usize
}
