//! So many calls at a time, and no more: the bulkhead.
//!
//! A dependency that answers slowly takes calls in faster than it lets them out, until they hold
//! all memory, connections or threads, and everything else stands still as well. A [`Bulkhead`]
//! lets in a fixed number at a time. Whoever finds no place is refused at once, or waits for one
//! in a queue of limited length and time, first come, first served.
//!
//! Not for callers who send too often: that is a [rate limit](crate::rate_limit). Not for a
//! dependency that is down: a [circuit breaker](crate::circuit_breaker) stops calling it.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{convert::Infallible, time::Duration};
//! use resilience_core::concurrency::{Bulkhead, Policy};
//!
//! // 20 reports at a time; 40 callers may wait for half a second.
//! let policy = Policy::new("reports", 20).queue(40).max_wait(Duration::from_millis(500));
//! let reports = Bulkhead::new(policy)?;
//! let report = reports.call(|| async { Ok::<_, Infallible>("pages") }).await?;
//! assert_eq!(report, "pages");
//! # Ok(())
//! # }
//! ```
//!
//! # Place in a stack
//!
//! Inside a rate limit, which costs less and knows whom to refuse; outside of whatever is scarce.
//! Inside retries, so that a retry waits its turn. [`Bulkhead::layer`] counts a call until its
//! answer's body has ended; [`Bulkhead::layer_with`] takes another view.
//!
//! # Sharing
//!
//! One [`Bulkhead`] is one set of permits and one queue, whatever is made from it: clones, layers,
//! services, connections. [`Bulkheads`] have one for each key.
//!
//! # Cancellation
//!
//! A dropped [`Permit`] lets the next one in. A dropped [`Waiting`] gives up its place, and passes
//! on a permit that was just given to it. A permit is taken by `call`, never by `poll_ready`: an
//! idle clone of a service holds none.

mod bulkhead;
mod bulkheads;
#[cfg(all(test, resilience_loom))]
mod loom;
mod measure;
mod policy;
mod shared;
mod state;
mod waiting;
mod word;

pub use self::{
    bulkhead::Bulkhead, bulkheads::Bulkheads, measure::Snapshot, policy::Policy, shared::Permit,
    waiting::Waiting,
};

use crate::gate;

/// Puts a [`Bulkhead`] in front of a service.
pub type Layer<C> = gate::Layer<Bulkhead, C, gate::Waiting>;

/// A service behind a [`Bulkhead`].
pub type Service<S, C> = gate::Service<S, Bulkhead, C, gate::Waiting>;

/// Puts [`Bulkheads`] in front of a service.
pub type KeyedLayer<K, X, C> = gate::Layer<gate::ByKey<Bulkheads<K>, X>, C, gate::Waiting>;

/// A service behind [`Bulkheads`].
pub type KeyedService<S, K, X, C> =
    gate::Service<S, gate::ByKey<Bulkheads<K>, X>, C, gate::Waiting>;
