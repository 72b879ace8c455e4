//! The generic cell rate algorithm, without rounding.

use super::{front::Offer, quota::Rule, run::Run};

/// How many units are out, drained at the rule's rate.
///
/// This is the "theoretical arrival time" of ITU-T I.371 less the time now, which is the same as
/// the level of a leaky bucket. It is counted in parts of a unit of which `per` make one and
/// `limit` drain each nanosecond: whole numbers for every limit and every window, so that nothing
/// is ever lost or gained by rounding. Both factors have 64 bits, and their product 128.
///
/// Units stand in line: they drain in the order in which they came. A booking knows the place of
/// its last unit, and what is still out of it follows from how much stands behind. Units that were
/// given back out of the middle leave a gap behind those before them.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Gcra {
    level: u128,
    /// When the level was true.
    since: u64,
    /// The place of the last unit; it counts up, whether or not units are given back.
    last: u64,
    gaps: Vec<Gap>,
}

/// Units that were given back while others stood before them, by their last place.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Gap {
    place: u64,
    units: u64,
}

/// Gaps that are remembered. One that is not costs those before it what they give back, no more.
const MAX_GAPS: usize = 32;

impl Gcra {
    /// A level of `units` at `now`.
    pub(super) fn with_units(now: u64, units: u64, rule: &Rule) -> Self {
        Self {
            level: parts(units, rule),
            since: now,
            last: rule.places(now).saturating_add(units),
            gaps: Vec::new(),
        }
    }

    /// A line that began at an instant, and that so many units have joined, as it stands at `now`.
    pub(super) fn of_run(run: Run, now: u64, rule: &Rule) -> Self {
        let passed = now.saturating_sub(run.since);
        Self {
            level: parts(run.units, rule).saturating_sub(drained(passed, rule)),
            since: now,
            last: rule.places(run.since).saturating_add(run.units),
            gaps: Vec::new(),
        }
    }

    /// The same back again, where nobody has left a gap in the line and its beginning follows
    /// from its last place: `units` of them back, and at a whole nanosecond.
    pub(super) fn run(&self, rule: &Rule) -> Option<Run> {
        if self.level == 0 {
            // The next line must not begin behind the places of this one.
            return (self.last <= rule.places(self.since)).then_some(Run::NOTHING);
        }
        if !self.gaps.is_empty() {
            return None;
        }
        let wide = i128::from;
        let (limit, places) = (wide(rule.limit), wide(rule.places(1)));
        let ahead = wide(self.last) - wide(self.since).checked_mul(places)?;
        let level = i128::try_from(self.level).ok()?;
        let units = level
            .checked_mul(places)?
            .checked_sub(ahead.checked_mul(limit)?)?;
        let units = whole(units, wide(rule.per).checked_mul(places)? - limit)?;
        let since = whole(wide(self.last) - wide(units), places)?;
        (since <= self.since).then_some(Run { since, units })
    }

    /// Drains what has drained by `now`.
    pub(super) fn drain(&mut self, now: u64, rule: &Rule) {
        let passed = now.saturating_sub(self.since);
        self.level = self.level.saturating_sub(drained(passed, rule));
        self.since = now;
        while let Some(gap) = self.gaps.first()
            && self.level <= self.behind(gap.place, rule)
        {
            self.gaps.remove(0);
        }
    }

    /// Units that are out, rounded up.
    pub(super) fn units(&self, rule: &Rule) -> u64 {
        saturated(self.level.div_ceil(rule.per.into()))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.level == 0
    }

    /// Units that one call could take.
    pub(super) fn remaining(&self, rule: &Rule) -> u64 {
        let free = parts(rule.most, rule).saturating_sub(self.level);
        saturated(free / u128::from(rule.per))
    }

    /// Whether a call of `units`, at most the burst, has room.
    pub(super) fn fits(&self, units: u64, rule: &Rule) -> bool {
        self.excess(units, rule) == 0
    }

    /// How long until it has: nanoseconds, rounded up.
    pub(super) fn wait(&self, units: u64, rule: &Rule) -> u64 {
        let excess = self.excess(units, rule);
        saturated(excess.div_ceil(rule.limit.into()))
    }

    /// What must drain before a call of `units` has room.
    fn excess(&self, units: u64, rule: &Rule) -> u128 {
        let room = parts(rule.most.saturating_sub(units), rule);
        self.level.saturating_sub(room)
    }

    /// How long until one more unit is back; zero where none is out.
    pub(super) fn next_back(&self, rule: &Rule) -> u64 {
        let more = self.remaining(rule).saturating_add(1);
        if more > rule.most {
            0
        } else {
            self.wait(more, rule)
        }
    }

    /// Counts `units` as used after `wait`, and says the place of the last of them.
    pub(super) fn book(&mut self, wait: u64, units: u64, rule: &Rule) -> u64 {
        self.last = self.place(rule);
        // Longer than it must: another quota is what the call waits for. The bucket cannot drain
        // meanwhile what is not in it yet.
        if wait > self.wait(units, rule) {
            let idle = drained(wait, rule).saturating_sub(self.level);
            self.level += idle;
            let places = saturated(idle.div_ceil(rule.per.into()));
            self.last = self.last.wrapping_add(places);
        }
        self.level = self.level.saturating_add(parts(units, rule));
        self.last = self.last.wrapping_add(units);
        self.last
    }

    /// The line for callers to join by themselves, where nobody has left a gap in it and where it
    /// is a whole number of the [grains](Rule::grain) that it is then counted in.
    pub(super) fn offer(&self, rule: &Rule) -> Option<Offer> {
        let grain = u128::from(rule.grain);
        if !self.gaps.is_empty() || !self.level.is_multiple_of(grain) {
            return None;
        }
        Some(Offer::Line {
            level: u64::try_from(self.level / grain).ok()?,
            place: self.place(rule),
        })
    }

