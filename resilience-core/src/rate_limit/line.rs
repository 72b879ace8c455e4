//! The end of a line, in one word.

use super::quota::Rule;
use crate::clock::Reading;

/// Where a line ends, and how many calls have joined it.
///
/// ```text
///  63..11                                10..8   7..2    1      0
/// ┌─────────────────────────────────────┬───────┬───────┬──────┬──────┐
/// │ end, or tick                        │ round │ calls │ anew │ open │
/// └─────────────────────────────────────┴───────┴───────┴──────┴──────┘
/// ```
///
/// The end is the instant at which the line will have drained, in parts of a nanosecond, and goes
/// round: only its distance from an instant that is near means anything. So a word that comes
/// back while a caller looks away is a line that stands as it stood. It is on top, where sums go
/// round by themselves. The round tells lines of other rules apart; calls that a word cannot count
/// any more go over into it, since it has to differ, and not to last.
///
/// A line that begins anew with one unit is told by the tick of the clock at which it does, which
/// goes round as well. Who finds one that has surely drained begins it anew again, and compares
/// ticks to know that: none is scaled before the word is written. Who comes earlier works its end
/// out.
///
/// All that is counted beside a word is counted as it stands there, where a part is 2^11.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LineWord(pub(super) u64);

/// How a rule's line is counted: in the largest parts of which all numbers are whole ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// Parts that drain each nanosecond.
    pub(super) pace: u64,
    /// Parts of a unit.
    pub(super) unit: u64,
    /// Parts that the line holds at most.
    pub(super) room: u64,
}

const OPEN: u64 = 1;
const ANEW: u64 = 1 << 1;
const CALLS: u32 = 2;
const ROUND: u32 = 8;
const END: u32 = 11;

/// All below the end.
const BELOW: u64 = (1 << END) - 1;

/// Calls that a word counts before it starts again.
const MAX_CALLS: u64 = (1 << (ROUND - CALLS)) - 1;

/// Between an instant and the end of a line at most, so that no distance is ambiguous: of four
/// such quarters of the round, two lie behind and two ahead.
const QUARTER: u64 = 1 << (u64::BITS - 2);

impl LineWord {
    pub(super) const CLOSED: Self = Self(0);

    pub(super) const fn new(round: u64, end: u64) -> Self {
        Self(end | ((round << ROUND) & BELOW) | OPEN)
    }

    pub(super) const fn is_open(self) -> bool {
        self.0 & OPEN != 0
    }

    /// Where the line ends, unless it [begins anew](Self::is_anew).
    pub(super) const fn end(self) -> u64 {
        self.0 & !BELOW
    }

    /// Whether the line began anew with the last call.
    #[inline]
    pub(super) const fn is_anew(self) -> bool {
        self.0 & ANEW != 0
    }

    /// The same line, told by its end. It was lent when the clock showed `from`, to which the
    /// machine's timeline adds a lag.
    #[inline(always)]
    pub(super) fn told_by_end(self, scale: &Scale, from: Reading, lag: u64) -> Self {
        if !self.is_anew() {
            return self;
        }
        let since = self.0.wrapping_sub(from.ticks << END) >> END;
        let begun = from.later(since).time();
        let end = scale.instant(begun.as_nanos().wrapping_add(lag));
        self.ending_at(end.wrapping_add(scale.unit))
    }

    const fn ending_at(self, end: u64) -> Self {
        Self(end | (self.0 & BELOW & !ANEW))
    }

    /// The word once one more call begins the line anew at a tick.
    #[inline(always)]
    pub(super) const fn anew_at(self, tick: u64) -> Self {
        Self((tick << END) | self.below_of_next() | ANEW)
    }

    /// Whether it is so many ticks since the line began anew.
    #[inline(always)]
    pub(super) const fn is_older_than(self, ticks: u64, now: u64) -> bool {
        // What is below makes it younger, by less than a tick.
        let age = (now << END).wrapping_sub(self.0);
        age.cast_signed() >= (ticks << END).cast_signed()
    }

    pub(super) const fn calls(self) -> u64 {
        (self.0 >> CALLS) & MAX_CALLS
    }

    /// The word once one more call has joined at an instant at which the line [is
    /// over](Self::is_over), with some parts of its own.
    #[inline]
    pub(super) const fn joined_at(self, instant: u64, parts: u64) -> Self {
        // What waits for the clock is added last.
        let added = parts | self.below_of_next();
        Self(instant.wrapping_add(added))
    }

    /// The word once one more call has joined behind all others.
    #[inline]
    pub(super) const fn joined_behind(self, parts: u64) -> Self {
        let added = parts | self.below_of_next();
        Self(self.end().wrapping_add(added))
    }

    const fn below_of_next(self) -> u64 {
        self.0.wrapping_add(1 << CALLS) & BELOW & !ANEW
    }

    /// Whether the line has drained at an instant.
    #[inline]
    pub(super) const fn is_over(self, instant: u64) -> bool {
        // What is below the end makes it no part longer.
        self.0.wrapping_sub(instant).cast_signed() <= BELOW.cast_signed()
    }

