//! How many portions are left, counted by all gateways together ahead of the database.
//!
//! The database decides: what it refuses is not sold, whatever is counted here. Counting saves it
//! from those who come too late, most of a crowd. Where nothing is counted, or nobody answers, every
//! order comes to the database, as it does without Redis.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use resilience_redis::{
    lock::Locks,
    stock::{Error, Stock},
};
use tokio::{sync::watch, time::sleep};

use super::{Line, Placed, Refusal, Store, turns};

/// The counts; clones share them. Without Redis there are none.
#[derive(Clone, Debug, Default)]
pub struct Portions(Option<Counts>);

#[derive(Clone, Debug)]
struct Counts {
    stock: Stock,
    /// How often the portions were counted here because they were missing.
    counted: Arc<AtomicU64>,
    /// How often that must have been for those who found nothing counted. Whoever asked while they
    /// were being counted wants no more than that.
    wanted: watch::Sender<u64>,
}

/// What the counts say to an order.
#[derive(Debug)]
pub(super) enum Hold {
    /// Its portions are held, under this name.
    Held(u128),
    /// The database decides.
    Nothing,
    /// They are sold.
    Refused(Refusal),
}

impl Portions {
    /// Counted in `stock`.
    #[must_use]
    pub fn counted_in(stock: Stock) -> Self {
        Self(Some(Counts {
            stock,
            counted: Arc::default(),
            wanted: watch::Sender::default(),
        }))
    }

    /// Holds the portions of all `lines`, or of none.
    pub(super) async fn hold(&self, lines: &[Line]) -> Hold {
        let Some(counts) = &self.0 else {
            return Hold::Nothing;
        };
        let units = |line: &Line| Some((line.dish_id, u64::try_from(line.quantity).ok()?));
        let Some(items) = lines.iter().map(units).collect::<Option<Vec<_>>>() else {
            return Hold::Nothing;
        };
        // Not the order's own id, which the database gives it: an attempt that is made again is
        // another one, and the database knows it by its key.
        let attempt = fastrand::u128(..);
        let next_count = counts.counted.load(Ordering::SeqCst) + 1;
        match counts.stock.reserve(&attempt, &items).await {
            Ok(_) => Hold::Held(attempt),
            Err(Error::SoldOut { item, left }) => Hold::Refused(Refusal::SoldOut {
                dish_id: lines[item].dish_id,
                available: i64::try_from(left).unwrap_or(i64::MAX),
            }),
            Err(Error::Unknown { item: None }) => {
                counts.want(next_count);
                Hold::Nothing
            }
            // A dish that is new here, or nobody who answers.
            Err(_) => Hold::Nothing,
        }
    }

    /// Tells the counts what became of an order. What they do not hear, they hear with the next
    /// count: nobody waits for an answer that did not come.
    pub(super) async fn settle(&self, hold: Hold, placed: &Placed) {
        let Some(Counts { stock, .. }) = &self.0 else {
            return;
        };
        let held = match hold {
            Hold::Held(attempt) => Some(attempt),
            Hold::Nothing | Hold::Refused(_) => None,
        };
        match (held, placed) {
            (Some(attempt), Placed::New(_)) => drop(stock.confirm(&attempt).await),
            (Some(attempt), _) => drop(stock.release(&attempt).await),
            (None, _) => {}
        }
        if let Placed::Refused(Refusal::SoldOut { dish_id, available }) = placed {
            let available = u64::try_from(*available).unwrap_or(0);
            drop(stock.cap(dish_id, available).await);
        }
    }

    /// Tells the counts that the portions of `lines` are back on the menu.
    pub(super) async fn give_back(&self, lines: &[Line]) {
        let Some(Counts { stock, .. }) = &self.0 else {
            return;
        };
        for line in lines {
            let units = u64::try_from(line.quantity).unwrap_or(0);
            drop(stock.add(&line.dish_id, units).await);
        }
    }
}

impl Counts {
    /// Has the portions counted for the time of this number, unless they were.
    fn want(&self, count: u64) {
        self.wanted.send_if_modified(|wanted| {
            let is_more = count > *wanted;
            *wanted = count.max(*wanted);
            is_more
        });
    }
}

impl Store {
    /// Counts whenever somebody finds that nothing is counted, for as long as this is polled.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn count_what_is_missing(self) -> sqlx::Result<()> {
        let Some(counts) = &self.portions.0 else {
            return std::future::pending().await;
        };
        let mut wanted = counts.wanted.subscribe();
        loop {
            let counted = counts.counted.load(Ordering::SeqCst);
            // The sender is ours: it cannot be gone.
            let _ = wanted.wait_for(|wanted| *wanted > counted).await;
            let portions = self.portions_left().await?;
            // Of many gateways the first one counts; where nobody answers, the next order asks.
            if let Err(error) = counts.stock.fill(portions).await {
                tracing::warn!(%error, "the portions are not counted");
            }
            counts.counted.store(counted + 1, Ordering::SeqCst);
            sleep(SHORTEST_PAUSE).await;
        }
    }

    /// Counts anew each time `every` has passed, while no other gateway does.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn count_regularly(self, gateways: Locks, every: Duration) -> sqlx::Result<()> {
        let Some(Counts { stock, .. }) = &self.portions.0 else {
            return std::future::pending().await;
        };
        let count = async || {
            let portions = self.portions_left().await?;
            if let Err(error) = stock.refill(portions).await {
                tracing::warn!(%error, "the portions are not counted anew");
            }
            sleep(every).await;
            Ok(())
        };
        turns::take(&gateways, "portions", count).await
    }

    async fn portions_left(&self) -> sqlx::Result<Vec<(i64, u64)>> {
        let dishes: Vec<(i64, i64)> = sqlx::query_as("SELECT id, stock FROM dishes")
            .fetch_all(self.readers.any())
            .await?;
        let counted = |(id, stock)| (id, u64::try_from(stock).unwrap_or(0));
        Ok(dishes.into_iter().map(counted).collect())
    }
}

/// A crowd that finds nothing counted is one reason to count, and not a thousand.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
