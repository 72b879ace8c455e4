//! Orders, as they are read.

use serde::Serialize;
use sqlx::{Any, Executor, Row as _, any::AnyRow, prelude::FromRow};

use super::{Store, counted::Transaction};

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Its portions are taken; its payment is under way or will be tried again.
    PendingPayment,
    /// Charged, once.
    Paid,
    /// Given up, while the provider has yet to confirm that nothing is charged.
    Cancelling,
    /// Given up: its portions are back on the menu and nothing is charged.
    Cancelled,
}

/// Why an order was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// The provider said no.
    PaymentDeclined,
    /// The provider could not be reached for too long.
    PaymentTimedOut,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// 128 random bits in hexadecimal: whoever knows it may look at the order.
    pub id: String,
    /// Who ordered.
    pub user_id: String,
    /// Where it stands.
    pub status: Status,
    /// Why it was given up, where it was.
    pub cancel_reason: Option<CancelReason>,
    /// What it costs, in cents.
    pub total_cents: i64,
    /// When it was placed, in milliseconds since 1970.
    pub created_at: i64,
    /// When the settlement looks at it next.
    pub due_at: i64,
    /// Attempts to charge it that came to nothing.
    pub attempts: u32,
}

/// So many portions of a dish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The dish.
    pub dish_id: i64,
    /// Portions.
    pub quantity: i64,
}

impl Store {
    /// An order, where there is one.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn order(&self, id: &str) -> sqlx::Result<Option<Order>> {
        sqlx::query_as("SELECT * FROM orders WHERE id = $1")
            .bind(id)
            .fetch_optional(self.readers.any())
            .await
    }

    /// What was ordered.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn lines(&self, id: &str) -> sqlx::Result<Vec<Line>> {
        lines_of(id, self.readers.any()).await
    }
}

/// What was ordered, by the numbers of the dishes.
pub(super) async fn lines_of<'c>(
    id: &str,
    connection: impl Executor<'c, Database = Any>,
) -> sqlx::Result<Vec<Line>> {
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT dish_id, quantity FROM order_items WHERE order_id = $1 ORDER BY dish_id",
    )
    .bind(id)
    .fetch_all(connection)
    .await?;
    let line = |(dish_id, quantity)| Line { dish_id, quantity };
    Ok(rows.into_iter().map(line).collect())
}

pub(super) async fn fetch(transaction: &mut Transaction, id: &str) -> sqlx::Result<Order> {
    sqlx::query_as("SELECT * FROM orders WHERE id = $1")
        .bind(id)
        .fetch_one(transaction.then())
        .await
}

impl<'r> FromRow<'r, AnyRow> for Order {
    fn from_row(row: &'r AnyRow) -> sqlx::Result<Self> {
        let attempts: i64 = row.try_get("attempts")?;
        let cancel_reason: Option<&str> = row.try_get("cancel_reason")?;
        Ok(Self {
            id: row.try_get("id")?,
            user_id: row.try_get("user_id")?,
            status: Status::read(row.try_get("status")?)?,
            cancel_reason: cancel_reason.map(CancelReason::read).transpose()?,
            total_cents: row.try_get("total_cents")?,
            created_at: row.try_get("created_at")?,
            due_at: row.try_get("due_at")?,
            attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        })
    }
}

impl Status {
    /// The word in the database and in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PendingPayment => "pending_payment",
            Self::Paid => "paid",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
        }
    }

    fn read(word: &str) -> sqlx::Result<Self> {
        [
            Self::PendingPayment,
            Self::Paid,
            Self::Cancelling,
            Self::Cancelled,
        ]
        .into_iter()
        .find(|status| status.as_str() == word)
        .ok_or_else(|| unknown_word("status", word))
    }
}

impl CancelReason {
    /// The word in the database and in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PaymentDeclined => "payment_declined",
            Self::PaymentTimedOut => "payment_timed_out",
        }
    }

    fn read(word: &str) -> sqlx::Result<Self> {
        [Self::PaymentDeclined, Self::PaymentTimedOut]
            .into_iter()
            .find(|reason| reason.as_str() == word)
            .ok_or_else(|| unknown_word("cancel_reason", word))
    }
}

fn unknown_word(column: &str, word: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("`{word}` in column `{column}`").into())
}
