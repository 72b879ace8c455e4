//! One server, behind a connection that is replaced when it breaks or falls silent.
//!
//! Not the client's own `ConnectionManager`: that one makes callers wait for a reconnect past any
//! timeout of theirs, and never leaves a connection whose packets vanish or whose server turned
//! into a replica.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{PushInfo, RedisResult, Value, aio::MultiplexedConnection};
use resilience_core::{
    Clock, Random, Timestamp,
    backoff::{Backoff, Jitter},
};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::{
    Wire,
    blocking::NodePool,
    cluster::Guide,
    flow::{self, Flow},
    maker::Maker,
};
use crate::{Code, StoreError};

/// A server that owns keys; clones share the connection to it.
///
/// Equal to its clones and to nothing else.
#[derive(Clone)]
pub(crate) struct Node(Arc<Shared>);

struct Shared {
    maker: Arc<Maker>,
    clock: Clock,
    link: Mutex<Link>,
    pool: Mutex<Option<NodePool>>,
    watchers: Watchers,
}

/// Who hears of what happens to connections.
#[derive(Clone)]
pub(super) struct Watchers {
    /// Whoever keeps copies: a connection was lost or made.
    pub(super) changes: watch::Sender<u64>,
    /// Whoever knows where servers are: this one may not be the one to ask any more.
    pub(super) alarm: Arc<Notify>,
    /// Who knows the servers that this one may send us to.
    pub(super) guide: Option<Guide>,
}

impl Watchers {
    /// Of a server that sends us nowhere else.
    pub(super) fn of(changes: &watch::Sender<u64>) -> Self {
        Self {
            changes: changes.clone(),
            alarm: Arc::default(),
            guide: None,
        }
    }

    pub(super) fn changed(&self) {
        self.changes
            .send_modify(|number| *number = number.wrapping_add(1));
    }
}

/// What stands between us and the server.
struct Link {
    state: State,
    since: Timestamp,
    /// Connections in a row that did not last.
    short_lived: u32,
}

enum State {
    Up(Arc<Flow>),
    /// A task is making the next connection; until then this is everyone's answer.
    Down(StoreError),
}

impl Node {
    /// The server once a first connection stands.
    pub(super) async fn open(maker: Arc<Maker>, watchers: Watchers) -> Result<Self, StoreError> {
        let node = Self::new(maker, watchers);
        let flow = connect(&node.0.maker, Arc::downgrade(&node.0)).await?;
        node.0.bring_up(flow);
        Ok(node)
    }

    /// The server before a first connection stands, which is being made.
    pub(super) fn begin(maker: Arc<Maker>, watchers: Watchers) -> Self {
        let node = Self::new(maker, watchers);
        tokio::spawn(reconnect(Arc::downgrade(&node.0), 0));
        node
    }

    fn new(maker: Arc<Maker>, watchers: Watchers) -> Self {
        let clock = Clock::system();
        Self(Arc::new(Shared {
            maker,
            link: Mutex::new(Link {
                state: State::Down(StoreError::Unavailable),
                since: clock.now(),
                short_lived: 0,
            }),
            clock,
            pool: Mutex::new(None),
            watchers,
        }))
    }

