use super::{Phase, state::State};
use crate::{
    Outcome,
    sync::{AtomicU64, Ordering},
};

/// Where a circuit breaker stands, all of it at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Where the circuit stands.
    pub phase: Phase,
    /// The share of failed calls in the window; `None` while it holds too few.
    pub failure_rate: Option<f64>,
    /// The share of slow calls in the window; `None` while it holds too few, or no call is slow by
    /// the policy.
    pub slow_rate: Option<f64>,
    /// Calls in the window. Half-open has one of its own, for its probes; an open circuit shows
    /// the one that opened it.
    pub calls: u64,
    /// Failed calls in the window, overloads among them.
    pub failures: u64,
    /// Slow calls in the window.
    pub slow: u64,
    /// Probes that a half-open circuit can still admit; zero in other phases.
    pub permits_left: u32,
    /// What was counted since the breaker was built.
    pub totals: Totals,
    /// Calls refused since the breaker was built.
    pub rejected: u64,
    /// Phases entered since the breaker was built.
    pub transitions_total: u64,
    /// How often a closed circuit saw a threshold reached since the breaker was built; once for
    /// each time until it fell below again.
    pub thresholds_reached: u64,
}

/// What became of the admitted calls since the breaker was built, those among them whose circuit
/// had changed its phase meanwhile. A call is in one of them, and in `slow` besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// The dependency did its work.
    pub successes: u64,
    /// The dependency failed.
    pub failures: u64,
    /// The dependency refused for its own protection.
    pub overloads: u64,
    /// A layer further in refused.
    pub not_called: u64,
    /// The caller went away.
    pub canceled: u64,
    /// The classifier had no opinion.
    pub ignored: u64,
    /// Of those that were answered, the slow ones.
    pub slow: u64,
}

impl Snapshot {
    pub(super) fn new(state: &State, rejected: u64, unvoted: &Unvoted) -> Self {
        let evidence = state.evidence();
        let counts = state.counts();
        Self {
            phase: state.phase(),
            failure_rate: evidence.failure_rate(),
            slow_rate: evidence
                .slow_rate()
                .filter(|_| state.policy().slow_calls.is_some()),
            calls: evidence.sums.calls,
            failures: evidence.sums.failures,
            slow: evidence.sums.slow,
            permits_left: state.permits_left(),
            totals: Totals {
                successes: counts.successes,
                failures: counts.failures,
                overloads: counts.overloads,
                not_called: unvoted.not_called.load(Ordering::Relaxed),
                canceled: unvoted.canceled.load(Ordering::Relaxed),
                ignored: unvoted.ignored.load(Ordering::Relaxed),
                slow: counts.slow,
            },
            rejected,
            transitions_total: counts.transitions,
            thresholds_reached: counts.thresholds_reached,
        }
    }
}

/// Calls that ended without a vote, counted beside the machine: a breaker outside of a rate limit
/// may see many.
#[derive(Debug)]
pub(super) struct Unvoted {
    not_called: AtomicU64,
    canceled: AtomicU64,
    ignored: AtomicU64,
}

/// By hand, since loom's atomics have no default.
impl Default for Unvoted {
    fn default() -> Self {
        Self {
            not_called: AtomicU64::new(0),
            canceled: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
        }
    }
}

impl Unvoted {
    pub(super) fn count(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::NotCalled => &self.not_called,
            Outcome::Canceled => &self.canceled,
            Outcome::Ignored => &self.ignored,
            Outcome::Success | Outcome::Failure | Outcome::Overload { .. } => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
