//! Orders, from placed to settled.
//!
//! ```text
//!                  ┌── charged ──────────────────────▶ paid
//! pending_payment ─┼── declined ─────────────────────▶ cancelled (portions back)
//!                  └── too old ──▶ cancelling ─voided─▶ cancelled (portions back)
//! ```
//!
//! Every arrow is one transaction that starts from the state before it, so each is taken once no
//! matter how many tasks try. `cancelling` is why an order can never be both charged and given up:
//! once there, no charge can make it `paid`, and only the provider's word that the charge is void
//! frees its portions.

use super::{
    Store,
    counted::Transaction,
    orders::{CancelReason, Line, Order, fetch, lines_of},
};

impl Store {
    /// The order was charged: `pending_payment` becomes `paid`, and the kitchens hear of it. Answers
    /// how it stands now.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn pay(&self, id: &str) -> sqlx::Result<Order> {
        let mut transaction = self.writer.begin().await?;
        let paid = sqlx::query(
            "UPDATE orders SET status = 'paid' WHERE id = $1 AND status = 'pending_payment'",
        )
        .bind(id)
        .execute(transaction.then())
        .await?;
        let paid_at = self.kitchen.time_of_day();
        let paid_at = paid_at.filter(|_| paid.rows_affected() == 1);
        if let Some(paid_at) = paid_at {
            sqlx::query("INSERT INTO tickets (order_id, paid_at) VALUES ($1, $2)")
                .bind(id)
                .bind(paid_at)
                .execute(transaction.then())
                .await?;
        }
        let order = finish(transaction, id).await?;
        if paid_at.is_some() {
            self.kitchen.tell(id).await;
        }
        Ok(order)
    }

    /// The order waits no longer for its payment: `pending_payment` becomes `cancelling`. Answers
    /// how it stands now.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn give_up(&self, id: &str) -> sqlx::Result<Order> {
        let mut transaction = self.writer.begin().await?;
        sqlx::query(
            "UPDATE orders SET status = 'cancelling', attempts = 0
             WHERE id = $1 AND status = 'pending_payment'",
        )
        .bind(id)
        .execute(transaction.then())
        .await?;
        finish(transaction, id).await
    }

    /// Nothing is charged and nothing can be: the order becomes `cancelled` and its portions are
    /// back on the menu. Answers how it stands now.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn cancel(&self, id: &str, reason: CancelReason) -> sqlx::Result<Order> {
        let mut transaction = self.writer.begin().await?;
        let canceled = sqlx::query(
            "UPDATE orders SET status = 'cancelled', cancel_reason = $2
             WHERE id = $1 AND status IN ('pending_payment', 'cancelling')",
        )
        .bind(id)
        .bind(reason.as_str())
        .execute(transaction.then())
        .await?;
        let lines = match canceled.rows_affected() {
            1 => give_back(&mut transaction, id).await?,
            _ => Vec::new(),
        };
        let order = fetch(&mut transaction, id).await?;
        let dishes = lines.iter().map(|line| line.dish_id);
        self.commit(transaction, dishes, None).await?;
        self.portions.give_back(&lines).await;
        Ok(order)
    }

    /// An attempt came to nothing, or was not made: the settlement looks again at `due_at`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn postpone(&self, id: &str, attempts: u32, due_at: i64) -> sqlx::Result<Order> {
        let mut transaction = self.writer.begin().await?;
        sqlx::query("UPDATE orders SET attempts = $2, due_at = $3 WHERE id = $1")
            .bind(id)
            .bind(i64::from(attempts))
            .bind(due_at)
            .execute(transaction.then())
            .await?;
        let order = fetch(&mut transaction, id).await?;
        self.commit(transaction, [], Some(due_at)).await?;
        Ok(order)
    }

    /// Up to `limit` orders that are neither paid nor cancelled, the longest due first.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn unsettled(&self, limit: u32) -> sqlx::Result<Vec<Order>> {
        sqlx::query_as(
            "SELECT * FROM orders WHERE status IN ('pending_payment', 'cancelling')
             ORDER BY due_at LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(self.readers.any())
        .await
    }

    /// How many orders are neither paid nor cancelled.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn count_unsettled(&self) -> sqlx::Result<i64> {
        sqlx::query_scalar(
            "SELECT count(*) FROM orders WHERE status IN ('pending_payment', 'cancelling')",
        )
        .fetch_one(self.readers.any())
        .await
    }

    /// Makes every unsettled order due at `now`: whoever was at work on it is no more.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn resume(&self, now: i64) -> sqlx::Result<u64> {
        let resumed = sqlx::query(
            "UPDATE orders SET due_at = $1 WHERE status IN ('pending_payment', 'cancelling')",
        )
        .bind(now)
        .execute(self.writer.any())
        .await?;
        Ok(resumed.rows_affected())
    }

    /// Forgets the idempotency keys used before `time`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn forget_keys_before(&self, time: i64) -> sqlx::Result<u64> {
        let forgotten = sqlx::query("DELETE FROM idempotency_keys WHERE created_at < $1")
            .bind(time)
            .execute(self.writer.any())
            .await?;
        Ok(forgotten.rows_affected())
    }
}