    /// Runs `request` on the connection and ends by `deadline`, whatever happens.
    ///
    /// While no connection stands, or so many calls failed that the server is left alone for a
    /// moment, it fails at once.
    pub(crate) async fn run<T, F>(
        &self,
        deadline: Duration,
        request: impl FnOnce(Wire) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let flow = self.flow()?;
        let permit = flow.admit()?;
        let wire = Wire::new(self.clone(), Arc::clone(&flow));
        let answer = match timeout(deadline, request(wire)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let reason = StoreError::from(&error);
                if flow::ends_connection(&error) {
                    self.0.replace(flow.number, &reason);
                }
                Err(reason)
            }
            Err(_) => {
                self.0.suspect(&flow);
                Err(StoreError::Timeout(deadline))
            }
        };
        permit.settle(flow::outcome(&answer));
        answer
    }

    /// Looks at what the server says of itself with a reply over `flow`.
    pub(super) fn hear(&self, flow: &Flow, reply: &Value) {
        let Value::ServerError(error) = reply else {
            return;
        };
        match Code::of(error).as_str() {
            // The server is not the one to ask any more, or has forgotten who we are. It would say
            // so for ever: a new connection resolves the name anew, and logs in.
            "READONLY" | "NOAUTH" => self.0.replace(flow.number, &StoreError::from(error)),
            "MOVED" | "CLUSTERDOWN" => self.0.watchers.alarm.notify_one(),
            _ => {}
        }
    }

    pub(super) fn guide(&self) -> Option<&Guide> {
        self.0.watchers.guide.as_ref()
    }

    /// The connection that stands now.
    pub(super) fn flow(&self) -> Result<Arc<Flow>, StoreError> {
        self.0.current()
    }

    /// Goes over to where the server is by now, if that is elsewhere: calls under way end where
    /// they began, and none fails for it.
    pub(super) async fn seek(&self) {
        let Ok(flow) = self.flow() else {
            // The next connection is being made already.
            return;
        };
        let maker = &self.0.maker;
        if maker
            .locate()
            .await
            .is_ok_and(|address| address != flow.address)
            && let Ok(flow) = connect(maker, Arc::downgrade(&self.0)).await
        {
            self.0.bring_up(flow);
        }
    }

    pub(super) fn downgrade(&self) -> WeakNode {
        WeakNode(Arc::downgrade(&self.0))
    }

    /// The next connection that stands.
    pub(super) async fn connected(&self) -> Arc<Flow> {
        let mut changes = self.0.watchers.changes.subscribe();
        loop {
            if let Ok(flow) = self.0.current() {
                return flow;
            }
            // It cannot fail: we hold the other end.
            let _ = changes.changed().await;
        }
    }

    /// Whether nothing speaks against this server.
    pub(super) fn is_well(&self) -> bool {
        self.0.current().is_ok_and(|flow| flow.is_well())
    }

    /// A connection apart from the shared one, to where the server is now.
    pub(super) async fn dedicate(
        &self,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, StoreError> {
        let address = self.flow()?.address.clone();
        self.0.maker.dialer().dedicate(&address, on_push).await
    }

    pub(super) fn pool(&self) -> Result<NodePool, StoreError> {
        let address = self.flow()?.address.clone();
        let mut pool = lock(&self.0.pool);
        match &*pool {
            Some(pool) if *pool.address() == address => Ok(pool.clone()),
            _ => {
                let made = NodePool::new(self.0.maker.dialer(), address)?;
                Ok(pool.insert(made).clone())
            }
        }
    }
}

/// A node as long as somebody uses it.
pub(super) struct WeakNode(Weak<Shared>);

