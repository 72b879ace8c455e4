//! Each value is loaded once for everybody: the cache.
//!
//! A hot dish is asked for by everyone, and the moment its page expires a thousand callers send
//! the same query. A slow database makes all of them wait, and a dead one makes all of them fail,
//! though the page of a minute ago would do. A [`Cache`] lets one load while the others wait or
//! are served what there is, loads again before the end, and spreads the ends over time.
//!
//! Not for what must be true at the moment of reading: the balance of an account, the last
//! portion. Not a store: everything may be gone at any time.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{convert::Infallible, sync::Arc, time::Duration};
//! use resilience_core::cache::{Cache, Loaded, Policy};
//!
//! let policy = Policy::new("dishes", Duration::from_secs(60)).stale_if_error(Duration::from_secs(600));
//! let dishes: Cache<u64, Arc<str>> = Cache::new(policy)?;
//! let soup = dishes.get_or_load(&7, || async {
//!     let soup: Arc<str> = "soup".into(); // SELECT … WHERE id = 7
//!     Ok::<_, Infallible>(Loaded::new(soup).tag("menu"))
//! });
//! assert_eq!(&*soup.await?, "soup");
//! dishes.invalidate_tag("menu");
//! assert_eq!(dishes.get(&7), None);
//! # Ok(())
//! # }
//! ```
//!
//! # The life of a value
//!
//! ```text
//! load   early refresh     ttl         + stale_while_revalidate     + stale_if_error
//!  ├──────────┼─────────────┼──────────────────────┼───────────────────────┤
//!    served     served, one   served, one loads      loaded; served where    gone
//!               loads         in the background      that fails or takes
//!                                                    longer than soft_timeout
//! ```
//!
//! The last two are counted from the end of the time to live; the longer one reaches further. All
//! ends are exclusive. A time to live is moved by [jitter](Policy::jitter), once for each value.
//!
//! # Loads
//!
//! A load runs in a task of its own, unless the policy hands loads
//! [over](OnLeaderGone::HandOver), and takes at most the [hard timeout](Policy::hard_timeout);
//! nobody waits longer than that and what a second tier may take by its own policy. Whatever a loader does concerns those alone who wait for
//! it: the next caller begins again. Outside of a Tokio runtime there are no timers and no
//! background, and each load runs where it is asked for.
//!
//! A loader that asks for its own key, also through the loads of other keys, is refused with
//! [`Reason::Reentrant`](crate::Reason::Reentrant). Two loads that wait for each other, each begun
//! by somebody else, wait until the hard timeout.
//!
//! A load runs in the `tracing` span of the caller who began it; other task-locals it does not see.
//!
//! # Two tiers
//!
//! [`Cache::new_over`] puts a second [`Tier`] behind this one, which other processes share: a load
//! asks it before it asks the loader, and what a loader brings is put there. It has a deadline and
//! a circuit of its own, so that a tier that is down costs a decision and no wait. Whatever cannot
//! be read there is removed and loaded again. Values with tags stay in their process, and so do
//! negative entries: nobody else would hear of their invalidation.
//!
//! A tier that [hears](Tier::listen) what other processes put and remove makes void what is held of
//! it here, and what is being loaded; negative entries are shared as well. While it cannot hear,
//! whatever is held is as good as past its time to live, and what is loaded is fresh for a
//! [short time](TierPolicy::longest_alone).
//!
//! A tier may let one process [load for all](Tier::claim). The others wait for that load, as long as
//! they have [patience](TierPolicy::patience), and take what it brings; a load that fails, or whose
//! key is changed meanwhile, leaves nothing there.
//!
//! # Place in a stack
//!
//! Outside of all that protects the dependency, which a hit need not ask: breaker, bulkhead,
//! timeouts. Inside of what the caller is held to: rate limits.
//!
//! # Sharing
//!
//! Clones, layers and services of one [`Cache`] share its entries, loads and counters.
//!
//! # Cancellation
//!
//! Whoever waits may go away at any time. When the one who loads goes away, the policy says what
//! becomes of the load; nobody who waits is failed by it.

mod ancestry;
mod at_once;
mod brought;
mod calls;
mod change;
mod engine;
mod entry;
mod envelope;
mod flight;
mod follow;
mod hashed;
mod heard;
#[cfg(feature = "http")]
pub mod http;
mod join;
mod layer;
mod lead;
mod lease;
mod load;
mod measure;
mod once;
mod origin;
mod policy;
mod read;
mod second;
mod shared;
mod state;
mod storage;
mod tags;
mod tally;
mod tier;
mod unsent;
mod within;

pub use self::{
    engine::Cache,
    entry::Loaded,
    layer::{Layer, ResponseFuture, Service},
    measure::Snapshot,
    origin::Origin,
    policy::{OnLeaderGone, Policy},
    state::EarlyRefresh,
    tier::{
        Claim, Codec, Hears, Lease, Listener, Notice, Remembered, Reply, Tier, TierPolicy, Unfilled,
    },
};
