#![cfg_attr(docsrs, feature(doc_cfg))]
//! Tower layers that keep a service standing when its traffic, its dependencies or its own code
//! misbehave.
//!
//! Each protection is an *engine*: state, operator's door and layer at once. Clones of an engine
//! share everything, so that a limit holds over all connections and routes; `engine.layer()` puts
//! it in front of HTTP and gRPC services, `engine.layer_with(…)` in front of any
//! [`tower::Service`](tower_service::Service), and `engine.call(…)` around a closure, without
//! Tower.
//!
//! | module | guards against |
//! | --- | --- |
//! | [`rate_limit`] | callers that take more than their share |
//! | [`circuit_breaker`] | calling a dependency that is down |
//! | [`concurrency`] | more calls under way than a resource can hold |
//! | [`bloom_guard`] | requests for what does not exist, which miss every cache |
//! | [`cache`] | the same work done for everyone, and pages that are gone with their database |
//! | [`mod@catch_panic`] | one panic that takes a connection down |
//! | [`fallback`] | a refusal where something lesser would do |
//! | [`respond`] | refusals that break a router or a stream |
//! | [`supervise`] | background tasks that end unseen |
//!
//! # Order in a stack
//!
//! From the outside in: [`Respond`], which answers for all that stand inside; the rate limit,
//! which is cheapest and knows the caller; the guard, which answers for what does not exist; the
//! bulkhead, which holds what the service can bear; the breaker, which judges the dependency
//! alone; `catch_panic` next to the service, so that a panic is a failure to all of them. A
//! timeout belongs inside the breaker: outside, it is a caller that went away, and votes nowhere.
//!
//! # What every layer keeps
//!
//! - The error type does not change, where it can carry a refusal: see [`Rejectable`].
//! - A future dropped at any point gives back what it held.
//! - A late result votes nowhere, and time is monotonic.
//! - An admitted call allocates nothing, but for what is kept of it (a new key, an instant in an
//!   exact log) and for the `RateLimit` fields that are written to its answer.
//! - Memory is bounded by a capacity, whatever keys strangers send.
//! - A panic in a closure of yours corrupts nothing and holds nobody up.
//! - Wrong settings are an [`InvalidPolicy`] when an engine is built, never a panic later.
//!
//! # Features
//!
//! - `http` (default): [`Respond`], [`Http`], keys from requests.
//! - `grpc`: [`Rejectable`] for `tonic::Status`.
//! - `otel`: [`otel`], OpenTelemetry metrics.

mod address;
pub mod backoff;
pub mod bloom_guard;
pub mod cache;
pub mod catch_panic;
pub mod circuit_breaker;
pub mod classify;
mod clock;
pub mod concurrency;
mod engine;
mod environment;
pub mod fallback;
#[cfg(feature = "http")]
mod field_text;
mod float;
mod foreign;
pub mod gate;
mod invalid;
pub mod key;
mod keyed;
mod measure;
pub mod observe;
#[cfg(feature = "otel")]
pub mod otel;
mod outcome;
#[cfg(feature = "http")]
mod protocol;
mod random;
pub mod rate_limit;
mod reason;
mod rejected;
#[cfg(feature = "http")]
pub mod respond;
mod striped;
pub mod supervise;
mod sync;

pub use self::{
    bloom_guard::BloomGuard,
    cache::Cache,
    catch_panic::CatchPanic,
    circuit_breaker::CircuitBreaker,
    classify::{Classifier, Results, Settle},
    clock::{Clock, ManualClock, Timestamp},
    concurrency::Bulkhead,
    environment::Environment,
    fallback::Fallback,
    invalid::InvalidPolicy,
    key::KeyExtractor,
    measure::{Instrument, InstrumentKind, Measured, Sample},
    observe::{Event, Observer},
    outcome::Outcome,
    random::Random,
    rate_limit::RateLimiter,
    reason::Reason,
    rejected::{BoxError, Error, QuotaStatus, Rejectable, Rejected},
};
#[cfg(feature = "http")]
pub use self::{classify::Http, respond::Respond};
