//! The holder of the machine's lock, who lends and takes back.

use super::{Front, LINE, Lent, NOTHING, Offer, REFUSAL, Taken, UNITS};
use crate::{
    Timestamp,
    clock::Calibration,
    rate_limit::{
        line::{LineWord, MOST_TICKS, Scale, counted, parts},
        quota::Rule,
        timeline::Timeline,
    },
    sync::{AtomicU64, Ordering, fence},
};

impl Front {
    /// Lends `offer`, as far as words can; the round is another one each time.
    pub(in crate::rate_limit) fn lend(
        &self,
        offer: Offer,
        now: Timeline,
        rule: &Rule,
        round: u64,
        clock: Calibration,
    ) -> Lent {
        let (words, terms) = (&self.words, &self.terms);
        let Timeline { latest, lag } = now;
        let set = |word: &AtomicU64, value| word.store(value, Ordering::Relaxed);
        let tick_at = |instant| tick_at(clock, instant, now);
        set(&words.latest, latest);
        set(&terms.since, latest);
        if lag != terms.lag.load(Ordering::Relaxed) {
            // Before the lag, beside which no tick of another one may be found.
            set(
                &terms.until_tick,
                tick_at(terms.until.load(Ordering::Relaxed)),
            );
            terms.lag.store(lag, Ordering::Release);
        }
        set(&terms.limit, rule.limit);
        set(&terms.per, rule.per);
        let (kind, lent) = match offer {
            Offer::Units {
                units,
                until,
                next_back,
            } => {
                let is_earlier = until < terms.until.load(Ordering::Relaxed);
                // A clock may be early, but is never good for what is over already.
                let is_over = until <= latest;
                if is_earlier || is_over || i64::try_from(units).is_err() {
                    return Lent::Nothing;
                }
                set(&terms.until, until);
                set(&terms.until_tick, tick_at(until));
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
                let (Some(scale), Some(level)) = (Scale::of(rule), counted(level)) else {
                    return Lent::Nothing;
                };
                let end = scale.instant(latest).wrapping_add(level);
                let from = tick_at(latest);
                let length = tick_at(scale.until(latest)) - from;
                let drained = clock.ticks_in(scale.drained());
                set(&terms.line_from, from);
                set(&terms.line_length, length.min(MOST_TICKS));
                set(&terms.drained, drained.min(MOST_TICKS));
                set(&terms.pace, scale.pace);
                set(&terms.unit, scale.unit);
                set(&terms.room, scale.room);
                set(&terms.end, end);
                set(&terms.place, place);
                let line = LineWord::new(round, end);
                words.line.store(line.0, Ordering::Release);
                (LINE, Lent::Line { scale, now, level })
            }
        };
        terms.kind.store(kind, Ordering::Release);
        lent
    }

    /// Takes back what was lent: says what was taken of it, by how many calls as far as those were
    /// not counted elsewhere, and the latest instant at which that was done.
    pub(in crate::rate_limit) fn take_back(
        &self,
        lent: Lent,
        clock: Calibration,
    ) -> (Option<Taken>, u64, u64) {
        let words = &self.words;
        self.terms.kind.store(NOTHING, Ordering::Relaxed);
        let (taken, calls) = match lent {
            Lent::Nothing => (None, 0),
            Lent::Units(units) => {
                let left = words.units.swap(0, Ordering::AcqRel).cast_signed();
                let gone = units - left.max(0).unsigned_abs();
                ((gone > 0).then_some(Taken::Units(gone)), gone)
            }
            Lent::Line { scale, now, level } => {
                let line = LineWord(words.line.swap(LineWord::CLOSED.0, Ordering::AcqRel));
                let from = clock.reading(tick_at(clock, now.latest, now));
                let end = line.told_by_end(&scale, from, now.lag).end();
                let after = end.wrapping_sub(scale.instant(now.latest));
                let taken = (after != level).then(|| Taken::Places {
                    places: after.saturating_sub(level) / scale.unit,
                    level: parts(after),
                });
                (taken, line.calls())
            }
        };
        // Nobody may find what is lent next beside the words of before.
        fence(Ordering::Release);
        (taken, calls, words.latest.load(Ordering::Relaxed))
    }
}

/// The first tick of the clock at which it is this instant on a timeline.
fn tick_at(clock: Calibration, instant: u64, timeline: Timeline) -> u64 {
    clock.tick_at(Timestamp::from_nanos(instant.saturating_sub(timeline.lag)))
}
