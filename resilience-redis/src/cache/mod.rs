//! A second tier for caches that a whole fleet shares: what one process has loaded no other need
//! load, and what one changes no other serves any more.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use resilience_core::cache::{Cache, Policy};
//! use resilience_redis::{RedisStore, Settings, cache::Text};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let store = RedisStore::connect("redis://127.0.0.1:6379", Settings::new()).await?;
//! let policy = Policy::new("dishes", Duration::from_secs(60));
//! // For one process alone: Cache::new(policy)?
//! let dishes: Cache<u64, String> = store.cache(policy, Text)?;
//!
//! let soup = dishes.get_or_load(&7, || async { Ok::<_, std::io::Error>("soup".to_owned()) });
//! assert_eq!(soup.await?, "soup");
//! dishes.forget(&7).await?; // in every process
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - A hit costs what it costs without Redis. A miss asks Redis by one `GET`, then for the right to
//!   load: of a whole fleet one loads, and the others wait for it, for as long as their
//!   [patience](resilience_core::cache::TierPolicy::patience).
//! - What a load brings is stored while its right stands. A key that is removed or put meanwhile,
//!   by whatever process, ends that right: nothing stale is stored.
//! - What one process removes or puts is void in all, as soon as the server has told them: by client
//!   tracking of keys that are touched for this purpose, or, where the server has none or does not
//!   allow it, by a channel. A `FLUSHALL` is heard as well; over a channel it is found out within half
//!   a second, by what the server counts of its commands. Entries that end or are evicted in Redis are
//!   no news.
//! - Where a process cannot hear, whatever it holds counts as stale. A connection whose packets
//!   vanish is found out after half a second, and the [silence](crate::Settings::dead_after) that a
//!   server is granted.
//! - Every entry ends, moved by the policy's jitter. An entry that cannot be read is removed.
//!
//! # Without Redis
//!
//! Caches go on with what they hold and what they load, each process for itself: see
//! [`TierPolicy`](resilience_core::cache::TierPolicy). Invalidations are kept, the last one of each
//! key, up to 10 000 and then all keys as one; what Redis holds is not believed until it has heard
//! them. Those of the last minute are told again to a server that takes over from another, since it
//! need not have heard of them.
//!
//! # Panics
//!
//! Loads keep their deadlines by the runtime of their caller, and panic where that is none of
//! Tokio's or has no time driver (`enable_time`).
//!
//! # What it costs
//!
//! A connection of its own for each cache, process and server, two questions a second over it, two
//! more in a cluster and two more without client tracking, and a notice to each process for each key
//! that is put or removed: not for what is loaded.
//!
//! # What it does not promise
//!
//! While a slot of a cluster moves from one server to another, its keys are put, removed and heard of
//! as ever, each with a round trip more, but what is loaded of them is not stored.
//!
//! A process serves what it holds until it hears otherwise: less than a millisecond later in a quiet
//! network, and half a second where a cluster gives slots to a server that had none. A server that
//! fails over can forget the last entries, leases and removals before a replica knew of them; those
//! processes that asked for the removals repeat them. Whoever changes entries past this library is
//! not heard.
//!
//! All processes need the same permissions, so that they hear one another in the same way.

mod codec;
mod ear;
mod ears;
mod entries;
mod frame;
mod hearing;
mod leases;
mod listening;
mod message;
mod names;
mod pulse;
mod shared;
mod tier;
mod unsent;
mod waiters;

pub use self::{codec::Text, tier::RedisTier};
