use std::{error::Error, fmt};

use resilience_core::{Clock, Timestamp};
use tokio::{
    select,
    sync::{oneshot, watch},
    time::{sleep, timeout},
};

use super::{
    Fence, Loss,
    lease::Standing,
    renewal::{Door, Released},
};
use crate::StoreError;

/// A lock that is held and renewed until this is dropped.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct Guard {
    fence: Fence,
    standing: watch::Receiver<Standing>,
    clock: Clock,
    door: Door,
}

/// Why a lock was not given back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotReleased {
    /// It was another's or nobody's, and was left alone.
    NotOwner,
    /// The server did not say. The lock ends by itself.
    Store(StoreError),
}

impl Guard {
    pub(super) const fn new(
        fence: Fence,
        standing: watch::Receiver<Standing>,
        clock: Clock,
        door: Door,
    ) -> Self {
        Self {
            fence,
            standing,
            clock,
            door,
        }
    }

    /// The number that the resource should check: larger than every earlier holder's.
    #[must_use]
    pub const fn fence(&self) -> Fence {
        self.fence
    }

    /// The instant before which nobody else can have the lock, moved on by each renewal, by
    /// [`Clock::system`]; where the lock is lost, an instant that has passed.
    ///
    /// A server that [forgets the lock](super#what-it-does-not-promise) gives it to another before,
    /// of which this hears with the next renewal: hand the [`fence`](Self::fence) to the resource.
    #[must_use]
    pub fn valid_until(&self) -> Timestamp {
        match *self.standing.borrow() {
            Standing::Until(until) => until,
            Standing::Lost(_) => Timestamp::ZERO,
        }
    }

    /// Why the lock is held no more; `None` while it is held.
    #[must_use]
    pub fn loss(&self) -> Option<Loss> {
        match *self.standing.borrow() {
            Standing::Until(until) if self.clock.now() < until => None,
            // Whoever renews it stood still as well, or is gone with its runtime.
            Standing::Until(_) => Some(Loss::Expired),
            Standing::Lost(loss) => Some(loss),
        }
    }

    /// Waits until the lock is held no more.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it changes nothing.
    pub async fn lost(&self) -> Loss {
        let mut standing = self.standing.clone();
        loop {
            if let Some(loss) = self.loss() {
                return loss;
            }
            let left = self.valid_until().saturating_since(self.clock.now());
            if let Ok(Err(_)) = timeout(left, standing.changed()).await {
                // Nobody renews it any more.
                sleep(left).await;
            }
        }
    }

    /// Does `work` while the lock is held; drops it half way where the lock is lost.
    ///
    /// # Errors
    ///
    /// Why the lock was lost.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, Loss> {
        select! {
            // The loss first: a process that stood still takes no further step.
            biased;
            loss = self.lost() => Err(loss),
            done = work => Ok(done),
        }
    }

    /// Gives the lock back, and says whether it was still ours.
    ///
    /// # Errors
    ///
    /// Where it was not, or where the server gave no answer.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is given back all the same.
    pub async fn release(self) -> Result<(), NotReleased> {
        let (answer_to, answer) = oneshot::channel::<Released>();
        if self.door.send(answer_to).is_err() {
            // The task that would ask is gone with its runtime.
            return Err(NotReleased::Store(StoreError::Unavailable));
        }
        match answer.await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(NotReleased::NotOwner),
            Ok(Err(error)) => Err(NotReleased::Store(error)),
            Err(_) => Err(NotReleased::Store(StoreError::Unavailable)),
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("fence", &self.fence)
            .field("standing", &*self.standing.borrow())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for NotReleased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOwner => f.write_str("the lock was another's or nobody's"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl Error for NotReleased {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotOwner => None,
            Self::Store(error) => Some(error),
        }
    }
}
