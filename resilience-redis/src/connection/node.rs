//! One server, behind a connection that is replaced when it breaks or falls silent.
//!
//! Not the client's own `ConnectionManager`: that one makes callers wait for a reconnect past any
//! timeout of theirs, and never leaves a connection whose packets vanish or whose server turned
//! into a replica.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, RedisError, RedisResult,
    aio::MultiplexedConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use resilience_core::{
    Clock, Random, Timestamp,
    backoff::{Backoff, Jitter},
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{Wire, blocking::NodePool};
use crate::{Settings, StoreError};

/// A server that owns keys; clones share the connection to it.
///
/// Equal to its clones and to nothing else.
#[derive(Clone)]
pub(crate) struct Node(Arc<Shared>);

struct Shared {
    client: Client,
    settings: Settings,
    clock: Clock,
    link: Mutex<Link>,
    pool: NodePool,
    changes: watch::Sender<u64>,
}

/// What stands between us and the server; `generation` counts connections, so that a late verdict
/// on one never falls on its successor.
struct Link {
    generation: u64,
    state: State,
}

enum State {
    Up {
        connection: MultiplexedConnection,
        /// When the first of the calls was sent that all went unanswered.
        silent_since: Option<Timestamp>,
    },
    /// A task is making the next connection; until then this is everyone's answer.
    Down(StoreError),
}

impl Node {
    pub(super) async fn open(
        url: &str,
        settings: Settings,
        changes: watch::Sender<u64>,
    ) -> Result<Self, StoreError> {
        let client = client(url, &settings)?;
        let connection = connect(&client, &settings).await?;
        Ok(Self(Arc::new(Shared {
            pool: NodePool::new(&client, &settings)?,
            changes,
            client,
            settings,
            clock: Clock::system(),
            link: Mutex::new(Link {
                generation: 0,
                state: State::up(connection),
            }),
        })))
    }

    /// Runs `request` on the connection and ends by `deadline`, whatever happens.
    pub(crate) async fn run<T, F>(
        &self,
        deadline: Duration,
        request: impl FnOnce(Wire) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let (connection, generation) = self.0.current()?;
        let sent = self.0.clock.now();
        match timeout(deadline, request(Wire::new(connection))).await {
            Ok(Ok(answer)) => {
                self.0.answered(generation);
                Ok(answer)
            }
            Ok(Err(error)) => {
                let reason = StoreError::from(&error);
                if ends_connection(&error) {
                    self.0.replace(generation, &reason);
                } else {
                    self.0.answered(generation);
                }
                Err(reason)
            }
            Err(_) => {
                self.0.unanswered(generation, sent);
                Err(StoreError::Timeout(deadline))
            }
        }
    }

    #[allow(dead_code, reason = "as `Blocking::dedicated`")]
    pub(super) fn client(&self) -> &Client {
        &self.0.client
    }

    pub(super) fn pool(&self) -> &NodePool {
        &self.0.pool
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Node {}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the client nor its address: they hold the credentials.
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

impl Shared {
    fn current(&self) -> Result<(MultiplexedConnection, u64), StoreError> {
        let link = self.link();
        match &link.state {
            State::Up { connection, .. } => Ok((connection.clone(), link.generation)),
            State::Down(reason) => Err(reason.clone()),
        }
    }

    fn answered(&self, generation: u64) {
        if let Some(silent_since) = self.link().silence_of(generation) {
            *silent_since = None;
        }
    }

    fn unanswered(self: &Arc<Self>, generation: u64, sent: Timestamp) {
        let Some(first) = self
            .link()
            .silence_of(generation)
            .map(|since| *since.get_or_insert(sent))
        else {
            return;
        };
        if self.clock.now().saturating_since(first) >= self.settings.longest_silence() {
            self.replace(generation, &StoreError::Unavailable);
        }
    }

    /// Gives up the connection of `generation`, once, and starts to make the next.
    fn replace(self: &Arc<Self>, generation: u64, reason: &StoreError) {
        if self.link().take_down(generation, reason.as_seen_later()) {
            self.changed();
            tokio::spawn(reconnect(Arc::downgrade(self)));
        }
    }

    fn changed(&self) {
        self.changes
            .send_modify(|number| *number = number.wrapping_add(1));
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    fn silence_of(&mut self, generation: u64) -> Option<&mut Option<Timestamp>> {
        match &mut self.state {
            State::Up { silent_since, .. } if self.generation == generation => Some(silent_since),
            State::Up { .. } | State::Down(_) => None,
        }
    }

    fn take_down(&mut self, generation: u64, reason: StoreError) -> bool {
        let theirs = self.silence_of(generation).is_some();
        if theirs {
            self.state = State::Down(reason);
        }
        theirs
    }

    fn bring_up(&mut self, connection: MultiplexedConnection) {
        self.generation = self.generation.wrapping_add(1);
        self.state = State::up(connection);
    }
}

impl State {
    const fn up(connection: MultiplexedConnection) -> Self {
        Self::Up {
            connection,
            silent_since: None,
        }
    }
}

impl StoreError {
    /// What a call hears that comes while no connection stands: of it nothing was sent.
    pub(super) fn as_seen_later(&self) -> Self {
        if self.may_have_run() {
            Self::Unavailable
        } else {
            self.clone()
        }
    }
}

/// Tries until a connection stands or the last store is gone.
async fn reconnect(shared: Weak<Shared>) {
    let random = Random::default();
    // Jitter, because a whole fleet lost the same server at the same moment.
    let pauses = Backoff::exponential(SHORTEST_PAUSE)
        .max(LONGEST_PAUSE)
        .jitter(Jitter::Equal);
    for attempt in 0.. {
        let Some((client, settings)) = shared
            .upgrade()
            .map(|shared| (shared.client.clone(), shared.settings.clone()))
        else {
            return;
        };
        let outcome = connect(&client, &settings).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        match outcome {
            Ok(connection) => {
                shared.link().bring_up(connection);
                return shared.changed();
            }
            Err(reason) => shared.link().state = State::Down(reason),
        }
        drop(shared);
        sleep(pauses.delay(attempt, random.unit())).await;
    }
}

/// Whether nothing good can come over this connection again.
fn ends_connection(error: &RedisError) -> bool {
    // The client takes a socket's own timeout for passing, and a demoted primary, which answers
    // READONLY for ever, for a matter of routing; a new connection resolves the name anew.
    error.is_unrecoverable_error() || error.is_io_error() || error.code() == Some("READONLY")
}

fn client(url: &str, settings: &Settings) -> Result<Client, StoreError> {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL);
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(settings.longest_silence());
    #[cfg(not(target_os = "linux"))]
    let _ = settings;
    let info = url
        .into_connection_info()
        .map_err(|_| StoreError::InvalidUrl)?;
    Client::open(info.set_tcp_settings(tcp)).map_err(|_| StoreError::InvalidUrl)
}

async fn connect(
    client: &Client,
    settings: &Settings,
) -> Result<MultiplexedConnection, StoreError> {
    // No timers of the client's: every call has one deadline, and it is ours.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUE);
    let patience = settings.time_to_connect();
    match timeout(
        patience,
        client.get_multiplexed_async_connection_with_config(&config),
    )
    .await
    {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(StoreError::from(&error).as_seen_later()),
        Err(_) => Err(StoreError::Unavailable),
    }
}

/// Calls that wait to be written before the next one waits for room.
const QUEUE: usize = 2048;
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Keeps firewalls from forgetting a connection that nobody uses.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
