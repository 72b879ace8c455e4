//! Callers who take something without the lock, or find out that they cannot.

use std::time::Duration;

use super::{Front, LINE, Pass, REFUSAL, Refused, UNITS};
use crate::{
    QuotaStatus, Timestamp,
    rate_limit::{
        booking::{Booking, Passed},
        line::{LineWord, parts_between},
    },
    sync::{Ordering, fence},
};

impl Front {
    /// Takes `units`, as far as that can be decided here.
    #[inline(always)]
    pub(in crate::rate_limit) fn take(&self, clock: Timestamp, units: u64) -> Option<Pass> {
        match self.kind() {
            _ if units == 0 => None,
            UNITS => self.take_units(clock, units),
            LINE => self.join(clock, units),
            _ => None,
        }
    }

    #[inline(always)]
    fn take_units(&self, clock: Timestamp, units: u64) -> Option<Pass> {
        let moment = self.moment(clock)?;
        let now = self.present(moment, &self.terms.until)?;
        // What was lent may have been taken back since then, and other units lent. They do as
        // well: who comes late is counted late.
        let left = if units == 1 {
            let before = self.words.units.fetch_sub(1, Ordering::AcqRel);
            before.cast_signed() - 1
        } else {
            self.take_several(units)
        };
        let remaining = u64::try_from(left).ok()?;
        Some(Pass {
            passed: Passed {
                booking: Booking::at(now, units),
                status: self.status(remaining),
            },
            heard_as: units,
            clock: self.come_at(moment),
        })
    }

    /// What is left of the units, or less than nothing where there are too few.
    #[inline(never)]
    fn take_several(&self, units: u64) -> i64 {
        let wanted = i64::try_from(units).unwrap_or(i64::MAX);
        let word = &self.words.units;
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            let left = seen.cast_signed().saturating_sub(wanted);
            if left < 0 {
                return left;
            }
            let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
            match word.compare_exchange_weak(seen, left.cast_unsigned(), success, failure) {
                Ok(_) => return left,
                Err(now) => seen = now,
            }
        }
    }

    #[inline(always)]
    fn join(&self, clock: Timestamp, units: u64) -> Option<Pass> {
        let mut line = LineWord(self.words.line.load(Ordering::Acquire));
        while line.is_open() {
            let (now, scale) = self.at_line(clock)?;
            let start = self.terms.end.load(Ordering::Relaxed);
            let place = self.terms.place.load(Ordering::Relaxed);
            let status = self.status(0);
            // If the word is still the same after this, what was read stood beside it.
            fence(Ordering::Acquire);
            let instant = now.wrapping_mul(scale.pace);
            let level = line.level(instant);
            let parts = scale.parts(units, level)?;
            let next = line.joined(instant, parts);
            match self.words.line.compare_exchange_weak(
                line.0,
                next.0,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    let behind = parts_between(start, next.end());
                    let remaining = scale.remaining(level + parts);
                    return Some(Pass {
                        passed: Passed {
                            booking: Booking::at(
                                place.wrapping_add(behind / scale.unit.max(1)),
                                units,
                            ),
                            status: QuotaStatus {
                                remaining,
                                ..status
                            },
                        },
                        heard_as: next.calls().wrapping_sub(line.calls()),
                        clock: self.come_at(now),
                    });
                }
                Err(now) => line = LineWord(now),
            }
        }
        None
    }

    /// Finds out that one unit is not free, as far as that can be known here.
    #[inline(always)]
    pub(in crate::rate_limit) fn refuse(&self, clock: Timestamp) -> Option<Refused> {
        let status = self.status(0);
        let (wait, same) = match self.kind() {
            REFUSAL => {
                let now = self.in_order(self.moment(clock)?)?;
                let until = self.terms.refused_until.load(Ordering::Relaxed);
                fence(Ordering::Acquire);
                (until.saturating_sub(now), self.kind() == REFUSAL)
            }
            LINE => {
                let line = self.words.line.load(Ordering::Acquire);
                let (now, scale) = self.at_line(clock)?;
                let level = LineWord(line).level(now.wrapping_mul(scale.pace));
                fence(Ordering::Acquire);
                let same = self.words.line.load(Ordering::Relaxed) == line;
                (scale.wait(level), same)
            }
            _ => return None,
        };
        let wait = Duration::from_nanos(wait);
        (same && !wait.is_zero()).then_some(Refused { wait, status })
    }
}
