//! What waits in a queue, looked at now and then for those who measure it.
//!
//! Whoever collects figures does not wait for a server, so that somebody must have asked before. A
//! queue is looked at also by those who only push: where no consumer runs is where most waits.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::time::sleep;

use super::{Depth, engine::Shared};
use crate::StoreError;

/// What waited when it was last counted; nothing where that failed.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Option<Depth>>);

impl Seen {
    pub(super) fn note(&self, counted: &Result<Depth, StoreError>) {
        // An old number is worse than none: it looks as if all were well.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = counted.as_ref().ok().cloned();
    }

    pub(super) fn last(&self) -> Option<Depth> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Looks at the queue for as long as somebody has it.
pub(super) fn keep(shared: &Arc<Shared>) {
    let queue = Arc::downgrade(shared);
    shared.store.runtime().spawn(look(queue));
}

async fn look(queue: Weak<Shared>) {
    while let Some(shared) = queue.upgrade() {
        shared.seen.note(&shared.count_aside().await);
        drop(shared);
        sleep(PAUSE).await;
    }
}

/// Figures are seldom collected more often.
const PAUSE: Duration = Duration::from_secs(5);
