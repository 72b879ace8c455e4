//! Filters as bytes, in the format of the `bloomfilter` crate, version 1.

use std::{error::Error, fmt, ops::Range, time::Duration};

use super::{
    bloom::Bloom, geometry::Geometry, hash::Seed, recent::KEPT, shared::Shared, standing::Standing,
    state::Source,
};
use crate::sync::lock;

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

impl Shared<Bloom> {
    /// Puts a snapshot in place of the filter that was saved `age` ago.
    pub(super) fn load(&self, bytes: &[u8], age: Duration) -> Result<(), SnapshotError> {
        let saved = Saved::read(bytes, &self.seed).inspect_err(|_| self.distrust())?;
        if lock(&self.inner).state.begin(Source::Snapshot).is_none() {
            return Err(SnapshotError::RebuildUnderWay);
        }
        let keys = self.filter.stage_saved(&saved);
        // From here on inserts go there as well. Those before must not get lost either: the last
        // are taken along first, so that where there are no more, none was pushed out by others.
        let mut keys = keys.saturating_add(self.stage_recent());
        let knows_more = {
            let state = &lock(&self.inner).state;
            state.is_rebuilt() || state.inserted() > KEPT as u64
        };
        if knows_more {
            if !self.filter.same_geometry(&saved) {
                self.abandon();
                self.distrust();
                return Err(SnapshotError::Resized);
            }
            keys = self.filter.merge_into_staged();
        }
        if !self.filter.same_geometry(&saved) {
            lock(&self.inner).state.resize(saved.capacity());
        }
        lock(&self.inner).state.made_before(age);
        self.commit(keys);
        Ok(())
    }

    pub(super) fn save(&self) -> Option<Vec<u8>> {
        let standing = lock(&self.inner).state.standing();
        match standing {
            Standing::Empty => None,
            Standing::Answering | Standing::Overloaded | Standing::OutOfTouch => {
                Some(self.filter.copy(|geometry| header(geometry, &self.seed)))
            }
        }
    }
}

/// A snapshot that was found to be one.
pub(super) struct Saved<'a> {
    pub(super) geometry: Geometry,
    pub(super) bits: &'a [u8],
}

impl<'a> Saved<'a> {
    /// Checks a snapshot, which must be made with `seed`.
    fn read(bytes: &'a [u8], seed: &Seed) -> Result<Self, SnapshotError> {
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
    fn capacity(&self) -> u64 {
        self.geometry.keys(self.geometry.bits / 2)
    }
}

/// What stands before the bits.
fn header(geometry: Geometry, seed: &Seed) -> Vec<u8> {
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
