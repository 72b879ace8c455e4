//! Items and orders, as the scripts want them.

use super::Error;
use crate::{StoreKey, key};

/// The items of an order as the script wants them: two orders for the same are written alike.
pub(super) struct Items {
    /// In ascending order of their names.
    pub(super) encoded: Vec<(String, u64)>,
    /// The place of each of them in the order.
    pub(super) order_of: Vec<usize>,
}

impl Items {
    pub(super) fn of_order<I: StoreKey>(items: &[(I, u64)]) -> Result<Self, Error> {
        if !(1..=MOST_ITEMS).contains(&items.len()) {
            return Err(Error::Invalid("an order has 1 to 100 items"));
        }
        let mut sorted = Vec::with_capacity(items.len());
        for (place, (item, units)) in items.iter().enumerate() {
            if *units == 0 {
                return Err(Error::Invalid(
                    "an order has at least one unit of each item",
                ));
            }
            sorted.push((encoded_key(item), bounded(*units)?, place));
        }
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::Invalid("an order names each item once"));
        }
        Ok(Self {
            order_of: sorted.iter().map(|(.., place)| *place).collect(),
            encoded: sorted
                .into_iter()
                .map(|(item, units, _)| (item, units))
                .collect(),
        })
    }
}

/// What stands for a key in an argument.
pub(super) fn encoded_key<K: StoreKey + ?Sized>(key: &K) -> String {
    let mut encoded = String::new();
    key::push_parts(&mut encoded, key);
    if encoded.is_empty() {
        // The key without parts has a name as well, and no other key has this one.
        encoded.push_str("()");
    }
    encoded
}

/// The number, where Lua can count so far.
pub(super) fn bounded(units: u64) -> Result<u64, Error> {
    if units > MOST_UNITS {
        return Err(Error::Invalid("units are counted up to 2^53 - 1"));
    }
    Ok(units)
}

/// Lua counts in doubles, which are exact to here.
const MOST_UNITS: u64 = (1 << 53) - 1;
/// About 0.2 ms of the server's time.
const MOST_ITEMS: usize = 100;
