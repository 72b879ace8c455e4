//! A line that is lent, as whoever may join it sees it.

use super::{Front, in_order};
use crate::{
    QuotaStatus,
    clock::Reading,
    rate_limit::line::{LineWord, Scale},
    sync::{AtomicU64, Ordering, fence},
};

/// A line and the terms on which it is lent, all read before the clock is.
pub(super) struct Line<'front> {
    pub(super) word: LineWord,
    pub(super) scale: Scale,
    /// The end when it was lent, and the place of its last unit then.
    pub(super) end: u64,
    pub(super) place: u64,
    /// Of the quota, with nothing left.
    pub(super) status: QuotaStatus,
    from: u64,
    length: u64,
    lag: u64,
    drained: u64,
    latest: &'front AtomicU64,
}

/// A caller's place in a line.
#[derive(Clone, Copy)]
pub(super) struct Joined {
    pub(super) word: LineWord,
    /// How much of the line is taken then.
    pub(super) level: u64,
}

impl Front {
    /// The line, where one is lent. What is found stood beside its word if that is still the same
    /// afterwards.
    #[inline(always)]
    pub(super) fn line(&self) -> Option<Line<'_>> {
        let word = LineWord(self.words.line.load(Ordering::Acquire));
        if !word.is_open() {
            return None;
        }
        let terms = &self.terms;
        let line = Line {
            word,
            scale: Scale {
                pace: terms.pace.load(Ordering::Relaxed),
                unit: terms.unit.load(Ordering::Relaxed),
                room: terms.room.load(Ordering::Relaxed),
            },
            end: terms.end.load(Ordering::Relaxed),
            place: terms.place.load(Ordering::Relaxed),
            status: self.status(0),
            from: terms.line_from.load(Ordering::Relaxed),
            length: terms.line_length.load(Ordering::Relaxed),
            lag: terms.lag.load(Ordering::Relaxed),
            drained: terms.drained.load(Ordering::Relaxed),
            latest: &self.words.latest,
        };
        fence(Ordering::Acquire);
        Some(line)
    }
}

impl Line<'_> {
    /// The parts of so many units; `None` where they never have room.
    #[inline(always)]
    pub(super) fn parts(&self, units: u64) -> Option<u64> {
        let parts = self.scale.unit.checked_mul(units)?;
        (parts <= self.scale.room).then_some(parts)
    }

    /// Whether some [parts](Self::parts) are one unit, which may begin anew a line that another one
    /// began.
    #[inline(always)]
    pub(super) const fn may_begin_anew(&self, parts: u64) -> bool {
        self.word.is_anew() && parts == self.scale.unit
    }

    /// The line begun anew by one unit after another, where that has surely drained.
    #[inline(always)]
    pub(super) fn begun_anew(&self, reading: Reading) -> Option<Joined> {
        let begins = self.is_good(reading) && self.word.is_older_than(self.drained, reading.ticks);
        begins.then(|| self.anew(reading))
    }

    /// Joins the line, where some [parts](Self::parts) have room in it.
    #[inline(always)]
    pub(super) fn joined(&self, reading: Reading, parts: u64) -> Option<Joined> {
        if !self.is_good(reading) {
            return None;
        }
        let word = self.told_by_end(self.word, reading);
        let now = self.moment(reading);
        let instant = self.scale.instant(now);
        if word.is_over(instant) {
            // Nobody has come later, who would stand in line now.
            let word = word.joined_at(instant, parts);
            let joined = Joined { word, level: parts };
            let is_unit = parts == self.scale.unit;
            return Some(if is_unit { self.anew(reading) } else { joined });
        }
        let level = self.level_at(word, now)?;
        let room = self.scale.room.checked_sub(level)?;
        (parts <= room).then(|| Joined {
            word: word.joined_behind(parts),
            level: level + parts,
        })
    }

    /// The line once a unit has begun it anew.
    #[inline(always)]
    const fn anew(&self, reading: Reading) -> Joined {
        Joined {
            word: self.word.anew_at(reading.ticks),
            level: self.scale.unit,
        }
    }

    /// How much of the line is left.
    pub(super) fn level(&self, reading: Reading) -> Option<u64> {
        if !self.is_good(reading) {
            return None;
        }
        let word = self.told_by_end(self.word, reading);
        self.level_at(word, self.moment(reading))
    }

    #[inline(always)]
    fn level_at(&self, word: LineWord, now: u64) -> Option<u64> {
        let latest = self.latest.load(Ordering::Relaxed);
        // The word is looked at once more, and has not let anybody in who came after that.
        fence(Ordering::Acquire);
        let now = in_order(now, latest)?;
        Some(word.level(self.scale.instant(now)))
    }

    /// A word of this line, told by its end.
    #[inline(always)]
    pub(super) fn told_by_end(&self, word: LineWord, reading: Reading) -> LineWord {
        word.told_by_end(&self.scale, reading.at(self.from), self.lag)
    }

    /// The instant of a caller on the machine's timeline.
    #[inline(always)]
    pub(super) fn moment(&self, reading: Reading) -> u64 {
        reading.time().as_nanos().wrapping_add(self.lag)
    }

    /// A clock that says otherwise is the machine's business.
    #[inline(always)]
    const fn is_good(&self, reading: Reading) -> bool {
        reading.ticks.wrapping_sub(self.from) < self.length
    }
}
