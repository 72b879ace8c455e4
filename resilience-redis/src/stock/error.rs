use std::fmt;

use super::End;
use crate::StoreError;

/// Why a stock did not do what it was asked; nothing was changed then, save for
/// [`Store`](Self::Store).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Fewer units are left than were asked for.
    SoldOut {
        /// Which of the items, by its place in the order.
        item: usize,
        /// Units left of it.
        left: u64,
    },
    /// There are no counts, or none that are believed: the database decides.
    Unknown {
        /// The item that is not counted, by its place in the order; `None` where none is.
        item: Option<usize>,
    },
    /// The order was reserved before, for other items.
    Conflict,
    /// The order was reserved before, and is over.
    Over(End),
    /// The order was never reserved, or too long ago to be remembered.
    NotReserved,
    /// What was asked for cannot be; this says why.
    Invalid(&'static str),
    /// Redis gave no answer. It may have done what it was asked: ask again, with the same order.
    Store(StoreError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SoldOut { item, left } => {
                write!(f, "{left} units are left of item {item} of the order")
            }
            Self::Unknown { item: Some(item) } => {
                write!(f, "item {item} of the order is not counted")
            }
            Self::Unknown { item: None } => f.write_str("no units are counted"),
            Self::Conflict => f.write_str("the order was reserved for other items"),
            Self::Over(end) => write!(f, "the order is over: {}", end.as_str()),
            Self::NotReserved => f.write_str("the order is not reserved"),
            Self::Invalid(problem) => f.write_str(problem),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            Self::SoldOut { .. }
            | Self::Unknown { .. }
            | Self::Conflict
            | Self::Over(_)
            | Self::NotReserved
            | Self::Invalid(_) => None,
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
