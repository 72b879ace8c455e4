use std::{fmt, sync::Arc, time::Duration};

use redis::{FromRedisValue, ToRedisArgs};
use resilience_core::InvalidPolicy;

use super::{
    Confirmed, Error, Filled, Once, Policy, Reaped,
    items::{Items, bounded, encoded_key},
    reply::{Finished, Reserved},
    scripts::Scripts,
};
use crate::{RedisStore, StoreError, StoreKey, key::Names, script::Script};

/// Stocks in a [`RedisStore`], one for each key. Clones share them.
#[derive(Clone)]
pub struct Stocks(Arc<Shared>);

struct Shared {
    policy: Policy,
    store: RedisStore,
    scripts: Scripts,
    names: Names,
}

/// The units of some items that are sold together, and the orders they are reserved for.
///
/// Clones are the same stock.
#[derive(Clone)]
pub struct Stock {
    shared: Arc<Shared>,
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
}

impl Stock {
    /// Reserves units of each of `items` for `order`, or of none of them.
    ///
    /// Called again with the same order and items it reserves nothing more, and the time until the
    /// reservation expires begins anew. `order` may be any id that is used for nothing else.
    ///
    /// # Errors
    ///
    /// Any but [`Error::NotReserved`]. An order has 1 to 100 items, each of them once, with 1 to
    /// 2^53 - 1 units.
    pub async fn reserve<O, I>(&self, order: &O, items: &[(I, u64)]) -> Result<Once, Error>
    where
        O: StoreKey + ?Sized,
        I: StoreKey,
    {
        let Items { order_of, encoded } = Items::of_order(items)?;
        let policy = &self.shared.policy;
        let outlive = policy.life + policy.reservation + policy.remember;
        let arguments = (
            encoded_key(order),
            millis(policy.reservation),
            millis(policy.remember),
            millis(outlive),
            encoded,
        );
        let Reserved(outcome) = self.call(&self.shared.scripts.reserve, &arguments).await?;
        let place = |sorted: usize| order_of.get(sorted).copied().unwrap_or(sorted);
        outcome.map_err(|error| match error {
            Error::SoldOut { item, left } => Error::SoldOut {
                item: place(item),
                left,
            },
            Error::Unknown { item } => Error::Unknown {
                item: item.map(place),
            },
            other => other,
        })
    }

    /// Says that the units of `order` are sold.
    ///
    /// # Errors
    ///
    /// [`Error::NotReserved`], [`Error::Over`] where the order was released, [`Error::Store`].
    pub async fn confirm<O: StoreKey + ?Sized>(&self, order: &O) -> Result<Confirmed, Error> {
        let arguments = (encoded_key(order), millis(self.shared.policy.remember));
        match self.call(&self.shared.scripts.confirm, &arguments).await? {
            Finished::Now => Ok(Confirmed::Now),
            Finished::Before => Ok(Confirmed::Before),
            Finished::Late => Ok(Confirmed::Late),
            Finished::Not(error) => Err(error),
        }
    }

    /// Gives the units of `order` back.
    ///
    /// # Errors
    ///
    /// [`Error::NotReserved`], [`Error::Over`] where the order was confirmed, [`Error::Store`].
    pub async fn release<O: StoreKey + ?Sized>(&self, order: &O) -> Result<Once, Error> {
        let arguments = (encoded_key(order), millis(self.shared.policy.remember));
        match self.call(&self.shared.scripts.release, &arguments).await? {
            Finished::Now => Ok(Once::Now),
            Finished::Before => Ok(Once::Before),
            Finished::Late => Err(StoreError::Protocol.into()),
            Finished::Not(error) => Err(error),
        }
    }

    /// Ends up to `orders` reservations whose time is over, and forgets what is over for long
    /// enough. Any process may, at any time.
    ///
    /// Fewer where they would hold up the server for longer than a millisecond or two: it says
    /// whether there are [more](Reaped::more).
    ///
    /// # Errors
    ///
    /// [`Error::Store`]; [`Error::Invalid`] where `orders` is not 1 to 1000.
    pub async fn reap(&self, orders: u32) -> Result<Reaped, Error> {
        if !(1..=MOST_REAPED).contains(&orders) {
            return Err(Error::Invalid("1 to 1000 orders are looked at in one step"));
        }
        let arguments = (orders, millis(self.shared.policy.remember));
        let (expired, more) = self.call(&self.shared.scripts.reap, &arguments).await?;
        Ok(Reaped { expired, more })
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
        Ok(self.shared.store.ask(counts, &get).await?)
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

    async fn call<T: FromRedisValue>(
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

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// About 0.5 ms of the server's time.
const ITEMS_A_STEP: usize = 500;
/// The server stops before that where it would take long.
const MOST_REAPED: u32 = 1000;
