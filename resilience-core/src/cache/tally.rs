use crate::striped::Striped;

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Count {
    Hit,
    StaleHit,
    NegativeHit,
    Miss,
    Coalesced,
    Load,
    LoadFailure,
    TierHit,
    TierMiss,
    TierFailure,
    TierCorrupt,
    TierWait,
}

/// The counters of a cache.
#[derive(Debug, Default)]
pub(super) struct Tally(Striped<12>);

impl Tally {
    #[inline]
    pub(super) fn count(&self, count: Count) {
        self.0.count(count as usize);
    }

    pub(super) fn read(&self, count: Count) -> u64 {
        self.0.read(count as usize)
    }
}
