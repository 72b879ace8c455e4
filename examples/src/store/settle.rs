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
    Store, WRITE,
    orders::{CancelReason, Order, fetch},
};

impl Store {
    /// The order was charged: `pending_payment` becomes `paid`. Answers how it stands now.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn pay(&self, id: &str) -> sqlx::Result<Order> {
        let mut transaction = self.writer.begin_with(WRITE).await?;
        sqlx::query(
            "UPDATE orders SET status = 'paid' WHERE id = ?1 AND status = 'pending_payment'",
        )
        .bind(id)
        .execute(&mut *transaction)
        .await?;
        finish(transaction, id).await
    }

    /// The order waits no longer for its payment: `pending_payment` becomes `cancelling`. Answers
    /// how it stands now.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn give_up(&self, id: &str) -> sqlx::Result<Order> {
        let mut transaction = self.writer.begin_with(WRITE).await?;
        sqlx::query(
            "UPDATE orders SET status = 'cancelling', attempts = 0
             WHERE id = ?1 AND status = 'pending_payment'",
        )
        .bind(id)
        .execute(&mut *transaction)
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
        let mut transaction = self.writer.begin_with(WRITE).await?;
        let canceled = sqlx::query(
            "UPDATE orders SET status = 'cancelled', cancel_reason = ?2
             WHERE id = ?1 AND status IN ('pending_payment', 'cancelling')",
        )
        .bind(id)
        .bind(reason.as_str())
        .execute(&mut *transaction)
        .await?;
        if canceled.rows_affected() == 1 {
            sqlx::query(
                "UPDATE dishes SET stock = stock + order_items.quantity
                 FROM order_items
                 WHERE order_items.order_id = ?1 AND order_items.dish_id = dishes.id",
            )
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        }
        finish(transaction, id).await
    }

    /// An attempt came to nothing, or was not made: the settlement looks again at `due_at`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn postpone(&self, id: &str, attempts: u32, due_at: i64) -> sqlx::Result<Order> {
        let mut transaction = self.writer.begin_with(WRITE).await?;
        sqlx::query("UPDATE orders SET attempts = ?2, due_at = ?3 WHERE id = ?1")
            .bind(id)
            .bind(attempts)
            .bind(due_at)
            .execute(&mut *transaction)
            .await?;
        finish(transaction, id).await
    }

    /// Up to `limit` orders that are neither paid nor cancelled, the longest due first.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn unsettled(&self, limit: u32) -> sqlx::Result<Vec<Order>> {
        sqlx::query_as(
            "SELECT * FROM orders WHERE status IN ('pending_payment', 'cancelling')
             ORDER BY due_at LIMIT ?1",
        )
        .bind(limit)
        .fetch_all(&self.readers)
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
        .fetch_one(&self.readers)
        .await
    }

    /// Makes every unsettled order due at `now`: whoever was at work on it is no more.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn resume(&self, now: i64) -> sqlx::Result<u64> {
        let resumed = sqlx::query(
            "UPDATE orders SET due_at = ?1 WHERE status IN ('pending_payment', 'cancelling')",
        )
        .bind(now)
        .execute(&self.writer)
        .await?;
        Ok(resumed.rows_affected())
    }

    /// Forgets the idempotency keys used before `time`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn forget_keys_before(&self, time: i64) -> sqlx::Result<u64> {
        let forgotten = sqlx::query("DELETE FROM idempotency_keys WHERE created_at < ?1")
            .bind(time)
            .execute(&self.writer)
            .await?;
        Ok(forgotten.rows_affected())
    }
}

/// Commits, and answers how order `id` stands then.
async fn finish(
    mut transaction: sqlx::Transaction<'_, sqlx::Sqlite>,
    id: &str,
) -> sqlx::Result<Order> {
    let order = fetch(&mut transaction, id).await?;
    transaction.commit().await?;
    Ok(order)
}
