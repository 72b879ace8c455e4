//! Brings every order to its end: paid, or cancelled with its portions back on the menu.
//!
//! The request that placed an order tries first. Where the provider does not answer, or its
//! circuit is open, the order stays in the database with the time of its next attempt, and the
//! task here takes it up. The database is the only list of what is to be done: a task that
//! panicked, a request whose client went away and a process that was killed lose nothing.

use std::time::Duration;

use resilience_core::{
    Rejected,
    backoff::{Backoff, Jitter},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    clock::{WallClock, millis},
    config::PaymentTimes,
    payment::{Charge, PaymentClient, Unavailable},
    store::{CancelReason, Order, Status, Store},
};

/// What settles orders; clones share their work.
#[derive(Clone, Debug)]
pub struct Settlement {
    store: Store,
    payment: PaymentClient,
    clock: WallClock,
    times: PaymentTimes,
}

/// What came of an attempt to settle an order.
#[derive(Clone, Debug)]
pub struct Settled {
    /// How the order stands now.
    pub order: Order,
    /// Which of our layers kept the provider from being asked, if one did.
    pub refused: Option<Rejected>,
}

impl Settlement {
    /// Settles the orders in `store` through `payment`.
    #[must_use]
    pub fn new(
        store: Store,
        payment: PaymentClient,
        clock: WallClock,
        times: PaymentTimes,
    ) -> Self {
        Self {
            store,
            payment,
            clock,
            times,
        }
    }