impl WeakNode {
    pub(super) fn upgrade(&self) -> Option<Node> {
        self.0.upgrade().map(Node)
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
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

impl Shared {
    fn current(&self) -> Result<Arc<Flow>, StoreError> {
        match &lock(&self.link).state {
            State::Up(flow) => Ok(Arc::clone(flow)),
            State::Down(reason) => Err(reason.clone()),
        }
    }

    /// A call over `flow` was not answered in time. Many are at once where the server stalls for a
    /// moment, and none ever again where packets vanish: one `PING` tells these apart.
    fn suspect(self: &Arc<Self>, flow: &Arc<Flow>) {
        self.watchers.alarm.notify_one();
        if flow.suspect() {
            tokio::spawn(look_after(Arc::downgrade(self), Arc::clone(flow)));
        }
    }

    /// Gives up connection `number`, once, and starts to make the next.
    fn replace(self: &Arc<Self>, number: u64, reason: &StoreError) {
        let Some(short_lived) = self.take_down(number, reason.as_seen_later()) else {
            return;
        };
        tracing::warn!(%reason, "gave up the connection to a redis server");
        self.watchers.changed();
        self.watchers.alarm.notify_one();
        tokio::spawn(reconnect(Arc::downgrade(self), short_lived));
    }

    /// How many connections in a row did not last, if `number` is the one that stands.
    fn take_down(&self, number: u64, reason: StoreError) -> Option<u32> {
        let mut link = lock(&self.link);
        if !matches!(&link.state, State::Up(flow) if flow.number == number) {
            return None;
        }
        link.state = State::Down(reason);
        let lasted = self.clock.now().saturating_since(link.since);
        link.short_lived = if lasted < SHORT_LIFE {
            link.short_lived.saturating_add(1)
        } else {
            0
        };
        Some(link.short_lived)
    }

    /// Says why there is still no connection, and tells the operator if that is news.
    fn stay_down(&self, reason: StoreError) {
        let mut link = lock(&self.link);
        if let State::Down(known) = &mut link.state
            && *known != reason
        {
            tracing::error!(%reason, "cannot connect to a redis server");
            *known = reason;
        }
    }

    fn bring_up(&self, flow: Flow) {
        {
            let mut link = lock(&self.link);
            link.state = State::Up(Arc::new(flow));
            link.since = self.clock.now();
        }
        tracing::debug!("connected to a redis server");
        self.watchers.changed();
    }
}

/// Tries until a connection stands or the last store is gone.
async fn reconnect(this: Weak<Shared>, short_lived: u32) {
    let random = Random::default();
    // Jitter, because a whole fleet lost the same server at the same moment.
    let pauses = Backoff::exponential(SHORTEST_PAUSE)
        .max(LONGEST_PAUSE)
        .jitter(Jitter::Equal);
    let Some(maker) = this.upgrade().map(|this| Arc::clone(&this.maker)) else {
        return;
    };
    let mut news = maker.news();
    // A server that lets us in and then fails us must not be asked again and again without end.
    let mut attempt = short_lived;
    loop {
        if attempt > 0 {
            // Either way it is time to go on.
            let pause = pauses.delay(attempt - 1, random.unit());
            let _ = timeout(pause, news.changed()).await;
        }
        let outcome = tokio::select! {
            outcome = connect(&maker, this.clone()) => Some(outcome),
            // We may be waiting for one that hangs while another has taken its place.
            _ = news.changed() => None,
        };
        let Some(this) = this.upgrade() else {
            return;
        };
        match outcome {
            Some(Ok(flow)) => return this.bring_up(flow),
            Some(Err(reason)) => {
                this.stay_down(reason);
                attempt = attempt.saturating_add(1);
            }
            None => attempt = 0,
        }
    }
}

async fn connect(maker: &Maker, this: Weak<Shared>) -> Result<Flow, StoreError> {
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let on_lost = move || {
        if let Some(this) = this.upgrade() {
            this.replace(number, &StoreError::Disconnected);
        }
    };
    maker.connect(number, on_lost).await
}

/// Asks over a connection that left a call unanswered whether anything still comes over it.
async fn look_after(this: Weak<Shared>, flow: Arc<Flow>) {
    let Some(patience) = this
        .upgrade()
        .map(|this| this.maker.settings().longest_silence())
    else {
        return;
    };
    let ping = redis::cmd("PING");
    let mut connection = flow.connection.clone();
    let answer = timeout(patience, connection.send_packed_command(&ping)).await;
    match (answer, this.upgrade()) {
        (Ok(Ok(_)), _) => flow.clear(),
        (_, Some(this)) => this.replace(flow.number, &StoreError::Unavailable),
        (_, None) => {}
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

static NUMBERS: AtomicU64 = AtomicU64::new(0);
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A connection that stood for longer was good for something.
const SHORT_LIFE: Duration = Duration::from_secs(2);
