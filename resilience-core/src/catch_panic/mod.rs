//! A panic ends one call, not the connection, the task or the process.
//!
//! A handler that panics takes its connection with it: every other request on an HTTP/2
//! connection dies too, no answer is written, no breaker counts a failure. [`CatchPanic`] turns
//! the panic into a refusal like any other, [`Reason::Panicked`](crate::Reason::Panicked), which
//! [`Respond`](crate::Respond) answers with 500 or gRPC `INTERNAL`. What the panic said goes to
//! the log alone.
//!
//! Not a way to handle errors: what can be expected to fail returns a `Result`. With
//! `panic = "abort"` in the profile nothing can be caught, and this layer does nothing.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), resilience_core::InvalidPolicy> {
//! use std::convert::Infallible;
//! use resilience_core::{Error, Reason, catch_panic::CatchPanic};
//!
//! let panics = CatchPanic::new("kitchen")?;
//! let result: Result<(), Error<Infallible>> = panics.call(|| async { panic!("no pans") }).await;
//! assert!(matches!(result, Err(Error::Rejected(it)) if it.reason() == Reason::Panicked));
//! assert_eq!(panics.snapshot().future, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # What is caught
//!
//! | panic in | becomes |
//! | --- | --- |
//! | `poll_ready` | its error |
//! | `call` | the call's error |
//! | the future | the call's error; the future is dropped and never polled again |
//! | the body: frames, trailers, `size_hint`, `is_end_stream` | the body's error, so that the stream is reset and no short body looks complete; the body is dropped. A panic of the two questions only makes their answer "unknown" |
//!
//! A payload whose `Drop` panics is forgotten, not dropped. The panic hook stays the application's.
//! State that the panicking code shares with others is as it left it: a lock is poisoned, a
//! half-done change is half done.
//!
//! # Place in a stack
//!
//! Inside whatever should count a panic as a failure (breaker, retry), outside of nothing but the
//! service. What stands further in gives back its permits on the way: they are dropped with the
//! future.
//!
//! # Sharing
//!
//! Clones, layers and services of one [`CatchPanic`] share its counters and its ration of ten
//! events a second; what goes over is counted and told with the next.
//!
//! # Cancellation
//!
//! Nothing is held; a dropped future is dropped.

#[cfg(feature = "http")]
mod body;
mod engine;
mod future;
mod measure;
mod message;
mod service;
mod state;

#[cfg(feature = "http")]
pub use self::{body::CatchBody, service::Streaming};
pub use self::{
    engine::CatchPanic,
    future::ResponseFuture,
    measure::Snapshot,
    service::{Layer, Plain, Scope, Service},
};
pub(crate) use self::{engine::Place, message::escape};
