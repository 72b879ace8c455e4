//! The end of a line, in one word.

use super::quota::Rule;

/// Where a line ends, and how many calls have joined it.
///
/// ```text
///  63..60   59..7                                6..1     0
/// ┌───────┬─────────────────────────────────────┬───────┬──────┐
/// │ round │ end                                 │ calls │ open │
/// └───────┴─────────────────────────────────────┴───────┴──────┘
/// ```
///
/// The end is the instant at which the line will have drained, in parts of a nanosecond, and goes
/// round: only its distance from an instant that is near means anything. So a word that comes
/// back while a caller looks away is a line that stands as it stood. The round tells lines of
/// other rules apart.
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
const END: u32 = 7;
const ROUND: u32 = 60;
const END_BITS: u32 = ROUND - END;

/// Calls that a word counts before the machine must hear of them.
const MAX_CALLS: u64 = (1 << (END - CALLS)) - 1;

/// Parts between an instant and the end of a line at most, so that no distance is ambiguous: of
/// four such quarters of the round, two lie behind and two ahead.
const QUARTER: u64 = 1 << (END_BITS - 2);

impl LineWord {
    pub(super) const CLOSED: Self = Self(0);

    pub(super) const fn new(round: u64, end: u64) -> Self {
        Self((round << ROUND) | (wrapped(end) << END) | 1)
    }

    pub(super) const fn is_open(self) -> bool {
        self.0 & 1 == 1
    }

    pub(super) const fn end(self) -> u64 {
        wrapped(self.0 >> END)
    }

    pub(super) const fn calls(self) -> u64 {
        (self.0 >> CALLS) & MAX_CALLS
    }

    /// The word once one more call has moved the end; `None` where it counts no more of them.
    pub(super) const fn joined(self, end: u64) -> Option<Self> {
        if self.calls() == MAX_CALLS {
            return None;
        }
        let round = self.0 >> ROUND;
        let calls = self.calls() + 1;
        Some(Self(Self::new(round, end).0 | (calls << CALLS)))
    }

    /// What is left of the line at an instant in parts.
    pub(super) const fn level(self, instant: u64) -> u64 {
        let distance = self.end().wrapping_sub(instant) << (u64::BITS - END_BITS);
        let distance = distance.cast_signed() >> (u64::BITS - END_BITS);
        if distance > 0 {
            distance.unsigned_abs()
        } else {
            0
        }
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

    /// The level once so many units have joined; `None` where there is no room.
    #[inline]
    pub(super) fn joined(&self, level: u64, units: u64) -> Option<u64> {
        let level = level.checked_add(self.unit.checked_mul(units)?)?;
        (level <= self.room).then_some(level)
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
                    word = word.joined(end).unwrap();
                }
                assert_eq!(word.joined(end), None);
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
            }
            for past in [1, QUARTER] {
                let word = LineWord::new(0, instant.wrapping_sub(past));
                assert_eq!(word.level(instant), 0);
            }
        }
    }
}
