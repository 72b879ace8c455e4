//! What is asked for.

use std::sync::Arc;

use http::Request;

/// The requests are the numbers below this one, for layers that look at a key.
pub const KEYS: u64 = 10_000;

/// What a filter holds: so many even numbers, and how often it may take others for them.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// How many.
    pub number: u64,
    /// For how many of the others, as a share.
    pub rate: f64,
}

impl Held {
    /// So few mistakes that none of the absent keys is taken for a held one.
    pub const MILLION: Self = Self {
        number: 1_000_000,
        rate: 1e-7,
    };

    /// As many as fit into `bits` at one mistake in a hundred: a key takes 9.6.
    #[must_use]
    pub const fn in_bits(bits: u64) -> Self {
        Self {
            number: bits * 10 / 96,
            rate: 0.01,
        }
    }

    /// All of them.
    pub fn all(self) -> impl Iterator<Item = u64> {
        (0..self.number).map(held)
    }
}

/// Of filters: the same bits in every run, so that runs can be compared.
pub const SEED: [u8; 32] = *b"the first half, another one here";

/// A key that is held.
#[inline]
#[must_use]
pub const fn held(request: u64) -> u64 {
    request * 2
}

/// A key that is not.
#[inline]
#[must_use]
pub const fn absent(request: u64) -> u64 {
    request * 2 + 2 * KEYS + 1
}

/// The page that `request` asks for.
#[must_use]
pub fn page<B>(request: &Request<B>) -> Option<u64> {
    let (_, page) = request.uri().path().rsplit_once('/')?;
    page.parse().ok()
}

/// The keys' names, by number.
#[must_use]
pub fn names() -> Arc<[String]> {
    (0..KEYS).map(|key| format!("customer-{key:08}")).collect()
}

/// Where the name of `key` stands among [`names`].
#[must_use]
pub fn index(key: u64) -> usize {
    usize::try_from(key).unwrap_or(usize::MAX)
}
