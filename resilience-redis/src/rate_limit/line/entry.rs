//! One key, its line and what that has lent.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Line, front::Left};

/// One key: what its name is on the server, and who waits for a word about it.
#[derive(Debug)]
pub(in crate::rate_limit) struct Entry {
    /// What all its keys on the server begin with, the hash tag included.
    name: Box<str>,
    line: Mutex<Line>,
    /// Of what the line has lent.
    left: Left,
}

impl Entry {
    pub(in crate::rate_limit) fn new(name: Box<str>, line: Line) -> Self {
        Self {
            name,
            line: Mutex::new(line),
            left: Left::default(),
        }
    }

    pub(in crate::rate_limit) fn name(&self) -> &str {
        &self.name
    }

    /// The line, which has back what it had lent.
    pub(in crate::rate_limit) fn line(&self) -> MutexGuard<'_, Line> {
        // Nothing in a line's code panics between two states.
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.take_back(self.left.take_back());
        line
    }

    #[inline]
    pub(super) const fn left(&self) -> &Left {
        &self.left
    }
}
