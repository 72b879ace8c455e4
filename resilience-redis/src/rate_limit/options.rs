use resilience_core::Environment;

use super::fallback::Fallback;

/// What a limiter of a fleet is told beyond its policy.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub(super) environment: Environment,
    pub(super) fallback: Fallback,
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

    /// Sets what holds while Redis gives no decision. Default: [`Fallback::LocalShare`].
    #[must_use]
    pub const fn fallback(mut self, fallback: Fallback) -> Self {
        self.fallback = fallback;
        self
    }
}
