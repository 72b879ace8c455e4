#![cfg_attr(docsrs, feature(doc_cfg))]
//! Layers that keep a service standing.

pub mod backoff;
pub mod catch_panic;
pub mod circuit_breaker;
pub mod classify;
mod clock;
pub mod concurrency;
mod environment;
pub mod fallback;
pub mod gate;
mod invalid;
pub mod key;
mod keyed;
mod measure;
pub mod observe;
#[cfg(feature = "otel")]
pub mod otel;
mod outcome;
mod random;
pub mod rate_limit;
mod rejected;
#[cfg(feature = "http")]
pub mod respond;
pub mod supervise;
mod sync;

#[cfg(feature = "http")]
pub use self::{classify::Http, respond::Respond};
pub use self::{
    classify::{Classifier, Results, Settle},
    clock::{Clock, ManualClock, Timestamp},
    environment::Environment,
    fallback::Fallback,
    invalid::InvalidPolicy,
    key::KeyExtractor,
    measure::{Instrument, InstrumentKind, Measured, Sample},
    observe::{Event, Observer},
    outcome::Outcome,
    random::Random,
    rejected::{BoxError, Error, QuotaStatus, Reason, Rejectable, Rejected},
};
