use std::time::Duration;

use crate::{
    InvalidPolicy,
    backoff::{Backoff, Jitter},
    invalid::check_name,
};

/// When a task starts again, and when it stays down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    pub(super) name: &'static str,
    pub(super) backoff: Backoff,
    pub(super) healthy_after: Duration,
    pub(super) max_restarts: Option<u32>,
}

impl Policy {
    /// Starts the task named `name` again for ever: after about 100 ms, then twice as long each
    /// time, up to a minute.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            backoff: Backoff::exponential(Duration::from_millis(100))
                .max(Duration::from_secs(60))
                .jitter(Jitter::Equal),
            healthy_after: Duration::from_secs(60),
            max_restarts: None,
        }
    }

    /// Sets how long to wait before each restart in a row. Default: 100 ms, doubled up to a
    /// minute, half of it by chance.
    #[must_use]
    pub const fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets how long a run must last to end the row: the next wait is the first one again, and
    /// the count towards [`max_restarts`](Self::max_restarts) starts over. Default: a minute.
    #[must_use]
    pub const fn healthy_after(mut self, healthy_after: Duration) -> Self {
        self.healthy_after = healthy_after;
        self
    }

    /// Sets after how many restarts in a row the task stays down. Zero is to run it once.
    /// Default: never.
    #[must_use]
    pub const fn max_restarts(mut self, max_restarts: u32) -> Self {
        self.max_restarts = Some(max_restarts);
        self
    }

    pub(super) fn check(&self) -> Result<(), InvalidPolicy> {
        check_name(self.name)?;
        self.backoff.check()?;
        if self.backoff.jitter(Jitter::None).delay(0, 0.0).is_zero() {
            return Err(InvalidPolicy::new(
                "backoff",
                "must wait before the first restart: a task that ends at once would spin",
            ));
        }
        if self.healthy_after.is_zero() {
            return Err(InvalidPolicy::new(
                "healthy_after",
                "must be more than zero: else every run ends the row",
            ));
        }
        Ok(())
    }
}
