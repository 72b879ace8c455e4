//! What a limiter decided, and how it came to that.

use std::time::Duration;

use resilience_core::{QuotaStatus, Rejected};

use crate::StoreError;

/// What a limiter decided about one call, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// Where the tightest quota stands after the call, or the refusal; in shadow, where it stands.
    pub outcome: Result<QuotaStatus, Rejected>,
    /// Who decided.
    pub source: Source,
    /// When, by the server's clock: since 1970, in whole microseconds, right to the millisecond; out of
    /// a lease, the latest that it can have been; where two decided, the later of both times. `None` where
    /// nothing is known of that.
    pub time: Option<Duration>,
    /// Why the server gave no decision, where it was asked for one.
    pub error: Option<StoreError>,
}

impl Decision {
    /// One of which no more is known.
    #[inline]
    pub(super) const fn by(source: Source, outcome: Result<QuotaStatus, Rejected>) -> Self {
        Self {
            outcome,
            source,
            time: None,
            error: None,
        }
    }
}

/// Who decided about a call.
///
/// Where there is a [quota of all keys](super::Policy::global) beside the key's, about a call that was
/// refused: who refused it; about one that was admitted: [`Degraded`](Self::Degraded) where that is so
/// of either, else [`Redis`](Self::Redis), else [`Lease`](Self::Lease).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The server, by its counts and its clock.
    Redis,
    /// This process: the server had named a time before which the key has no room, or has none in the
    /// time that a call may wait; no quota is large enough for the call; or a request has no key. With an
    /// error where the server was to be asked once more.
    DeniedLocally,
    /// This process, out of units that it has taken ahead.
    Lease,
    /// This process, because the server gives no decision.
    Degraded,
}

impl Source {
    pub(super) const ALL: [Self; 4] = [
        Self::Redis,
        Self::DeniedLocally,
        Self::Lease,
        Self::Degraded,
    ];

    /// A stable lower-case word, as in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::DeniedLocally => "denied_locally",
            Self::Lease => "lease",
            Self::Degraded => "degraded",
        }
    }
}
