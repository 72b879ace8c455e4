//! One server that owns keys.

use std::{
    fmt,
    hash::{Hash, Hasher},
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use redis::{ErrorKind, PushInfo, RedisError, RedisResult, Value, aio::MultiplexedConnection};
use resilience_core::{Outcome, circuit_breaker::Permit};
use tokio::{runtime::Handle, sync::watch};

use super::{
    Address, Start, Wire,
    blocking::NodePool,
    cluster::Guide,
    flow::Flow,
    link::{Link, Watchers},
    maker::Maker,
    timer::Timer,
};
use crate::{Code, Settings, StoreError};

/// A server that owns keys; clones share the connection to it.
///
/// Equal to its clones and to nothing else.
#[derive(Clone)]
pub(crate) struct Node(Arc<Shared>);

/// A node as long as somebody uses it.
///
/// Equal to its clones and to others of the same node, also when that is gone.
#[derive(Clone)]
pub(crate) struct WeakNode(Weak<Shared>);

struct Shared {
    link: Arc<Link>,
    pool: Mutex<Option<NodePool>>,
}

impl Node {
    /// The server once a first connection stands, or as `start` allows.
    pub(super) async fn open(
        maker: Arc<Maker>,
        watchers: Watchers,
        start: Start,
    ) -> Result<Self, StoreError> {
        Link::open(maker, watchers, start).await.map(Self::over)
    }

    /// The server before a first connection stands, which is being made.
    pub(super) fn begin(maker: Arc<Maker>, watchers: Watchers) -> Self {
        Self::over(Link::begin(maker, watchers))
    }

    fn over(link: Arc<Link>) -> Self {
        let pool = Mutex::new(None);
        Self(Arc::new(Shared { link, pool }))
    }

    /// Runs `request` on the connection and ends by `deadline`, whatever happens,
    /// or after it as soon as all others had their turn.
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
        let timer = pin!(Timer::default());
        self.run_by(timer, deadline, request).await
    }

    /// As [`run`](Self::run), for who asks again and again and has a `timer` for that.
    pub(crate) async fn run_by<T, F>(
        &self,
        timer: Pin<&mut Timer>,
        deadline: Duration,
        request: impl FnOnce(Wire) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let (flow, permit, answer) = self.try_run(timer, deadline, request).await?;
        permit.settle(flow.judge(&answer, self.settings().time_to_decide()));
        answer
    }

    /// As [`run`](Self::run), for what nobody waits for: how it ends is no vote on whether callers
    /// may ask the server.
    pub(crate) async fn run_aside<T, F>(
        &self,
        deadline: Duration,
        request: impl FnOnce(Wire) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let timer = pin!(Timer::default());
        let (_, permit, answer) = self.try_run(timer, deadline, request).await?;
        permit.settle(Outcome::Ignored);
        answer
    }

    async fn try_run<T, F>(
        &self,
        timer: Pin<&mut Timer>,
        deadline: Duration,
        request: impl FnOnce(Wire) -> F,
    ) -> Result<(Arc<Flow>, Permit, Result<T, StoreError>), StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let flow = self.flow()?;
        let permit = flow.admit()?;
        let wire = Wire::new(self.clone(), Arc::clone(&flow), deadline);
        let request = pin!(request(wire));
        let answer = match timer.within(deadline, request).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => {
                // What makes no sense may be the answer to somebody else's command.
                if error.kind() == ErrorKind::Parse {
                    self.0.link.replace(flow.number, &StoreError::Protocol);
                }
                Err(self.reason(&error))
            }
            None => {
                self.0.link.suspect(&flow);
                Err(StoreError::Timeout(deadline))
            }
        };
        Ok((flow, permit, answer))
    }

    /// Looks at what the server says of itself with a reply over `flow`.
    pub(super) fn hear(&self, flow: &Flow, reply: &Value) {
        let Value::ServerError(error) = reply else {
            return;
        };
        let link = &self.0.link;
        match Code::of(error).as_str() {
            // The server is not the one to ask any more, or has forgotten who we are. It would say
            // so for ever: a new connection resolves the name anew, and logs in.
            "READONLY" | "NOAUTH" => link.replace(flow.number, &StoreError::from(error)),
            "MOVED" | "CLUSTERDOWN" => link.watchers.alarm.notify_one(),
            _ => {}
        }
    }

    /// Somebody has seen that slots may have changed hands.
    pub(crate) fn doubt_map(&self) {
        self.0.link.watchers.alarm.notify_one();
    }

    /// Gives up `flow` if nothing good can come over it again.
    pub(super) fn doubt(&self, flow: &Flow, error: &RedisError) {
        // The client takes a socket's own timeout for passing.
        if error.is_unrecoverable_error() || error.is_io_error() {
            let reason = StoreError::from(error);
            self.0.link.replace(flow.number, &reason);
        }
    }

    pub(super) fn guide(&self) -> Option<&Guide> {
        self.0.link.watchers.guide.as_ref()
    }

    /// The connection that stands now, or why none does.
    pub(super) fn flow(&self) -> Result<Arc<Flow>, StoreError> {
        self.0.link.flow()
    }

    /// The next connection that stands.
    pub(super) async fn connected(&self) -> Arc<Flow> {
        let mut changes = self.changes();
        loop {
            if let Ok(flow) = self.flow() {
                return flow;
            }
            // It cannot fail: we hold the other end.
            let _ = changes.changed().await;
        }
    }

    /// Where the connection that stands now leads to, or why none does.
    pub(crate) fn address(&self) -> Result<Address, StoreError> {
        Ok(self.flow()?.address.clone())
    }

    /// Goes over to where the server is by now.
    pub(super) async fn seek(&self) {
        self.0.link.seek().await;
    }

    /// Whether nothing speaks against this server.
    pub(super) fn is_well(&self) -> bool {
        self.flow().is_ok_and(|flow| flow.is_well())
    }

    /// A connection apart from the shared one, to where the server is now.
    pub(super) async fn dedicate(
        &self,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, StoreError> {
        let address = self.address()?;
        let dialer = self.0.link.maker.dialer();
        dialer.dedicate(&address, on_push).await
    }

    /// Connections apart from the shared one, of the time of the one that stands now.
    pub(super) fn pool(&self) -> Result<NodePool, StoreError> {
        let flow = self.flow()?;
        let mut pool = self.0.pool.lock().unwrap_or_else(PoisonError::into_inner);
        match &*pool {
            Some(pool) if pool.number == flow.number => Ok(pool.clone()),
            _ => {
                let made = NodePool::new(self.0.link.maker.dialer(), &flow)?;
                Ok(pool.insert(made).clone())
            }
        }
    }

    /// Has the connection that stands now looked at: something else that leads to the server fell
    /// silent.
    pub(super) fn suspect(&self) {
        if let Ok(flow) = self.flow() {
            self.0.link.suspect(&flow);
        }
    }

    /// A number that grows when a connection to any server is lost or made.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.0.link.watchers.changes.subscribe()
    }

    pub(super) fn settings(&self) -> &Settings {
        self.0.link.maker.settings()
    }

    /// Where all connections of the store live.
    pub(super) fn runtime(&self) -> &Handle {
        self.0.link.maker.runtime()
    }

    pub(crate) fn downgrade(&self) -> WeakNode {
        WeakNode(Arc::downgrade(&self.0))
    }

    fn reason(&self, error: &RedisError) -> StoreError {
        match StoreError::from(error) {
            StoreError::Server(code) if code.as_str() == "MOVED" && self.guide().is_none() => {
                StoreError::InvalidTarget("the server is one of a cluster: `redis-cluster://`")
            }
            reason => reason,
        }
    }
}

impl WeakNode {
    pub(super) fn upgrade(&self) -> Option<Node> {
        self.0.upgrade().map(Node)
    }

    /// Whether somebody still uses it.
    pub(crate) fn is_used(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl PartialEq for WeakNode {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

impl Eq for WeakNode {}

impl Hash for WeakNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_ptr().hash(state);
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
