//! A connection on which a process hears what the others change.

use std::{future::pending, sync::Arc, time::Duration};

use redis::{Pipeline, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use crate::{
    StoreError,
    connection::{Address, Node},
};

/// A connection to one server over which we hear, and over which goes what others are to hear: it
/// does not tell us of ourselves.
#[derive(Clone)]
pub(super) struct Ear {
    pub(super) connection: MultiplexedConnection,
    /// Where the server was when this began.
    pub(super) address: Address,
    pub(super) how: How,
    /// Tells the one who keeps it that it is of no use any more.
    pub(super) broken: Arc<Notify>,
}

/// How processes hear of one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// The server tells of every key that is touched below a prefix.
    Tracking,
    /// Whoever changes something publishes it: the server has no tracking, or does not allow it.
    Publishing,
}

impl Ear {
    /// Runs `commands` all together, within `deadline`.
    pub(super) async fn run(
        &self,
        deadline: Duration,
        commands: &Pipeline,
    ) -> Result<(), StoreError> {
        let mut connection = self.connection.clone();
        let answer = timeout(deadline, commands.query_async::<Value>(&mut connection)).await;
        match answer {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                let reason = StoreError::from(&error);
                if is_of_no_use(&reason) {
                    self.broken.notify_one();
                }
                Err(reason)
            }
            Err(_) => Err(StoreError::Timeout(deadline)),
        }
    }

    /// Until `node` is elsewhere: the others speak there, though the server here may live on.
    pub(super) async fn left_behind(&self, node: &Node, mut changes: watch::Receiver<u64>) {
        while !node.address().is_ok_and(|address| address != self.address) {
            if changes.changed().await.is_err() {
                pending::<()>().await;
            }
        }
    }
}

/// Whether nothing can be told over the connection any more: it broke, or ends at a replica.
pub(super) fn is_of_no_use(reason: &StoreError) -> bool {
    match reason {
        StoreError::NotServing(code) => code.as_str() == "READONLY",
        reason => reason.may_have_run(),
    }
}
