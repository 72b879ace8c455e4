use std::{fmt, sync::Arc};

use redis::{FromRedisValue, ToRedisArgs};
use resilience_core::InvalidPolicy;

use super::{
    Error, Filled, Policy, Snapshot,
    items::{bounded, encoded_key},
    measure::Tally,
    scripts::Scripts,
};
use crate::{
    RedisStore, StoreError, StoreKey,
    key::Names,
    script::{Script, millis},
};

/// Stocks in a [`RedisStore`], one for each key. Clones share them.
#[derive(Clone)]
pub struct Stocks(Arc<Shared>);

pub(super) struct Shared {
    pub(super) policy: Policy,
    pub(super) scripts: Scripts,
    pub(super) tally: Tally,
    store: RedisStore,
    names: Names,
}

/// The units of some items that are sold together, and the orders they are reserved for.
///
/// Clones are the same stock.
#[derive(Clone)]
pub struct Stock {
    pub(super) shared: Arc<Shared>,
    /// Counts, orders, and what is due.
    keys: Arc<[String; 3]>,
}

impl Stocks {
    pub(crate) fn new(policy: &Policy, store: &RedisStore) -> Result<Self, InvalidPolicy> {
        policy.check()?;
        let prefix = store.connection().settings().key_prefix();
        Ok(Self(Arc::new(Shared {
            policy: *policy,
            store: store.clone(),
            scripts: Scripts::new(),
            tally: Tally::default(),
            names: Names::new(prefix, "stock", policy.name)?,
        })))
    }

    /// The stock of `key`: of a kitchen, or of whatever sells its items together.
    #[must_use]
    pub fn stock<K: StoreKey + ?Sized>(&self, key: &K) -> Stock {
        let counts = self.0.names.of(key);
        let (orders, due) = (format!("{counts}:orders"), format!("{counts}:due"));
        Stock {
            shared: self.0.clone(),
            keys: Arc::new([counts, orders, due]),
        }
    }

    /// What became of the calls of this process for orders.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.0.tally.snapshot()
    }

    pub(super) fn name(&self) -> &'static str {
        self.0.policy.name
    }
}

impl Stock {
    /// The stocks of which this is one, which count what becomes of orders.
    #[must_use]
    pub fn stocks(&self) -> Stocks {
        Stocks(self.shared.clone())
    }

    /// Writes how many units of each item there are, unless they are counted already.
    ///
    /// The numbers are what the database says now. Of many processes that find the counts missing
    /// the first one to write wins. More than 500 items are written in steps, between which the rest
    /// is unknown.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] where a number is more than 2^53 - 1; [`Error::Store`], after which only
    /// [`refill`](Self::refill) adds items that are still missing.
    pub async fn fill<I: StoreKey>(
        &self,
        items: impl IntoIterator<Item = (I, u64)>,
    ) -> Result<Filled, Error> {
        self.write_counts("absent", items).await
    }

    /// Writes how many units of each item there are in place of all earlier counts, before they are
    /// too old to be believed.
    ///
    /// # Errors
    ///
    /// As [`fill`](Self::fill).
    pub async fn refill<I: StoreKey>(
        &self,
        items: impl IntoIterator<Item = (I, u64)>,
    ) -> Result<Filled, Error> {
        self.write_counts("anew", items).await
    }

    /// Says that the database has so many units of `item` more. Answers how many are left, or
    /// `None` where they are not counted.
    ///
    /// # Errors
    ///
    /// As [`fill`](Self::fill).
    pub async fn add<I: StoreKey + ?Sized>(
        &self,
        item: &I,
        units: u64,
    ) -> Result<Option<u64>, Error> {
        self.count("add", item, units).await
    }

    /// Says that the database has no more than so many units of `item`, which it does when it refuses
    /// what was let through here. Answers how many are left, or `None` where they are not counted.
    ///
    /// # Errors
    ///
    /// As [`fill`](Self::fill).
    pub async fn cap<I: StoreKey + ?Sized>(
        &self,
        item: &I,
        units: u64,
    ) -> Result<Option<u64>, Error> {
        self.count("cap", item, units).await
    }

    /// Says that the database has so many units of `item`, which may be new. Answers `None` where
    /// nothing at all is counted.
    ///
    /// # Errors
    ///
    /// As [`fill`](Self::fill).
    pub async fn set<I: StoreKey + ?Sized>(
        &self,
        item: &I,
        units: u64,
    ) -> Result<Option<u64>, Error> {
        self.count("set", item, units).await
    }

    /// Units left of `item`; `None` where they are not counted.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub async fn left<I: StoreKey + ?Sized>(&self, item: &I) -> Result<Option<u64>, Error> {
        let [counts, ..] = &*self.keys;
        let mut get = redis::cmd("HGET");
        get.arg(counts).arg(encoded_key(item));
        let count: Option<Vec<u8>> = self.shared.store.ask(counts, &get).await?;
        // What is no number of ours counts nothing.
        let units = |count: Vec<u8>| {
            let is_number = count.iter().all(u8::is_ascii_digit);
            str::from_utf8(&count)
                .ok()
                .filter(|_| is_number)?
                .parse()
                .ok()
        };
        Ok(count
            .and_then(units)
            .filter(|units| bounded(*units).is_ok()))
    }

    async fn write_counts<I: StoreKey>(
        &self,
        mode: &str,
        items: impl IntoIterator<Item = (I, u64)>,
    ) -> Result<Filled, Error> {
        let mut encoded = Vec::new();
        for (item, units) in items {
            encoded.push((encoded_key(&item), bounded(units)?));
        }
        // No items at all are a stock of which nothing is known, and that is known to be filled.
        let mut steps = encoded.chunks(ITEMS_A_STEP);
        let mut generation = mode.to_owned();
        let mut step: &[_] = steps.next().unwrap_or_default();
        loop {
            let arguments = (&generation, millis(self.shared.policy.life), step);
            generation = self.call(&self.shared.scripts.fill, &arguments).await?;
            if generation.is_empty() {
                return Ok(Filled::ByOthers);
            }
            match steps.next() {
                Some(next) => step = next,
                None => return Ok(Filled::Now),
            }
        }
    }

    async fn count<I: StoreKey + ?Sized>(
        &self,
        verb: &str,
        item: &I,
        units: u64,
    ) -> Result<Option<u64>, Error> {
        let arguments = (verb, encoded_key(item), bounded(units)?);
        let left: i64 = self.call(&self.shared.scripts.count, &arguments).await?;
        Ok(u64::try_from(left).ok())
    }

    pub(super) async fn call<T: FromRedisValue>(
        &self,
        script: &Script,
        arguments: &impl ToRedisArgs,
    ) -> Result<T, StoreError> {
        self.shared.store.call(script, &*self.keys, arguments).await
    }
}

impl fmt::Debug for Stocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stocks")
            .field("policy", &self.0.policy)
            .field("store", &self.0.store)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Stock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stock")
            .field("policy", &self.shared.policy)
            .field("store", &self.shared.store)
            .finish_non_exhaustive()
    }
}

/// About 0.5 ms of the server's time.
const ITEMS_A_STEP: usize = 500;
