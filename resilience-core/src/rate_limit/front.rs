//! The words in front of a machine.
//!
//! A limit that all callers share is asked by all threads at once. Its machine stands behind a
//! lock, and lends callers what they can decide without it: units that count alike until a certain
//! instant, the end of a line that whoever joins moves on, or the certainty that nothing is free
//! before a certain instant. To take is one atomic operation, and to be refused is none. Whoever
//! asks for more takes the lock, and before anything else takes back what was lent: the machine
//! hears of all that was taken at once, and stands where it would stand had it been asked each
//! time.

use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::{
    line::{LineWord, Scale, parts_between},
    quota::Rule,
    state::Booking,
    timeline::{DISORDER, Timeline},
};
use crate::{
    QuotaStatus, Timestamp,
    sync::{AtomicU64, Ordering, fence},
};

/// What callers decide by themselves.
#[derive(Debug, Default)]
pub(super) struct Front {
    words: CachePadded<Words>,
    terms: CachePadded<Terms>,
}

/// What callers write. Threads take turns at it, and to look before writing is to wait twice.
#[derive(Debug, Default)]
struct Words {
    /// Units that may be taken, a signed number: where there are none it may be less.
    units: AtomicU64,
    /// Where a line ends: a [`LineWord`].
    line: AtomicU64,
    /// The latest instant at which anybody took something, on the machine's timeline.
    latest: AtomicU64,
}

/// What callers read, on a cache line that all threads can have at once. Written by the holder of
/// the machine's lock, while nothing is lent.
#[derive(Debug, Default)]
struct Terms {
    /// What is lent: one of the kinds below.
    kind: AtomicU64,
    /// What the machine's timeline adds to the clock.
    lag: AtomicU64,
    /// From when on what is lent is good.
    since: AtomicU64,
    /// Until when units are. Never goes back, so that whoever has read an earlier one knows
    /// enough.
    until: AtomicU64,
    /// Until when a line is good, and its [`Scale`].
    line_until: AtomicU64,
    pace: AtomicU64,
    unit: AtomicU64,
    room: AtomicU64,
    /// The end of a line when it was lent, and the place of its last unit then.
    end: AtomicU64,
    place: AtomicU64,
    /// Until when no unit is free.
    refused_until: AtomicU64,
    /// When units come back.
    next_back: AtomicU64,
    /// The rule's.
    limit: AtomicU64,
    per: AtomicU64,
}

/// Kinds of what is lent: nothing, units, a line, or only that no unit is free.
const NOTHING: u64 = 0;
const UNITS: u64 = 1;
const LINE: u64 = 2;
const REFUSAL: u64 = 3;

/// What a machine can lend.
#[derive(Clone, Copy, Debug)]
pub(super) enum Offer {
    /// Units that count alike until an instant.
    Units {
        units: u64,
        until: u64,
        next_back: u64,
    },
    /// No unit is free until an instant.
    Nothing { until: u64, next_back: u64 },
    /// A line: how much of it is left, and the place of its last unit.
    Line { level: u64, place: u64 },
}

/// What was lent, as the lender remembers it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Lent {
    #[default]
    Nothing,
    Units(u64),
    Line {
        scale: Scale,
        since: u64,
        level: u64,
    },
}

/// What callers have taken by themselves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Taken {
    Units(u64),
    /// Places in a line, and the level it would have had when it was lent had all come then.
    Places {
        places: u64,
        level: u64,
    },
}

/// Units that a caller has taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    pub(super) booking: Booking,
    pub(super) status: QuotaStatus,
    /// As how many calls the machine will hear of this one.
    pub(super) heard_as: u64,
    pub(super) clock: ClockSeen,
}

/// What a caller's clock says of the machine's timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClockSeen {
    InOrder,
    /// The clock has fallen back: the machine must be told, since its timeline changes.
    FallenBack,
}

/// A unit that a caller cannot have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    pub(super) wait: Duration,
    pub(super) status: QuotaStatus,
}

