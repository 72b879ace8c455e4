//! Refusals become answers.
//!
//! An `axum` router accepts only layers that never fail, and a `tonic` server turns an unknown
//! error into a broken stream. [`Respond`] stands around the layers of a service and answers for
//! them: HTTP callers get a status, `Retry-After`, the `RateLimit` fields and a problem document
//! (RFC 9457), gRPC callers a status with pushback. Errors of the service itself pass through
//! unchanged, so that `Infallible` stays `Infallible`.
//!
//! ```
//! # fn main() -> Result<(), resilience_core::InvalidPolicy> {
//! use resilience_core::{CircuitBreaker, Respond, circuit_breaker::Policy};
//!
//! let breaker = CircuitBreaker::new(Policy::new("menu"))?;
//! let app: axum::Router = axum::Router::new()
//!     .route("/", axum::routing::get(async || "soup"))
//!     .layer(Respond::with((breaker.layer(),)));
//! # Ok(())
//! # }
//! ```
//!
//! # Place in a stack
//!
//! Outermost, once. Layers of others may stand inside the tuple as long as they keep the error
//! type; what stands outside of it sees answers and no refusals.

mod answer;
mod body;
pub(crate) mod fields;
mod lift;
mod service;

#[cfg(feature = "grpc")]
pub(crate) use self::answer::status;
pub use self::{
    body::AnswerBody,
    fields::append as append_quota,
    lift::{Lift, LiftFuture},
    service::{RespondFuture, RespondService},
};

/// Turns the refusals of the layers inside into answers.
///
/// `L` is a layer or a tuple of up to 16, the first outermost. Wraps servers, routers and clients
/// alike; every service it makes shares what its layers share.
#[derive(Clone, Copy, Debug)]
pub struct Respond<L> {
    layers: L,
}

impl<L> Respond<L> {
    /// Answers for `layers`.
    #[must_use]
    pub const fn with(layers: L) -> Self {
        Self { layers }
    }
}

impl<S, L> tower_layer::Layer<S> for Respond<L>
where
    L: tower_layer::Layer<Lift<S>>,
{
    type Service = RespondService<L::Service>;

    fn layer(&self, inner: S) -> Self::Service {
        RespondService::new(self.layers.layer(Lift::new(inner)))
    }
}
