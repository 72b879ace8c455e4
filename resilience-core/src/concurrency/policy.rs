use std::time::Duration;

use crate::{InvalidPolicy, invalid::check_name};

/// How many calls run at a time, and who may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub(super) name: &'static str,
    pub(super) permits: u32,
    pub(super) queue: usize,
    max_wait: Option<Duration>,
    pub(super) capacity: usize,
}

impl Policy {
    /// At most `permits` calls at a time, and nobody waits: whoever finds no place is refused.
    ///
    /// `name` stands in refusals, metrics and logs. None at all is a bulkhead that is shut until
    /// [`set_permits`](super::Bulkhead::set_permits) opens it; more than 2^31 - 1 are as good as
    /// 2^31 - 1.
    #[must_use]
    pub const fn new(name: &'static str, permits: u32) -> Self {
        Self {
            name,
            permits,
            queue: 0,
            max_wait: None,
            capacity: 10_000,
        }
    }

    /// Sets how many callers may wait for a place, first come, first served. Default 0.
    ///
    /// A queue needs a [`max_wait`](Self::max_wait). A good length is what gets its turn within
    /// that wait: permits × wait / duration of a call.
    #[must_use]
    pub const fn queue(mut self, queue: usize) -> Self {
        self.queue = queue;
        self
    }

    /// Sets how long a caller may wait in the queue. Zero is to be refused at once.
    ///
    /// There is no default: nobody but you knows when your callers have gone.
    #[must_use]
    pub const fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = Some(max_wait);
        self
    }

    /// Sets how many keys [`Bulkheads`](super::Bulkheads) hold at most; a single bulkhead has no
    /// keys. Default 10 000.
    #[must_use]
    pub const fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    pub(super) fn longest_wait(&self) -> Duration {
        self.max_wait.unwrap_or_default()
    }

    pub(super) fn check(&self) -> Result<(), InvalidPolicy> {
        check_name(self.name)?;
        if self.queue > 0 && self.max_wait.is_none() {
            return Err(InvalidPolicy::new(
                "max_wait",
                "must say how long a caller may wait in the queue",
            ));
        }
        if self.capacity == 0 {
            return Err(InvalidPolicy::new("capacity", "must be at least 1"));
        }
        Ok(())
    }
}
