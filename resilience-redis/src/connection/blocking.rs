//! Connections of their own, for what must not share one.

use std::{fmt, time::Duration};

use deadpool_redis::{Manager, Pool, PoolError, Runtime, Timeouts};
use redis::{AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, aio::MultiplexedConnection};
use tokio::time::timeout;

use super::{Connection, Node};
use crate::{Settings, StoreError};

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
        node.pool().lend().await
    }

    /// Opens a connection to `node` that nobody shares, for `SUBSCRIBE` and `CLIENT TRACKING`.
    ///
    /// It speaks RESP3; `on_push` hears what the server sends by itself, and a
    /// [`Disconnection`](redis::PushKind::Disconnection) at the end. It runs in the task of the
    /// connection, so it must not wait. A connection whose packets vanish says nothing: ask it for
    /// a `PING` now and then.
    #[allow(
        dead_code,
        reason = "for whoever listens to what servers say by themselves"
    )]
    pub(crate) async fn dedicated(
        &self,
        node: &Node,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, StoreError> {
        let info = node.client().get_connection_info().clone();
        let redis = info.redis_settings().clone();
        let info = info.set_redis_settings(redis.set_protocol(ProtocolVersion::RESP3));
        let client = Client::open(info).map_err(|_| StoreError::InvalidUrl)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(Some(PATIENCE))
            .set_push_sender(move |push| {
                on_push(push);
                Ok::<_, ()>(())
            });
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        match timeout(self.0.settings().time_to_connect(), connecting).await {
            Ok(connection) => connection.map_err(|error| StoreError::from(&error).as_seen_later()),
            Err(_) => Err(StoreError::Unavailable),
        }
    }

    /// Deletes every key that matches `pattern` on any server; returns how many there were.
    pub(crate) async fn delete_all(&self, pattern: &str) -> Result<u64, StoreError> {
        let mut deleted = 0_u64;
        for node in self.0.nodes() {
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
                    let unlinked = unlink(keys, &mut connection).await?;
                    deleted = deleted.saturating_add(unlinked);
                }
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(deleted)
    }
}

/// A few connections to one server.
#[derive(Clone)]
pub(super) struct NodePool(Pool);

impl NodePool {
    pub(super) fn new(client: &Client, settings: &Settings) -> Result<Self, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.time_to_connect()))
            .set_response_timeout(Some(PATIENCE));
        let info = client.get_connection_info().clone();
        let manager =
            Manager::new_with_config(info, config).map_err(|error| StoreError::from(&error))?;
        Pool::builder(manager)
            .max_size(POOL_SIZE)
            .timeouts(Timeouts {
                wait: Some(PATIENCE),
                create: Some(settings.time_to_connect()),
                recycle: Some(PATIENCE),
            })
            .runtime(Runtime::Tokio1)
            .build()
            .map(Self)
            .map_err(|_| StoreError::Unavailable)
    }

    async fn lend(&self) -> Result<deadpool_redis::Connection, StoreError> {
        self.0.get().await.map_err(|error| match error {
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
            .field("connections", &self.0.status().size)
            .finish_non_exhaustive()
    }
}

async fn unlink(
    keys: Vec<String>,
    connection: &mut deadpool_redis::Connection,
) -> Result<u64, StoreError> {
    // One command a key: in a cluster they are in different slots.
    let mut unlink = redis::pipe();
    for key in keys {
        unlink.cmd("UNLINK").arg(key);
    }
    let unlinked: Vec<u64> = unlink
        .query_async(connection)
        .await
        .map_err(|error| StoreError::from(&error))?;
    Ok(unlinked.iter().sum())
}

/// Those who block hold theirs for a second at a time.
const POOL_SIZE: usize = 8;
/// How long whoever uses these connections waits for one of them, and for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Keys that the server looks at in one go: some hundred microseconds.
const KEYS_A_STEP: u64 = 500;
