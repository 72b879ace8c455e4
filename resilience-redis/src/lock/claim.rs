//! One who wants a lock, or has it, as the server knows him.

use std::{sync::Arc, time::Duration};

use resilience_core::Clock;

use super::{Fence, measure::Tally, shared::Shared};
use crate::{StoreError, identity, script::millis};

pub(super) struct Claim {
    locks: Arc<Shared>,
    /// The lock and its fence.
    keys: [String; 2],
    owner: String,
}

impl Claim {
    pub(super) fn new(locks: &Arc<Shared>, keys: [String; 2]) -> Self {
        Self {
            locks: locks.clone(),
            keys,
            owner: identity::unique(),
        }
    }

    pub(super) fn ttl(&self) -> Duration {
        self.locks.policy.ttl
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.locks.clock
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.locks.tally
    }

    /// The fence, or zero and for how many milliseconds another has the lock.
    pub(super) async fn acquire(&self, seen: Fence) -> Result<(u64, u64), StoreError> {
        let arguments = (&self.owner, millis(self.ttl()), seen.as_u64());
        let Shared { store, acquire, .. } = &*self.locks;
        store.call(acquire, &self.keys, &arguments).await
    }

    /// Prolongs the lock; whether it is still ours.
    pub(super) async fn renew(&self) -> Result<bool, StoreError> {
        let arguments = (&self.owner, millis(self.ttl()));
        let Shared { store, renew, .. } = &*self.locks;
        store.call(renew, &self.keys[..1], &arguments).await
    }

    /// Gives the lock back; whether it was still ours.
    pub(super) async fn release(&self) -> Result<bool, StoreError> {
        let arguments = (&self.owner,);
        let Shared { store, release, .. } = &*self.locks;
        store.call(release, &self.keys[..1], &arguments).await
    }
}
