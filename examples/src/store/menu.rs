use serde::Serialize;
use sqlx::{SqliteConnection, prelude::FromRow, sqlite::SqliteRow};

use super::Store;

/// A dish on the menu.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dish {
    /// Its number on the menu.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Price of a portion, in cents.
    pub price_cents: i64,
    /// Portions left.
    pub stock: i64,
}

impl<'r> FromRow<'r, SqliteRow> for Dish {
    fn from_row(row: &'r SqliteRow) -> sqlx::Result<Self> {
        let (id, name, price_cents, stock) = FromRow::from_row(row)?;
        Ok(Self {
            id,
            name,
            price_cents,
            stock,
        })
    }
}

impl Store {
    /// The whole menu.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn dishes(&self) -> sqlx::Result<Vec<Dish>> {
        sqlx::query_as("SELECT id, name, price_cents, stock FROM dishes ORDER BY id")
            .fetch_all(&self.readers)
            .await
    }

    /// One dish, where the menu has it.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn dish(&self, id: i64) -> sqlx::Result<Option<Dish>> {
        sqlx::query_as("SELECT id, name, price_cents, stock FROM dishes WHERE id = ?1")
            .bind(id)
            .fetch_optional(&self.readers)
            .await
    }
}

/// Writes the menu into an empty database.
pub(super) async fn seed(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    for dish in menu() {
        sqlx::query("INSERT INTO dishes (id, name, price_cents, stock) VALUES (?1, ?2, ?3, ?4)")
            .bind(dish.id)
            .bind(dish.name)
            .bind(dish.price_cents)
            .bind(dish.stock)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// The dishes of `menu.csv`, which needs no quotes: no name holds a comma.
fn menu() -> impl Iterator<Item = Dish> {
    include_str!("menu.csv").lines().skip(1).map(|line| {
        let mut fields = line.split(',');
        let mut next = || fields.next().expect("menu.csv has four fields a line");
        let number = |text: &str| text.parse().expect("menu.csv has whole numbers");
        Dish {
            id: number(next()),
            name: next().to_owned(),
            price_cents: number(next()),
            stock: number(next()),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_menu_has_two_hundred_distinct_dishes_and_fifty_portions_of_the_first() {
        let dishes: Vec<_> = menu().collect();
        let names: HashSet<_> = dishes.iter().map(|dish| &dish.name).collect();
        assert_eq!((dishes.len(), names.len()), (200, 200));
        assert!(dishes.iter().zip(1..).all(|(dish, id)| dish.id == id));
        assert_eq!(dishes[0].stock, 50);
    }
}
