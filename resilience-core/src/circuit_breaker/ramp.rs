use std::time::Duration;

use crate::{Timestamp, clock::nanos};

/// Admits a share of the calls that grows from none to all within a time.
///
/// Each call adds the share of its moment to a credit, and takes a whole one out where it finds
/// it: the error of one decision is carried into the next, so that the calls admitted follow the
/// share without any chance. Whole ones and shares are both counted in nanoseconds of the length.
/// The first call finds a whole one, so that no caller starves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ramp {
    since: Timestamp,
    length: u64,
    credit: u64,
}

impl Ramp {
    pub(super) fn new(since: Timestamp, length: Duration) -> Self {
        let length = nanos(length);
        Self {
            since,
            length,
            credit: length,
        }
    }

    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.elapsed(now) >= self.length
    }

    /// Admits, or says after how long the next call would be, if nobody else asked meanwhile.
    pub(super) fn admit(&mut self, now: Timestamp) -> Result<(), Duration> {
        let share = self.elapsed(now);
        let credit = self.credit.saturating_add(share);
        if credit >= self.length {
            self.credit = credit - self.length;
            return Ok(());
        }
        self.credit = credit;
        let missing = self.length - credit;
        Err(Duration::from_nanos(missing.saturating_sub(share)))
    }

    fn elapsed(&self, now: Timestamp) -> u64 {
        nanos(now.saturating_since(self.since))
    }
}
