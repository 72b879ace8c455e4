//! An order is placed whole or not at all, and once per key.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Store,
    counted::Transaction,
    orders::{Line, Order, fetch},
    portions::Hold,
};

/// An order that is to be placed.
#[derive(Clone, Copy, Debug)]
pub struct NewOrder<'a> {
    /// Who orders.
    pub user_id: &'a str,
    /// What; each dish once.
    pub lines: &'a [Line],
    /// By what the client tells it from another, where it does.
    pub key: Option<Key<'a>>,
    /// The time now, in milliseconds since 1970.
    pub now: i64,
    /// Until when the settlement leaves the order alone.
    pub due_at: i64,
}

/// What came of an attempt to place an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// A new order, its portions taken.
    New(Order),
    /// The idempotency key had placed this one before.
    Known(Order),
    /// Nothing was ordered.
    Refused(Refusal),
    /// The idempotency key was used for another request.
    KeyReused,
    /// Nothing was ordered: the kitchens have too much to do for so long.
    KitchenFull(Duration),
}

/// Why nothing was ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Refusal {
    /// The menu has no such dish.
    UnknownDish {
        /// The dish.
        dish_id: i64,
    },
    /// Fewer portions are left than were ordered.
    SoldOut {
        /// The dish.
        dish_id: i64,
        /// Portions left.
        available: i64,
    },
}

/// An idempotency key and the request that it stands for.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The key.
    pub key: &'a str,
    /// What tells the request from another, as compared.
    pub request: &'a str,
}

impl Store {
    /// Takes the portions and writes the order, or does neither.
    ///
    /// # Errors
    ///
    /// When the database fails; nothing was ordered then.
    pub async fn place(&self, new: &NewOrder<'_>) -> sqlx::Result<Placed> {
        // What a key was answered it is answered again, whatever the kitchens have to do and
        // whatever is left: only the database knows.
        if new.key.is_none()
            && let Err(wait) = self.kitchen.has_room()
        {
            return Ok(Placed::KitchenFull(wait));
        }
        let hold = self.portions.hold(new.lines).await;
        if new.key.is_none()
            && let Hold::Refused(refusal) = hold
        {
            return Ok(Placed::Refused(refusal));
        }
        let placed = self.write(new).await?;
        self.portions.settle(hold, &placed).await;
        Ok(placed)
    }

    async fn write(&self, new: &NewOrder<'_>) -> sqlx::Result<Placed> {
        // In the order of their numbers: two transactions never wait for each other.
        let mut lines = new.lines.to_vec();
        lines.sort_unstable_by_key(|line| line.dish_id);
        let new = NewOrder {
            lines: &lines,
            ..*new
        };
        loop {
            if let Some(placed) = self.write_once(&new).await? {
                return Ok(placed);
            }
        }
    }

    /// `None` where the key was used by another gateway meanwhile.
    async fn write_once(&self, new: &NewOrder<'_>) -> sqlx::Result<Option<Placed>> {
        let NewOrder {
            lines,
            key,
            now,
            due_at,
            ..
        } = *new;
        let mut transaction = self.writer.begin().await?;
        if let Some(key) = key
            && let Some(known) = find_key(&mut transaction, key).await?
        {
            return Ok(Some(known));
        }
        if let Err(wait) = self.kitchen.has_room() {
            return Ok(Some(Placed::KitchenFull(wait)));
        }
        let prices = match take_portions(&mut transaction, lines).await? {
            Ok(prices) => prices,
            Err(refusal) => {
                // Portions taken before the refusal go back; the refusal itself is kept.
                transaction.rollback().await?;
                if let Some(key) = key
                    && !self.remember_refusal(key, refusal, now).await?
                {
                    return Ok(None);
                }
                return Ok(Some(Placed::Refused(refusal)));
            }
        };
        let order = insert_order(&mut transaction, new, &prices).await?;
        if let Some(key) = key
            && !remember_order(&mut transaction, key, &order).await?
        {
            transaction.rollback().await?;
            return Ok(None);
        }
        let dishes = lines.iter().map(|line| line.dish_id);
        self.commit(transaction, dishes, Some(due_at)).await?;
        Ok(Some(Placed::New(order)))
    }

