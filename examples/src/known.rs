//! Which dishes there are, as far as it can be told without the database.

use std::{future::Future, sync::Arc};

use futures_core::Stream;
use resilience_core::{
    BloomGuard, InvalidPolicy, Measured,
    bloom_guard::{self as core, Policy, Snapshot},
};
use resilience_redis::bloom_guard::{BloomGuard as SharedGuard, RebuildError};

use crate::fleet::Fleet;

/// The guard of the dishes' pages: a gateway's own, or one that all gateways share.
#[derive(Clone, Debug)]
pub enum Known {
    /// What this gateway adds is all that is added.
    Own(BloomGuard<i64>),
    /// What any gateway adds is known to all.
    Shared(SharedGuard<i64>),
}

impl Known {
    pub(crate) fn new(policy: Policy, fleet: Option<&Fleet>) -> Result<Self, InvalidPolicy> {
        Ok(match fleet {
            None => Self::Own(BloomGuard::new(policy)?),
            Some(fleet) => {
                let policy = policy.seed(fleet.filter_seed.bytes());
                Self::Shared(fleet.redis.bloom_guard(policy)?)
            }
        })
    }

    /// What `search` finds, which is not made where there is surely no dish of this number.
    pub(crate) async fn find<T, E, F>(
        &self,
        id: i64,
        search: impl FnOnce() -> F,
    ) -> Result<Option<T>, E>
    where
        F: Future<Output = Result<Option<T>, E>>,
    {
        match self {
            Self::Own(guard) => guard.find(&id, search).await,
            Self::Shared(guard) => guard.find(&id, search).await,
        }
    }

    /// From now on there is a dish of this number.
    pub(crate) async fn insert(&self, id: i64) {
        match self {
            Self::Own(guard) => guard.insert(&id),
            // It is told again as soon as Redis hears it; whoever does not hear from Redis either
            // lets all numbers pass.
            Self::Shared(guard) => {
                if let Err(error) = guard.insert(&id).await {
                    tracing::warn!(%error, "the other gateways do not know of a dish yet");
                }
            }
        }
    }

    /// Learns all numbers from `dishes`. What cannot be told to the other gateways is told later.
    pub(crate) async fn list<S>(&self, dishes: impl FnOnce() -> S) -> sqlx::Result<()>
    where
        S: Stream<Item = sqlx::Result<i64>>,
    {
        let error = match self {
            Self::Own(guard) => match guard.rebuild_from_stream(dishes).await {
                Err(core::RebuildError::Source(error)) => return Err(error),
                Ok(()) | Err(core::RebuildError::UnderWay) => return Ok(()),
            },
            Self::Shared(guard) => match guard.rebuild_from_stream(dishes).await {
                Err(RebuildError::Source(error)) => return Err(error),
                Ok(()) | Err(RebuildError::UnderWay) => return Ok(()),
                Err(error) => error,
            },
        };
        tracing::warn!(%error, "no gateway knows which dishes there are");
        Ok(())
    }

    /// Waits until the numbers are lost, and all of them pass.
    pub(crate) async fn is_lost(&self) {
        match self {
            Self::Own(_) => std::future::pending().await,
            Self::Shared(guard) => {
                if guard.rebuild_is_wanted().await.is_err() {
                    // The runtime goes down, and this with it.
                    std::future::pending().await
                }
            }
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        match self {
            Self::Own(guard) => guard.snapshot(),
            Self::Shared(guard) => guard.snapshot(),
        }
    }

    /// What counts the checks.
    pub(crate) fn engine(&self) -> Arc<dyn Measured> {
        match self {
            Self::Own(guard) => Arc::new(guard.clone()),
            Self::Shared(guard) => Arc::new(guard.clone()),
        }
    }
}
