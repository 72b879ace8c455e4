//! Filters as bytes, in the format of the `bloomfilter` crate, version 1.

use std::{error::Error, fmt, ops::Range};

use super::{geometry::Geometry, hash::Seed};

/// Why a snapshot was not loaded. Until a snapshot is, or a rebuild is complete, everything
/// passes; but for [`RebuildUnderWay`](Self::RebuildUnderWay), which changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Shorter than it says, or longer.
    Truncated,
    /// Of another version, or no snapshot at all.
    Version,
    /// With no hash, too many, no bits, or too many.
    Geometry,
    /// Made with another seed: nothing in it would be found.
    Seed,
    /// Sized otherwise than the filter here, which a rebuild filled, or into which more keys were
    /// inserted than are remembered one by one (4096): they would get lost.
    Resized,
    /// A rebuild is under way: finish or drop it first.
    RebuildUnderWay,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the snapshot is not as long as it says",
            Self::Version => "the snapshot is of another version, or none",
            Self::Geometry => "the snapshot has a size that no filter can have",
            Self::Seed => "the snapshot was made with another seed",
            Self::Resized => "the snapshot is sized otherwise, and keys known here would be lost",
            Self::RebuildUnderWay => "a rebuild is under way",
        })
    }
}

impl Error for SnapshotError {}

/// A snapshot that was found to be one.
pub(super) struct Saved<'a> {
    pub(super) geometry: Geometry,
    pub(super) bits: &'a [u8],
}

impl<'a> Saved<'a> {
    /// Checks a snapshot, which must be made with `seed`.
    pub(super) fn read(bytes: &'a [u8], seed: &Seed) -> Result<Self, SnapshotError> {
        let Some((header, bits)) = bytes.split_at_checked(HEADER) else {
            return Err(SnapshotError::Truncated);
        };
        let number = |range: Range<usize>| {
            let mut number = [0; 8];
            number[..range.len()].copy_from_slice(&header[range]);
            u64::from_le_bytes(number)
        };
        let (size, hashes) = (number(1..9), number(9..13));
        if header[0] != VERSION {
            return Err(SnapshotError::Version);
        }
        let geometry = u32::try_from(hashes)
            .ok()
            .and_then(|hashes| Geometry::new(size, hashes))
            .ok_or(SnapshotError::Geometry)?;
        if size != bits.len() as u64 {
            return Err(SnapshotError::Truncated);
        }
        if &header[13..] != seed.bytes() {
            return Err(SnapshotError::Seed);
        }
        Ok(Self { geometry, bits })
    }

    /// About how many keys it was sized for: those that fill half of it.
    pub(super) fn capacity(&self) -> u64 {
        self.geometry.keys(self.geometry.bits / 2)
    }
}

/// What stands before the bits.
pub(super) fn header(geometry: Geometry, seed: &Seed) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + geometry.bytes());
    bytes.push(VERSION);
    bytes.extend((geometry.bits / 8).to_le_bytes());
    bytes.extend(geometry.hashes.to_le_bytes());
    bytes.extend(seed.bytes());
    bytes
}

/// The crate's format: version, bytes of bits, hashes and seed, then the bits.
const HEADER: usize = 1 + 8 + 4 + 32;
const VERSION: u8 = 1;
