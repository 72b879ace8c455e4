//! From the pages of dishes to the database.

use std::time::Duration;

use bytes::Bytes;
use resilience_core::{
    Cache, Environment, Error, InvalidPolicy, bloom_guard,
    cache::{self, EarlyRefresh, Origin},
    concurrency::{self, Bulkhead},
};
use tokio::task::JoinSet;

use crate::{cached_page::Page, fleet::Fleet, known::Known};

/// What stands between the pages of dishes and the database.
#[derive(Clone, Debug)]
pub struct Pages {
    /// Tells which dishes there are.
    pub known: Known,
    /// Each page is made once for everybody.
    pub made: Cache<Page, Bytes>,
    /// So many are made at a time.
    pub making: Bulkhead,
}

impl Pages {
    /// The engines of a gateway, which shares what it knows and makes with the others of `fleet`.
    ///
    /// # Errors
    ///
    /// When a setting cannot work.
    pub fn new(fleet: Option<&Fleet>, environment: &Environment) -> Result<Self, InvalidPolicy> {
        // 12 KiB, for fifty times the menu there is. A number that passes and is not there costs
        // the database one statement a minute, however often it is asked for, where no more than
        // 10 000 of these come: they are found by chance, or by who knows the seed.
        let known = bloom_guard::Policy::new("dishes")
            .expected_keys(10_000)
            .false_positive_rate(UNKNOWN_THAT_PASS)
            .remember(10_000, Duration::from_secs(60));
        // Orders void what they change: the end is for whoever else writes to the file. Pages
        // that are asked for are made anew ahead of it, and nobody waits. Where the database is
        // away, or takes long, the page of before will do: an order would have voided it.
        let made = cache::Policy::new("pages", Duration::from_secs(60))
            .early_refresh(EarlyRefresh::AtAge(0.8))
            .stale_if_error(Duration::from_secs(600))
            .soft_timeout(Duration::from_millis(500));
        // Half of the connections for reading: the other half is for orders, whatever numbers
        // come here. A page takes less than a millisecond: in a second all 1024 had their turn.
        let making = concurrency::Policy::new("page-loads", 4)
            .queue(1024)
            .max_wait(Duration::from_secs(5));
        Ok(Self {
            known: Known::new(known, fleet)?,
            made: match fleet {
                None => Cache::new_in(made, environment)?,
                Some(fleet) => fleet.cache(made, environment)?,
            },
            making: Bulkhead::new(making)?,
        })
    }

    /// Voids every page on which one of `dishes` stands, in all gateways, and those that are being
    /// made as well.
    pub async fn void(&self, dishes: &[i64]) {
        let mut pages: Vec<_> = dishes.iter().copied().map(Page::Dish).collect();
        if !pages.is_empty() {
            pages.push(Page::Menu);
        }
        // Here at once, elsewhere as soon as they are told: nobody waits for one after the other.
        let mut told = JoinSet::new();
        for page in pages {
            self.made.invalidate(&page);
            let made = self.made.clone();
            told.spawn(async move { made.forget(&page).await });
        }
        // What cannot be told now is told later, before what the others have is believed again.
        told.join_all().await;
    }
}

/// From the page of a dish to the database, outermost first.
pub(crate) async fn dish<F>(
    id: i64,
    make: impl FnOnce() -> F + Send + 'static,
    engines: &Pages,
) -> Result<Option<(Bytes, Origin)>, Error<sqlx::Error>>
where
    F: Future<Output = sqlx::Result<Option<Bytes>>> + Send + 'static,
{
    let page = Page::Dish(id);
    let making = engines.making.clone();
    let make = async move || making.call(make).await; // those that are not there yet do not take all connections
    let find = || engines.made.get_or_find_with_origin(&page, make); // a crowd at a new page asks the database once
    let found = engines.known.find(id, find).await; // numbers that are no dish's cost nothing
    found.map_err(whoever_failed)
}

/// From the menu to the database, outermost first.
pub(crate) async fn menu<F>(
    make: impl FnOnce() -> F + Send + 'static,
    engines: &Pages,
) -> Result<(Bytes, Origin), Error<sqlx::Error>>
where
    F: Future<Output = sqlx::Result<Bytes>> + Send + 'static,
{
    let making = engines.making.clone();
    let make = async move || making.call(make).await; // as for dishes, and with them
    let made = &engines.made; // the one page that everybody asks for
    let made = made.get_or_load_with_origin(&Page::Menu, make).await;
    made.map_err(whoever_failed)
}

/// A refusal is the same, whichever layer it comes from.
fn whoever_failed<E>(error: Error<Error<E>>) -> Error<E> {
    match error {
        Error::Rejected(rejected) => rejected.into(),
        Error::Inner(error) => error,
    }
}

/// Of the numbers that are no dish's, the share that the guard may let pass.
const UNKNOWN_THAT_PASS: f64 = 0.01;
