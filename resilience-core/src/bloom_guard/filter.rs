use std::{fmt, hash::Hash};

use super::{Fingerprint, Hashed};

/// What a guard asks whether a key is known: [`Bloom`](super::Bloom) or
/// [`ExactSet`](super::ExactSet).
///
/// A filter is asked by any number of threads while at most one changes it, which its guard sees
/// to. It has one set of keys that is asked, and during a rebuild one more beside it.
pub trait Filter: fmt::Debug + Send + Sync + sealed::Sealed + 'static {
    /// Whether `key` may be in the set: `true` for each that is, and seldom for others.
    fn contains<Q: Hash + ?Sized>(&self, key: &Hashed<'_, Q>) -> bool;

    /// Adds a key, to the set beside as well where there is one.
    fn insert(&self, key: Fingerprint) -> Added;

    /// Puts an empty set for `capacity` keys beside.
    fn stage(&self, capacity: u64);

    /// Adds a key to the set beside alone, while others insert; whether it is new there.
    fn insert_staged(&self, key: Fingerprint) -> bool;

    /// The set beside is the one that is asked from now on.
    fn commit(&self);

    /// There is no set beside any more.
    fn discard(&self);

    /// Share of the set's room that is taken, from 0 to 1, where it has a fixed one.
    fn fill(&self) -> f64;

    /// Share of unknown keys that are taken for known, by how full the set is.
    fn false_positive_rate(&self) -> f64;
}

/// Where a key was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// In the set that is asked.
    pub(super) current: bool,
    /// In the set beside.
    pub(super) staged: bool,
}

pub(super) mod sealed {
    /// Filters trust their guard to let one at a time change them.
    pub trait Sealed {}
}
