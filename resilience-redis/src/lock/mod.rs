//! One holder at a time, over all processes of a fleet.
//!
//! Work that is needed once, such as settling what is due or filling a cache, is otherwise done by
//! every process at the same moment. [`Locks`] let one at a time do it, and the next one when that
//! one is gone.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use resilience_redis::{RedisStore, Settings, lock};
//!
//! # async fn settle(fence: lock::Fence) {}
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = RedisStore::connect("redis://127.0.0.1:6379", Settings::new()).await?;
//! let locks = store.locks(&lock::Policy::new("settlement").ttl(Duration::from_secs(10)))?;
//!
//! let held = locks.try_lock("kitchen 7").await?;
//! let fence = held.fence();
//! match held.run(settle(fence)).await {
//!     Ok(()) => held.release().await?,
//!     Err(loss) => println!("stopped half way: {loss}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not promise
//!
//! It saves work; it does not exclude. After each of these two can believe that they hold it:
//!
//! - A process is stopped for longer than the lock lives: until it runs again and looks.
//! - A server fails over before a replica knew of the lock, starts again without persistence, evicts
//!   the lock, or is told `FLUSHALL` or `DEL`: another has the lock at once, and its holder hears of
//!   that with the next renewal, a third of the time to live later at the most.
//! - A server's clock is set ahead: the same.
//!
//! No lock that ends by itself can do better, and a lock that does not end stays when its holder dies.
//!
//! Where two at once would do harm, let the resource decide: hand it [`Guard::fence`] with every
//! write, and let it refuse a number that is smaller than one it has seen.
//!
//! ```sql
//! UPDATE report SET body = $1, fence = $2 WHERE id = $3 AND fence <= $2
//! ```
//!
//! # The fence
//!
//! Every holder gets a larger number than all before it. The largest one is remembered beside the
//! lock, and none is smaller than the server's clock in microseconds: so it grows also after a
//! `FLUSHALL`, a restart without persistence and a failover that lost the last holders, as long as
//! the clock that decides then is not behind the one that decided before. Where clocks can be
//! further apart than that, ask the resource for the largest number that it has seen, and
//! call [`Locks::try_lock_above`].
//!
//! # Renewal
//!
//! While a [`Guard`] lives its lock is renewed every third of its time to live, in a task of its
//! own. [`Guard::lost`] says when that failed: at once where another has the lock, and at the end
//! of the time that was surely ours where the server gives no answer. That end is counted from
//! before the last renewal was sent, by this process' monotonic clock, less one hundredth for the
//! difference of clocks: nobody else can have the lock before it, unless the server forgot the lock
//! as said above.
//!
//! # Panics
//!
//! Locks and guards keep time by the runtime of their caller, and panic where that is none of Tokio's
//! or has no time driver (`enable_time`).
//!
//! # Cancellation
//!
//! A dropped guard gives the lock back in the background; where its runtime is gone as well the
//! lock ends by itself. An attempt that is dropped, or whose answer is lost, gives back what it may
//! have taken; in the worst case nobody has the lock for one time to live.
//!
//! # Sharing
//!
//! Locks of one name are the same where server, database and prefix are. A [`Guard`] is one holder.

mod attempt;
mod claim;
mod fence;
mod guard;
mod lease;
mod locks;
mod measure;
mod policy;
mod renewal;
mod shared;

pub use self::{
    fence::Fence,
    guard::{Guard, NotReleased},
    lease::Loss,
    locks::Locks,
    measure::Snapshot,
    policy::Policy,
};
