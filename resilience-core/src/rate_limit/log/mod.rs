//! Units by the time at which they are used, past and booked.

mod search;

use std::collections::VecDeque;

pub(super) use self::search::Search;
use crate::rate_limit::{
    front::Offer,
    quota::{Algorithm, Rule},
    run::Run,
};

/// Remembers when units were taken, and for when they are booked.
///
/// Entries are ranges of time that do not overlap, in order: an instant each for the exact log, a
/// bucket each for the sliding window, which does not know when in a bucket its units were used
/// and takes the worst for true. No window of the rule's length may hold more than the limit; a
/// window holds every entry that it touches, whole. It is enough to check, for units to be used
/// at `s`, the windows that contain `s`: whoever comes last into a window finds all others counted.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(in crate::rate_limit) struct Log {
    entries: VecDeque<Entry>,
    total: u128,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The first and the last instant at which the units may have been used.
    first: u64,
    last: u64,
    units: u64,
}

impl Entry {
    /// Whether a window that ends at `at`, inclusively, starts later than this entry ends.
    fn is_over(&self, at: u128, per: u64) -> bool {
        u128::from(self.last) + u128::from(per) <= at
    }

    fn count(&self) -> u128 {
        self.units.into()
    }
}

impl Log {
    /// One bucket's units, or one instant's.
    pub(in crate::rate_limit) fn of_run(run: Run, rule: &Rule) -> Self {
        let mut log = Self::default();
        if run.units > 0 {
            log.book(run.since, run.units, rule);
        }
        log
    }

    /// The bucket that holds all there is, where one does that is neither ahead of `now` nor of
    /// another rule's width.
    pub(in crate::rate_limit) fn run(&self, now: u64, rule: &Rule) -> Option<Run> {
        let Some(entry) = self.entries.front() else {
            return Some(Run::NOTHING);
        };
        let width = rule.bucket();
        let is_whole = entry.first.is_multiple_of(width)
            && entry.last == entry.first.saturating_add(width - 1);
        let is_all = self.entries.len() == 1 && entry.first <= now;
        (is_whole && is_all).then_some(Run {
            since: entry.first,
            units: entry.units,
        })
    }

    /// Drops what no window that contains `now` or a later instant can hold.
    pub(in crate::rate_limit) fn forget(&mut self, now: u64, rule: &Rule) {
        while let Some(entry) = self.entries.front()
            && entry.is_over(now.into(), rule.per)
        {
            self.total -= u128::from(entry.units);
            self.entries.pop_front();
        }
    }

    pub(in crate::rate_limit) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Units in the fullest window that contains `now`. What is over must be forgotten before.
    pub(in crate::rate_limit) fn peak(&self, now: u64, rule: &Rule) -> u128 {
        if !self.has_bookings(now) {
            return self.total;
        }
        self.search(now, rule, 0).peak()
    }

    /// How long until the first unit is back; zero where none is out.
    pub(in crate::rate_limit) fn next_back(&self, now: u64, rule: &Rule) -> u64 {
        self.entries.front().map_or(0, |entry| {
            let back = u128::from(entry.last) + u128::from(rule.per);
            saturated(back.saturating_sub(now.into()))
        })
    }

    /// What callers may decide by themselves from `now` on, as long as nobody has booked ahead.
    pub(in crate::rate_limit) fn offer(&self, now: u64, rule: &Rule) -> Option<Offer> {
        if self.has_bookings(now) {
            return None;
        }
        let room = u128::from(rule.limit).saturating_sub(self.total);
        if room > 0 && rule.algorithm == Algorithm::SlidingLog {
            // Each instant counts apart.
            return None;
        }
        let (_, _, last) = self.bucket_at(now, rule);
        let oldest = self.entries.front().map_or(last, |entry| entry.last);
        let next_back = oldest.saturating_add(rule.per);
        match (u64::try_from(room), rule.algorithm) {
            (Ok(0), _) => Some(Offer::Nothing {
                until: now.checked_add(self.search(now, rule, 1).from(0))?,
                next_back,
            }),
            (Ok(units), Algorithm::SlidingWindow) => Some(Offer::Units {
                units,
                until: next_back.min(last.saturating_add(1)),
                next_back,
            }),
            (Ok(_) | Err(_), _) => None,
        }
    }

