//! Units by the time at which they are used, past and booked.

use std::collections::VecDeque;

use super::{
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
pub(super) struct Log {
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
}

impl Log {
    /// One bucket's units, or one instant's.
    pub(super) fn of_run(run: Run, rule: &Rule) -> Self {
        let mut log = Self::default();
        if run.units > 0 {
            log.book(run.since, run.units, rule);
        }
        log
    }

    /// The bucket that holds all there is, where one does that is neither ahead of `now` nor of
    /// another rule's width.
    pub(super) fn run(&self, now: u64, rule: &Rule) -> Option<Run> {
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
    pub(super) fn forget(&mut self, now: u64, rule: &Rule) {
        while let Some(entry) = self.entries.front()
            && entry.is_over(now.into(), rule.per)
        {
            self.total -= u128::from(entry.units);
            self.entries.pop_front();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Units in the fullest window that contains `now`. What is over must be forgotten before.
    pub(super) fn peak(&self, now: u64, rule: &Rule) -> u128 {
        if !self.has_bookings(now) {
            return self.total;
        }
        let mut search = self.search(now, rule, 0);
        search.look_ahead(now.into());
        search.fullest
    }

    /// How long until the first unit is back; zero where none is out.
    pub(super) fn next_back(&self, now: u64, rule: &Rule) -> u64 {
        self.entries.front().map_or(0, |entry| {
            let back = u128::from(entry.last) + u128::from(rule.per);
            saturated(back.saturating_sub(now.into()))
        })
    }

    /// What callers may decide by themselves from `now` on, as long as nobody has booked ahead.
    pub(super) fn offer(&self, now: u64, rule: &Rule) -> Option<Offer> {
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
    pub(super) fn search(&self, now: u64, rule: &Rule, units: u64) -> Search<'_> {
        let next = if self.has_bookings(now) {
            self.entries.partition_point(|entry| entry.first <= now)
        } else {
            self.entries.len()
        };
        let booked: u128 = self.entries.range(next..).map(Entry::count).sum();
        let held = self.total - booked;
        Search {
            entries: &self.entries,
            per: rule.per,
            room: rule.limit.saturating_sub(units).into(),
            now,
            oldest: 0,
            next,
            held,
            ahead_oldest: 0,
            ahead: next,
            ahead_held: held,
            fullest: held,
            full_until: 0,
        }
    }

    /// Counts `units` as used at `at`.
    pub(super) fn book(&mut self, at: u64, units: u64, rule: &Rule) {
        self.total += u128::from(units);
        let (index, first, last) = self.bucket_at(at, rule);
        match self.entries.get_mut(index) {
            Some(entry) if entry.first == first => entry.units = entry.units.saturating_add(units),
            Some(_) | None => self.entries.insert(index, Entry { first, last, units }),
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
    pub(super) fn cancel(&mut self, at: u64, units: u64) {
        let index = self.place_of(at);
        if let Some(entry) = self.entries.get(index)
            && entry.first <= at
        {
            self.remove(index, units);
        }
    }

    /// Takes back `units` used by `now`, the oldest first: those are free again the soonest, so
    /// that no window can hold too much, whichever were meant.
    pub(super) fn refund(&mut self, now: u64, mut units: u64) {
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

impl Entry {
    fn count(&self) -> u128 {
        self.units.into()
    }
}

/// Looks for the first instant at which a call has room; goes over the entries once, however
/// often it is asked.
///
/// The sum over a window that is moved to the right grows only where the window's end meets an
/// entry, and falls only where its start leaves one. So the windows that contain an instant `s`
/// are judged by the one that ends at `s` and by those that end with a booking less than a window
/// ahead of `s`, and a search goes on from an instant without room where the oldest entry leaves,
/// or just after the booking.
#[derive(Debug)]
pub(super) struct Search<'a> {
    entries: &'a VecDeque<Entry>,
    per: u64,
    /// Units that a window may hold beside the call.
    room: u128,
    now: u64,
    /// The window that ends at the instant looked at holds the entries from `oldest` until `next`.
    oldest: usize,
    next: usize,
    held: u128,
    /// The window that ends with the booking before `ahead` holds them from `ahead_oldest`.
    ahead_oldest: usize,
    ahead: usize,
    ahead_held: u128,
    /// Units in the fullest window seen.
    fullest: u128,
    /// Earlier instants lie in a window without room that ends with a booking.
    full_until: u128,
}

impl Search<'_> {
    /// The shortest wait of at least `wait` nanoseconds after which there is room. Never asked
    /// for less than before.
    pub(super) fn from(&mut self, wait: u64) -> u64 {
        let mut at = u128::from(self.now) + u128::from(wait);
        loop {
            self.look_ahead(at);
            if at < self.full_until {
                at = self.full_until;
                continue;
            }
            self.look_back(at);
            if self.held <= self.room {
                return saturated(at - u128::from(self.now));
            }
            at = u128::from(self.entries[self.oldest].last) + u128::from(self.per);
        }
    }

    /// Judges the windows that contain `at` and end with a booking.
    fn look_ahead(&mut self, at: u128) {
        while let Some(booking) = self.entries.get(self.ahead)
            && u128::from(booking.first) < at + u128::from(self.per)
        {
            let end = u128::from(booking.first);
            self.ahead += 1;
            self.ahead_held += booking.count();
            while self.entries[self.ahead_oldest].is_over(end, self.per) {
                self.ahead_held -= self.entries[self.ahead_oldest].count();
                self.ahead_oldest += 1;
            }
            self.fullest = self.fullest.max(self.ahead_held);
            if self.ahead_held > self.room {
                self.full_until = end + 1;
            }
        }
    }

    /// Moves the window that ends at the instant looked at on to `at`.
    fn look_back(&mut self, at: u128) {
        while let Some(entry) = self.entries.get(self.next)
            && u128::from(entry.first) <= at
        {
            self.held += entry.count();
            self.next += 1;
        }
        while self.oldest < self.next && self.entries[self.oldest].is_over(at, self.per) {
            self.held -= self.entries[self.oldest].count();
            self.oldest += 1;
        }
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
