//! What only a layer can know, and who listens.
//!
//! Events are for refusals, transitions and panics. What happens on every call is counted by the
//! engines themselves and read when somebody asks: see [`Measured`](crate::Measured).

use std::time::Duration;

use tracing::level_filters::LevelFilter;

use crate::{
    Rejected,
    circuit_breaker::{Phase, Threshold},
};

/// Something that a layer saw and nobody else can.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A call was refused.
    Rejected(&'a Rejected),
    /// A shadow policy would have refused a call, which went on.
    WouldReject(&'a Rejected),
    /// A circuit breaker entered another phase.
    PhaseChanged {
        /// Name of the breaker's policy.
        policy: &'static str,
        /// The phase it left.
        from: Phase,
        /// The phase it entered.
        to: Phase,
    },
    /// A circuit breaker saw a threshold reached; in a shadow policy nothing else happens.
    ThresholdReached {
        /// Name of the breaker's policy.
        policy: &'static str,
        /// Which of them.
        threshold: Threshold,
    },
    /// A filter holds more keys than it is sized for: false positives grow. The next rebuild is
    /// sized for them. Told once a filter.
    FilterFull {
        /// Name of the guard's policy.
        policy: &'static str,
        /// Keys in the filter.
        keys: u64,
        /// Keys that it is sized for.
        capacity: u64,
    },
    /// A filter holds so many keys that its guard lets everything pass until it is rebuilt.
    FilterOverloaded {
        /// Name of the guard's policy.
        policy: &'static str,
        /// Keys in the filter.
        keys: u64,
        /// Keys that it is sized for.
        capacity: u64,
    },
    /// The service, or a background task, panicked.
    Panicked {
        /// Name of the policy, or of the task.
        policy: &'static str,
        /// The panic's message: at most 200 characters, control characters escaped. For the log
        /// alone, never for a client.
        message: &'a str,
        /// Panics that were caught since the last such event, and not told.
        suppressed: u64,
    },
    /// A supervised task ended and starts again after a delay.
    Restarting {
        /// Name of the task.
        task: &'static str,
        /// How it ended: that it returned or panicked, or its error, escaped as a panic's message.
        cause: &'a str,
        /// Restarts so far, this one included.
        restarts: u32,
        /// How long until it starts.
        delay: Duration,
    },
    /// A supervised task ended more often than its policy allows; it stays down.
    GaveUp {
        /// Name of the task.
        task: &'static str,
        /// How it ended: that it returned or panicked, or its error, escaped as a panic's message.
        cause: &'a str,
        /// Restarts before.
        restarts: u32,
    },
}

/// Listens to [`Event`]s.
///
/// Called on the caller's thread with no lock held: be quick, or hand the event on. A panic inside
/// is caught and dropped. Closures over `&Event` are observers.
pub trait Observer: Send + Sync {
    /// Takes note of `event`.
    fn on_event(&self, event: &Event<'_>);
}

impl<F> Observer for F
where
    F: Fn(&Event<'_>) + Send + Sync,
{
    fn on_event(&self, event: &Event<'_>) {
        self(event);
    }
}

/// Writes events with `tracing`: refusals at debug, transitions at warn or info, panics at error.
///
/// The target is `resilience`. A refusal costs a fraction of a nanosecond while nobody
/// subscribes to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracing;

const TARGET: &str = "resilience";

impl Tracing {
    /// Whether a subscriber may want refusals.
    #[inline]
    pub(crate) fn hears_refusals() -> bool {
        LevelFilter::current() >= LevelFilter::DEBUG
    }
}

impl Observer for Tracing {
    fn on_event(&self, event: &Event<'_>) {
        match *event {
            Event::Rejected(rejected) => tracing::debug!(
                target: TARGET,
                policy = rejected.policy(),
                reason = rejected.reason().as_str(),
                retry_after = ?rejected.retry_after(),
                "call refused"
            ),
            Event::WouldReject(rejected) => tracing::debug!(
                target: TARGET,
                policy = rejected.policy(),
                reason = rejected.reason().as_str(),
                retry_after = ?rejected.retry_after(),
                "call would have been refused"
            ),
            Event::PhaseChanged { policy, from, to } if to.admits_all() => tracing::info!(
                target: TARGET,
                policy,
                from = from.as_str(),
                to = to.as_str(),
                "circuit breaker changed"
            ),
            Event::PhaseChanged { policy, from, to } => tracing::warn!(
                target: TARGET,
                policy,
                from = from.as_str(),
                to = to.as_str(),
                "circuit breaker changed"
            ),
            Event::ThresholdReached { policy, threshold } => tracing::warn!(
                target: TARGET,
                policy,
                threshold = threshold.as_str(),
                "circuit breaker saw a threshold reached"
            ),
            Event::FilterFull {
                policy,
                keys,
                capacity,
            } => tracing::warn!(
                target: TARGET,
                policy,
                keys,
                capacity,
                "filter is full: the next rebuild makes it larger"
            ),
            Event::FilterOverloaded {
                policy,
                keys,
                capacity,
            } => tracing::error!(
                target: TARGET,
                policy,
                keys,
                capacity,
                "filter is overloaded: everything passes until it is rebuilt"
            ),
            Event::Panicked {
                policy,
                message,
                suppressed,
            } => {
                tracing::error!(target: TARGET, policy, panic = message, suppressed, "panic caught")
            }
            Event::Restarting {
                task,
                cause,
                restarts,
                delay,
            } => tracing::warn!(
                target: TARGET,
                task,
                cause,
                restarts,
                ?delay,
                "task starts again"
            ),
            Event::GaveUp {
                task,
                cause,
                restarts,
            } => tracing::error!(target: TARGET, task, cause, restarts, "task stays down"),
        }
    }
}
