//! The words for why a call was refused.

/// Why a layer refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
// A word, since futures that may end in a refusal keep in it which state they are in: a byte of it
// would be written alone and moved with its word, and the move would wait for the write.
#[repr(u64)]
pub enum Reason {
    /// A quota is used up.
    RateLimited,
    /// One call costs more than the whole quota: no wait can help.
    CostExceedsQuota,
    /// The circuit is open, or half-open with all its probes out.
    CircuitOpen,
    /// An operator holds the circuit open.
    CircuitForcedOpen,
    /// All permits are taken and the queue is full.
    ConcurrencyLimited,
    /// The wait in the queue reached its end.
    QueueTimeout,
    /// The layer was shut for good: the service is going down.
    Closed,
    /// The request names no key, and the policy asks for one.
    MissingKey,
    /// What the request asks for surely does not exist.
    Absent,
    /// A value could not be loaded by the caller who was at it.
    LoadFailed,
    /// A load took too long.
    LoadTimeout,
    /// A loader asked for the value that it loads.
    Reentrant,
    /// The service panicked; the message went to the log alone.
    Panicked,
    /// The store that keeps the counts gives no decision: whether the call may go on is not known.
    StoreUnavailable,
    /// `call` without a preceding `poll_ready` that said yes.
    NotReady,
}

impl Reason {
    /// A stable lower-case word, as in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::CostExceedsQuota => "cost_exceeds_quota",
            Self::CircuitOpen => "circuit_open",
            Self::CircuitForcedOpen => "circuit_forced_open",
            Self::ConcurrencyLimited => "concurrency_limited",
            Self::QueueTimeout => "queue_timeout",
            Self::Closed => "closed",
            Self::MissingKey => "missing_key",
            Self::Absent => "absent",
            Self::LoadFailed => "load_failed",
            Self::LoadTimeout => "load_timeout",
            Self::Reentrant => "reentrant",
            Self::Panicked => "panicked",
            Self::StoreUnavailable => "store_unavailable",
            Self::NotReady => "not_ready",
        }
    }

    /// One sentence for whoever was refused; it says nothing about the inside of the service.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::RateLimited => "too many requests",
            Self::CostExceedsQuota => "the request costs more than its whole quota",
            Self::CircuitOpen => "a dependency is failing and is left alone for a while",
            Self::CircuitForcedOpen => "a dependency was taken out of service",
            Self::ConcurrencyLimited => "too many requests are under way",
            Self::QueueTimeout => "the wait for a free place took too long",
            Self::Closed => "the service is going down",
            Self::MissingKey => "the request does not say whose it is",
            Self::Absent => "what was asked for does not exist",
            Self::LoadFailed => "what was asked for cannot be had at the moment",
            Self::LoadTimeout => "what was asked for took too long to get",
            Self::Reentrant => "the request waits for itself",
            Self::Panicked => "the request failed inside the service",
            Self::StoreUnavailable => "whether the request may go on cannot be told at the moment",
            Self::NotReady => "the service was called before it was ready",
        }
    }
}