/// Puts the portions of order `id` back on the menu.
async fn give_back(transaction: &mut Transaction, id: &str) -> sqlx::Result<Vec<Line>> {
    let lines = lines_of(id, transaction.then()).await?;
    // In the order in which dishes are taken: two transactions never wait for each other.
    for Line { dish_id, quantity } in &lines {
        sqlx::query("UPDATE dishes SET stock = stock + $2 WHERE id = $1")
            .bind(dish_id)
            .bind(quantity)
            .execute(transaction.then())
            .await?;
    }
    Ok(lines)
}

/// Commits, and answers how order `id` stands then.
async fn finish(mut transaction: Transaction, id: &str) -> sqlx::Result<Order> {
    let order = fetch(&mut transaction, id).await?;
    transaction.commit().await?;
    Ok(order)
}

#[cfg(test)]
mod tests {
    use resilience_core::Environment;

    use super::{
        super::{NewOrder, Placed, Status},
        *,
    };
    use crate::stack::Pages;

    /// A store of its own with an order of one portion of dish 1.
    async fn ordered(folder: &tempfile::TempDir) -> (Store, String) {
        let url = format!("sqlite://{}", folder.path().join("a.db").display());
        let store = Store::open(&url, &Pages::new(None, &Environment::new()).unwrap())
            .await
            .unwrap();
        let line = Line {
            dish_id: 1,
            quantity: 1,
        };
        let new = NewOrder {
            user_id: "ada",
            lines: &[line],
            key: None,
            now: 0,
            due_at: 0,
        };
        match store.place(&new).await.unwrap() {
            Placed::New(order) => (store, order.id),
            other => panic!("{other:?}"),
        }
    }

    async fn stock(store: &Store) -> i64 {
        store.dish(1).await.unwrap().unwrap().stock
    }

    #[tokio::test]
    async fn an_order_given_up_is_never_paid_and_its_portions_are_back_once() {
        let folder = tempfile::tempdir().unwrap();
        let (store, id) = ordered(&folder).await;
        assert_eq!(store.give_up(&id).await.unwrap().status, Status::Cancelling);
        assert_eq!(store.pay(&id).await.unwrap().status, Status::Cancelling);
        assert_eq!(stock(&store).await, 49);
        for _ in 0..2 {
            let order = store.cancel(&id, CancelReason::PaymentTimedOut).await;
            assert_eq!(order.unwrap().status, Status::Cancelled);
            assert_eq!(stock(&store).await, 50);
        }
        assert_eq!(store.pay(&id).await.unwrap().status, Status::Cancelled);
    }

    #[tokio::test]
    async fn a_paid_order_is_never_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let (store, id) = ordered(&folder).await;
        assert_eq!(store.pay(&id).await.unwrap().status, Status::Paid);
        assert_eq!(store.give_up(&id).await.unwrap().status, Status::Paid);
        let order = store.cancel(&id, CancelReason::PaymentDeclined).await;
        assert_eq!(order.unwrap().status, Status::Paid);
        assert_eq!(stock(&store).await, 49);
    }
}
