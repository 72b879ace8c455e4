//! What a filter of bits looks like: its size, and where the bits of a key are.

use bloomfilter::Bloom as Reference;

use super::{
    Fingerprint,
    hash::{Seed, nth},
};
use crate::float::saturate;

/// The layout of a filter, which is that of the `bloomfilter` crate: how many bits there are, and
/// how many a key sets.
///
/// Bit `i` is bit `i % 8`, counted from the lowest, of byte `i / 8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    pub(super) bits: u64,
    pub(super) hashes: u32,
}

impl Geometry {
    /// A filter of so many bytes of which each key sets so many bits; `None` where none can be like
    /// this: 1 to 2^29 bytes, and 1 to 64 bits a key.
    #[must_use]
    pub fn new(bytes: u64, hashes: u32) -> Option<Self> {
        let possible =
            (1..=MOST_BYTES as u64).contains(&bytes) && (1..=MOST_HASHES).contains(&hashes);
        possible.then(|| Self {
            bits: bytes * 8,
            hashes,
        })
    }

    /// How many bytes it has.
    #[must_use]
    pub fn bytes(self) -> usize {
        usize::try_from(self.bits / 8).unwrap_or(usize::MAX)
    }

    /// How many bits a key sets, of which some may be the same.
    #[must_use]
    pub const fn hashes(self) -> u32 {
        self.hashes
    }

    /// The bits that a key sets.
    pub fn bits_of(self, key: Fingerprint) -> impl Iterator<Item = u64> {
        (0..self.hashes).map(move |index| nth(key.first, || key.second, index) % self.bits)
    }

    pub(super) fn for_keys(capacity: u64, rate: f64, seed: &Seed) -> Self {
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

    pub(super) const fn word(self) -> u64 {
        self.bits << HASH_BITS | self.hashes as u64
    }

    pub(super) const fn of_word(word: u64) -> Self {
        Self {
            bits: word >> HASH_BITS,
            hashes: (word & HASH_MASK) as u32,
        }
    }

    pub(super) fn words(self) -> usize {
        usize::try_from(self.bits.div_ceil(64)).unwrap_or(usize::MAX)
    }

    /// Words of the slot that this goes into: at most a quarter more than it needs.
    pub(super) fn room(self) -> usize {
        let words = self.words();
        words.next_multiple_of((words.next_power_of_two() / 8).max(1))
    }

    /// About how many keys set so many bits (Swamidass and Baldi, "Mathematical correction for
    /// fingerprint similarity measures", 2007).
    pub(super) fn keys(self, ones: u64) -> u64 {
        let share = (ones as f64 / self.bits as f64).min(1.0 - f64::EPSILON);
        let keys = -(self.bits as f64) / f64::from(self.hashes) * (-share).ln_1p();
        saturate(keys.ceil())
    }
}

/// Takes remainders by one number with a multiplication each, where the processor's division takes
/// several times as long (Granlund and Montgomery, "Division by Invariant Integers using
/// Multiplication", 1994).
#[derive(Clone, Copy, Debug)]
pub(super) struct Remainder {
    divisor: u64,
    inverse: u64,
}

impl Remainder {
    #[inline]
    pub(super) const fn by(divisor: u64) -> Self {
        let inverse = u64::MAX / divisor;
        Self { divisor, inverse }
    }

    /// The remainder of `number`.
    ///
    /// The inverse is at most 1 too small, so that the quotient is at most 1 too small as well.
    #[inline]
    pub(super) const fn of(self, number: u64) -> u64 {
        let quotient = ((number as u128 * self.inverse as u128) >> 64) as u64;
        let rest = number - quotient * self.divisor;
        if rest < self.divisor {
            rest
        } else {
            rest - self.divisor
        }
    }
}

/// The word that a bit stands in, and the bit in it: in little-endian order as the crate's bytes.
#[inline]
pub(super) fn place(bit: u64) -> (usize, u64) {
    ((bit / 64) as usize, 1 << (bit % 64))
}

/// The lowest rate of false positives, which takes 40 hashes.
pub(super) const LEAST_RATE: f64 = 1e-12;

/// 2^32 bits, as many as a string in Redis can have.
pub(super) const MOST_BYTES: usize = 512 << 20;

/// More than any rate asks for.
pub(super) const MOST_HASHES: u32 = 64;

/// A geometry in one word: as many bits for the hashes, the rest for the bits.
const HASH_BITS: u32 = 8;
const HASH_MASK: u64 = (1 << HASH_BITS) - 1;

#[cfg(all(test, not(resilience_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn remainders_are_those_of_a_division(number: u64, divisor in 1..=u64::MAX >> 1) {
            for divisor in [divisor, divisor >> 20, 1, 2, 8, 1 << 35, u64::MAX >> 1] {
                let remainder = Remainder::by(divisor.max(1));
                let multiple = number / divisor.max(1) * divisor.max(1);
                for number in [number, multiple, multiple.wrapping_sub(1), 0, u64::MAX] {
                    prop_assert_eq!(remainder.of(number), number % divisor.max(1));
                }
            }
        }
    }
}
