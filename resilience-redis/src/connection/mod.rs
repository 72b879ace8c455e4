//! Ways to the servers: which one owns a key, and how it is asked.

mod blocking;
mod cluster;
mod dial;
mod flow;
mod link;
mod maker;
mod node;
mod redirect;
mod sentinel;
mod silence;
mod slots;
mod timer;
mod wire;

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use redis::RedisResult;
use tokio::sync::watch;

pub(crate) use self::{
    blocking::{Blocking, LONGEST_BLOCK, Lent},
    dial::Address,
    node::{Node, WeakNode},
    timer::Timer,
    wire::Wire,
};

use self::{
    cluster::Cluster,
    dial::Dialer,
    link::Watchers,
    maker::{Maker, Place},
    sentinel::Sentinels,
};
use crate::{Settings, StoreError, Target, target::Kind};

/// All servers of one store. Clones share them.
#[derive(Clone)]
pub(crate) struct Connection(Arc<Shared>);

struct Shared {
    settings: Settings,
    servers: Servers,
    changes: watch::Sender<u64>,
}

enum Servers {
    /// One, or the one that sentinels name at a time.
    One(Node),
    Cluster(Cluster),
}

/// What it takes for a store to begin.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    /// A first connection.
    Connected,
    /// An attempt at one, which may come to nothing for want of a server that serves.
    Degraded,
}

impl Connection {
    /// Connects; from then on each connection looks after itself, on the runtime of this call.
    pub(crate) async fn open(
        target: &Target,
        settings: Settings,
        start: Start,
    ) -> Result<Self, StoreError> {
        if target.is_readable_by_others() {
            tracing::warn!("redis is on another machine and not asked over TLS (`rediss://`)");
        }
        if target.tls.is_some() {
            dial::prepare_tls();
        }
        let changes = watch::Sender::new(0);
        let dialer = Dialer::new(target, &target.login, &settings);
        let addresses = target.addresses.clone();
        let servers = match &target.kind {
            Kind::Single => {
                let [address] = &addresses[..] else {
                    return Err(StoreError::InvalidTarget("a single server has one address"));
                };
                let maker = Maker::new(dialer, Place::At(address.clone()));
                Servers::One(Node::open(maker, Watchers::of(&changes), start).await?)
            }
            Kind::Sentinel { service, login } => {
                let sentinels = Dialer::new(target, login, &settings);
                let sentinels = Sentinels::new(sentinels, addresses, service.clone());
                let maker = Maker::new(dialer, Place::Named(Arc::clone(&sentinels)));
                let node = Node::open(maker, Watchers::of(&changes), start).await?;
                sentinel::follow(&sentinels, &node);
                Servers::One(node)
            }
            Kind::Cluster => {
                Servers::Cluster(Cluster::open(dialer, addresses, changes.clone(), start).await?)
            }
        };
        Ok(Self(Arc::new(Shared {
            settings,
            servers,
            changes,
        })))
    }

    /// Runs `request` on the server that owns `key`, and ends by `deadline`, whatever happens,
    /// or after it as soon as all others had their turn.
    ///
    /// Every key that the request names must have the hash tag of `key`.
    pub(crate) async fn run<T, F>(
        &self,
        key: impl AsRef<[u8]>,
        deadline: Duration,
        request: impl FnOnce(Wire) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        self.node_of(key)?.run(deadline, request).await
    }

    /// As [`run`](Self::run), for who asks again and again and has a `timer` for that.
    pub(crate) async fn run_by<T, F>(
        &self,
        timer: Pin<&mut Timer>,
        key: impl AsRef<[u8]>,
        deadline: Duration,
        request: impl FnOnce(Wire) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        self.node_of(key)?.run_by(timer, deadline, request).await
    }

    /// As [`run`](Self::run), for what nobody waits for: how it ends is no vote on whether callers
    /// may ask the server.
    pub(crate) async fn run_aside<T, F>(
        &self,
        key: impl AsRef<[u8]>,
        deadline: Duration,
        request: impl FnOnce(Wire) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        self.node_of(key)?.run_aside(deadline, request).await
    }

    /// The server that owns the slot of `key`: that of its hash tag, where it has one.
    pub(crate) fn node_of(&self, key: impl AsRef<[u8]>) -> Result<Node, StoreError> {
        match &self.0.servers {
            Servers::One(node) => Ok(node.clone()),
            Servers::Cluster(cluster) => cluster.node_of(key.as_ref()),
        }
    }

    /// Whether keys of different hash tags may be on different servers.
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.0.servers, Servers::Cluster(_))
    }

    /// Every server that owns slots.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        match &self.0.servers {
            Servers::One(node) => vec![node.clone()],
            Servers::Cluster(cluster) => cluster.nodes(),
        }
    }

    /// A number that grows when a connection is lost or made, and when a slot changes hands.
    ///
    /// Whoever keeps a copy of what a server holds has missed changes of it by then.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }
}

impl Start {
    /// Whether a first attempt that ended like this is enough to go on.
    fn accept(self, outcome: Result<(), StoreError>) -> Result<(), StoreError> {
        match (self, outcome) {
            (Self::Degraded, Err(reason)) if reason.may_pass() => {
                tracing::warn!(%reason, "starting without redis");
                Ok(())
            }
            (_, outcome) => outcome,
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither a client nor its address: they hold the credentials.
        f.debug_struct("Connection")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}
