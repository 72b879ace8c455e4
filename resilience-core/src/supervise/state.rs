//! The pure machine that decides whether a task starts again.

use std::time::Duration;

use super::Policy;

/// Restarts so far.
#[derive(Debug, Default)]
pub(super) struct State {
    in_a_row: u32,
    restarts: u32,
}

/// What follows the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Start again after `delay`.
    Restart {
        /// Restarts so far, this one included.
        restarts: u32,
        delay: Duration,
    },
    /// Stay down.
    GiveUp {
        /// Restarts so far.
        restarts: u32,
    },
}

impl State {
    /// A run ended that had lasted for `ran`.
    pub(super) fn ended(&mut self, policy: &Policy, ran: Duration, random: f64) -> Decision {
        if ran >= policy.healthy_after {
            self.in_a_row = 0;
        }
        if policy.max_restarts.is_some_and(|max| self.in_a_row >= max) {
            let restarts = self.restarts;
            return Decision::GiveUp { restarts };
        }
        let delay = policy.backoff.delay(self.in_a_row, random);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.restarts = self.restarts.saturating_add(1);
        let restarts = self.restarts;
        Decision::Restart { restarts, delay }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::Backoff;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy() -> Policy {
        Policy::new("test")
            .backoff(Backoff::exponential(SECOND))
            .healthy_after(SECOND * 60)
    }

    fn restart(restarts: u32, seconds: u32) -> Decision {
        let delay = SECOND * seconds;
        Decision::Restart { restarts, delay }
    }

    #[test]
    fn each_wait_in_a_row_is_longer_and_a_healthy_run_starts_over() {
        let mut state = State::default();
        let mut ended = |ran| state.ended(&policy(), ran, 0.0);
        assert_eq!(ended(Duration::ZERO), restart(1, 1));
        assert_eq!(ended(SECOND * 59), restart(2, 2));
        assert_eq!(ended(Duration::ZERO), restart(3, 4));
        assert_eq!(ended(SECOND * 60), restart(4, 1));
        assert_eq!(ended(Duration::ZERO), restart(5, 2));
    }

    #[test]
    fn after_so_many_restarts_in_a_row_the_task_stays_down() {
        let policy = policy().max_restarts(1);
        let mut state = State::default();
        assert_eq!(state.ended(&policy, SECOND, 0.0), restart(1, 1));
        assert_eq!(state.ended(&policy, SECOND * 60, 0.0), restart(2, 1));
        let down = Decision::GiveUp { restarts: 2 };
        assert_eq!(state.ended(&policy, SECOND, 0.0), down);
    }

    #[test]
    fn counts_saturate() {
        let mut state = State {
            in_a_row: u32::MAX,
            restarts: u32::MAX,
        };
        let policy = policy().backoff(Backoff::exponential(SECOND).max(SECOND * 9));
        assert_eq!(state.ended(&policy, SECOND, 0.0), restart(u32::MAX, 9));
    }
}
