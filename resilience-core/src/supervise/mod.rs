//! A background task that ends is started again, and never unseen.
//!
//! A task that was spawned and forgotten dies of its first panic or error, and nobody hears of it
//! until what it did is missed: caches are no longer filled, leases no longer renewed.
//! [`supervise`] runs the task for ever: each end, be it a panic, an error or a plain return, is
//! told by an [`Event`](crate::Event), and after a wait that grows with each end in a row the task
//! starts anew.
//!
//! Not for work that has an end, nor for calls: those have a caller who hears of errors.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), resilience_core::InvalidPolicy> {
//! use std::{io, time::Duration};
//! use resilience_core::supervise::{Ended, Policy, supervise};
//!
//! async fn refresh() -> io::Result<()> {
//!     loop {
//!         // Load the menu; an error ends this run, and the next one begins.
//!         tokio::time::sleep(Duration::from_secs(60)).await;
//!     }
//! }
//!
//! let mut refreshing = supervise(Policy::new("menu-refresh"), refresh)?;
//! refreshing.stop();
//! assert_eq!(refreshing.ended().await, Ended::Stopped);
//! # Ok(())
//! # }
//! ```
//!
//! # Place in a stack
//!
//! Beside it. What the task calls deserves a stack of its own.
//!
//! # Sharing
//!
//! One task, one handle. Runs follow each other and share what the closure hands them.
//!
//! # Cancellation
//!
//! [`Supervised::stop`] drops the task's future at its next await, and no other follows. Dropping
//! the handle lets the task run on, as Tokio's own handles do; so does dropping the future of
//! [`Supervised::ended`].

mod policy;
mod state;
mod task;

pub use self::{
    policy::Policy,
    task::{Ended, Supervised, supervise, supervise_in},
};
