//! Connections of their own, for what must not share one.

use std::{fmt, pin::pin, time::Duration};

use deadpool_redis::{Manager, Pool, PoolError, Runtime, Timeouts};
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, PushInfo, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    from_redis_value,
};
use tokio::{
    select,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Address, Connection, Node, dial::Dialer, flow::Flow};
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

    /// Lends a connection to `node` for what is long: `XRANGE`, `SCAN`.
    ///
    /// An answer that takes longer than [`PATIENCE`] is an error.
    pub(crate) async fn lend(&self, node: &Node) -> Result<Lent, StoreError> {
        Lent::of(node, |pool| &pool.long).await
    }

    /// Lends a connection to `node` for what blocks: `XREADGROUP`.
    ///
    /// Apart from those for what is long, which would wait behind it. Block for [`LONGEST_BLOCK`] at
    /// most, and in few places: there are [`WAITING`] of them.
    pub(crate) async fn lend_to_wait(&self, node: &Node) -> Result<Lent, StoreError> {
        Lent::of(node, |pool| &pool.waiting).await
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
                // Whatever bytes somebody else may have put into a name.
                let keys: Vec<Vec<u8>>;
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

    async fn unlink(&self, keys: &[Vec<u8>], connection: &mut Lent) -> Result<u64, StoreError> {
        // One command a key: in a cluster they are in different slots.
        let mut unlink = redis::pipe();
        for key in keys {
            unlink.cmd("UNLINK").arg(key);
        }
        let replies = connection.req_packed_commands(&unlink, 0, keys.len());
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

    async fn unlink_anywhere(&self, key: &[u8]) -> Result<u64, StoreError> {
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(key);
        let request = async |mut wire| unlink.query_async(&mut wire).await;
        self.0.run(key, PATIENCE, request).await
    }
}

/// A connection that nobody else has meanwhile.
///
/// It goes back to the others where all that was asked over it was answered. Else it is closed: the
/// server would go on with what nobody waits for, and give messages to nobody.
pub(crate) struct Lent {
    node: Node,
    connection: Option<deadpool_redis::Connection>,
    is_asked: bool,
}

impl Lent {
    /// A connection to `node`, of those that `choose` names.
    ///
    /// It is made and looked at where the shared one lives: on the runtime of whoever needs one first
    /// it would fall silent for all others when that stands still.
    async fn of(node: &Node, choose: fn(&NodePool) -> &Pool) -> Result<Self, StoreError> {
        // It ends with this call, whatever becomes of that.
        let mut getting = JoinSet::new();
        getting.spawn_on(Self::get(node.clone(), choose), node.runtime());
        let patience = PATIENCE + node.settings().time_to_connect();
        match timeout(patience, getting.join_next()).await {
            Ok(Some(Ok(lent))) => lent,
            // Where that runtime has ended, or stands still.
            _ => Err(StoreError::Unavailable),
        }
    }

    /// Where packets vanish each that waits in the pool would be waited for in vain, one after the
    /// other. So whoever gets none in time has the shared connection looked at as well, and when that
    /// is given up nobody goes on with the others of its time.
    async fn get(node: Node, choose: fn(&NodePool) -> &Pool) -> Result<Self, StoreError> {
        let mut changes = node.changes();
        loop {
            let pool = node.pool()?;
            let late = async {
                sleep(node.settings().longest_silence()).await;
                node.suspect();
            };
            let getting = async {
                let mut getting = pin!(choose(&pool).get());
                select! {
                    connection = &mut getting => connection,
                    () = late => getting.await,
                }
            };
            let connection = select! {
                connection = getting => connection,
                // It cannot fail: the node holds the other end.
                _ = changes.changed() => continue,
            };
            let connection = connection.map_err(|error| match error {
                PoolError::Backend(error) => StoreError::from(&error).as_seen_later(),
                PoolError::Timeout(_)
                | PoolError::Closed
                | PoolError::NoRuntimeSpecified
                | PoolError::PostCreateHook(_) => StoreError::Unavailable,
            })?;
            return Ok(Self {
                node,
                connection: Some(connection),
                is_asked: false,
            });
        }
    }

    async fn ask<T>(
        &mut self,
        request: impl AsyncFnOnce(&mut deadpool_redis::Connection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let Some(connection) = &mut self.connection else {
            return Err((ErrorKind::Io, "the connection is closed").into());
        };
        self.is_asked = true;
        let answer = request(connection).await;
        // Also where it took too long, and may still come.
        self.is_asked = matches!(&answer, Err(error) if error.is_io_error());
        if self.is_asked {
            self.node.suspect();
        }
        answer
    }
}

impl ConnectionLike for Lent {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.ask(async |connection| connection.req_packed_command(command).await))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(self.ask(async move |connection| {
            connection
                .req_packed_commands(commands, offset, count)
                .await
        }))
    }

    fn get_db(&self) -> i64 {
        self.connection.as_ref().map_or(0, ConnectionLike::get_db)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take_if(|_| self.is_asked) {
            drop(deadpool_redis::Connection::take(connection));
        }
    }
}

/// Connections to one server, made when they are asked for.
#[derive(Clone)]
pub(super) struct NodePool {
    /// That of the shared connection of their time: when it is given up, so are they.
    pub(super) number: u64,
    long: Pool,
    waiting: Pool,
}

impl NodePool {
    pub(super) fn new(dialer: &Dialer, flow: &Flow) -> Result<Self, StoreError> {
        Ok(Self {
            number: flow.number,
            long: pool(dialer, &flow.address, LONG, PATIENCE)?,
            waiting: pool(dialer, &flow.address, WAITING, 2 * LONGEST_BLOCK)?,
        })
    }
}

impl fmt::Debug for NodePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The pool's own `Debug` shows the server's address and the user.
        f.debug_struct("NodePool")
            .field("long", &self.long.status().size)
            .field("waiting", &self.waiting.status().size)
            .finish_non_exhaustive()
    }
}

/// `size` connections at most, each of which answers within `time` or is given up.
fn pool(
    dialer: &Dialer,
    address: &Address,
    size: usize,
    time: Duration,
) -> Result<Pool, StoreError> {
    let patience = dialer.settings().time_to_connect();
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(patience))
        .set_response_timeout(Some(time));
    let manager = Manager::new_with_config(dialer.info(address)?, config)
        .map_err(|error| StoreError::from(&error))?;
    Pool::builder(manager)
        .max_size(size)
        .timeouts(Timeouts {
            wait: Some(PATIENCE),
            create: Some(patience),
            // By a `PING`.
            recycle: Some(dialer.settings().longest_silence()),
        })
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|_| StoreError::Unavailable)
}

/// Held for an answer at a time.
const LONG: usize = 8;
/// One for each group of each queue in a process that somebody waits for, and held for a second.
const WAITING: usize = 64;
/// How long whoever uses these connections waits for one of them, and for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// A connection that says nothing for twice as long is given up.
pub(crate) const LONGEST_BLOCK: Duration = Duration::from_secs(1);
/// Keys that the server looks at in one go: some hundred microseconds.
const KEYS_A_STEP: u64 = 500;