    /// Whether it is kept: the key may have been used meanwhile.
    async fn remember_refusal(
        &self,
        Key { key, request }: Key<'_>,
        refusal: Refusal,
        now: i64,
    ) -> sqlx::Result<bool> {
        let refusal = serde_json::to_string(&refusal).map_err(|e| sqlx::Error::Encode(e.into()))?;
        let written = sqlx::query(
            "INSERT INTO idempotency_keys (key, request, refusal, created_at)
             VALUES ($1, $2, $3, $4) ON CONFLICT (key) DO NOTHING",
        )
        .bind(key)
        .bind(request)
        .bind(refusal)
        .bind(now)
        .execute(self.writer.any())
        .await?;
        Ok(written.rows_affected() == 1)
    }
}

/// Whether it is kept that `key` placed `order`: the key may have been used meanwhile. Waits for
/// another who writes the same one.
async fn remember_order(
    transaction: &mut Transaction,
    Key { key, request }: Key<'_>,
    order: &Order,
) -> sqlx::Result<bool> {
    let written = sqlx::query(
        "INSERT INTO idempotency_keys (key, request, order_id, created_at)
         VALUES ($1, $2, $3, $4) ON CONFLICT (key) DO NOTHING",
    )
    .bind(key)
    .bind(request)
    .bind(&order.id)
    .bind(order.created_at)
    .execute(transaction.then())
    .await?;
    Ok(written.rows_affected() == 1)
}

/// What `key` was used for, where it was.
async fn find_key(transaction: &mut Transaction, key: Key<'_>) -> sqlx::Result<Option<Placed>> {
    let known: Option<(String, Option<String>, Option<String>)> =
        sqlx::query_as("SELECT request, order_id, refusal FROM idempotency_keys WHERE key = $1")
            .bind(key.key)
            .fetch_optional(transaction.then())
            .await?;
    let Some((request, order_id, refusal)) = known else {
        return Ok(None);
    };
    if request != key.request {
        return Ok(Some(Placed::KeyReused));
    }
    if let Some(id) = order_id {
        return Ok(Some(Placed::Known(fetch(transaction, &id).await?)));
    }
    let refusal = serde_json::from_str(&refusal.unwrap_or_default());
    let refusal = refusal.map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(Some(Placed::Refused(refusal)))
}

/// Takes the portions of all `lines` and answers their prices, or says what is in the way.
async fn take_portions(
    transaction: &mut Transaction,
    lines: &[Line],
) -> sqlx::Result<Result<Vec<i64>, Refusal>> {
    let mut prices = Vec::with_capacity(lines.len());
    for &Line { dish_id, quantity } in lines {
        let price: Option<i64> = sqlx::query_scalar(
            "UPDATE dishes SET stock = stock - $2 WHERE id = $1 AND stock >= $2
             RETURNING price_cents",
        )
        .bind(dish_id)
        .bind(quantity)
        .fetch_optional(transaction.then())
        .await?;
        let Some(price) = price else {
            let available = sqlx::query_scalar("SELECT stock FROM dishes WHERE id = $1")
                .bind(dish_id)
                .fetch_optional(transaction.then())
                .await?;
            return Ok(Err(match available {
                None => Refusal::UnknownDish { dish_id },
                Some(available) => Refusal::SoldOut { dish_id, available },
            }));
        };
        prices.push(price);
    }
    Ok(Ok(prices))
}

async fn insert_order(
    transaction: &mut Transaction,
    new: &NewOrder<'_>,
    prices: &[i64],
) -> sqlx::Result<Order> {
    let costs = new
        .lines
        .iter()
        .zip(prices)
        .map(|(line, price)| line.quantity * price);
    let order: Order = sqlx::query_as(
        "INSERT INTO orders (id, user_id, status, total_cents, created_at, due_at)
         VALUES ($1, $2, 'pending_payment', $3, $4, $5)
         RETURNING *",
    )
    .bind(new_id()?)
    .bind(new.user_id)
    .bind(costs.sum::<i64>())
    .bind(new.now)
    .bind(new.due_at)
    .fetch_one(transaction.then())
    .await?;
    for (line, price) in new.lines.iter().zip(prices) {
        sqlx::query(
            "INSERT INTO order_items (order_id, dish_id, quantity, price_cents)
             VALUES ($1, $2, $3, $4)",
        )
        .bind(&order.id)
        .bind(line.dish_id)
        .bind(line.quantity)
        .bind(price)
        .execute(transaction.then())
        .await?;
    }
    Ok(order)
}

/// From the operating system's generator: nobody guesses another's order.
fn new_id() -> sqlx::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| sqlx::Error::Io(error.into()))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}
