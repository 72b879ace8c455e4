//! The pure machine that rations events: a service that panics ten thousand times a second must
//! not drown its own log.

use std::time::Duration;

use crate::Timestamp;

/// Events in a [`WINDOW`] at most.
pub(super) const RATION: u32 = 10;

/// From the first event on.
const WINDOW: Duration = Duration::from_secs(1);

/// What was told lately, and what was not.
#[derive(Debug, Default)]
pub(super) struct Log {
    since: Timestamp,
    told: u32,
    untold: u64,
}

impl Log {
    /// Whether to tell, and how many were not told since the last time.
    pub(super) fn tell(&mut self, now: Timestamp) -> Option<u64> {
        // A clock that went back starts a new window rather than silence without end.
        if now < self.since || now.saturating_since(self.since) >= WINDOW {
            self.since = now;
            self.told = 0;
        }
        if self.told == RATION {
            self.untold = self.untold.saturating_add(1);
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_in_a_second_are_told_ten_times_and_the_rest_with_the_next() {
        let mut log = Log::default();
        let told = (0..10_000)
            .filter_map(|index| log.tell(Timestamp::from_nanos(index * 100_000)))
            .count();
        assert_eq!(told, 10);
        assert_eq!(log.tell(Timestamp::from_nanos(1_000_000_000)), Some(9990));
        assert_eq!(log.tell(Timestamp::from_nanos(1_000_000_000)), Some(0));
    }

    #[test]
    fn a_clock_that_goes_back_does_not_silence_it() {
        let mut log = Log::default();
        let late = Timestamp::from_nanos(u64::MAX / 2);
        for _ in 0..20 {
            let _ = log.tell(late);
        }
        assert_eq!(log.tell(Timestamp::ZERO), Some(10));
    }
}
