use std::{hash::Hash, sync::Arc};

use super::{Codec, Layer, Policy, Snapshot, Tier, TierPolicy, second::Second, shared::Shared};
use crate::{Environment, InvalidPolicy};

/// Values by key, each loaded once for everybody; see the [module](super).
///
/// Clones, layers and services made from it share its entries and its loads. A value is cloned
/// for each caller, while nobody can change what is stored: put what is large into an [`Arc`]. A
/// `Clone` or `Eq` must not come back to the cache.
#[derive(Debug)]
pub struct Cache<K, V> {
    pub(super) shared: Arc<Shared<K, V>>,
}

/// By hand, since clones share whatever the cache holds.
impl<K, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// A cache in the default [`Environment`].
    ///
    /// # Errors
    ///
    /// A name that cannot stand in a header, or a setting that cannot work.
    pub fn new(policy: Policy) -> Result<Self, InvalidPolicy> {
        Self::new_in(policy, &Environment::default())
    }

    /// A cache in `environment`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn new_in(policy: Policy, environment: &Environment) -> Result<Self, InvalidPolicy> {
        let shared = Arc::new(Shared::new(policy, environment)?);
        Ok(Self { shared })
    }

    /// A cache over a second tier, which other processes share; see [`Tier`].
    ///
    /// Values without tags are put there when they were loaded or inserted, and looked for before
    /// a loader is asked. That a key has none is known to this process alone.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and a setting of the tier's policy that cannot work.
    pub fn new_over(
        policy: Policy,
        tier: (TierPolicy, impl Tier, impl Codec<K, V> + 'static),
        environment: &Environment,
    ) -> Result<Self, InvalidPolicy> {
        let mut shared = Shared::new(policy, environment)?;
        let (policy, tier, codec) = tier;
        let panics = shared.panics.clone();
        let second = Second::new(policy, tier, codec, panics, environment)?;
        let shared = Arc::new_cyclic(|shared_later| {
            shared.join_fleet(second, shared_later);
            shared
        });
        Ok(Self { shared })
    }

    /// A layer for any service whose answers may be shared: each key that `extractor` finds is
    /// asked for once, and every answer that is no error is stored. A request without a key
    /// passes.
    pub fn layer_with<X>(&self, extractor: X) -> Layer<K, V, X> {
        Layer::new(self.clone(), extractor)
    }

    /// How it stands now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    pub(super) const fn shared(&self) -> &Arc<Shared<K, V>> {
        &self.shared
    }

    pub(super) fn name(&self) -> &'static str {
        self.shared.policy.name
    }
}
