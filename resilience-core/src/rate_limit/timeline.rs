use crate::Timestamp;

/// Time as a machine, or all of a shard, see it: it never goes back.
///
/// Callers read the clock before they get the lock, so that a little disorder is normal: time
/// stands still until the clock has caught up. A clock that falls back further was set, and time
/// goes on from the latest instant seen, since nobody shall wait for what a broken clock said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timeline {
    pub(super) latest: u64,
    /// What to add to the clock.
    pub(super) lag: u64,
}

/// How far the clock may fall back and be waited for: no thread stands longer between reading the
/// clock and getting a lock.
pub(super) const DISORDER: u64 = 1_000_000_000;

impl Timeline {
    /// Time has gone on, as far as the clock says.
    #[inline]
    pub(super) fn move_to(&mut self, clock: Timestamp) {
        let now = clock.as_nanos().saturating_add(self.lag);
        let behind = self.latest.saturating_sub(now);
        if behind > DISORDER {
            self.lag = self.lag.saturating_add(behind);
        }
        self.latest = self.latest.max(now);
    }
}
