use resilience_core::bloom_guard::{Fingerprint, Geometry};

use crate::identity;

/// One filter among those that follow one another: its name, and what it looks like.
///
/// It is written as one word list, which the scripts pass on and compare as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Generation {
    pub(super) name: String,
    pub(super) capacity: u64,
    pub(super) geometry: Geometry,
}

/// Bits that keys set in one partition.
#[derive(Debug, PartialEq)]
pub(super) struct Bits {
    pub(super) partition: usize,
    /// As Redis counts bits: from the highest of each byte.
    pub(super) offset: u64,
}

impl Generation {
    pub(super) fn new(capacity: u64, geometry: Geometry) -> Self {
        Self {
            name: identity::unique(),
            capacity,
            geometry,
        }
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let name = words.next()?.to_owned();
        let capacity = words.next()?.parse().ok()?;
        let bytes = words.next()?.parse().ok()?;
        let geometry = Geometry::new(bytes, words.next()?.parse().ok()?)?;
        words.next().is_none().then_some(Self {
            name,
            capacity,
            geometry,
        })
    }

    pub(super) fn write(&self) -> String {
        let (bytes, hashes) = (self.geometry.bytes(), self.geometry.hashes());
        format!("{} {} {bytes} {hashes}", self.name, self.capacity)
    }

    /// How many partitions it has.
    pub(super) fn partitions(&self) -> usize {
        self.geometry.bytes().div_ceil(PARTITION)
    }

    /// Bytes of a partition: the last one may be shorter.
    pub(super) fn bytes_of(&self, partition: usize) -> usize {
        let before = partition * PARTITION;
        self.geometry.bytes().saturating_sub(before).min(PARTITION)
    }

    /// Where the bits of a key are.
    pub(super) fn bits_of(&self, key: Fingerprint) -> impl Iterator<Item = Bits> {
        self.geometry.bits_of(key).map(|bit| {
            let size = 8 * PARTITION as u64;
            Bits {
                partition: usize::try_from(bit / size).unwrap_or(usize::MAX),
                offset: (bit % size) ^ 7,
            }
        })
    }
}

/// Bytes of a partition. No key is larger, so none is slow to move, to copy or to delete.
pub(super) const PARTITION: usize = 64 << 10;
/// A partition in the words of eight bytes that the guard counts in.
pub(super) const PARTITION_WORDS: usize = PARTITION / 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(bytes: u64, hashes: u32) -> Generation {
        Generation::new(1000, Geometry::new(bytes, hashes).expect("possible"))
    }

    #[test]
    fn what_is_written_is_read() {
        let generation = generation(70_000, 7);
        let text = generation.write();
        assert_eq!(Generation::read(&text), Some(generation));
        for wrong in [
            "",
            "name",
            "name 1 2",
            "name 1 2 x",
            "name 1 2 3 4",
            "name 1 0 7",
            "name 1 99999999999 7",
        ] {
            assert_eq!(Generation::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn partitions_cover_all_bytes_and_each_bit_is_in_its_own() {
        let generation = generation(2 * PARTITION as u64 + 5, 9);
        assert_eq!(generation.partitions(), 3);
        let sizes = [0, 1, 2, 3].map(|partition| generation.bytes_of(partition));
        assert_eq!(sizes, [PARTITION, PARTITION, 5, 0]);
        for number in 0..1000_u64 {
            let mut bytes = [7; 16];
            bytes[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
            let key = Fingerprint::from_bytes(bytes);
            for (bit, bits) in generation
                .geometry
                .bits_of(key)
                .zip(generation.bits_of(key))
            {
                let byte = bits.partition as u64 * PARTITION as u64 + bits.offset / 8;
                assert_eq!((byte, 7 - bits.offset % 8), (bit / 8, bit % 8));
                assert!(bits.offset < 8 * generation.bytes_of(bits.partition) as u64);
            }
        }
    }
}