    /// What is left of the line at an instant.
    #[inline]
    pub(super) const fn level(self, instant: u64) -> u64 {
        if self.is_over(instant) {
            return 0;
        }
        self.end().wrapping_sub(instant)
    }
}

impl Scale {
    /// `None` where the numbers are too large for a word.
    pub(super) fn of(rule: &Rule) -> Option<Self> {
        Some(Self {
            pace: counted(rule.limit / rule.grain)?,
            unit: (rule.per / rule.grain) << END,
            room: counted(rule.most.checked_mul(rule.per / rule.grain)?)?,
        })
    }

    /// Nanoseconds in which a unit has drained, and one more for two times that are rounded.
    pub(super) const fn drained(&self) -> u64 {
        self.unit.div_ceil(self.pace).saturating_add(1)
    }

    /// An instant in parts.
    #[inline]
    pub(super) const fn instant(&self, nanos: u64) -> u64 {
        nanos.wrapping_mul(self.pace)
    }

    /// Units that have room beside a level.
    #[inline]
    pub(super) fn remaining(&self, level: u64) -> u64 {
        let free = self.room.saturating_sub(level);
        free.checked_div(self.unit).unwrap_or(0)
    }

    /// How long until one unit has room beside a level: nanoseconds, rounded up.
    #[inline]
    pub(super) fn wait(&self, level: u64) -> u64 {
        let excess = level.saturating_add(self.unit).saturating_sub(self.room);
        excess.div_ceil(self.pace.max(1))
    }

    /// How long until one more unit has room than has now; zero where nothing is out.
    #[cfg(feature = "http")]
    pub(super) fn next_back(&self, level: u64) -> u64 {
        let more = self.remaining(level).saturating_add(1);
        match more.checked_mul(self.unit) {
            Some(more) if more <= self.room => {
                let excess = level.saturating_add(more).saturating_sub(self.room);
                excess.div_ceil(self.pace.max(1))
            }
            Some(_) | None => 0,
        }
    }

    /// The instant up to which a line may be joined that was lent at `since`.
    pub(super) const fn until(&self, since: u64) -> u64 {
        since.saturating_add(QUARTER / self.pace)
    }
}

/// The most ticks that a line may be good for, so that no age is ambiguous.
pub(super) const MOST_TICKS: u64 = QUARTER >> END;

/// Parts as they are counted beside a word; `None` where they are too many.
pub(super) fn counted(parts: u64) -> Option<u64> {
    (parts <= QUARTER >> END).then_some(parts << END)
}

/// Parts that are counted like this.
pub(super) const fn parts(counted: u64) -> u64 {
    counted >> END
}

#[cfg(all(test, not(resilience_loom)))]
mod tests {
    use super::*;
    use crate::clock::Calibration;

    #[test]
    fn a_word_gives_back_what_was_put_in() {
        for round in [0, 1, 7] {
            for end in [0, 1 << END, !BELOW] {
                let mut word = LineWord::new(round, end);
                for calls in 0..=MAX_CALLS {
                    assert_eq!((word.end(), word.calls()), (end, calls));
                    assert!(word.is_open());
                    assert_eq!((word.0 & BELOW) >> ROUND, round);
                    word = word.joined_behind(0);
                }
                assert_eq!(word, LineWord::new(round + 1, end));
            }
        }
        assert!(!LineWord::CLOSED.is_open());
    }

    #[test]
    fn a_line_that_begins_anew_tells_when() {
        // Where what a word has of a tick goes round.
        let from = Calibration::NANOS.reading((1 << (u64::BITS - END)) - 9);
        let scale = Scale {
            pace: 1 << END,
            unit: 5 << END,
            room: 9 << END,
        };
        for ticks in [0, 7, MOST_TICKS - 5] {
            let tick = from.ticks + ticks;
            let word = LineWord::new(7, 3 << END).anew_at(tick);
            assert!(word.is_anew() && word.is_open());
            assert_eq!(word.calls(), 1);
            assert!(word.is_older_than(4, tick + 5));
            assert!(!word.is_older_than(5, tick + 4));
            assert!(!word.is_older_than(1, from.ticks));
            let ended = word.told_by_end(&scale, from, 30);
            assert_eq!((ended.end(), ended.calls()), ((tick + 35) << END, 1));
            assert!(ended.is_open() && !ended.is_anew());
        }
    }

    #[test]
    fn distances_are_right_all_the_way_round() {
        let part = 1 << END;
        for instant in [0, part, QUARTER, 3 * QUARTER, !BELOW] {
            for level in [part, QUARTER, 2 * QUARTER - part] {
                let word = LineWord::new(7, instant.wrapping_add(level));
                assert!(!word.is_over(instant));
                assert_eq!(word.level(instant), level);
                let joined = word.joined_behind(part);
                assert_eq!(joined.level(instant), (level + part) % (2 * QUARTER));
            }
            for past in [0, part, QUARTER] {
                let word = LineWord::new(7, instant.wrapping_sub(past));
                assert!(word.is_over(instant));
                assert_eq!(word.level(instant), 0);
                let joined = word.joined_at(instant, 3 * part);
                assert_eq!(joined.end(), instant.wrapping_add(3 * part));
            }
        }
    }
}
