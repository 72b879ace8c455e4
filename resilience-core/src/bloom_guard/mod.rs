//! What surely does not exist is not looked for.
//!
//! A request for a key that does not exist misses every cache and ends in the database; whoever
//! asks for random keys, by mistake or on purpose, makes the cache useless and the database do all
//! the work. A [`BloomGuard`] holds a filter of all keys, in about ten bits each, and answers
//! "not found" for those that are not in it. Of the unknown keys a chosen few pass; a key that is
//! known always passes.
//!
//! When *not* to use it: where keys are few enough to be cached all, or where nobody can say which
//! exist. And not against clients that ask too often for what does exist:
//! [`rate_limit`](crate::rate_limit).
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use resilience_core::{BloomGuard, Respond, bloom_guard::{Policy, Presence}};
//!
//! let dishes = BloomGuard::<u64>::new(Policy::new("dishes").expected_keys(10_000))?;
//! dishes.rebuild_from(|| [1, 2, 3])?; // everything passes until then
//! dishes.insert(&4);
//! assert_eq!(dishes.check(&4), Presence::Maybe);
//!
//! let id = |request: &http::Request<_>| request.uri().path().rsplit('/').next()?.parse::<u64>().ok();
//! let app: axum::Router = axum::Router::new()
//!     .route("/dishes/{id}", axum::routing::get(async || "soup"))
//!     .layer(Respond::with((dishes.layer_by(id),)));
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! A key whose [`insert`](BloomGuard::insert) has returned is never answered as absent, on any
//! thread, before, while and after the filter is replaced: a rebuild fills a new filter beside the
//! old one, inserts go into both, and the new one takes over when it is complete. (What was
//! inserted before the rebuild began, and is none of the last 4096, its source must have.) Until
//! the first is complete, and when there are too many keys for it, everything passes, which
//! [`Snapshot::standing`] says.
//!
//! Keys cannot be deleted from a filter of bits. A deleted key passes until the next
//! [`rebuild`](BloomGuard::rebuild), and the service says what it knows. Where keys are few,
//! [`BloomGuard::exact`] holds each of them, and removes.
//!
//! Which unknown keys pass depends on a secret seed, so that nobody can collect them. Those that
//! do and come back "not found" can be [remembered](Policy::remember) for a while. They are known
//! by 128 bits of keyed hash; a key that shares them with another would be hidden, which is less
//! likely than an error of the memory they are in.
//!
//! # Place in a stack
//!
//! Outside of the cache and of everything that costs; inside of a rate limit. With
//! [`remember`](Policy::remember), around answers whose "not found" is about the key itself. What
//! should look exactly as the service's own "not found" can be put together by a
//! [`Fallback`](crate::Fallback) around it.
//!
//! # Sharing
//!
//! Clones, layers and the services that layers make share one guard and its filter.
//!
//! # Cancellation
//!
//! A call that is dropped has learned nothing. A rebuild that is dropped leaves the old filter.

mod bloom;
mod exact;
mod filter;
mod format;
mod geometry;
mod guard;
mod hash;
mod layer;
#[cfg(all(test, resilience_loom))]
mod loom;
mod measure;
mod misses;
mod policy;
mod rebuild;
mod recent;
mod replica;
mod shared;
mod snapshot;
mod standing;
mod state;
mod tally;

pub use self::{
    bloom::Bloom,
    exact::ExactSet,
    filter::{Added, Filter},
    format::SnapshotError,
    geometry::Geometry,
    guard::{BloomGuard, Presence},
    hash::{Fingerprint, Hashed},
    layer::{Gate, Layer, NotFound, Permit, Service},
    measure::Snapshot,
    policy::Policy,
    rebuild::{Rebuild, RebuildError, RebuildUnderWay},
    replica::{Replica, Staged},
    standing::Standing,
};
