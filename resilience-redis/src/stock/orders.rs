//! What a stock does for orders.

use super::{
    Confirmed, Error, Once, Reaped, Stock,
    items::{Items, encoded_key},
    reply::{Finished, Reserved},
};
use crate::{StoreError, StoreKey, counted::counted, script::millis};

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
        let tally = &self.shared.tally;
        let call = self.reserve_now(order, items);
        counted(&tally.canceled, call, |outcome| tally.reserved(outcome)).await
    }

    /// Says that the units of `order` are sold.
    ///
    /// # Errors
    ///
    /// [`Error::NotReserved`], [`Error::Over`] where the order was released, [`Error::Store`].
    pub async fn confirm<O: StoreKey + ?Sized>(&self, order: &O) -> Result<Confirmed, Error> {
        let tally = &self.shared.tally;
        let call = self.confirm_now(order);
        counted(&tally.canceled, call, |outcome| tally.confirmed(outcome)).await
    }

    /// Gives the units of `order` back.
    ///
    /// # Errors
    ///
    /// [`Error::NotReserved`], [`Error::Over`] where the order was confirmed, [`Error::Store`].
    pub async fn release<O: StoreKey + ?Sized>(&self, order: &O) -> Result<Once, Error> {
        let tally = &self.shared.tally;
        let call = self.release_now(order);
        counted(&tally.canceled, call, |outcome| tally.released(outcome)).await
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
        self.shared.tally.expired(expired);
        Ok(Reaped { expired, more })
    }

    async fn reserve_now<O, I>(&self, order: &O, items: &[(I, u64)]) -> Result<Once, Error>
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
        let reserve = &self.shared.scripts.reserve;
        let Reserved { outcome, expired } = self.call(reserve, &arguments).await?;
        self.shared.tally.expired(expired);
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

    async fn confirm_now<O: StoreKey + ?Sized>(&self, order: &O) -> Result<Confirmed, Error> {
        let arguments = (encoded_key(order), millis(self.shared.policy.remember));
        match self.call(&self.shared.scripts.confirm, &arguments).await? {
            Finished::Now => Ok(Confirmed::Now),
            Finished::Before => Ok(Confirmed::Before),
            Finished::Late => Ok(Confirmed::Late),
            Finished::Not(error) => Err(error),
        }
    }

    async fn release_now<O: StoreKey + ?Sized>(&self, order: &O) -> Result<Once, Error> {
        let arguments = (encoded_key(order), millis(self.shared.policy.remember));
        match self.call(&self.shared.scripts.release, &arguments).await? {
            Finished::Now => Ok(Once::Now),
            Finished::Before => Ok(Once::Before),
            Finished::Late => Err(StoreError::Protocol.into()),
            Finished::Not(error) => Err(error),
        }
    }
}

/// The server stops before that where it would take long.
const MOST_REAPED: u32 = 1000;
