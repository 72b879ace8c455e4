use resilience_core::Environment;

use crate::rate_limit::fallback::Fallback;

/// What a limiter of a fleet is told beyond its policy.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub(super) environment: Environment,
    pub(super) fallback: Fallback,
    pub(super) lease_percent: u64,
}

impl Options {
    /// All defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the clock of this process and who hears of refusals. Default: the system's monotonic
    /// clock, and `tracing`.
    ///
    /// The clock times waits and guesses at the server's; what is allowed when is decided by the
    /// server's alone.
    #[must_use]
    pub fn environment(mut self, environment: &Environment) -> Self {
        self.environment = environment.clone();
        self
    }

    /// Lets processes take units ahead of their callers, up to `percent` of a key's limit, 1 to 100,
    /// all processes together. Default: none. For sliding windows only.
    ///
    /// A key that is asked for again and again is then decided without a question, most of the time;
    /// [`Source::Lease`](super::Source) tells so. The limit holds as strictly as without: the server
    /// counts the units when they are taken, and they are used in the same tenth of the window, or
    /// not at all.
    ///
    /// It costs units that one process holds and does not use, while another refuses for want of
    /// them: at most this part of the limit, less the closer the limit is. They go back when the
    /// tenth of the window is over, on [`RateLimiter::return_leases`](super::RateLimiter), and when
    /// the limiter is dropped; those of a process that is killed count until their window is over.
    /// [`Snapshot`](super::Snapshot) has the sums.
    #[must_use]
    pub const fn lease_up_to(mut self, percent: u64) -> Self {
        self.lease_percent = percent;
        self
    }

    /// Sets what holds while Redis gives no decision. Default: [`Fallback::LocalShare`].
    #[must_use]
    pub const fn fallback(mut self, fallback: Fallback) -> Self {
        self.fallback = fallback;
        self
    }
}
