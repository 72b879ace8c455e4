//! What it says of a server that calls to it time out.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use resilience_core::Timestamp;

/// Tells a server that is silent from calls that had no time.
///
/// Calls that were sent together time out together: of one stall of a moment there may be hundreds.
/// And where thousands of callers come at once some have next to no time left when they are asked for,
/// which is no fault of the server. So a call that timed out counts as a failure only where nothing
/// was heard for as long as a decision may take: since the call was sent, or since the last one that
/// counted. What hangs is found out within a few deadlines all the same, even where each question
/// is cut short: those that counted lie closer together than two deadlines.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// When a call that timed out was last counted, in nanoseconds; 0 where something was heard since.
    counted: AtomicU64,
}

impl Silence {
    /// The server said something.
    pub(super) fn end(&self) {
        // Only read where all is well: many write to what lies beside it.
        if self.counted.load(Ordering::Relaxed) != 0 {
            self.counted.store(0, Ordering::Relaxed);
        }
    }

    /// Whether a call counts as a failure that timed out at `now` after it had `waited`, where a
    /// decision may take as long as `patience`.
    pub(super) fn counts(&self, now: Timestamp, waited: Duration, patience: Duration) -> bool {
        let counted = self.counted.load(Ordering::Relaxed);
        let silent = match counted {
            0 => waited,
            counted => now.saturating_since(Timestamp::from_nanos(counted)),
        };
        // Of those that time out together one is the first.
        silent >= patience * 7 / 8
            && self
                .counted
                .compare_exchange(
                    counted,
                    now.as_nanos().max(1),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(10);

    fn counts(silence: &Silence, now: u64, waited: u64) -> bool {
        let now = Timestamp::from_nanos(now * 1_000_000);
        silence.counts(now, Duration::from_millis(waited), PATIENCE)
    }

    #[test]
    fn of_calls_that_time_out_together_one_counts() {
        let silence = Silence::default();
        let counted = (0..100).filter(|_| counts(&silence, 10, 10)).count();
        assert_eq!(counted, 1);
        // Those that were sent a little later time out a little later.
        assert!((10..18).all(|now| !counts(&silence, now, 10)));
        assert!(counts(&silence, 20, 10));
    }

    #[test]
    fn a_call_that_had_no_time_says_nothing() {
        let silence = Silence::default();
        assert!((0..100).all(|now| !counts(&silence, now, 8)));
        assert!(counts(&silence, 100, 9));
        silence.end();
        assert!(!counts(&silence, 200, 8));
    }

    #[test]
    fn what_hangs_is_found_out_although_each_question_is_cut_short() {
        let silence = Silence::default();
        assert!(counts(&silence, 10, 10));
        let counted = (11..=60).filter(|now| counts(&silence, *now, 1)).count();
        assert_eq!(counted, 5);
    }
}
