//! One who wants a lock.

use std::{mem, sync::Arc, time::Duration};

use tokio::runtime::Handle;

use super::{Fence, Guard, claim::Claim, renewal, shared::Shared};
use crate::StoreError;

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
            claim: Arc::new(Claim::new(locks, keys)),
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
