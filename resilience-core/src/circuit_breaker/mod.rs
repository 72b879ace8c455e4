//! Stops calling a dependency that fails.
//!
//! When a dependency hangs or fails, every caller that goes on asking waits for a timeout, holds
//! a connection while it waits, and keeps the dependency from coming back. A circuit breaker
//! counts what becomes of the calls. When too many fail, or are too slow, it refuses at once for
//! a while, then lets a few probes find out whether the dependency is well again.
//!
//! Not for failures that belong to one request: let the classifier call those
//! [`Ignored`](crate::Outcome::Ignored) or a success. Not for a dependency that is merely busy:
//! a [concurrency limit](crate::concurrency) gives it just as much as it can take. And not one
//! circuit for many tenants or hosts: one that fails would take all out of service, which is what
//! [`CircuitBreakers`] are for.
//!
//! # Place in a stack
//!
//! Inside of retries, so that each attempt is counted and an open circuit ends them; outside of
//! the timeout, so that a call that timed out is seen as a failure. Refusals of our own layers
//! further in do not count: the dependency never saw those calls.
//!
//! ```
//! use resilience_core::{Error, circuit_breaker::{CircuitBreaker, Phase, Policy}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), resilience_core::InvalidPolicy> {
//! let breaker = CircuitBreaker::new(Policy::new("payments").min_calls(2).failure_rate(0.5))?;
//! for _ in 0..2 {
//!     let result: Result<(), _> = breaker.call(async || Err("timed out")).await;
//!     assert_eq!(result, Err(Error::Inner("timed out")));
//! }
//! assert_eq!(breaker.phase(), Phase::Open);
//! let refused = breaker.call(async || Ok::<_, &str>("paid")).await;
//! assert!(matches!(refused, Err(Error::Rejected(_))));
//! # Ok(())
//! # }
//! ```
//!
//! # Phases
//!
//! A closed circuit opens when a threshold of its [`Policy`] is reached. The first caller after
//! the open wait makes it half-open. It closes when all its probes have settled well, and opens
//! again as soon as those still out could not save it, or when they take too long: a probe that
//! hangs cannot hold the circuit. An operator can open, close and probe by hand.
//!
//! # Sharing
//!
//! State belongs to the [`CircuitBreaker`]: its clones, its layers and all services they make
//! share one circuit. While it is closed, a success changes one atomic word; an open circuit
//! refuses without a lock.
//!
//! # Cancellation
//!
//! A call that is dropped, or whose body is not read to the end, has no vote; a probe's permit
//! goes to the next caller. An answer that comes after the circuit has changed its phase changes
//! nothing. A panic is a failure.

mod count_ring;
mod half_open;
mod handle;
mod keyed;
mod limits;
#[cfg(all(test, resilience_loom))]
mod loom;
mod measure;
mod open_wait;
mod permit;
mod phase;
mod policy;
mod ramp;
mod shared;
mod snapshot;
mod state;
mod sums;
mod terms;
mod time_ring;
mod window;
mod word;

pub use self::{
    handle::CircuitBreaker,
    keyed::CircuitBreakers,
    open_wait::OpenWait,
    permit::Permit,
    phase::{IllegalTransition, Phase, Threshold},
    policy::{Mode, Policy},
    snapshot::{Snapshot, Totals},
    window::Window,
};

use crate::gate::{self, ByKey, Immediate};

/// Puts a [`CircuitBreaker`] in front of a service.
pub type Layer<C> = gate::Layer<CircuitBreaker, C, Immediate>;

/// A service behind a [`CircuitBreaker`].
pub type Service<S, C> = gate::Service<S, CircuitBreaker, C, Immediate>;

/// Puts [`CircuitBreakers`] in front of a service.
pub type KeyedLayer<K, X, C> = gate::Layer<ByKey<CircuitBreakers<K>, X>, C, Immediate>;

/// A service behind [`CircuitBreakers`].
pub type KeyedService<S, K, X, C> = gate::Service<S, ByKey<CircuitBreakers<K>, X>, C, Immediate>;
