//! A Redis server as the place where a fleet keeps its counts.

use std::{fmt, time::Duration};

use deadpool_redis::{Manager, Pool, PoolError, Runtime, Timeouts};
use redis::AsyncConnectionConfig;
use resilience_core::InvalidPolicy;

use crate::{
    Settings, StoreError,
    connection::Connection,
    rate_limit::{Policy, RateLimiter},
};

/// A single Redis server that processes share their state through.
///
/// # Sharing
///
/// Clones share one connection, over which the commands of all callers go out together, and a
/// small pool for maintenance. Both live on the runtime that [`RedisStore::connect`] ran on.
#[derive(Clone, Debug)]
pub struct RedisStore {
    connection: Connection,
    maintenance: Maintenance,
}

impl RedisStore {
    /// Connects to the server at `url`, as in `redis://user:password@host:6379/0`.
    ///
    /// From then on a connection that breaks is made anew in the background; until one stands
    /// every call fails at once.
    ///
    /// # Errors
    ///
    /// Where the settings or the URL cannot work, or no connection stands after the time that the
    /// settings give it.
    pub async fn connect(url: &str, settings: Settings) -> Result<Self, StoreError> {
        settings.check().map_err(StoreError::InvalidSettings)?;
        let connection = Connection::open(url, settings).await?;
        let maintenance = Maintenance::beside(&connection)?;
        Ok(Self {
            connection,
            maintenance,
        })
    }

    /// A limiter for `policy` whose counts stand in this store.
    ///
    /// Limiters of one name share their counts, in whatever process they are.
    ///
    /// # Errors
    ///
    /// Where the policy cannot work, or asks for what this store does not count.
    pub fn rate_limiter(&self, policy: &Policy) -> Result<RateLimiter, InvalidPolicy> {
        RateLimiter::new(policy, self)
    }

    pub(crate) const fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) const fn maintenance(&self) -> &Maintenance {
        &self.maintenance
    }
}

/// Connections of their own for work that is long and that nobody waits for with a request in
/// hand: on the shared connection its answers would stand in front of decisions.
///
/// Not for decisions: a pool asks the server twice before it lends a connection, and never sends
/// two callers' commands together.
#[derive(Clone)]
pub(crate) struct Maintenance(Pool);

impl Maintenance {
    fn beside(connection: &Connection) -> Result<Self, StoreError> {
        let info = connection.client().get_connection_info().clone();
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connection.settings().time_to_connect()))
            .set_response_timeout(Some(PATIENCE));
        let manager =
            Manager::new_with_config(info, settings).map_err(|error| StoreError::from(&error))?;
        Pool::builder(manager)
            .max_size(POOL_SIZE)
            .timeouts(Timeouts {
                wait: Some(PATIENCE),
                create: Some(connection.settings().time_to_connect()),
                recycle: Some(PATIENCE),
            })
            .runtime(Runtime::Tokio1)
            .build()
            .map(Self)
            .map_err(|_| StoreError::Unavailable)
    }

    /// Deletes every key that matches `pattern`; returns how many there were.
    pub(crate) async fn delete_all(&self, pattern: &str) -> Result<u64, StoreError> {
        let mut connection = self.0.get().await.map_err(|error| match error {
            PoolError::Backend(error) => StoreError::from(&error),
            PoolError::Timeout(_)
            | PoolError::Closed
            | PoolError::NoRuntimeSpecified
            | PoolError::PostCreateHook(_) => StoreError::Unavailable,
        })?;
        let (mut cursor, mut deleted) = (0_u64, 0_u64);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(pattern);
            scan.arg("COUNT").arg(KEYS_A_STEP);
            let (next, keys): (u64, Vec<String>) = scan
                .query_async(&mut connection)
                .await
                .map_err(|error| StoreError::from(&error))?;
            if !keys.is_empty() {
                let unlinked: u64 = redis::cmd("UNLINK")
                    .arg(keys)
                    .query_async(&mut connection)
                    .await
                    .map_err(|error| StoreError::from(&error))?;
                deleted = deleted.saturating_add(unlinked);
            }
            if next == 0 {
                return Ok(deleted);
            }
            cursor = next;
        }
    }
}

impl fmt::Debug for Maintenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The pool's own `Debug` shows the server's address and the user.
        f.debug_struct("Maintenance")
            .field("connections", &self.0.status().size)
            .finish_non_exhaustive()
    }
}

const POOL_SIZE: usize = 2;
const PATIENCE: Duration = Duration::from_secs(5);
/// Keys that the server looks at in one go: some hundred microseconds.
const KEYS_A_STEP: u64 = 500;