    /// Goes on with the line that callers have joined, by so many places since it was offered, and
    /// with the level that it would have had then if they had come all at once.
    pub(super) fn resume(&mut self, places: u64, level: u64, rule: &Rule) {
        self.last = self.place(rule).wrapping_add(places);
        self.level = u128::from(level) * u128::from(rule.grain);
    }

    /// The place behind which the next unit goes: ahead of every place in a line that is over.
    fn place(&self, rule: &Rule) -> u64 {
        if self.level == 0 {
            self.last.max(rule.places(self.since))
        } else {
            self.last
        }
    }

    /// Takes back what [`book`](Self::book) counted, as far as it has not drained.
    pub(super) fn cancel(&mut self, place: u64, units: u64, rule: &Rule) {
        let behind = self.behind(place, rule);
        let left = self.level.saturating_sub(behind).min(parts(units, rule));
        self.level -= left;
        if self.level > behind && behind == 0 {
            self.end_at(place.wrapping_sub(units));
        } else if self.level > behind {
            // Somebody stands before, and so none of these had drained.
            let distance = self.last.wrapping_sub(place);
            let is_before = |gap: &Gap| self.last.wrapping_sub(gap.place) > distance;
            let index = self.gaps.partition_point(is_before);
            self.gaps.insert(index, Gap { place, units });
            if self.gaps.len() > MAX_GAPS {
                self.gaps.remove(0);
            }
        }
    }

    /// Ends the line at `place`: nobody stands behind it.
    fn end_at(&mut self, place: u64) {
        let shorter = self.last.wrapping_sub(place);
        self.gaps
            .retain(|gap| self.last.wrapping_sub(gap.place) >= shorter);
        self.last = place;
        while let Some(gap) = self.gaps.pop_if(|gap| gap.place == self.last) {
            self.last = self.last.wrapping_sub(gap.units);
        }
    }

    /// What stands in line behind `place`, at most: everything, where that was in another line.
    fn behind(&self, place: u64, rule: &Rule) -> u128 {
        let distance = self.last.wrapping_sub(place);
        let gaps = self.gaps.iter().rev();
        let gaps = gaps.take_while(|gap| self.last.wrapping_sub(gap.place) < distance);
        let gone: u128 = gaps.map(|gap| u128::from(gap.units)).sum();
        u128::from(distance).saturating_sub(gone) * u128::from(rule.per)
    }

    /// Takes back `units`.
    pub(super) fn refund(&mut self, units: u64, rule: &Rule) {
        self.level = self.level.saturating_sub(parts(units, rule));
    }

    /// Goes on under another rule, with as many units out as before.
    pub(super) fn follow(&mut self, old: &Rule, new: &Rule) {
        let (old, new) = (u128::from(old.per), u128::from(new.per));
        let rest = (self.level % old * new).div_ceil(old);
        self.level = (self.level / old).saturating_mul(new).saturating_add(rest);
    }
}

fn parts(units: u64, rule: &Rule) -> u128 {
    u128::from(units) * u128::from(rule.per)
}

fn drained(nanos: u64, rule: &Rule) -> u128 {
    u128::from(nanos) * u128::from(rule.limit)
}

/// The quotient, where it is a whole number.
fn whole(number: i128, by: i128) -> Option<u64> {
    let quotient = u64::try_from(number.checked_div(by)?).ok()?;
    (by > 0 && number % by == 0).then_some(quotient)
}

fn saturated(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rate_limit::Quota;

    /// Who stands in line with how many parts, the first in front.
    #[derive(Default)]
    struct Line(Vec<(u64, u128)>);

    impl Line {
        fn drain(&mut self, mut parts: u128) {
            for (_, left) in &mut self.0 {
                let gone = parts.min(*left);
                (*left, parts) = (*left - gone, parts - gone);
            }
        }

        fn level(&self) -> u128 {
            self.0.iter().map(|(_, left)| left).sum()
        }
    }

    #[test]
    fn units_leave_in_the_order_in_which_they_came_whoever_gives_them_back() {
        let rule = Quota::new(7, Duration::from_nanos(30)).rule("p").unwrap();
        let mut random = fastrand::Rng::with_seed(11);
        let (mut gcra, mut line, mut now) = (Gcra::default(), Line::default(), 0);
        let mut held = vec![];
        for _ in 0..20_000 {
            match random.u8(..4) {
                0 => {
                    let passed = random.u64(..12);
                    now += passed;
                    gcra.drain(now, &rule);
                    line.drain(drained(passed, &rule));
                }
                1 if !held.is_empty() => {
                    let (place, units) = held.swap_remove(random.usize(..held.len()));
                    gcra.cancel(place, units, &rule);
                    line.0.retain(|(whose, _)| *whose != place);
                }
                _ => {
                    let units = random.u64(1..4);
                    let wait = gcra.wait(units, &rule);
                    if wait < 60 {
                        let place = gcra.book(wait, units, &rule);
                        line.0.push((place, parts(units, &rule)));
                        held.push((place, units));
                    }
                }
            }
            assert_eq!(gcra.level, line.level());
        }
    }

    #[test]
    fn what_is_remembered_of_a_line_is_bounded_and_errs_towards_less() {
        let rule = Quota::new(1000, Duration::from_secs(1)).rule("p").unwrap();
        let mut gcra = Gcra::default();
        let places: Vec<_> = (0..500).map(|_| gcra.book(0, 1, &rule)).collect();
        for place in places.iter().skip(1).rev() {
            gcra.cancel(*place, 1, &rule);
        }
        assert!(gcra.gaps.len() <= MAX_GAPS);
        assert!(gcra.units(&rule) >= 1);
    }
}
