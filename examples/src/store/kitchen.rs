//! What is paid is cooked: by whichever gateway's kitchen comes to it first, and once.
//!
//! The database knows what is still to be cooked. A queue tells the kitchens quickly, and is full
//! when they cannot keep up. What it did not take, or has forgotten, it is told again; what it tells
//! twice is cooked once, since the database keeps who was first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use resilience_core::{BoxError, Clock, Error};
use resilience_redis::{
    lock::Locks,
    queue::{Message, Queue},
};

use super::{Store, turns};
use crate::clock::{WallClock, millis};

/// The way to the kitchens; clones share it. Without Redis there are none.
#[derive(Clone, Debug, Default)]
pub struct Kitchen(Option<Pass>);

#[derive(Clone, Debug)]
struct Pass {
    queue: Queue,
    time_of_day: WallClock,
    clock: Clock,
    /// How long orders are turned away once the queue was full.
    turn_away: Duration,
    /// Until when the queue is taken to be full, in nanoseconds of `clock`.
    full_until: Arc<AtomicU64>,
}

/// What became of an order that a kitchen was told of.
enum Cooked {
    /// It was cooked now, or before.
    Done,
    /// No such order was paid.
    Unknown,
}

impl Kitchen {
    /// Told by `queue`; orders are turned away for so long once that was full.
    #[must_use]
    pub fn behind(queue: Queue, turn_away: Duration) -> Self {
        Self(Some(Pass {
            queue,
            turn_away,
            time_of_day: WallClock::start(),
            clock: Clock::system(),
            full_until: Arc::default(),
        }))
    }

    /// Whether it can take more.
    ///
    /// Asked before an order is placed; those that are paid for meanwhile wait in the database.
    ///
    /// # Errors
    ///
    /// The time after which it is worth asking again.
    pub fn has_room(&self) -> Result<(), Duration> {
        let Some(pass) = &self.0 else {
            return Ok(());
        };
        let until = pass.full_until.load(Ordering::Relaxed);
        match until.saturating_sub(pass.clock.now().as_nanos()) {
            0 => Ok(()),
            wait => Err(Duration::from_nanos(wait)),
        }
    }

    /// When an order is paid for, where kitchens are to hear of it.
    pub(super) fn time_of_day(&self) -> Option<i64> {
        self.0.as_ref().map(|pass| pass.time_of_day.now())
    }

    /// Tells the kitchens of a paid order; whether more can be told.
    pub(super) async fn tell(&self, order: &str) -> bool {
        let Some(pass) = &self.0 else {
            return true;
        };
        match pass.queue.push_once(order, order.as_bytes()).await {
            Ok(_) => true,
            Err(Error::Rejected(_)) => {
                let until = pass.clock.now().saturating_add(pass.turn_away).as_nanos();
                pass.full_until.store(until, Ordering::Relaxed);
                false
            }
            // They are told again, from the database.
            Err(Error::Inner(_)) => false,
        }
    }
}

impl Store {
    /// The way to the kitchens.
    #[must_use]
    pub const fn kitchen(&self) -> &Kitchen {
        &self.kitchen
    }

    /// Cooks what the queue tells of, for as long as this is polled.
    ///
    /// # Errors
    ///
    /// When the database or Redis fails; run again, it goes on where it was.
    pub async fn cook(self) -> Result<(), BoxError> {
        let Kitchen(Some(pass)) = &self.kitchen else {
            return std::future::pending().await;
        };
        let mut cook = pass.queue.consumer(GROUP)?;
        loop {
            let mut done = Vec::new();
            for message in cook.next_batch(BATCH, PATIENCE).await? {
                match self.cook_one(&message, pass.time_of_day.now()).await? {
                    Cooked::Done => done.push(message.id()),
                    Cooked::Unknown => drop(cook.bury(message.id(), "unknown order").await?),
                }
            }
            if !done.is_empty() {
                cook.acknowledge(&done).await?;
            }
        }
    }

    async fn cook_one(&self, message: &Message, now: i64) -> sqlx::Result<Cooked> {
        let Ok(order) = std::str::from_utf8(message.payload()) else {
            return Ok(Cooked::Unknown);
        };
        // Where that is what another has done, it is done.
        let found = sqlx::query(
            "UPDATE tickets SET cooked_at = coalesce(cooked_at, $2) WHERE order_id = $1",
        )
        .bind(order)
        .bind(now)
        .execute(self.writer.any())
        .await?;
        Ok(match found.rows_affected() {
            0 => Cooked::Unknown,
            _ => Cooked::Done,
        })
    }

    /// Tells the kitchens each time `every` has passed of what was paid for that long ago and is
    /// not cooked, while no other gateway does.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn remind_kitchens(self, gateways: Locks, every: Duration) -> sqlx::Result<()> {
        let Kitchen(Some(pass)) = &self.kitchen else {
            return std::future::pending().await;
        };
        let remind = async || {
            tokio::time::sleep(every).await;
            let paid_before = pass.time_of_day.now().saturating_sub(millis(every));
            for order in self.uncooked(paid_before).await? {
                if !self.kitchen.tell(&order).await {
                    break;
                }
            }
            Ok(())
        };
        turns::take(&gateways, "kitchen", remind).await
    }

    async fn uncooked(&self, paid_before: i64) -> sqlx::Result<Vec<String>> {
        sqlx::query_scalar(
            "SELECT order_id FROM tickets WHERE cooked_at IS NULL AND paid_at <= $1
             ORDER BY paid_at LIMIT 1000",
        )
        .bind(paid_before)
        .fetch_all(self.readers.any())
        .await
    }

    /// When an order was cooked, in milliseconds since 1970; `None` where it was not.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn cooked_at(&self, order: &str) -> sqlx::Result<Option<i64>> {
        let found: Option<Option<i64>> =
            sqlx::query_scalar("SELECT cooked_at FROM tickets WHERE order_id = $1")
                .bind(order)
                .fetch_optional(self.readers.any())
                .await?;
        Ok(found.flatten())
    }
}

/// All kitchens read as one.
pub(crate) const GROUP: &str = "kitchen";

/// Orders that a kitchen takes at a time.
const BATCH: usize = 64;

/// For the first of them.
const PATIENCE: Duration = Duration::from_secs(1);
