/// Sums over calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) calls: u64,
    pub(super) failures: u64,
    pub(super) slow: u64,
}

impl Sums {
    pub(super) fn add(&mut self, ballot: Ballot) {
        self.calls += 1;
        self.failures += u64::from(ballot.failed);
        self.slow += u64::from(ballot.slow);
    }
}

/// What one call adds to the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ballot {
    pub(super) failed: bool,
    pub(super) slow: bool,
}
