//! Ways to the servers: which one owns a key, and how it is asked.

mod blocking;
mod dial;
mod flow;
mod maker;
mod node;
mod wire;

use std::{fmt, sync::Arc, time::Duration};

use redis::RedisResult;
use tokio::sync::watch;

pub(crate) use self::{blocking::Blocking, dial::Address, node::Node, wire::Wire};

use self::{
    dial::Dialer,
    maker::{Maker, Place},
    node::Watchers,
};
use crate::{Settings, StoreError, Target, target::Kind};

/// All servers of one store. Clones share them.
#[derive(Clone)]
pub(crate) struct Connection(Arc<Shared>);

struct Shared {
    settings: Settings,
    node: Node,
    #[allow(dead_code, reason = "read through `changes`")]
    changes: watch::Sender<u64>,
}

impl Connection {
    /// Connects; from then on each connection looks after itself, on the runtime of this call.
    pub(crate) async fn open(target: &Target, settings: Settings) -> Result<Self, StoreError> {
        if target.is_readable_by_others() {
            tracing::warn!("redis is on another machine and not asked over TLS (`rediss://`)");
        }
        if target.tls.is_some() {
            dial::prepare_tls();
        }
        let watchers = Watchers {
            changes: watch::Sender::new(0),
            alarm: Arc::default(),
        };
        let changes = watchers.changes.clone();
        let dialer = Dialer::new(target, &target.login, &settings);
        let node = match (&target.kind, &target.addresses[..]) {
            (Kind::Single, [address]) => {
                Node::open(Maker::new(dialer, Place::At(address.clone())), watchers).await?
            }
            _ => {
                return Err(StoreError::InvalidTarget(
                    "sentinels and clusters cannot be asked yet",
                ));
            }
        };
        Ok(Self(Arc::new(Shared {
            settings,
            node,
            changes,
        })))
    }

    /// Runs `request` on the server that owns `key`, and ends by `deadline`, whatever happens.
    ///
    /// Every key that the request names must have the hash tag of `key`. Where a server answers
    /// that the key has moved, and so did nothing, `request` is called again with the one it names.
    pub(crate) async fn run<T, F>(
        &self,
        key: &str,
        deadline: Duration,
        request: impl Fn(Wire) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        self.node_of(key)?.run(deadline, request).await
    }

    /// The server that owns the slot of `key`: that of its hash tag, where it has one.
    #[allow(clippy::unnecessary_wraps, reason = "a slot can be nobody's")]
    pub(crate) fn node_of(&self, _key: &str) -> Result<Node, StoreError> {
        Ok(self.0.node.clone())
    }

    /// Every server that owns slots.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        vec![self.0.node.clone()]
    }

    /// A number that grows when a connection is lost or made, and when a slot changes hands.
    ///
    /// Whoever keeps a copy of what a server holds has missed changes of it by then.
    #[allow(dead_code, reason = "for whoever keeps copies of what servers hold")]
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
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
