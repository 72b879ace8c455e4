//! The protections of `resilience-core`, shared by a whole fleet through Redis.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use resilience_redis::{
//!     RedisStore, Settings,
//!     rate_limit::{Policy, Quota},
//! };
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = RedisStore::connect("redis://127.0.0.1:6379", Settings::new()).await?;
//! let policy = Policy::new("orders", Quota::new(10, Duration::from_secs(1)));
//! let orders = store.rate_limiter(&policy)?;
//!
//! match orders.try_take("user 42").await {
//!     Ok(quota) => println!("{} more", quota.remaining),
//!     Err(no) => println!("wait {:?}", no.retry_after()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - One round trip a decision, made by one script on the server, by the server's clock.
//! - Every decision ends by its deadline: 10 ms unless you say otherwise. What asks more than once,
//!   as a refund does, and a call that may [wait](rate_limit#waiting), has a deadline for each
//!   question. No call waits for a reconnect.
//!   The time of a limiter's decisions and refunds is kept by the runtime on which the store was
//!   connected, also for calls of other runtimes: let that one run as long as the store is in use. The
//!   time of all else is kept by the runtime of the caller: see [Runtimes](#runtimes).
//! - A connection that breaks, or that falls silent without breaking, is replaced.
//! - A server that fails or hangs costs callers their deadline for about five deadlines, then nobody:
//!   a circuit breaker stands in front of it, and one call at a time finds out whether it is well
//!   again. A stall of a moment does not open it, nor does a crowd that has no time left.
//! - Behind sentinels and in a cluster, a failover is followed by itself: decisions are back within 4
//!   and 6 seconds of a crash (one second of silence for the sentinels, a node timeout of two), and a
//!   graceful one costs no error where the deadline is a second. A slot that moves costs keys
//!   that stay together a second round trip. A call of several keys of which some are new, or on the
//!   other side, cannot be served while its slot moves: it ends with
//!   [`NotServing`](StoreError::NotServing) (`TRYAGAIN`) and did not run. Such are the first
//!   question of a process about a key of a limit, every one of a policy of several quotas, and new
//!   locks, messages and reservations; other slots of the server are served as ever.
//! - Nothing is asked twice that may have run once, but for a call that may wait for a limit's units.
//! - Every key expires but a queue's messages, which wait for somebody to do them. Clients' names are
//!   encoded, and hashed where they are long, so that none can collide with another or leave its hash
//!   tag.
//! - Neither `Debug` nor an error shows a password.
//!
//! # What the server must allow
//!
//! To the user that a store logs in as, on the keys `~res:*` (or your prefix), and for
//! [`cache`] on the channels `resetchannels &res:*` (before Redis 7 users begin with all):
//!
//! - For any store `+ping`; in another database than 0 also `+select`, in a cluster
//!   `+cluster|slots +asking`, behind sentinels `+role`.
//! - For [`rate_limit`] `+eval +evalsha +time +get +set +unlink +incr +incrby +decrby +mget
//!   +pexpire +pexpireat +pttl +del +llen +lindex +lrange +ltrim +lrem +rpush +zadd +zcard
//!   +zrem +zremrangebyscore`, and for [`rate_limit::RateLimiter::clear_all`] also `+scan +unwatch`.
//! - For [`bloom_guard`] `+eval +evalsha +info +time +hmget +hget +hset +hdel +hincrby +pexpire +xadd
//!   +xrange +exists +get +set +setbit +setrange +strlen +bitop +unlink`.
//! - For [`lock`] `+eval +evalsha +time +get +set +unlink +pexpire +pttl`.
//! - For [`queue`] `+eval +evalsha +time +exists +get +set +pexpire +xack +xadd +xautoclaim +xclaim
//!   +xdel +xgroup +xinfo +xlen +xpending +xrange +xreadgroup +xtrim +unwatch`.
//! - For [`stock`] `+eval +evalsha +time +pexpire +pttl +del +hdel +hexists +hget +hset +zadd
//!   +zrangebyscore +zrem`.
//! - For [`cache`] `+eval +evalsha +get +set +unlink +append +pttl +publish +subscribe +multi +exec
//!   +time +info +client|tracking`, in a cluster also `+cluster|info`, and for `Cache::forget_all`
//!   also `+scan +unwatch`. Without `client|tracking` it does what it does by messages.
//!
//! To the user of the sentinels, where they ask for one, `+sentinel|master +subscribe +ping` and the
//! channel `&+switch-master`.
//!
//! # What Redis itself does not promise
//!
//! A server that restarts without persistence has forgotten its counts; one that fails over forgets
//! those that were not replicated; one that evicts keys forgets as it likes (use `noeviction`). Each
//! of these grants quotas once more.
//!
//! # Runtimes
//!
//! Limiters decide for callers on any runtime, or none of Tokio's. Whatever else awaits a server, as
//! locks, stocks, queues, what is put into guards and the second tier of a cache do, and of a limiter
//! clearing, **panics** where its caller is on no Tokio runtime, or on one without a time
//! driver: build that with `enable_time` or `enable_all`, as `#[tokio::main]` does.
//!
//! # Servers
//!
//! Redis 6.2 and newer, or Valkey. All tests pass on Redis 6.2.14, 7.0.15 and 8.2.3 and on Valkey
//! 8.1.8 and 9.1.2. Before Redis 7 a server does not know how many messages of a queue a group was
//! not given yet ([`queue::GroupDepth::lag`]).
//!
//! # Figures
//!
//! Rate limits, guards, locks, queues and stocks are [`Measured`](resilience_core::Measured), as the
//! engines in memory are: what became of calls, of this process alone. A queue tells also
//! [what waits](queue#figures) on the server. A cache tells of its second tier itself.

pub mod bloom_guard;
pub mod cache;
mod connection;
mod counted;
mod error;
mod identity;
mod key;
pub mod lock;
pub mod queue;
pub mod rate_limit;
mod script;
mod settings;
pub mod stock;
mod store;
mod target;

pub use self::{
    cache::RedisTier,
    error::{Code, StoreError},
    key::StoreKey,
    settings::Settings,
    store::RedisStore,
    target::Target,
};
