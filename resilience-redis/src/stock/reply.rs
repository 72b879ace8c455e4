//! What the scripts say, in types.

use redis::{FromRedisValue, ParsingError, Value, from_redis_value};

use super::Error;
use crate::script::unexpected;

/// Whether a call did it, or found it done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Once {
    /// This call did.
    Now,
    /// An earlier one had.
    Before,
}

/// Whether a call confirmed an order, or found it confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Confirmed {
    /// This call did.
    Now,
    /// An earlier one had.
    Before,
    /// This call did, after the reservation had expired: others may have been let through for the
    /// same units.
    Late,
}

/// How an order that is over has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Its units are sold.
    Confirmed,
    /// Its units were given back.
    Released,
    /// Nobody confirmed it in time, and its units are back.
    Expired,
}

/// Whether counts were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filled {
    /// They were.
    Now,
    /// Others have written theirs: before, or while these were written.
    ByOthers,
}

/// What [`Stock::reap`](super::Stock::reap) found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// Reservations that expired by this call.
    pub expired: u64,
    /// Whether others may be due already.
    pub more: bool,
}

impl End {
    /// A stable lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }
}

/// A reply to `stock_reserve.lua`; items are counted from one, in the order they were sent in.
pub(super) struct Reserved {
    pub(super) outcome: Result<Once, Error>,
    /// Reservations of others that expired by this call.
    pub(super) expired: u64,
}

impl FromRedisValue for Reserved {
    fn from_redis_value(reply: Value) -> Result<Self, ParsingError> {
        let Value::Array(parts) = reply else {
            return Err(unexpected());
        };
        let mut parts = parts.into_iter();
        let mut next = || parts.next().ok_or_else(unexpected);
        let (expired, word): (u64, String) =
            (from_redis_value(next()?)?, from_redis_value(next()?)?);
        let numbers: Vec<u64> = parts.map(from_redis_value).collect::<Result<_, _>>()?;
        let item = |number: u64| usize::try_from(number).ok()?.checked_sub(1);
        let outcome = match (word.as_str(), numbers.as_slice()) {
            ("now", []) => Ok(Once::Now),
            ("before", []) => Ok(Once::Before),
            ("confirmed", []) => Err(Error::Over(End::Confirmed)),
            ("released", []) => Err(Error::Over(End::Released)),
            ("expired", []) => Err(Error::Over(End::Expired)),
            ("conflict", []) => Err(Error::Conflict),
            ("unknown", []) => Err(Error::Unknown { item: None }),
            ("unknown", [number]) => Err(Error::Unknown {
                item: Some(item(*number).ok_or_else(unexpected)?),
            }),
            ("sold out", [number, left]) => Err(Error::SoldOut {
                item: item(*number).ok_or_else(unexpected)?,
                left: *left,
            }),
            _ => return Err(unexpected()),
        };
        Ok(Self { outcome, expired })
    }
}

/// A reply to `stock_confirm.lua` or `stock_release.lua`.
pub(super) enum Finished {
    Now,
    Before,
    Late,
    Not(Error),
}

impl FromRedisValue for Finished {
    fn from_redis_value(reply: Value) -> Result<Self, ParsingError> {
        let word: String = from_redis_value(reply)?;
        Ok(match word.as_str() {
            "now" => Self::Now,
            "before" => Self::Before,
            "late" => Self::Late,
            "confirmed" => Self::Not(Error::Over(End::Confirmed)),
            "released" => Self::Not(Error::Over(End::Released)),
            "not reserved" => Self::Not(Error::NotReserved),
            _ => return Err(unexpected()),
        })
    }
}
