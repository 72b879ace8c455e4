use std::time::Duration;

use serde::Serialize;
use sqlx::{any::AnyRow, prelude::FromRow};
use tokio::time::sleep;

use super::{Store, counted::Transaction};

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

impl<'r> FromRow<'r, AnyRow> for Dish {
    fn from_row(row: &'r AnyRow) -> sqlx::Result<Self> {
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
            .fetch_all(self.readers.any())
            .await
    }

    /// One dish, where the menu has it.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn dish(&self, id: i64) -> sqlx::Result<Option<Dish>> {
        sqlx::query_as("SELECT id, name, price_cents, stock FROM dishes WHERE id = $1")
            .bind(id)
            .fetch_optional(self.readers.any())
            .await
    }

    /// Puts a dish on the menu; answers its number.
    ///
    /// # Errors
    ///
    /// When the database fails, or a dish has that name already.
    pub async fn add_dish(&self, name: &str, price_cents: i64, stock: i64) -> sqlx::Result<i64> {
        let mut transaction = self.writer.begin().await?;
        let id = sqlx::query_scalar(
            "INSERT INTO dishes (name, price_cents, stock) VALUES ($1, $2, $3) RETURNING id",
        )
        .bind(name)
        .bind(price_cents)
        .bind(stock)
        .fetch_one(transaction.then())
        .await?;
        // Ahead of the commit: once the dish is there, nobody is told that it is not.
        self.pages.known.insert(id).await;
        self.commit(transaction, [id], None).await?;
        Ok(id)
    }

    /// Tells the guard which dishes there are.
    pub(super) async fn list_dishes(&self) -> sqlx::Result<()> {
        let dishes =
            || sqlx::query_scalar::<_, i64>("SELECT id FROM dishes").fetch(self.readers.any());
        self.pages.known.list(dishes).await
    }

    /// Tells it again, each time that the gateways have lost it.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn list_what_is_lost(self) -> sqlx::Result<()> {
        loop {
            self.pages.known.is_lost().await;
            self.list_dishes().await?;
            // Another gateway may be at it, or Redis be away.
            sleep(BETWEEN_LISTS).await;
        }
    }
}

/// Writes the menu into an empty database.
pub(super) async fn seed(transaction: &mut Transaction) -> sqlx::Result<()> {
    for dish in menu() {
        // Numbered in their order, as by `add_dish`: a number given by hand would be given again.
        sqlx::query("INSERT INTO dishes (name, price_cents, stock) VALUES ($1, $2, $3)")
            .bind(dish.name)
            .bind(dish.price_cents)
            .bind(dish.stock)
            .execute(transaction.then())
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

const BETWEEN_LISTS: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use bytes::Bytes;
    use resilience_core::Environment;

    use super::*;
    use crate::stack::{self, Pages};

    #[test]
    fn the_menu_has_two_hundred_distinct_dishes_and_fifty_portions_of_the_first() {
        let dishes: Vec<_> = menu().collect();
        let names: HashSet<_> = dishes.iter().map(|dish| &dish.name).collect();
        assert_eq!((dishes.len(), names.len()), (200, 200));
        assert!(dishes.iter().zip(1..).all(|(dish, id)| dish.id == id));
        assert_eq!(dishes[0].stock, 50);
    }

    /// A store of its own whose guard takes 201 for a dish.
    async fn mistaken(folder: &tempfile::TempDir) -> (Store, Pages) {
        let url = format!("sqlite://{}", folder.path().join("a.db").display());
        let pages = Pages::new(None, &Environment::new()).unwrap();
        let store = Store::open(&url, &pages).await.unwrap();
        pages.known.insert(201).await;
        (store, pages)
    }

    async fn name_of_201(store: &Store, pages: &Pages) -> Option<Bytes> {
        let store = store.clone();
        let make = async move || Ok(store.dish(201).await?.map(|dish| dish.name.into()));
        let page = stack::dish(201, make, pages).await.unwrap();
        page.map(|(page, _)| page)
    }

    #[tokio::test]
    async fn a_number_that_passes_by_mistake_costs_one_statement() {
        let folder = tempfile::tempdir().unwrap();
        let (store, pages) = mistaken(&folder).await;
        let before = store.statements();
        for _ in 0..10 {
            assert_eq!(name_of_201(&store, &pages).await, None);
        }
        assert_eq!(store.statements() - before, 1);
    }

    #[tokio::test]
    async fn a_new_dish_is_there_also_for_those_who_asked_before() {
        let folder = tempfile::tempdir().unwrap();
        let (store, pages) = mistaken(&folder).await;
        assert_eq!(name_of_201(&store, &pages).await, None);
        assert_eq!(store.add_dish("Soup", 900, 5).await.unwrap(), 201);
        assert_eq!(name_of_201(&store, &pages).await.unwrap(), "Soup");
    }
}
