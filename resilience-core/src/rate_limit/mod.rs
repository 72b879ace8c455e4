//! Nobody takes more than their share.
//!
//! One client in a loop, or a crowd at noon, can ask for more than a service can give, and then
//! everybody waits. A [`RateLimiter`] gives each key (a user, an address, a tenant) or all callers
//! together so many units of work in such a time, and says to the others when to come back.
//!
//! When *not* to use it: against calls that take too long or pile up, which is a matter of how
//! many run at once, use [`concurrency`](crate::concurrency); against a dependency that fails,
//! [`circuit_breaker`](crate::circuit_breaker).
//!
//! ```
//! # fn main() -> Result<(), resilience_core::InvalidPolicy> {
//! use resilience_core::{RateLimiter, Respond, rate_limit::{Policy, Quota}};
//!
//! let limiter = RateLimiter::new(Policy::new("menu", Quota::per_second(100)))?;
//! let app: axum::Router = axum::Router::new()
//!     .route("/", axum::routing::get(async || "soup"))
//!     .layer(Respond::with((limiter.layer(),)));
//!
//! let orders = RateLimiter::<String>::new(Policy::new("orders", Quota::per_minute(10)))?;
//! if let Err(rejected) = orders.try_take("alice") {
//!     println!("come back in {:?}", rejected.retry_after());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! With [`SlidingWindow`](Algorithm::SlidingWindow), the default, and
//! [`SlidingLog`](Algorithm::SlidingLog), no window of the quota's length ever holds more than its
//! limit, wherever it starts, units booked ahead of time included. (Counting per calendar second,
//! or between two weighted counters, lets up to twice the limit through around a boundary.)
//! [`Gcra`](Algorithm::Gcra) spaces units evenly after a burst. A refused call takes nothing, and
//! `retry_after` is the shortest wait after which the same call could be allowed.
//!
//! Time is the [`Clock`](crate::Clock)'s. One that falls back is waited for, a second at most; one
//! that was set back further goes on from there, and one that was set ahead gives what its new
//! time allows: one window's units at most are given away or kept back for it.
//!
//! # Place in a stack
//!
//! Outside of whatever costs something, and of everything that a flood could wear out. Inside of
//! what finds out whose a request is. A limiter around a client's calls keeps to a provider's
//! quota: let it [wait](Policy::max_wait), and it paces them.
//!
//! # Sharing
//!
//! Clones, layers and the services that layers make share one limiter and its quotas. Its memory
//! is bounded by [`Policy::capacity`] keys, of which those at their limit are never forgotten for
//! others.
//!
//! # Cancellation
//!
//! A call that is dropped while it waits gives its units back. A call that is dropped after it
//! was admitted keeps them: its work may have been done.

mod booking;
mod cell;
mod front;
mod gcra;
mod keyless;
mod keys;
mod layer;
mod limiter;
mod line;
mod log;
#[cfg(all(test, resilience_loom))]
mod loom;
mod measure;
#[cfg(all(test, not(resilience_loom)))]
mod model;
mod plan;
mod policy;
mod quota;
mod reservation;
mod run;
mod shared;
mod slot;
mod state;
mod tally;
mod terms;
mod timeline;
mod usage;

pub use self::{
    layer::{Cost, Everybody, Gate, Layer, OneUnit, Permit, Priced, Service, Wait},
    limiter::{RateLimiter, Standing},
    measure::Snapshot,
    policy::{Charge, MissingKey, Mode, Policy},
    quota::{Algorithm, Quota},
    reservation::Reservation,
    terms::{Term, Terms},
};