impl Front {
    /// Takes `units`, as far as that can be decided here.
    #[inline(always)]
    pub(super) fn take(&self, clock: Timestamp, units: u64) -> Option<Pass> {
        match self.kind() {
            _ if units == 0 => None,
            UNITS => self.take_units(clock, units),
            LINE => self.join(clock, units),
            _ => None,
        }
    }

    #[inline(always)]
    fn take_units(&self, clock: Timestamp, units: u64) -> Option<Pass> {
        let now = self.present(clock, &self.terms.until)?;
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
            booking: Booking::at(now, units),
            status: self.status(remaining),
            heard_as: units,
            clock: self.come_at(now),
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
            let level = scale.joined(line.level(instant), units)?;
            let end = instant.wrapping_add(level);
            let next = line.joined(end)?;
            match self.words.line.compare_exchange_weak(
                line.0,
                next.0,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    let parts = parts_between(start, end);
                    let remaining = scale.remaining(level);
                    return Some(Pass {
                        booking: Booking::behind(place, parts, scale.unit, units),
                        status: QuotaStatus {
                            remaining,
                            ..status
                        },
                        heard_as: 1,
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
    pub(super) fn refuse(&self, clock: Timestamp) -> Option<Refused> {
        let status = self.status(0);
        let (wait, same) = match self.kind() {
            REFUSAL => {
                let now = self.in_order(self.moment(clock))?;
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

    /// Where the quota stands, and how long until there is more of it, as far as that can be known
    /// here.
    #[cfg(feature = "http")]
    pub(super) fn look(&self, clock: Timestamp) -> Option<(QuotaStatus, Duration)> {
        let kind = self.kind();
        let status = self.status(0);
        let (remaining, next_back, same) = if kind == LINE {
            let line = self.words.line.load(Ordering::Acquire);
            let (now, scale) = self.at_line(clock)?;
            let level = LineWord(line).level(now.wrapping_mul(scale.pace));
            fence(Ordering::Acquire);
            let same = self.words.line.load(Ordering::Relaxed) == line;
            (scale.remaining(level), scale.next_back(level), same)
        } else {
            let (remaining, until) = match kind {
                UNITS => {
                    let units = self.words.units.load(Ordering::Acquire);
                    let units = units.cast_signed().max(0).unsigned_abs();
                    (units, &self.terms.until)
                }
                REFUSAL => (0, &self.terms.refused_until),
                _ => return None,
            };
            let now = self.in_order(self.moment(clock))?;
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
            (remaining, next_back, same)
        };
        let status = QuotaStatus {
            remaining,
            ..status
        };
        same.then_some((status, Duration::from_nanos(next_back)))
    }

    #[inline]
    fn kind(&self) -> u64 {
        self.terms.kind.load(Ordering::Acquire)
    }

    /// The instant at which a caller comes to a line, and how that is counted.
    #[inline]
    fn at_line(&self, clock: Timestamp) -> Option<(u64, Scale)> {
        let now = self.present(clock, &self.terms.line_until)?;
        let scale = Scale {
            pace: self.terms.pace.load(Ordering::Relaxed),
            unit: self.terms.unit.load(Ordering::Relaxed),
            room: self.terms.room.load(Ordering::Relaxed),
        };
        Some((self.in_order(now)?, scale))
    }

    /// The instant of a caller on the machine's timeline.
    #[inline]
    fn moment(&self, clock: Timestamp) -> u64 {
        let lag = self.terms.lag.load(Ordering::Relaxed);
        clock.as_nanos().saturating_add(lag)
    }

    /// The instant at which a caller comes, where what is lent is good then.
    #[inline]
    fn present(&self, clock: Timestamp, until: &AtomicU64) -> Option<u64> {
        let now = self.moment(clock);
        let since = self.terms.since.load(Ordering::Relaxed);
        let early = since.saturating_sub(now);
        let good = early <= DISORDER && now < until.load(Ordering::Relaxed);
        good.then_some(now.max(since))
    }

    /// The instant at which a caller comes, or the latest one, where others came from a little
    /// later; `None` where the clock has fallen back further.
    #[inline]
    fn in_order(&self, now: u64) -> Option<u64> {
        let latest = self.words.latest.load(Ordering::Relaxed);
        let behind = latest.saturating_sub(now);
        (behind <= DISORDER).then_some(now.max(latest))
    }

    /// Somebody came at `now` and took something.
    #[inline]
    fn come_at(&self, now: u64) -> ClockSeen {
        let latest = self.words.latest.load(Ordering::Relaxed);
        if now > latest {
            // Of two at once either may stay: they came so close together.
            self.words.latest.store(now, Ordering::Relaxed);
        } else if latest - now > DISORDER {
            return ClockSeen::FallenBack;
        }
        ClockSeen::InOrder
    }

    #[inline]
    fn status(&self, remaining: u64) -> QuotaStatus {
        QuotaStatus {
            limit: self.terms.limit.load(Ordering::Relaxed),
            window: Duration::from_nanos(self.terms.per.load(Ordering::Relaxed)),
            remaining,
        }
    }
}

/// For the holder of the machine's lock.
impl Front {
    /// Lends `offer`, as far as words can; the round is another one each time.
    pub(super) fn lend(&self, offer: Offer, now: Timeline, rule: &Rule, round: u64) -> Lent {
        let (words, terms) = (&self.words, &self.terms);
        let Timeline { latest, lag } = now;
        let set = |word: &AtomicU64, value| word.store(value, Ordering::Relaxed);
        set(&words.latest, latest);
        set(&terms.lag, lag);
        set(&terms.since, latest);
        set(&terms.limit, rule.limit);
        set(&terms.per, rule.per);
        let (kind, lent) = match offer {
            Offer::Units {
                units,
                until,
                next_back,
            } => {
                let is_earlier = until < terms.until.load(Ordering::Relaxed);
                if is_earlier || i64::try_from(units).is_err() {
                    return Lent::Nothing;
                }
                set(&terms.until, until);
                set(&terms.next_back, next_back);
                // Not a store: loom would let a caller who took from nothing come after it.
                words.units.swap(units, Ordering::AcqRel);
                (UNITS, Lent::Units(units))
            }
            Offer::Nothing { until, next_back } => {
                set(&terms.next_back, next_back);
                set(&terms.refused_until, until);
                (REFUSAL, Lent::Nothing)
            }
            Offer::Line { level, place } => {
                let Some(scale) = Scale::of(rule, level) else {
                    return Lent::Nothing;
                };
                let end = latest.wrapping_mul(scale.pace).wrapping_add(level);
                set(&terms.line_until, scale.until(latest));
                set(&terms.pace, scale.pace);
                set(&terms.unit, scale.unit);
                set(&terms.room, scale.room);
                set(&terms.end, end);
                set(&terms.place, place);
                let line = LineWord::new(round, end);
                words.line.store(line.0, Ordering::Release);
                let since = latest;
                (
                    LINE,
                    Lent::Line {
                        scale,
                        since,
                        level,
                    },
                )
            }
        };
        terms.kind.store(kind, Ordering::Release);
        lent
    }

    /// Takes back what was lent: says what was taken of it, by how many calls, and the latest
    /// instant at which that was done.
    pub(super) fn take_back(&self, lent: Lent) -> (Option<Taken>, u64, u64) {
        let words = &self.words;
        self.terms.kind.store(NOTHING, Ordering::Relaxed);
        let (taken, calls) = match lent {
            Lent::Nothing => (None, 0),
            Lent::Units(units) => {
                let left = words.units.swap(0, Ordering::AcqRel).cast_signed();
                let gone = units - left.max(0).unsigned_abs();
                ((gone > 0).then_some(Taken::Units(gone)), gone)
            }
            Lent::Line {
                scale,
                since,
                level,
            } => {
                let line = LineWord(words.line.swap(LineWord::CLOSED.0, Ordering::AcqRel));
                let start = since.wrapping_mul(scale.pace);
                let after = parts_between(start, line.end());
                let places = after.saturating_sub(level) / scale.unit;
                let level = after;
                let some = line.calls() > 0;
                (
                    some.then_some(Taken::Places { places, level }),
                    line.calls(),
                )
            }
        };
        // Nobody may find what is lent next beside the words of before.
        fence(Ordering::Release);
        (taken, calls, words.latest.load(Ordering::Relaxed))
    }
}
