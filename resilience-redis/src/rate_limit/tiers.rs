//! Which of a policy's tiers a key is in.

use std::{borrow::Borrow, fmt, sync::Arc};

/// Of a limiter whose keys all have the policy's own quotas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Untiered;

/// Of a limiter of keys `K` that have the quotas of their tiers: see
/// [`rate_limiter_with_tiers`](crate::RedisStore::rate_limiter_with_tiers).
pub struct Tiered<K>(Arc<TierOf<K>>);

/// Finds the name of a key's tier.
type TierOf<K> = dyn Fn(&K) -> &'static str + Send + Sync;

/// What keys a limiter can be asked for: [`Untiered`] any, [`Tiered`] those that it can find the tier
/// of, in borrowed forms as well, which are made owned for the question.
pub trait Tiers<Q: ?Sized>: sealed::Sealed {
    /// The name of the tier that `key` is in, if keys are in any.
    fn tier_of(&self, key: &Q) -> Option<&'static str>;
}

impl<Q: ?Sized> Tiers<Q> for Untiered {
    #[inline]
    fn tier_of(&self, _: &Q) -> Option<&'static str> {
        None
    }
}

impl<K, Q> Tiers<Q> for Tiered<K>
where
    K: Borrow<Q>,
    Q: ToOwned<Owned = K> + ?Sized,
{
    fn tier_of(&self, key: &Q) -> Option<&'static str> {
        Some((self.0)(&key.to_owned()))
    }
}

impl<K> Tiered<K> {
    pub(crate) fn new(tier_of: impl Fn(&K) -> &'static str + Send + Sync + 'static) -> Self {
        Self(Arc::new(tier_of))
    }
}

/// By hand, since keys need not be `Clone` for this.
impl<K> Clone for Tiered<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// By hand, since closures are not `Debug`.
impl<K> fmt::Debug for Tiered<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiered").finish_non_exhaustive()
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::Untiered {}
    impl<K> Sealed for super::Tiered<K> {}
}

/// A tier by its place in the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tier {
    /// The policy's own quotas.
    #[default]
    None,
    Index(usize),
}

impl Tier {
    pub(super) const fn index(self) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Index(index) => Some(index),
        }
    }
}
