use std::time::Duration;

use super::{Policy, terms::Standing};
use crate::{
    Timestamp,
    clock::nanos,
    sync::{AtomicU64, Ordering},
};

/// How long what the gate word says holds, and for which calls, in nanoseconds.
///
/// Written with the machine's lock held, before the word.
#[derive(Debug)]
pub(super) struct Limits {
    /// End of the current bucket: later successes must be told. `u64::MAX`: no time matters.
    stable_until: AtomicU64,
    /// End of an open wait, or the deadline of the probes.
    refused_until: AtomicU64,
    /// A call that takes as long is slow. `u64::MAX`: calls are not timed.
    slow_after: AtomicU64,
}

impl Limits {
    pub(super) fn new(policy: &Policy) -> Self {
        let limits = Self {
            stable_until: AtomicU64::new(0),
            refused_until: AtomicU64::new(0),
            slow_after: AtomicU64::new(0),
        };
        limits.time_calls(policy);
        limits
    }

    /// Whether a success now falls in the bucket that the machine is in.
    #[inline]
    pub(super) fn is_stable(&self, now: impl FnOnce() -> Timestamp) -> bool {
        let until = self.stable_until.load(Ordering::Acquire);
        until == u64::MAX || now().as_nanos() < until
    }

    /// How long calls are still refused without asking the machine.
    pub(super) fn time_left(&self, now: Timestamp) -> Option<Duration> {
        let until = Timestamp::from_nanos(self.refused_until.load(Ordering::Acquire));
        (now < until).then(|| until.saturating_since(now))
    }

    #[inline]
    pub(super) fn are_calls_timed(&self) -> bool {
        self.slow_after.load(Ordering::Relaxed) != u64::MAX
    }

    #[inline]
    pub(super) fn is_slow(&self, elapsed: Duration) -> bool {
        nanos(elapsed) >= self.slow_after.load(Ordering::Relaxed)
    }

    pub(super) fn time_calls(&self, policy: &Policy) {
        let after = policy.slow_calls.map_or(u64::MAX, |slow| nanos(slow.after));
        self.slow_after.store(after, Ordering::Relaxed);
    }

    pub(super) fn publish(&self, standing: Standing) {
        let (limit, until) = match standing {
            Standing::Admit { until, .. } => (&self.stable_until, until),
            Standing::Open { until } | Standing::Probing { until } => (&self.refused_until, until),
            Standing::Ask | Standing::ForcedOpen | Standing::Bypass => return,
        };
        limit.store(until.as_nanos(), Ordering::Release);
    }
}
