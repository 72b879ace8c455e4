//! The end of a line, in one word.

use super::quota::Rule;

/// Where a line ends, and how many calls have joined it.
///
/// ```text
///  63..11                                10..7   6..1    0
/// ┌─────────────────────────────────────┬───────┬───────┬──────┐
/// │ end                                 │ round │ calls │ open │
/// └─────────────────────────────────────┴───────┴───────┴──────┘
/// ```
///
/// The end is the instant at which the line will have drained, in parts of a nanosecond, and goes
/// round: only its distance from an instant that is near means anything. So a word that comes
/// back while a caller looks away is a line that stands as it stood. It is on top, where sums go
/// round by themselves. The round tells lines of other rules apart.
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

const CALLS: u32 = 1;
const ROUND: u32 = 7;
const END: u32 = 11;
const END_BITS: u32 = u64::BITS - END;

/// All below the end.
const BELOW: u64 = (1 << END) - 1;

/// Calls that a word counts before it starts again.
const MAX_CALLS: u64 = (1 << (ROUND - CALLS)) - 1;

/// Parts between an instant and the end of a line at most, so that no distance is ambiguous: of
/// four such quarters of the round, two lie behind and two ahead.
const QUARTER: u64 = 1 << (END_BITS - 2);

impl LineWord {
    pub(super) const CLOSED: Self = Self(0);

    pub(super) const fn new(round: u64, end: u64) -> Self {
        Self((end << END) | ((round << ROUND) & BELOW) | 1)
    }

    pub(super) const fn is_open(self) -> bool {
        self.0 & 1 == 1
    }

    pub(super) const fn end(self) -> u64 {
        self.0 >> END
    }

    pub(super) const fn calls(self) -> u64 {
        (self.0 >> CALLS) & MAX_CALLS
    }

    /// The word once one more call has joined at an instant in parts, with some of its own.
    #[inline]
    pub(super) const fn joined(self, instant: u64, parts: u64) -> Self {
        let (end, below) = (self.0 & !BELOW, self.0 & BELOW);
        let start = if self.distance(instant) > 0 {
            end
        } else {
            instant << END
        };
        let last = MAX_CALLS << CALLS;
        let below = if below & last == last {
            below & !last
        } else {
            below + (1 << CALLS)
        };
        // What waits for the clock is added last.
        let added = (parts << END) | below;
        Self(start.wrapping_add(added))
    }

    /// What is left of the line at an instant in parts.
    #[inline]
    pub(super) const fn level(self, instant: u64) -> u64 {
        let distance = self.distance(instant);
        if distance > 0 {
            distance.unsigned_abs() >> END
        } else {
            0
        }
    }

    /// How far the end lies ahead of an instant, as high up as it stands.
    const fn distance(self, instant: u64) -> i64 {
        let end = self.0 & !BELOW;
        end.wrapping_sub(instant << END).cast_signed()
    }
}

impl Scale {
    /// `None` where the numbers are too large for a word.
    pub(super) fn of(rule: &Rule, level: u64) -> Option<Self> {
        let pace = rule.limit / rule.grain;
        let unit = rule.per / rule.grain;
        let room = rule.most.checked_mul(unit)?;
        let fits = pace <= QUARTER && room <= QUARTER && level <= QUARTER;
        fits.then_some(Self { pace, unit, room })
    }

    /// The parts of so many units; `None` where they have no room beside a level.
    #[inline]
    pub(super) fn parts(&self, units: u64, level: u64) -> Option<u64> {
        let parts = self.unit.checked_mul(units)?;
        let room = self.room.checked_sub(level)?;
        (parts <= room).then_some(parts)
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

/// How far `end` lies ahead of `start`.
pub(super) const fn parts_between(start: u64, end: u64) -> u64 {
    wrapped(end.wrapping_sub(start))
}

const fn wrapped(parts: u64) -> u64 {
    parts & ((1 << END_BITS) - 1)
}

#[cfg(all(test, not(resilience_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_word_gives_back_what_was_put_in() {
        let last = (1 << END_BITS) - 1;
        for round in [0, 1, 15] {
            for end in [0, 1, last] {
                let mut word = LineWord::new(round, end);
                for calls in 0..MAX_CALLS {
                    assert_eq!((word.end(), word.calls()), (end, calls));
                    assert!(word.is_open());
                    assert_eq!((word.0 & BELOW) >> ROUND, round);
                    word = word.joined(end, 0);
                }
                assert_eq!(word.joined(end, 0), LineWord::new(round, end));
            }
        }
        assert!(!LineWord::CLOSED.is_open());
    }

    #[test]
    fn distances_are_right_all_the_way_round() {
        for instant in [0, 1, QUARTER, 3 * QUARTER, u64::MAX - 1, u64::MAX] {
            for level in [0, 1, QUARTER, 2 * QUARTER - 1] {
                let word = LineWord::new(0, instant.wrapping_add(level));
                assert_eq!(word.level(instant), level);
                let joined = word.joined(instant, 1);
                assert_eq!(joined.end(), wrapped(word.end() + 1));
            }
            for past in [1, QUARTER] {
                let word = LineWord::new(0, instant.wrapping_sub(past));
                assert_eq!(word.level(instant), 0);
                let joined = word.joined(instant, 3);
                assert_eq!(joined.end(), wrapped(instant.wrapping_add(3)));
            }
        }
    }
}
