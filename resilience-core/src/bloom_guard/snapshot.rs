use std::{error::Error, fmt};

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
    /// Sized otherwise than the filter here, into which more keys were inserted than are
    /// remembered one by one (4096): they would get lost.
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
            Self::Resized => {
                "the snapshot is sized otherwise, and keys inserted here would be lost"
            }
            Self::RebuildUnderWay => "a rebuild is under way",
        })
    }
}

impl Error for SnapshotError {}
