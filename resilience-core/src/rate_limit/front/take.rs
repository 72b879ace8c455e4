//! Callers who take something without the lock, or find out that they cannot.
//!
//! Whoever takes reads the clock as late as can be. To read it takes as long as an atomic
//! operation, which begins when all before it is done: so what need not stand between the two is
//! loaded before, or worked out after.

use std::time::Duration;

use super::{
    Front, LINE, Pass, REFUSAL, Refused, UNITS, in_order,
    line::{Joined, Line},
};
use crate::{
    QuotaStatus,
    clock::Reading,
    rate_limit::booking::{Booking, Passed},
    sync::{Ordering, fence},
};

impl Front {
    /// Takes `units`, as far as that can be decided here. Else says what the clock shows.
    #[inline(always)]
    pub(in crate::rate_limit) fn take(
        &self,
        units: u64,
        read: impl FnOnce() -> Reading,
    ) -> Result<Pass, Reading> {
        match self.kind() {
            _ if units == 0 => Err(read()),
            UNITS => self.take_units(units, read),
            LINE => self.join(units, read),
            _ => Err(read()),
        }
    }

    #[inline(always)]
    fn take_units(&self, units: u64, read: impl FnOnce() -> Reading) -> Result<Pass, Reading> {
        let lag = self.terms.lag.load(Ordering::Acquire);
        let until = self.terms.until_tick.load(Ordering::Acquire);
        let reading = read();
        if reading.ticks >= until {
            return Err(reading);
        }
        // What was lent may have been taken back since then, and other units lent. They do as
        // well: who comes late is counted late.
        let left = if units == 1 {
            let before = self.words.units.fetch_sub(1, Ordering::AcqRel);
            before.cast_signed() - 1
        } else {
            self.take_several(units)
        };
        let Ok(remaining) = u64::try_from(left) else {
            return Err(reading);
        };
        let now = reading.time().as_nanos().saturating_add(lag);
        let since = self.terms.since.load(Ordering::Relaxed);
        Ok(Pass {
            passed: Passed {
                booking: Booking::at(now.max(since), units),
                status: self.status(remaining),
            },
            heard_as: units,
            clock: self.come_at(now, reading),
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
    fn join(&self, units: u64, read: impl FnOnce() -> Reading) -> Result<Pass, Reading> {
        let Some(line) = self.line() else {
            return Err(read());
        };
        let Some(parts) = line.parts(units) else {
            return Err(read());
        };
        if line.may_begin_anew(parts) {
            let reading = read();
            return match line.begun_anew(reading) {
                Some(joined) if self.moves_on(&line, joined) => {
                    Ok(self.pass(&line, joined, reading, units))
                }
                _ => self.join_again(units, reading).ok_or(reading),
            };
        }
        let reading = read();
        match line.joined(reading, parts) {
            None => Err(reading),
            Some(joined) if self.moves_on(&line, joined) => {
                Ok(self.pass(&line, joined, reading, units))
            }
            Some(_) => self.join_again(units, reading).ok_or(reading),
        }
    }

    /// Joins a line that others have joined at the same time, or just before.
    #[inline(never)]
    fn join_again(&self, units: u64, reading: Reading) -> Option<Pass> {
        loop {
            let line = self.line()?;
            let joined = line.joined(reading, line.parts(units)?)?;
            if self.moves_on(&line, joined) {
                return Some(self.pass(&line, joined, reading, units));
            }
        }
    }

    /// Moves the line on to its next word, where it stands as it stood.
    #[inline(always)]
    fn moves_on(&self, line: &Line<'_>, joined: Joined) -> bool {
        let word = &self.words.line;
        let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
        word.compare_exchange(line.word.0, joined.word.0, success, failure)
            .is_ok()
    }

    #[inline(always)]
    fn pass(&self, line: &Line<'_>, joined: Joined, reading: Reading, units: u64) -> Pass {
        let Joined { word, level } = joined;
        let end = line.told_by_end(word, reading).end();
        let behind = end.wrapping_sub(line.end);
        let place = line.place.wrapping_add(behind / line.scale.unit.max(1));
        Pass {
            passed: Passed {
                booking: Booking::at(place, units),
                status: QuotaStatus {
                    remaining: line.scale.remaining(level),
                    ..line.status
                },
            },
            heard_as: word.calls().wrapping_sub(line.word.calls()),
            clock: self.come_at(line.moment(reading), reading),
        }
    }

    /// Finds out that one unit is not free, as far as that can be known here.
    #[inline(always)]
    pub(in crate::rate_limit) fn refuse(&self, reading: Reading) -> Option<Refused> {
        match self.kind() {
            REFUSAL => {
                let status = self.status(0);
                let latest = self.words.latest.load(Ordering::Relaxed);
                let now = in_order(self.moment(reading), latest)?;
                let until = self.terms.refused_until.load(Ordering::Relaxed);
                fence(Ordering::Acquire);
                let wait = until.saturating_sub(now);
                (self.kind() == REFUSAL).then_some((wait, status))
            }
            LINE => {
                let line = self.line()?;
                let wait = line.scale.wait(line.level(reading)?);
                let same = self.words.line.load(Ordering::Relaxed) == line.word.0;
                same.then_some((wait, line.status))
            }
            _ => None,
        }
        .filter(|&(wait, _)| wait > 0)
        .map(|(wait, status)| {
            let wait = Duration::from_nanos(wait);
            Refused { wait, status }
        })
    }
}
