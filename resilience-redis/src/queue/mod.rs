//! Work that is accepted now and done later, by whatever process has time for it.
//!
//! A service that does all of its work while the caller waits is as slow as its slowest part, and
//! forgets what it was at when it is killed. A [`Queue`] keeps the work until somebody has done it:
//! bounded, so that a crowd is told to come back instead of filling the memory; shared by consumers
//! that take over from each other; with a place for messages that nobody can do anything with.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use resilience_core::Error;
//! use resilience_redis::{RedisStore, Settings, queue};
//!
//! # async fn cook(order: &[u8]) -> bool { true }
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = RedisStore::connect("redis://127.0.0.1:6379", Settings::new()).await?;
//! let policy = queue::Policy::new("orders").capacity(10_000).groups(&["kitchen"]);
//! let orders = store.queue(&policy)?;
//!
//! match orders.push_once("order 42", b"two soups").await {
//!     Ok(_) => println!("accepted"),
//!     Err(Error::Rejected(full)) => println!("come back later: {full}"),
//!     Err(Error::Inner(away)) => println!("ask again, with the same id: {away}"),
//! }
//!
//! let mut kitchen = orders.consumer("kitchen")?;
//! loop {
//!     for message in kitchen.next_batch(64, Duration::from_secs(1)).await? {
//!         // Done twice where this process dies before it says so: see to it that twice is once.
//!         if cook(message.payload()).await {
//!             kitchen.acknowledge(&[message.id()]).await?;
//!         }
//!     }
//! }
//! # }
//! ```
//!
//! # What it promises
//!
//! - *At least once.* A message that was accepted is given to one consumer of each group, and again
//!   to another where it is not acknowledged within [`Policy::abandoned_after`]. A consumer that was
//!   only slow may be at it still: what it does must come to the same when it is done twice.
//! - *Never more than [`Policy::capacity`].* A full queue refuses, as a bulkhead does, and a layer
//!   further out can shed. It counts what any group still needs; what is done and lies behind that is
//!   kept besides, up to four times as many messages in all.
//! - *Nothing is deleted that somebody needs.* Messages go when all groups have acknowledged them,
//!   from the oldest on; no length trims them. What somebody else deletes is counted as lost.
//! - *A message that was given out too often becomes a dead letter*, in one step with its
//!   acknowledgement. Where there is no room for dead letters it stays, and the queue fills: that is
//!   an alarm and not a loss.
//! - *Pushed twice with one id, a message is there once*, for as long as [`Policy::remember`] says.
//!
//! Messages are given out in the order in which they were accepted, but for those that are given out
//! again.
//!
//! # What Redis itself does not promise
//!
//! A server without `appendonly` and `appendfsync always` forgets what it accepted last when it is
//! killed, and one that fails over what was not replicated. What must not be lost is written to the
//! database first, as something to be done, and the queue only says so quickly.
//!
//! # Figures
//!
//! A queue is [`Measured`](resilience_core::Measured). What its own process did it counts by itself. What
//! waits on the server is counted every 5 s, and with every call of [`Queue::depth`]: for each group of
//! the policy `resilience.queue.lag`, messages that it was not given yet, and `resilience.queue.pending`,
//! those that it was given and is not done with; and `resilience.queue.dead_letters`. All processes tell
//! the same of these: take the largest, not the sum. Where the server gave no answer there are none,
//! and no lag where it cannot tell ([`GroupDepth::lag`]).
//!
//! # Keys
//!
//! What was accepted must not be forgotten before it is done, so the stream with a queue's messages
//! and groups does not expire: where a queue is used no more, it is for you to delete. Dead letters do,
//! and the ids that [`push_once`](Queue::push_once) remembers.
//!
//! # Panics
//!
//! Queues and consumers keep their deadlines by the runtime of their caller, and panic where that is
//! none of Tokio's or has no time driver (`enable_time`).
//!
//! # Cancellation
//!
//! A push whose caller goes away may be accepted. A batch whose caller goes away while it is under
//! way is given out again when it counts as abandoned.
//!
//! # Sharing
//!
//! Queues of one name are the same where server, database and prefix are. All messages of one queue
//! live on one server. Each [`Consumer`] has a name of its own.

mod consumer;
mod engine;
mod measure;
mod message;
mod policy;
mod read;
mod redelivery;
mod reply;
mod scripts;
mod watch;

pub use self::{
    consumer::Consumer,
    engine::Queue,
    measure::Snapshot,
    message::{DeadLetter, Message, MessageId, NoMessageId},
    policy::Policy,
    reply::{Buried, Depth, Dropped, GroupDepth, Pushed, Revived},
};
