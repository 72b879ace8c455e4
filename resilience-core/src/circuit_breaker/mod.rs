//! Stub during the first build.

/// Phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Calls go through and are counted.
    Closed,
    /// Calls are refused until a wait is over.
    Open,
    /// A few probes go through and decide.
    HalfOpen,
    /// Calls are refused until an operator says otherwise.
    ForcedOpen,
    /// Calls go through and nothing is counted.
    Disabled,
}

impl Phase {
    /// A stable lower-case word, as in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
        }
    }

    /// Whether calls go through as if there were no breaker.
    #[must_use]
    pub const fn admits_all(self) -> bool {
        matches!(self, Self::Closed | Self::Disabled)
    }
}

/// What can open a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Threshold {
    /// The share of failed calls.
    FailureRate,
    /// The share of slow calls.
    SlowRate,
    /// Failures in a row.
    ConsecutiveFailures,
}

impl Threshold {
    /// A stable lower-case word, as in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FailureRate => "failure_rate",
            Self::SlowRate => "slow_rate",
            Self::ConsecutiveFailures => "consecutive_failures",
        }
    }
}
