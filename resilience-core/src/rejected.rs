//! The library's own "no", and how it travels through error types.

use std::{error::Error as StdError, fmt, task::Poll, time::Duration};

use crate::{Outcome, Reason};

/// A boxed error, as Tower names it.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// A refusal by one of this library's layers.
///
/// Times in it are whole nanoseconds, at most 2^64 - 2 of them (584 years).
#[derive(Clone, PartialEq, Eq)]
pub struct Rejected {
    reason: Reason,
    policy: &'static str,
    retry_after: Nanos,
    limit: u64,
    remaining: u64,
    /// Says whether there is a quota.
    window: Nanos,
}

/// A time that may not be known. Every future that may end in a refusal has room for one and is
/// moved with it: words are moved as they were written, where the parts of a [`Duration`] would be
/// waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Nanos(u64);

impl Nanos {
    const UNKNOWN: Self = Self(u64::MAX);

    const fn of(duration: Duration) -> Self {
        let seconds = duration.as_secs().saturating_mul(1_000_000_000);
        let nanos = seconds.saturating_add(duration.subsec_nanos() as u64);
        match Self(nanos) {
            Self::UNKNOWN => Self(nanos - 1),
            known => known,
        }
    }

    const fn known(self) -> Option<Duration> {
        match self {
            Self::UNKNOWN => None,
            Self(nanos) => Some(Duration::from_nanos(nanos)),
        }
    }
}

/// Where a quota stands, for the `RateLimit` fields of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaStatus {
    /// Units in one window.
    pub limit: u64,
    /// Length of the window.
    pub window: Duration,
    /// Units that one call could take now.
    pub remaining: u64,
}

impl Rejected {
    /// A refusal by the policy named `policy`, with no word on when to come back.
    #[inline]
    #[must_use]
    pub const fn new(reason: Reason, policy: &'static str) -> Self {
        Self {
            reason,
            policy,
            retry_after: Nanos::UNKNOWN,
            limit: 0,
            remaining: 0,
            window: Nanos::UNKNOWN,
        }
    }

    /// Sets the shortest wait after which the same call could be admitted.
    #[inline]
    #[must_use]
    pub const fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Nanos::of(retry_after);
        self
    }

    /// Sets where the exhausted quota stands.
    #[inline]
    #[must_use]
    pub const fn with_quota(mut self, quota: QuotaStatus) -> Self {
        self.limit = quota.limit;
        self.remaining = quota.remaining;
        self.window = Nanos::of(quota.window);
        self
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// The name of the policy that refused.
    #[must_use]
    pub const fn policy(&self) -> &'static str {
        self.policy
    }

    /// The shortest wait after which the same call could be admitted, to the nanosecond; `None`
    /// where nobody can know.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after.known()
    }

    /// Where the exhausted quota stands, from a rate limit.
    #[must_use]
    pub const fn quota(&self) -> Option<QuotaStatus> {
        match self.window.known() {
            None => None,
            Some(window) => Some(QuotaStatus {
                limit: self.limit,
                window,
                remaining: self.remaining,
            }),
        }
    }

    /// What an outer layer makes of this refusal: a panic and a load that took too long are
    /// failures of the service, every other refusal means that the service was not called.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self.reason {
            Reason::Panicked | Reason::LoadTimeout => Outcome::Failure,
            Reason::RateLimited
            | Reason::CostExceedsQuota
            | Reason::CircuitOpen
            | Reason::CircuitForcedOpen
            | Reason::ConcurrencyLimited
            | Reason::QueueTimeout
            | Reason::Closed
            | Reason::MissingKey
            | Reason::Absent
            | Reason::LoadFailed
            | Reason::Reentrant
            | Reason::StoreUnavailable
            | Reason::NotReady => Outcome::NotCalled,
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason.sentence(), self.policy)?;
        match self.retry_after() {
            Some(wait) => write!(f, ", retry after {wait:?}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("reason", &self.reason)
            .field("policy", &self.policy)
            .field("retry_after", &self.retry_after())
            .field("quota", &self.quota())
            .finish()
    }
}

impl StdError for Rejected {}

/// An error type that a refusal can travel in.
///
/// Layers keep the error type of the service they wrap, so that error type must be able to carry
/// a [`Rejected`], and to say later that it does. Implemented for [`Rejected`], [`Error`],
/// [`BoxError`] (the one that allocates) and, with the feature `grpc`, `tonic::Status`.
pub trait Rejectable: Sized {
    /// Wraps a refusal.
    fn from_rejected(rejected: Rejected) -> Self;

    /// The refusal inside, where this is one.
    fn as_rejected(&self) -> Option<&Rejected>;
}

/// What the future of a refused call says, once.
#[inline(always)]
pub(crate) fn answer_refused<T, E: Rejectable>(
    rejected: &mut Option<Rejected>,
) -> Poll<Result<T, E>> {
    let rejected = rejected.take().expect("polled after it was ready");
    Poll::Ready(Err(E::from_rejected(rejected)))
}

impl Rejectable for Rejected {
    fn from_rejected(rejected: Rejected) -> Self {
        rejected
    }

    fn as_rejected(&self) -> Option<&Rejected> {
        Some(self)
    }
}

impl Rejectable for BoxError {
    fn from_rejected(rejected: Rejected) -> Self {
        Box::new(rejected)
    }

    fn as_rejected(&self) -> Option<&Rejected> {
        find_rejected(self.as_ref())
    }
}

/// The first [`Rejected`] in `error` or among its sources.
pub(crate) fn find_rejected<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Rejected> {
    std::iter::successors(Some(error), |&error| error.source())
        .find_map(<dyn StdError>::downcast_ref)
}

#[cfg(feature = "grpc")]
impl Rejectable for tonic::Status {
    fn from_rejected(rejected: Rejected) -> Self {
        crate::respond::status(rejected)
    }

    fn as_rejected(&self) -> Option<&Rejected> {
        find_rejected(self)
    }
}

/// A refusal, or the error of what was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// One of our layers refused.
    Rejected(Rejected),
    /// The call was made and failed.
    Inner(E),
}

impl<E> Error<E> {
    /// The error of what was called, where it was called.
    #[must_use]
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Rejected(_) => None,
            Self::Inner(error) => Some(error),
        }
    }
}

impl<E> Rejectable for Error<E> {
    fn from_rejected(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }

    fn as_rejected(&self) -> Option<&Rejected> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(_) => None,
        }
    }
}

impl<E> From<Rejected> for Error<E> {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: StdError + 'static> StdError for Error<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(error) => Some(error),
        }
    }
}
