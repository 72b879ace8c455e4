//! What is asked for.

use std::sync::Arc;

use http::Request;

/// The requests are the numbers below this one, for layers that look at a key.
pub const KEYS: u64 = 10_000;

/// Keys that a filter holds: the even numbers below twice as many.
pub const HELD: u64 = 1_000_000;

/// So small that none of the absent keys is taken for a held one.
pub const RATE: f64 = 1e-7;

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

/// All keys that are held.
pub fn all() -> impl Iterator<Item = u64> {
    (0..HELD).map(held)
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
