use std::time::Duration;

use super::{OpenWait, Window};
use crate::{InvalidPolicy, invalid::check_name};

/// When a circuit opens, for how long, and how it closes again.
///
/// Checked when an engine is built from it. Every threshold is reached at its very value: a
/// failure rate of 0.5 opens at five failures of ten.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub(super) name: &'static str,
    pub(super) window: Window,
    min_calls: u32,
    pub(super) failure_rate: Option<f64>,
    pub(super) slow_calls: Option<SlowCalls>,
    pub(super) consecutive_failures: Option<u32>,
    pub(super) half_open_permits: u32,
    pub(super) half_open_max_wait: Option<Duration>,
    pub(super) open: OpenWait,
    pub(super) mode: Mode,
    pub(super) recovery_ramp: Duration,
    pub(super) max_retry_after: Duration,
    pub(super) capacity: usize,
}

/// What a breaker does with what it sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Counts, and refuses while open.
    #[default]
    Enforce,
    /// Counts and reports thresholds that are reached, and admits everything: try a policy on
    /// live traffic before it decides.
    Shadow,
    /// Admits everything and counts nothing.
    Disabled,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SlowCalls {
    pub(super) after: Duration,
    pub(super) rate: f64,
}

impl Policy {
    /// Opens for 5 seconds when half of the last 100 calls failed, and closes after 10 probes of
    /// which less than half did.
    ///
    /// `name` stands in metrics, logs and refusals: printable ASCII without quotes.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            window: Window::count(100),
            min_calls: 100,
            failure_rate: Some(0.5),
            slow_calls: None,
            consecutive_failures: None,
            half_open_permits: 10,
            half_open_max_wait: None,
            open: OpenWait::fixed(Duration::from_secs(5)),
            mode: Mode::Enforce,
            recovery_ramp: Duration::ZERO,
            max_retry_after: Duration::from_secs(60),
            capacity: 10_000,
        }
    }

    /// Opens after `failures` failures in a row, whatever the rate, and asks one probe whether to
    /// close.
    ///
    /// For dependencies with little traffic. On a busy one a few unlucky calls in a row are
    /// certain to come: prefer a rate there.
    #[must_use]
    pub const fn tripping_after(name: &'static str, failures: u32) -> Self {
        Self::new(name)
            .no_failure_rate()
            .consecutive_failures(failures)
            .half_open_permits(1)
    }

    /// Sets which calls the rates are taken over. Default: the last 100.
    #[must_use]
    pub const fn window(mut self, window: Window) -> Self {
        self.window = window;
        self
    }

    /// Sets how many calls the window must hold before its rates are known. Default 100; more
    /// than a window of calls can hold means a full window.
    #[must_use]
    pub const fn min_calls(mut self, calls: u32) -> Self {
        self.min_calls = calls;
        self
    }

    /// Sets the share of failed calls that opens, above 0 and at most 1. Default 0.5.
    #[must_use]
    pub const fn failure_rate(mut self, rate: f64) -> Self {
        self.failure_rate = Some(rate);
        self
    }

    /// The share of failed calls opens nothing.
    #[must_use]
    pub const fn no_failure_rate(mut self) -> Self {
        self.failure_rate = None;
        self
    }

    /// Sets how long a call may take before it is slow, and the share of slow calls that opens,
    /// above 0 and at most 1. Default: no call is slow.
    ///
    /// A call is timed to the head of its answer: a long body or a slow reader does not make it
    /// slow. It counts as slow whether it succeeded or failed.
    #[must_use]
    pub const fn slow_calls(mut self, after: Duration, rate: f64) -> Self {
        self.slow_calls = Some(SlowCalls { after, rate });
        self
    }

    /// Sets how many failures in a row open, however few calls there were. Default: none do.
    ///
    /// Only a success ends a run. An [`Overload`](crate::Outcome::Overload) neither lengthens nor
    /// ends it.
    #[must_use]
    pub const fn consecutive_failures(mut self, failures: u32) -> Self {
        self.consecutive_failures = Some(failures);
        self
    }

    /// Sets how many probes a half-open circuit admits, all of which decide. Default 10.
    ///
    /// Let it be no more than calls come within [`half_open_max_wait`](Self::half_open_max_wait),
    /// which is as long as the open wait unless you say otherwise: where there are fewer, the
    /// circuit opens again however well they went, and never closes.
    #[must_use]
    pub const fn half_open_permits(mut self, permits: u32) -> Self {
        self.half_open_permits = permits;
        self
    }

    /// Sets how long a half-open circuit may take to decide before it is open again, as after
    /// probes that failed. Default: as long as the open wait just served.
    #[must_use]
    pub const fn half_open_max_wait(mut self, wait: Duration) -> Self {
        self.half_open_max_wait = Some(wait);
        self
    }

    /// Sets how long the circuit stays open. Default: 5 seconds.
    #[must_use]
    pub const fn open(mut self, wait: OpenWait) -> Self {
        self.open = wait;
        self
    }

    /// Sets what the breaker does with what it sees. Default: [`Mode::Enforce`].
    #[must_use]
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets for how long after its probes closed the circuit only a share of the calls is
    /// admitted, growing from none to all, so that a dependency that just came back is not
    /// knocked over by everybody at once. Default: zero, all at once.
    #[must_use]
    pub const fn recovery_ramp(mut self, ramp: Duration) -> Self {
        self.recovery_ramp = ramp;
        self
    }

    /// Sets the longest `Retry-After` of the dependency that is honoured: when the circuit opens,
    /// it stays open at least until then. Default: 60 seconds; zero honours none.
    #[must_use]
    pub const fn max_retry_after(mut self, max: Duration) -> Self {
        self.max_retry_after = max;
        self
    }

    /// Sets how many circuits [`CircuitBreakers`](super::CircuitBreakers) keep at most; a single
    /// breaker has no keys. Default 10 000.
    #[must_use]
    pub const fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Calls after which the rates are known.
    pub(super) fn enough_calls(&self) -> u64 {
        u64::from(self.min_calls).min(self.window.capacity())
    }

    pub(super) fn check(&self) -> Result<(), InvalidPolicy> {
        check_name(self.name)?;
        if self.capacity == 0 {
            return Err(InvalidPolicy::new("capacity", "must be at least 1"));
        }
        self.window.check()?;
        self.open.check()?;
        check_count("min_calls", Some(self.min_calls))?;
        check_count("consecutive_failures", self.consecutive_failures)?;
        check_count("half_open_permits", Some(self.half_open_permits))?;
        check_rate("failure_rate", self.failure_rate)?;
        check_rate("slow_calls", self.slow_calls.map(|slow| slow.rate))?;
        check_wait("slow_calls", self.slow_calls.map(|slow| slow.after))?;
        check_wait("half_open_max_wait", self.half_open_max_wait)
    }
}

fn check_count(field: &'static str, count: Option<u32>) -> Result<(), InvalidPolicy> {
    match count {
        Some(0) => Err(InvalidPolicy::new(field, "must be at least 1")),
        Some(_) | None => Ok(()),
    }
}

/// Whether a rate can be reached and missed. NaN is in no range.
fn check_rate(field: &'static str, rate: Option<f64>) -> Result<(), InvalidPolicy> {
    match rate {
        Some(rate) if !(rate > 0.0 && rate <= 1.0) => Err(InvalidPolicy::new(
            field,
            "must have a rate above 0 and at most 1",
        )),
        Some(_) | None => Ok(()),
    }
}

fn check_wait(field: &'static str, wait: Option<Duration>) -> Result<(), InvalidPolicy> {
    match wait {
        Some(Duration::ZERO) => Err(InvalidPolicy::new(field, "must be longer than zero")),
        Some(_) | None => Ok(()),
    }
}
