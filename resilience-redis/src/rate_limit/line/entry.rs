//! One key, its line and what that has lent.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use smallvec::SmallVec;

use super::{Line, front::Left};

/// One key: what its name is on the server, and who waits for a word about it.
#[derive(Debug)]
pub(in crate::rate_limit) struct Entry {
    /// What all its keys on the server begin with, the hash tag included. With the entry in memory,
    /// where it is not long, since who comes for the entry looks at it.
    name: SmallVec<[u8; SHORT_NAME]>,
    line: Mutex<Line>,
    /// Of what the line has lent.
    left: Left,
    /// Units for which callers of this key may wait for room among all keys.
    claimed: AtomicU64,
}

impl Entry {
    pub(in crate::rate_limit) fn new(name: &str, line: Line) -> Self {
        Self {
            name: SmallVec::from_slice(name.as_bytes()),
            line: Mutex::new(line),
            left: Left::default(),
            claimed: AtomicU64::new(0),
        }
    }

    pub(in crate::rate_limit) fn name(&self) -> &str {
        str::from_utf8(&self.name).expect("made of a string")
    }

    pub(in crate::rate_limit) fn name_bytes(&self) -> &[u8] {
        &self.name
    }

    /// What the name has from its key, where all names begin with `start` bytes that are alike.
    #[inline]
    pub(in crate::rate_limit) fn name_behind(&self, start: usize) -> &[u8] {
        &self.name[start..self.name.len() - 1]
    }

    /// The line, which has back what it had lent.
    pub(in crate::rate_limit) fn line(&self) -> MutexGuard<'_, Line> {
        // Nothing in a line's code panics between two states.
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.take_back(self.left.take_back());
        line
    }

    /// Callers who wait until there is room. What is lent stays so.
    pub(in crate::rate_limit) fn waiting(&self) -> usize {
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.waiting()
    }

    /// Claims `units` more, where those claimed are `most` then at most.
    pub(in crate::rate_limit) fn claim(&self, units: u64, most: u64) -> bool {
        let claim = |claimed: u64| claimed.checked_add(units).filter(|sum| *sum <= most);
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        let claimed = self.claimed.fetch_update(success, failure, claim);
        claimed.is_ok()
    }

    /// Gives up a claim of so many `units`.
    pub(in crate::rate_limit) fn unclaim(&self, units: u64) {
        self.claimed.fetch_sub(units, Ordering::Relaxed);
    }

    /// Whether somebody may be waiting for room among all keys.
    pub(in crate::rate_limit) fn is_claimed(&self) -> bool {
        self.claimed.load(Ordering::Relaxed) > 0
    }

    #[inline]
    pub(super) const fn left(&self) -> &Left {
        &self.left
    }
}

/// Bytes of a name for which an entry has room.
const SHORT_NAME: usize = 48;
