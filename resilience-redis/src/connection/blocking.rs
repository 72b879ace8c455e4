//! Connections of their own, for what must not share one.

use std::{fmt, time::Duration};

use deadpool_redis::{Manager, Pool, PoolError, Runtime, Timeouts};
use redis::{AsyncConnectionConfig, PushInfo, aio::MultiplexedConnection, from_redis_value};

use super::{Address, Connection, Node, dial::Dialer};
use crate::StoreError;

/// Connections apart from the shared one, on which a long answer would stand in front of decisions.
///
/// Not for decisions: a pool asks the server twice before it lends a connection, and never sends
/// two callers' commands together.
#[derive(Clone, Debug)]
pub(crate) struct Blocking(Connection);

impl Blocking {
    pub(crate) const fn beside(connection: Connection) -> Self {
        Self(connection)
    }

    /// Lends a connection to `node` for what blocks or is long: `XREADGROUP`, `WAIT`, `SCAN`.
    ///
    /// An answer that takes longer than [`PATIENCE`] is an error, so block for less.
    pub(crate) async fn lend(&self, node: &Node) -> Result<deadpool_redis::Connection, StoreError> {
        node.pool()?.lend().await
    }

    /// Opens a connection to `node` that nobody shares, for `SUBSCRIBE` and `CLIENT TRACKING`.
    ///
    /// It speaks RESP3; `on_push` hears what the server sends by itself, and a
    /// [`Disconnection`](redis::PushKind::Disconnection) at the end. It runs in the task of the
    /// connection, so it must not wait. A connection whose packets vanish says nothing: ask it for
    /// a `PING` now and then.
    pub(crate) async fn dedicated(
        &self,
        node: &Node,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, StoreError> {
        node.dedicate(on_push).await
    }

    /// Deletes every key that matches `pattern` on any server; returns how many there were.
    pub(crate) async fn delete_all(&self, pattern: &str) -> Result<u64, StoreError> {
        let mut deleted = self.delete_seen(pattern).await?;
        if self.0.is_cluster() {
            // What moved meanwhile to a server that had been looked through.
            deleted = deleted.saturating_add(self.delete_seen(pattern).await?);
        }
        Ok(deleted)
    }

    async fn delete_seen(&self, pattern: &str) -> Result<u64, StoreError> {
        let nodes = self.0.nodes();
        if nodes.is_empty() {
            return Err(StoreError::Unavailable);
        }
        let mut deleted = 0_u64;
        for node in nodes {
            let mut connection = self.lend(&node).await?;
            let mut cursor = 0_u64;
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(pattern);
                scan.arg("COUNT").arg(KEYS_A_STEP);
                let keys: Vec<String>;
                (cursor, keys) = scan
                    .query_async(&mut connection)
                    .await
                    .map_err(|error| StoreError::from(&error))?;
                if !keys.is_empty() {
                    let unlinked = self.unlink(&keys, &mut connection).await?;
                    deleted = deleted.saturating_add(unlinked);
                }
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(deleted)
    }

    async fn unlink(
        &self,
        keys: &[String],
        connection: &mut deadpool_redis::Connection,
    ) -> Result<u64, StoreError> {
        // One command a key: in a cluster they are in different slots.
        let mut unlink = redis::pipe();
        for key in keys {
            unlink.cmd("UNLINK").arg(key);
        }
        let replies = connection.send_packed_commands(&unlink, 0, keys.len());
        let replies = replies.await.map_err(|error| StoreError::from(&error))?;
        let mut unlinked = 0_u64;
        for (key, reply) in keys.iter().zip(replies) {
            let one = match from_redis_value(reply) {
                Ok(one) => one,
                // One on its way to another server is at neither without a redirection.
                Err(_) => self.unlink_anywhere(key).await?,
            };
            unlinked = unlinked.saturating_add(one);
        }
        Ok(unlinked)
    }

    async fn unlink_anywhere(&self, key: &str) -> Result<u64, StoreError> {
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(key);
        let request = async |mut wire| unlink.query_async(&mut wire).await;
        self.0.run(key, PATIENCE, request).await
    }
}

/// A few connections to one server.
#[derive(Clone)]
pub(super) struct NodePool {
    address: Address,
    pool: Pool,
}

impl NodePool {
    pub(super) fn new(dialer: &Dialer, address: Address) -> Result<Self, StoreError> {
        let patience = dialer.settings().time_to_connect();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(PATIENCE));
        let manager = Manager::new_with_config(dialer.info(&address)?, config)
            .map_err(|error| StoreError::from(&error))?;
        let pool = Pool::builder(manager)
            .max_size(POOL_SIZE)
            .timeouts(Timeouts {
                wait: Some(PATIENCE),
                create: Some(patience),
                recycle: Some(PATIENCE),
            })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_| StoreError::Unavailable)?;
        Ok(Self { address, pool })
    }

    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    async fn lend(&self) -> Result<deadpool_redis::Connection, StoreError> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => StoreError::from(&error).as_seen_later(),
            PoolError::Timeout(_)
            | PoolError::Closed
            | PoolError::NoRuntimeSpecified
            | PoolError::PostCreateHook(_) => StoreError::Unavailable,
        })
    }
}

impl fmt::Debug for NodePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The pool's own `Debug` shows the server's address and the user.
        f.debug_struct("NodePool")
            .field("connections", &self.pool.status().size)
            .finish_non_exhaustive()
    }
}

/// Those who block hold theirs for a second at a time.
const POOL_SIZE: usize = 8;
/// How long whoever uses these connections waits for one of them, and for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Keys that the server looks at in one go: some hundred microseconds.
const KEYS_A_STEP: u64 = 500;
