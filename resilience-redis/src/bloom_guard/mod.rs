//! What surely does not exist, no process of a fleet looks for: the guard of
//! [`resilience_core::bloom_guard`], whose filter the fleet shares.
//!
//! ```no_run
//! use resilience_redis::{RedisStore, Settings, bloom_guard::{Policy, Presence}};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = RedisStore::connect("redis://127.0.0.1:6379", Settings::new()).await?;
//! let policy = Policy::new("dishes").expected_keys(10_000).seed(*b"of 32 bytes, the same in a fleet");
//! // For one process alone: BloomGuard::<u64>::new(policy)?
//! let dishes = store.bloom_guard::<u64>(policy)?;
//!
//! dishes.rebuild_from(|| [1, 2, 3]).await?; // by one process; everything passes until then
//! dishes.insert(&4).await?;
//! assert_eq!(dishes.check(&4), Presence::Maybe);
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - Every process has a copy of the filter, in the layout of the `bloomfilter` crate, and asks no
//!   server: a check costs what it costs without Redis, and for a key that is absent one look at
//!   the clock.
//! - A key whose [`insert`](BloomGuard::insert) has returned is seen by this process at once, and by
//!   each other within 200 ms. Each asks twenty times a second what was inserted, and believes that a
//!   key is absent for 200 ms from the moment of a question that was answered.
//! - Whatever is not known passes: before the first build, while a copy is loaded, while Redis does
//!   not answer, and when it has lost anything. A filter in Redis is good for the server process
//!   that it was built on. After a restart, a failover or a slot that moved, what is there may be an
//!   older state, so that all pass until it is [rebuilt](BloomGuard::rebuild). The same holds when a
//!   server gets its first replica or loses its last one, and begins another history of its data
//!   (`master_replid`).
//! - A rebuild goes on beside the generation that is asked, and takes over in all processes. What
//!   they insert meanwhile is in both.
//!
//! So there is no false negative, but for those 200 ms and these two:
//!
//! - A server that others took over from without its knowledge still answers those who reach nobody
//!   else. Set `min-replicas-to-write` to 1, and it does not.
//! - A key of which nobody knows any more when the filter is rebuilt: Redis has lost it with the rest
//!   of its data, the process that inserted it is gone, and the row that it was inserted ahead of is
//!   committed by somebody else only after the rebuild has read the source. The next rebuild has it.
//!
//! # Rebuild it when it is lost
//!
//! ```no_run
//! # use resilience_redis::bloom_guard::BloomGuard;
//! # use resilience_redis::StoreError;
//! # async fn keep(dishes: BloomGuard<u64>, ids: impl Fn() -> Vec<u64>) -> Result<(), StoreError> {
//! loop {
//!     dishes.rebuild_is_wanted().await?;
//!     if dishes.rebuild_from(&ids).await.is_err() {
//!         tokio::time::sleep(std::time::Duration::from_secs(1)).await; // another one is at it, or Redis is away
//!     }
//! }
//! # }
//! ```
//!
//! # Panics
//!
//! What is put in and a rebuild keep their deadlines by the runtime of their caller, and panic where
//! that is none of Tokio's or has no time driver (`enable_time`). A check needs no runtime.
//!
//! # What it costs
//!
//! In each process the memory of its copy, and for a while that of the next one; twenty questions a
//! second, of about 10 µs of the server's time each. In Redis the bits, in partitions of 64 KiB, and a
//! log of about 10 000 inserts, all in one hash tag: an insert changes several of them at once.
//!
//! A key that was deleted passes until the next rebuild. The seed must be the same in all processes,
//! and a secret of the fleet; in Redis stands what tells it from others, not what it is. To a process
//! with another seed the filter is none: it lets everything pass, and says why. What it inserts cannot
//! be known to the others, so each of its inserts has them let everything pass until the next rebuild.

mod build;
mod follow;
mod generation;
mod guard;
mod names;
mod own;
mod rebuild;
mod scripts;
mod shared;

pub use resilience_core::bloom_guard::{Policy, Presence, Snapshot, Standing};

pub use self::{
    guard::BloomGuard,
    rebuild::{Rebuild, RebuildError},
};
