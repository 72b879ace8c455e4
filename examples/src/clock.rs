//! The time of day, for what must outlive the process.

use resilience_core::{Clock, Timestamp};

/// Milliseconds since 1970, read from the wall once and carried on by the monotonic clock.
///
/// Rows in the database carry these times: a monotonic clock starts anew with every process, so
/// its readings mean nothing to the next one. Between two starts the wall's jumps go unseen.
#[derive(Clone, Debug)]
pub struct WallClock {
    clock: Clock,
    started: Timestamp,
    started_at: i64,
}

impl WallClock {
    /// Reads the wall.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one reading of the wall")]
    pub fn start() -> Self {
        let clock = Clock::system();
        let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self {
            started: clock.now(),
            started_at: millis(since_1970),
            clock,
        }
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn now(&self) -> i64 {
        let running = self.clock.now().saturating_since(self.started);
        self.started_at.saturating_add(millis(running))
    }
}

/// `duration` in whole milliseconds, at most `i64::MAX`.
#[must_use]
pub fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
