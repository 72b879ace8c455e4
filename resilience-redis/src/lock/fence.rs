use std::fmt;

use resilience_core::InvalidPolicy;

/// A number that grows with every holder of a lock: microseconds since 1970, or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(u64);

impl Fence {
    /// Smaller than the fence of any holder.
    pub const ZERO: Self = Self(0);

    /// A fence that the resource has kept.
    ///
    /// # Errors
    ///
    /// Where the number is 2^53 - 1 or more: no larger fence could be counted.
    pub const fn from_u64(number: u64) -> Result<Self, InvalidPolicy> {
        if number >= END {
            return Err(InvalidPolicy::new("fence", "must be less than 2^53 - 1"));
        }
        Ok(Self(number))
    }

    pub(super) const fn of_reply(number: u64) -> Self {
        Self(number)
    }

    /// The number: less than 2^53, so it fits in any database and in JSON.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The first number above which the script counts none.
const END: u64 = (1 << 53) - 1;
