use std::{error::Error, fmt};

/// Where a circuit stands.
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
    /// All of them.
    pub(super) const ALL: [Self; 5] = [
        Self::Closed,
        Self::Open,
        Self::HalfOpen,
        Self::ForcedOpen,
        Self::Disabled,
    ];

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

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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
    /// All of them, in the order in which they are announced.
    pub(super) const ALL: [Self; 3] =
        [Self::FailureRate, Self::SlowRate, Self::ConsecutiveFailures];

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

/// An operator asked for a phase that cannot follow the present one.
///
/// A closed circuit cannot be made half-open, and a breaker that only looks on
/// ([`Mode::Shadow`](super::Mode::Shadow), [`Mode::Disabled`](super::Mode::Disabled)) cannot be
/// opened: reconfigure it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IllegalTransition {
    pub(super) from: Phase,
    pub(super) to: Phase,
}

impl IllegalTransition {
    /// The phase that the circuit is in, and stays in.
    #[must_use]
    pub const fn from(&self) -> Phase {
        self.from
    }

    /// The phase that was asked for.
    #[must_use]
    pub const fn to(&self) -> Phase {
        self.to
    }
}

impl fmt::Display for IllegalTransition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a circuit that is {} cannot become {}",
            self.from, self.to
        )
    }
}

impl Error for IllegalTransition {}
