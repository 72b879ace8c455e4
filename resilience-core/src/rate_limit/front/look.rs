//! Callers who look without the lock where the quota stands.

use std::time::Duration;

use super::{Front, LINE, REFUSAL, UNITS, in_order};
use crate::{
    QuotaStatus,
    clock::Reading,
    sync::{Ordering, fence},
};

impl Front {
    /// Where the quota stands, and how long until there is more of it, as far as that can be known
    /// here.
    pub(in crate::rate_limit) fn look(&self, reading: Reading) -> Option<(QuotaStatus, Duration)> {
        let kind = self.kind();
        let (status, remaining, next_back, same) = if kind == LINE {
            let line = self.line()?;
            let level = line.level(reading)?;
            let same = self.words.line.load(Ordering::Relaxed) == line.word.0;
            let (remaining, next_back) = (line.scale.remaining(level), line.scale.next_back(level));
            (line.status, remaining, next_back, same)
        } else {
            let status = self.status(0);
            let (remaining, until) = match kind {
                UNITS => {
                    let units = self.words.units.load(Ordering::Acquire);
                    let units = units.cast_signed().max(0).unsigned_abs();
                    (units, &self.terms.until)
                }
                REFUSAL => (0, &self.terms.refused_until),
                _ => return None,
            };
            let latest = self.words.latest.load(Ordering::Relaxed);
            let now = in_order(self.moment(reading), latest)?;
            let until = until.load(Ordering::Relaxed);
            let next_back = self.terms.next_back.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            let same = self.kind() == kind && now < until;
            let is_whole = remaining >= status.limit;
            let next_back = if is_whole {
                0
            } else {
                next_back.saturating_sub(now)
            };
            (status, remaining, next_back, same)
        };
        let status = QuotaStatus {
            remaining,
            ..status
        };
        same.then_some((status, Duration::from_nanos(next_back)))
    }
}
