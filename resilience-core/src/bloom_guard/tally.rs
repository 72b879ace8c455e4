/// What a check came to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Count {
    Passed,
    Maybe,
    Absent,
    Remembered,
    /// Of those that were `Maybe`: the service did not find it.
    FalsePositive,
}

/// The counts that the measured rate of false positives is made of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) absent: u64,
    pub(super) false_positives: u64,
}

impl Counts {
    /// Of the unknown keys, the share that the filter let pass.
    pub(super) fn rate_since(self, base: Self) -> Option<f64> {
        let absent = self.absent.wrapping_sub(base.absent);
        let passed = self.false_positives.wrapping_sub(base.false_positives);
        let unknown = absent.saturating_add(passed);
        (unknown > 0).then(|| passed as f64 / unknown as f64)
    }
}
