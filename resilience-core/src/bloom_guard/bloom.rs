use std::{fmt, hash::Hash, sync::OnceLock};

use bloomfilter::Bloom as Reference;

use super::{
    Filter, Fingerprint, Hashed, SnapshotError,
    filter::{Added, sealed::Sealed},
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

/// How many bits there are, and how many a key sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    bits: u64,
    hashes: u32,
}

/// The lowest rate of false positives, which takes 40 hashes.
pub(super) const LEAST_RATE: f64 = 1e-12;

/// 2^32 bits, as many as a string in Redis can have.
const MOST_BYTES: usize = 512 << 20;

/// More than any rate asks for.
const MOST_HASHES: u32 = 64;

/// Four sizes from each power of two to the next, 2^26 words at most, two slots each.
#[cfg(not(resilience_loom))]
const SLOTS: usize = 2 * (4 * 26 + 2);

/// Enough for a model, which pays for each.
#[cfg(resilience_loom)]
const SLOTS: usize = 2;

const SLOT_BITS: u32 = 8;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;

/// The crate's format: version, bytes of bits, hashes and seed, then the bits.
const HEADER: usize = 1 + 8 + 4 + 32;
const VERSION: u8 = 1;

impl Geometry {
    fn new(capacity: u64, rate: f64, seed: &Seed) -> Self {
        let items = usize::try_from(capacity).unwrap_or(usize::MAX);
        let bytes = Reference::<()>::compute_bitmap_size(items, rate).clamp(1, MOST_BYTES);
        // The crate alone knows how many hashes go with it. Its bits are never touched, and given
        // back at once.
        let hashes = Reference::<()>::new_with_seed(bytes, items, seed.bytes())
            .map_or(MOST_HASHES, |it| it.number_of_hash_functions());
        Self {
            bits: bytes as u64 * 8,
            hashes: hashes.min(MOST_HASHES),
        }
    }

    pub(super) fn fits(capacity: u64, rate: f64) -> bool {
        usize::try_from(capacity)
            .is_ok_and(|items| Reference::<()>::compute_bitmap_size(items, rate) <= MOST_BYTES)
    }

    const fn word(self) -> u64 {
        self.bits << SLOT_BITS | self.hashes as u64
    }

    const fn of_word(word: u64) -> Self {
        Self {
            bits: word >> SLOT_BITS,
            hashes: (word & SLOT_MASK) as u32,
        }
    }

    fn words(self) -> usize {
        usize::try_from(self.bits.div_ceil(64)).unwrap_or(usize::MAX)
    }

    /// Words of the slot that this goes into: at most a quarter more than it needs.
    fn room(self) -> usize {
        let words = self.words();
        words.next_multiple_of((words.next_power_of_two() / 8).max(1))
    }

    /// About how many keys set so many bits (Swamidass and Baldi, "Mathematical correction for
    /// fingerprint similarity measures", 2007).
    #[allow(
        clippy::cast_possible_truncation,
        reason = "from the bits of a filter, which fit, and saturating"
    )]
    fn keys(self, ones: u64) -> u64 {
        let share = (ones as f64 / self.bits as f64).min(1.0 - f64::EPSILON);
        (-(self.bits as f64) / f64::from(self.hashes) * (-share).ln_1p()).ceil() as u64
    }
}

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
    fn stage_as(&self, geometry: Geometry) {
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

    /// The filter that is asked, in the format of the `bloomfilter` crate, version 1.
    ///
    /// Every key is in that was inserted before.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        loop {
            let current = self.current.load(Ordering::Acquire);
            let slot = &self.slots[slot_of(current)];
            let Geometry { bits, hashes } = slot.geometry();
            let size = HEADER + usize::try_from(bits / 8).unwrap_or(usize::MAX);
            let mut bytes = Vec::with_capacity(size + 8);
            bytes.push(VERSION);
            bytes.extend((bits / 8).to_le_bytes());
            bytes.extend(hashes.to_le_bytes());
            bytes.extend(self.seed.bytes());
            for word in slot.words() {
                bytes.extend(word.load(Ordering::Relaxed).to_le_bytes());
            }
            bytes.truncate(size);
            fence(Ordering::Acquire);
            if self.current.load(Ordering::Relaxed) == current {
                return bytes;
            }
        }
    }

    /// Checks a snapshot against this filter.
    pub(super) fn read<'a>(&self, bytes: &'a [u8]) -> Result<Saved<'a>, SnapshotError> {
        let Some((header, bits)) = bytes.split_at_checked(HEADER) else {
            return Err(SnapshotError::Truncated);
        };
        let number = |range: std::ops::Range<usize>| {
            let mut number = [0; 8];
            number[..range.len()].copy_from_slice(&header[range]);
            u64::from_le_bytes(number)
        };
        let (size, hashes) = (number(1..9), number(9..13));
        if header[0] != VERSION {
            return Err(SnapshotError::Version);
        }
        if !(1..=u64::from(MOST_HASHES)).contains(&hashes)
            || !(1..=MOST_BYTES as u64).contains(&size)
        {
            return Err(SnapshotError::Geometry);
        }
        if size != bits.len() as u64 {
            return Err(SnapshotError::Truncated);
        }
        if &header[13..] != self.seed.bytes() {
            return Err(SnapshotError::Seed);
        }
        let geometry = Geometry::of_word(((size * 8) << SLOT_BITS) | hashes);
        Ok(Saved { geometry, bits })
    }

    pub(super) fn same_geometry(&self, saved: &Saved<'_>) -> bool {
        self.slot().geometry() == saved.geometry
    }

    /// Puts a snapshot beside; about how many keys it holds.
    pub(super) fn stage_saved(&self, saved: &Saved<'_>) -> u64 {
        self.stage_as(saved.geometry);
        let Some(slot) = self.staged() else { return 0 };
        for (index, bytes) in saved.bits.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            slot.add_word(index, u64::from_le_bytes(word));
        }
        saved.geometry.keys(slot.ones.load(Ordering::Relaxed))
    }

    /// Adds every key of the filter that is asked to the one beside, which has the same geometry.
    pub(super) fn merge_into_staged(&self) {
        let Some(staged) = self.staged() else { return };
        for (index, word) in self.slot().words().iter().enumerate() {
            staged.add_word(index, word.load(Ordering::Relaxed));
        }
    }
}

/// A snapshot that was found to be one.
pub(super) struct Saved<'a> {
    geometry: Geometry,
    bits: &'a [u8],
}

impl Saved<'_> {
    /// About how many keys it was sized for: those that fill half of it.
    pub(super) fn capacity(&self) -> u64 {
        self.geometry.keys(self.geometry.bits / 2)
    }
}

impl Sealed for Bloom {}

impl Filter for Bloom {
    #[inline]
    fn contains<Q: Hash + ?Sized>(&self, key: &Hashed<'_, Q>) -> bool {
        let current = self.current.load(Ordering::Acquire);
        let slot = &self.slots[slot_of(current)];
        let (geometry, words) = (slot.geometry(), slot.words());
        for index in 0..geometry.hashes {
            let (word, bit) = place(nth(key.first(), || key.second(), index) % geometry.bits);
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
        self.stage_as(Geometry::new(capacity, self.rate, &self.seed));
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

/// The word that a bit stands in, and the bit in it: in little-endian order as the crate's bytes.
#[inline]
fn place(bit: u64) -> (usize, u64) {
    ((bit / 64) as usize, 1 << (bit % 64))
}
