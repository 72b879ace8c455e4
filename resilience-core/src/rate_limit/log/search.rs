//! Where a call finds its place among units that were taken and booked.

use std::collections::VecDeque;

use super::{Entry, saturated};
use crate::rate_limit::quota::Rule;

/// Looks for the first instant at which a call has room; goes over the entries once, however
/// often it is asked.
///
/// The sum over a window that is moved to the right grows only where the window's end meets an
/// entry, and falls only where its start leaves one. So the windows that contain an instant `s`
/// are judged by the one that ends at `s` and by those that end with a booking less than a window
/// ahead of `s`, and a search goes on from an instant without room where the oldest entry leaves,
/// or just after the booking.
#[derive(Debug)]
pub(in crate::rate_limit) struct Search<'a> {
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

impl<'a> Search<'a> {
    /// A search among `entries`, of which those before `next` lie behind `now` and hold so many
    /// units.
    pub(super) fn new(
        entries: &'a VecDeque<Entry>,
        next: usize,
        held: u128,
        now: u64,
        rule: &Rule,
        units: u64,
    ) -> Self {
        Self {
            entries,
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

    /// Units in the fullest window that contains the instant from which on it looks.
    pub(super) fn peak(mut self) -> u128 {
        self.look_ahead(self.now.into());
        self.fullest
    }

    /// The shortest wait of at least `wait` nanoseconds after which there is room. Never asked
    /// for less than before.
    pub(in crate::rate_limit) fn from(&mut self, wait: u64) -> u64 {
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