    /// Where a call of `units` could find its place.
    pub(in crate::rate_limit) fn search(&self, now: u64, rule: &Rule, units: u64) -> Search<'_> {
        let next = if self.has_bookings(now) {
            self.entries.partition_point(|entry| entry.first <= now)
        } else {
            self.entries.len()
        };
        let booked: u128 = self.entries.range(next..).map(Entry::count).sum();
        Search::new(&self.entries, next, self.total - booked, now, rule, units)
    }

    /// Counts `units` as used at `at`.
    pub(in crate::rate_limit) fn book(&mut self, at: u64, units: u64, rule: &Rule) {
        self.total += u128::from(units);
        let (index, first, last) = self.bucket_at(at, rule);
        match self.entries.get_mut(index) {
            Some(entry) if entry.first == first => entry.units = entry.units.saturating_add(units),
            Some(_) => self.entries.insert(index, Entry { first, last, units }),
            None => self.entries.push_back(Entry { first, last, units }),
        }
    }

    /// Where units used at `at` are counted: the place of the entry, and the first and the last
    /// instant of those that it counts, whether or not it is there already.
    fn bucket_at(&self, at: u64, rule: &Rule) -> (usize, u64, u64) {
        let index = self.place_of(at);
        if let Some(entry) = self.entries.get(index)
            && entry.first <= at
        {
            return (index, entry.first, entry.last);
        }
        // A rule that was changed may leave entries of another width: the new one takes the gap.
        let width = rule.bucket();
        let mut first = at - at % width;
        let mut last = first.saturating_add(width - 1);
        if let Some(previous) = index.checked_sub(1).and_then(|it| self.entries.get(it)) {
            first = first.max(previous.last.saturating_add(1));
        }
        if let Some(following) = self.entries.get(index) {
            last = last.min(following.first - 1);
        }
        (index, first, last)
    }

    /// Takes back what [`book`](Self::book) counted at `at`, as far as it still counts.
    pub(in crate::rate_limit) fn cancel(&mut self, at: u64, units: u64) {
        let index = self.place_of(at);
        if let Some(entry) = self.entries.get(index)
            && entry.first <= at
        {
            self.remove(index, units);
        }
    }

    /// Takes back `units` used by `now`, the oldest first: those are free again the soonest, so
    /// that no window can hold too much, whichever were meant.
    pub(in crate::rate_limit) fn refund(&mut self, now: u64, mut units: u64) {
        let mut index = 0;
        while units > 0
            && let Some(entry) = self.entries.get(index)
            && entry.first <= now
        {
            let removed = units.min(entry.units);
            units -= removed;
            let before = self.entries.len();
            self.remove(index, removed);
            index += usize::from(self.entries.len() == before);
        }
    }

    fn remove(&mut self, index: usize, units: u64) {
        let entry = &mut self.entries[index];
        let removed = units.min(entry.units);
        entry.units -= removed;
        self.total -= u128::from(removed);
        if entry.units == 0 {
            self.entries.remove(index);
        }
    }

    /// The first entry that does not end before `at`.
    fn place_of(&self, at: u64) -> usize {
        match self.entries.back() {
            Some(entry) if entry.last >= at => self.entries.partition_point(|it| it.last < at),
            _ => self.entries.len(),
        }
    }

    fn has_bookings(&self, now: u64) -> bool {
        self.entries.back().is_some_and(|entry| entry.first > now)
    }
}

fn saturated(wait: u128) -> u64 {
    u64::try_from(wait).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn entries_never_overlap_whatever_the_rules_were(
            uses in prop::collection::vec((0..500_u64, 1..3_u64, 1..200_u64), 1..50),
        ) {
            let mut log = Log::default();
            for (at, units, per) in uses {
                let rule = Rule {
                    algorithm: Algorithm::SlidingWindow,
                    limit: 1,
                    per,
                    most: 1,
                    grain: 1,
                    name: "test",
                };
                log.book(at, units, &rule);
                let entries: Vec<_> = log.entries.iter().collect();
                prop_assert!(entries.iter().all(|it| it.first <= it.last));
                prop_assert!(entries.windows(2).all(|two| two[0].last < two[1].first));
                prop_assert!(entries.iter().any(|it| it.first <= at && at <= it.last));
                prop_assert_eq!(log.total, entries.iter().map(|it| it.count()).sum::<u128>());
            }
        }
    }
}
