//! One who wants a lock, or has it.

use std::{mem, sync::Arc, time::Duration};

use resilience_core::Clock;
use tokio::runtime::Handle;

use super::{Fence, Guard, locks::Shared, measure::Tally, renewal};
use crate::{StoreError, identity, script::millis};

pub(super) struct Claim {
    locks: Arc<Shared>,
    /// The lock and its fence.
    keys: [String; 2],
    owner: String,
}

impl Claim {
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
    async fn acquire(&self, seen: Fence) -> Result<(u64, u64), StoreError> {
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

/// Tries to take a lock, and gives back what it may have taken without hearing of it.
pub(super) struct Attempt {
    claim: Arc<Claim>,
    /// Whether a request is or was under way of which nobody knows the outcome.
    in_doubt: bool,
}

/// What came of an attempt.
pub(super) enum Acquired {
    Taken(Guard),
    /// Another has it, for so long at most.
    Held(Duration),
}

impl Attempt {
    pub(super) fn new(locks: &Arc<Shared>, keys: [String; 2]) -> Self {
        Self {
            claim: Arc::new(Claim {
                locks: locks.clone(),
                keys,
                owner: identity::unique(),
            }),
            in_doubt: false,
        }
    }

    /// Asks once; asked again after an answer that was lost, takes what it had taken by then.
    pub(super) async fn acquire(&mut self, seen: Fence) -> Result<Acquired, StoreError> {
        let clock = self.claim.clock();
        let sent = clock.now();
        let doubted = mem::replace(&mut self.in_doubt, true);
        let answer = self.claim.acquire(seen).await;
        self.in_doubt = match &answer {
            Ok(_) => false,
            Err(error) => doubted || error.may_have_run(),
        };
        match answer? {
            (0, left) => Ok(Acquired::Held(Duration::from_millis(left))),
            (fence, _) => {
                let clock = clock.clone();
                let (door, standing) = renewal::keep(self.claim.clone(), sent);
                let fence = Fence::of_reply(fence);
                Ok(Acquired::Taken(Guard::new(fence, standing, clock, door)))
            }
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // Without a runtime there is nobody to ask, and the lock ends by itself.
        if self.in_doubt
            && let Ok(runtime) = Handle::try_current()
        {
            let claim = self.claim.clone();
            runtime.spawn(async move { claim.release().await });
        }
    }
}
