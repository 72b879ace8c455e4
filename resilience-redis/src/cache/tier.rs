use std::{fmt, sync::Arc, time::Duration};

use resilience_core::{
    BoxError, InvalidPolicy,
    cache::{Claim, Hears, Lease, Listener, Remembered, Reply, Tier, Unfilled},
};

use super::{hearing::hear_all, names::Part, shared::Shared};
use crate::RedisStore;

/// The second tier of a [`Cache`](resilience_core::Cache), in Redis; see the [module](super).
///
/// Clones are the same tier.
#[derive(Clone)]
pub struct RedisTier(Arc<Shared>);

impl RedisTier {
    pub(crate) fn new(store: &RedisStore, name: &str) -> Result<Self, InvalidPolicy> {
        Ok(Self(Arc::new(Shared::new(store, name)?)))
    }

    /// Whether this process hears what the others change, and what Redis holds is believed. From
    /// the start until the first connection stands it does not.
    #[must_use]
    pub fn is_in_touch(&self) -> bool {
        self.0.ears().in_touch
    }
}

impl Tier for RedisTier {
    fn get<'a>(&'a self, key: &'a [u8]) -> Reply<'a, Option<Remembered>> {
        Box::pin(async { Ok(self.0.get(&Part::of(key)).await?) })
    }

    fn put<'a>(&'a self, key: &'a [u8], entry: Vec<u8>, ttl: Duration) -> Reply<'a, ()> {
        Box::pin(async move { Ok(self.0.put(&Part::of(key), &entry, ttl).await?) })
    }

    fn remove<'a>(&'a self, key: &'a [u8]) -> Reply<'a, ()> {
        Box::pin(async {
            let part = Part::of(key);
            let ticket = self.0.unsent().void(&part);
            Ok(self.0.remove(&part, ticket).await?)
        })
    }

    fn clear(&self) -> Reply<'_, ()> {
        Box::pin(async {
            let ticket = self.0.unsent().void_all();
            // In a task of its own: it looks at every key, and goes on where nobody waits for it.
            let shared = self.0.clone();
            let runtime = self.0.store.runtime();
            let clear = runtime.spawn(async move { shared.clear(ticket).await });
            Ok(clear.await.map_err(BoxError::from)??)
        })
    }

    fn listen(&self, listener: Listener) -> Hears {
        if self.0.listener.set(listener).is_ok() {
            let runtime = self.0.store.runtime();
            runtime.spawn(hear_all(Arc::downgrade(&self.0)));
        }
        Hears::Later
    }

    fn knows_what_failed(&self) -> bool {
        // Keys that are still to be told are not believed, each by itself.
        self.is_in_touch() && self.0.unsent().everything().is_none()
    }

    fn mark(&self, key: &[u8]) -> u64 {
        Part::of(key).mark()
    }

    fn claim<'a>(&'a self, key: &'a [u8], lease: Duration, patience: Duration) -> Reply<'a, Claim> {
        Box::pin(async move { Ok(self.0.claim(&Part::of(key), lease, patience).await?) })
    }

    fn fill<'a>(
        &'a self,
        key: &'a [u8],
        lease: Lease,
        entry: Vec<u8>,
        ttl: Duration,
    ) -> Reply<'a, ()> {
        Box::pin(async move { Ok(self.0.fill(&Part::of(key), lease, &entry, ttl).await?) })
    }

    fn release<'a>(&'a self, key: &'a [u8], lease: Lease, why: Unfilled) -> Reply<'a, ()> {
        Box::pin(async move { Ok(self.0.release(&Part::of(key), lease, why).await?) })
    }
}

impl fmt::Debug for RedisTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTier")
            .field("names", &self.0.names)
            .field("store", &self.0.store)
            .finish_non_exhaustive()
    }
}