    /// Takes up again what an earlier process left without an end.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn resume(&self) -> sqlx::Result<()> {
        let resumed = self.store.resume(self.clock.now()).await?;
        if resumed > 0 {
            tracing::warn!(orders = resumed, "orders without an end are taken up again");
        }
        Ok(())
    }

    /// Tries once to bring `order` to its end.
    ///
    /// Dropped half way, the order waits for the settlement task. Two tasks that settle the same
    /// order at once come to one end: the provider knows the order, and each step in the database
    /// starts from the state before it.
    ///
    /// # Errors
    ///
    /// When the database fails; the order is still due then.
    pub async fn settle(&self, order: Order) -> sqlx::Result<Settled> {
        let order = match order.status {
            Status::PendingPayment if self.is_too_old(&order) => {
                self.store.give_up(&order.id).await?
            }
            Status::PendingPayment | Status::Paid | Status::Cancelling | Status::Cancelled => order,
        };
        let settled = match order.status {
            Status::PendingPayment => self.charge(&order).await?,
            Status::Cancelling => self.void(&order).await?,
            Status::Paid | Status::Cancelled => Ok(order.clone()),
        };
        match settled {
            Ok(order) => Ok(Settled {
                order,
                refused: None,
            }),
            Err(unavailable) => self.postpone(&order, &unavailable).await,
        }
    }

    async fn charge(&self, order: &Order) -> sqlx::Result<Result<Order, Unavailable>> {
        Ok(
            match self.payment.charge(&order.id, order.total_cents).await {
                Ok(Charge::Charged) => Ok(self.store.pay(&order.id).await?),
                Ok(Charge::Declined) => {
                    let reason = CancelReason::PaymentDeclined;
                    Ok(self.store.cancel(&order.id, reason).await?)
                }
                Err(unavailable) => Err(unavailable),
            },
        )
    }

    async fn void(&self, order: &Order) -> sqlx::Result<Result<Order, Unavailable>> {
        Ok(match self.payment.void(&order.id).await {
            Ok(()) => {
                let reason = CancelReason::PaymentTimedOut;
                Ok(self.store.cancel(&order.id, reason).await?)
            }
            Err(unavailable) => Err(unavailable),
        })
    }

    async fn postpone(&self, order: &Order, unavailable: &Unavailable) -> sqlx::Result<Settled> {
        let refused = unavailable.rejected().cloned();
        let backoff = self.backoff(order.attempts);
        let (attempts, wait) = match &refused {
            // Nobody was asked: no attempt was made, and who refused may know when to come back.
            Some(refused) => (order.attempts, refused.retry_after().unwrap_or(backoff)),
            None => {
                tracing::warn!(
                    order_id = order.id,
                    order_status = order.status.as_str(),
                    attempts = order.attempts,
                    error = %unavailable,
                    "the payment provider gave no answer, the order waits"
                );
                (order.attempts.saturating_add(1), backoff)
            }
        };
        let due_at = self.clock.now().saturating_add(millis(wait).max(1));
        let order = self.store.postpone(&order.id, attempts, due_at).await?;
        Ok(Settled { order, refused })
    }

    fn backoff(&self, attempts: u32) -> Duration {
        Backoff::exponential(self.times.first_retry)
            .max(self.times.longest_retry)
            .jitter(Jitter::Equal)
            .delay(attempts, fastrand::f64())
    }

    fn is_too_old(&self, order: &Order) -> bool {
        self.clock.now().saturating_sub(order.created_at) > millis(self.times.give_up)
    }

    /// Settles what is due, again and again.
    ///
    /// # Errors
    ///
    /// When the database fails; run again, it goes on where it was.
    pub async fn run(self) -> sqlx::Result<()> {
        let mut forget_at = i64::MIN;
        loop {
            let now = self.clock.now();
            if now >= forget_at {
                forget_at = now.saturating_add(FORGET_INTERVAL);
                self.store.forget_keys_before(now - KEYS_KEPT).await?;
            }
            // Before the database is asked: of what comes after that it says nothing.
            self.store.agenda().clear();
            match self.settle_due(now).await? {
                Next::Due(at) => self.wait_until(at).await,
                Next::Refused(wait) => sleep(wait).await,
            }
        }
    }

    /// Waits until `due_at`, or until an order is due that was placed or put off meanwhile.
    async fn wait_until(&self, due_at: i64) {
        loop {
            let noted = self.store.agenda().earliest();
            let wait = due_at.min(noted).saturating_sub(self.clock.now());
            let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(0));
            let sooner = self.store.agenda().sooner_than(noted);
            if timeout(wait, sooner).await.is_err() {
                return;
            }
        }
    }

    /// Settles up to a batch of due orders.
    async fn settle_due(&self, now: i64) -> sqlx::Result<Next> {
        let mut attempts = JoinSet::new();
        let mut next = now.saturating_add(millis(IDLE_WAIT));
        for order in self.store.unsettled(BATCH).await? {
            if order.due_at > now {
                next = next.min(order.due_at);
                break;
            }
            // Where there was one there may be more than a batch.
            next = now;
            let settlement = self.clone();
            attempts.spawn(async move { settlement.settle(order).await });
        }
        let mut refused = None;
        while let Some(attempt) = attempts.join_next().await {
            match attempt {
                Ok(settled) => refused = refused.or(settled?.refused),
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            }
        }
        Ok(match refused {
            None => Next::Due(next),
            Some(refused) => Next::Refused(refused.retry_after().unwrap_or(self.times.first_retry)),
        })
    }
}

/// How long the settlement rests.
enum Next {
    /// Until the next order is due, at this time.
    Due(i64),
    /// Until our own layers may let it through again. Thousands of orders may be due by then:
    /// each one tried in vain would be a write to the database that customers wait behind.
    Refused(Duration),
}

/// Orders settled at a time: what one round trip to a slow provider may hold up.
const BATCH: u32 = 16;

/// The agenda has what this process placed or put off; what another one left is seen this late at
/// most.
const IDLE_WAIT: Duration = Duration::from_secs(60);

/// Idempotency keys are kept for a day: 24 × 60 × 60 × 1000 ms.
const KEYS_KEPT: i64 = 86_400_000;

/// Old keys are looked for every hour: 60 × 60 × 1000 ms.
const FORGET_INTERVAL: i64 = 3_600_000;
