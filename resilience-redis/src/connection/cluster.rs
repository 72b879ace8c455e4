//! The servers of a cluster: who owns which slots, and following that when it changes.
//!
//! Not the client's own cluster connection: it refuses to send the commands of one batch to the
//! servers that they belong to, replays after a broken connection what may have run already, and
//! does not look for the new owner of a slot while the old one hangs.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak},
    time::Duration,
};

use redis::Cmd;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    Address, Node, Start,
    dial::Dialer,
    link::Watchers,
    maker::{Maker, Place},
    slots::{SlotMap, slot_of},
};
use crate::StoreError;

/// The servers of a cluster. Clones share them.
#[derive(Clone)]
pub(super) struct Cluster(Arc<Shared>);

/// Finds servers that redirections name, as long as the cluster is in use.
#[derive(Clone)]
pub(super) struct Guide(Weak<Shared>);

struct Shared {
    dialer: Dialer,
    /// Any members, to ask when nobody else answers.
    seeds: Vec<Address>,
    watchers: Watchers,
    topology: RwLock<Arc<Topology>>,
    /// Those of the topology, and those that a redirection has named since it was read.
    nodes: Mutex<HashMap<Address, Node>>,
}

/// Who owns which slots, and the way to each.
struct Topology {
    map: SlotMap,
    /// In the order of the map's owners.
    nodes: Vec<Node>,
}

impl Cluster {
    /// The cluster once one member has said who owns what, and one owner is connected, or as
    /// `start` allows.
    pub(super) async fn open(
        dialer: Dialer,
        seeds: Vec<Address>,
        changes: watch::Sender<u64>,
        start: Start,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new_cyclic(|this| Shared {
            dialer,
            seeds,
            watchers: Watchers {
                changes,
                alarm: Arc::default(),
                guide: Some(Guide(this.clone())),
            },
            topology: RwLock::new(Arc::new(Topology {
                map: SlotMap::empty(),
                nodes: Vec::new(),
            })),
            nodes: Mutex::default(),
        });
        let learnt = shared.learn().await;
        start.accept(learnt.and_then(|()| shared.is_connected()))?;
        tokio::spawn(follow(Arc::downgrade(&shared)));
        Ok(Self(shared))
    }

    pub(super) fn node_of(&self, key: &[u8]) -> Result<Node, StoreError> {
        let topology = self.0.topology();
        let owner = topology.map.owner(slot_of(key));
        owner.map_or(Err(StoreError::Unavailable), |index| {
            Ok(topology.nodes[index].clone())
        })
    }

    pub(super) fn nodes(&self) -> Vec<Node> {
        self.0.topology().nodes.clone()
    }
}

impl Guide {
    pub(super) fn node_at(&self, address: &Address) -> Option<Node> {
        self.0.upgrade().map(|shared| shared.node_at(address))
    }
}

impl Shared {
    /// Asks who owns what by now, and goes by that from here on.
    async fn learn(&self) -> Result<(), StoreError> {
        let known = self.topology();
        let views = self.views(&known).await?;
        let map = SlotMap::agreed(&views).ok_or(StoreError::Unavailable)?;
        if *map == known.map {
            // One that a redirection named and that is gone would be called again and again.
            lock(&self.nodes).retain(|_, node| known.nodes.contains(node) || node.is_well());
            return Ok(());
        }
        let nodes: Vec<_> = map.owners().iter().map(|at| self.node_at(at)).collect();
        // Until a new one is connected calls to it would fail.
        let connected = async {
            for node in &nodes {
                node.connected().await;
            }
        };
        let _ = timeout(TIME_TO_CONNECT, connected).await;
        lock(&self.nodes).retain(|_, node| nodes.contains(node));
        let topology = Arc::new(Topology {
            map: map.clone(),
            nodes,
        });
        *self
            .topology
            .write()
            .unwrap_or_else(PoisonError::into_inner) = topology;
        if !map.says_as(&known.map) {
            tracing::info!(
                owners = map.owners().len(),
                "slots of a redis cluster have changed hands"
            );
            self.watchers.changed();
        }
        Ok(())
    }

    /// What members say; replicas and the members to begin with only where an owner is silent.
    async fn views(&self, known: &Topology) -> Result<Vec<SlotMap>, StoreError> {
        let mut asking = JoinSet::new();
        for (node, address) in known.nodes.iter().zip(known.map.owners()) {
            asking.spawn(view_of_node(node.clone(), address.clone()));
        }
        let (mut views, mut failure) = heard(asking).await;
        if views.is_empty() || views.len() < known.nodes.len() {
            let mut asking = JoinSet::new();
            let others = known.map.replicas.iter().chain(&self.seeds);
            for address in others.filter(|address| !known.map.owners().contains(address)) {
                asking.spawn(view_of_stranger(self.dialer.clone(), address.clone()));
            }
            let (more, problem) = heard(asking).await;
            views.extend(more);
            failure = problem.or(failure);
        }
        match (views.is_empty(), failure) {
            (true, Some(failure)) => Err(failure),
            (true, None) => Err(StoreError::Unavailable),
            (false, _) => Ok(views),
        }
    }

    fn node_at(&self, address: &Address) -> Node {
        match lock(&self.nodes).entry(address.clone()) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(place) => {
                let maker = Maker::new(self.dialer.clone(), Place::At(address.clone()));
                let node = Node::begin(maker, self.watchers.clone());
                place.insert(node).clone()
            }
        }
    }

    /// Whether any owner is connected, or why none is.
    fn is_connected(&self) -> Result<(), StoreError> {
        let mut standing = Err(StoreError::Unavailable);
        for node in &self.topology().nodes {
            standing = standing.or_else(|_| node.flow().map(drop));
        }
        standing
    }

    fn topology(&self) -> Arc<Topology> {
        let topology = self.topology.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&topology)
    }
}

/// Keeps the topology current until the last store is gone.
async fn follow(shared: Weak<Shared>) {
    while let Some((alarm, pause)) = shared.upgrade().map(|shared| {
        let nodes = &shared.topology().nodes;
        let well = !nodes.is_empty() && nodes.iter().all(Node::is_well);
        let pause = if well {
            TIME_TO_LOOK
        } else {
            TIME_TO_LOOK_AGAIN
        };
        (Arc::clone(&shared.watchers.alarm), pause)
    }) {
        // Either way it is time to ask.
        let _ = timeout(pause, alarm.notified()).await;
        if let Some(shared) = shared.upgrade() {
            // Where nobody answers there is nothing new.
            let _ = shared.learn().await;
        }
        sleep(TIME_BETWEEN_LOOKS).await;
    }
}

/// What was answered, and one of the reasons why the others did not.
async fn heard(
    mut asking: JoinSet<Result<SlotMap, StoreError>>,
) -> (Vec<SlotMap>, Option<StoreError>) {
    let (mut views, mut failure) = (Vec::new(), None);
    let mut patience = TIME_TO_TELL;
    while let Ok(Some(told)) = timeout(patience, asking.join_next()).await {
        match told {
            Ok(Ok(view)) => {
                views.push(view);
                // One that hangs must not hold up what the others know.
                patience = TIME_FOR_THE_REST;
            }
            Ok(Err(problem)) => failure = Some(problem),
            // Ours never panic and nobody aborts them.
            Err(_) => {}
        }
    }
    (views, failure)
}

async fn view_of_node(node: Node, address: Address) -> Result<SlotMap, StoreError> {
    let slots = slots();
    let ask = async |mut wire| slots.query_async(&mut wire).await;
    let reply = node.run(TIME_TO_TELL, ask).await?;
    SlotMap::read(&reply, &address).ok_or(StoreError::Protocol)
}

async fn view_of_stranger(dialer: Dialer, address: Address) -> Result<SlotMap, StoreError> {
    let mut connection = dialer.visit(&address).await?;
    let reply = slots().query_async(&mut connection).await;
    let reply = reply.map_err(|error| StoreError::from(&error))?;
    SlotMap::read(&reply, &address).ok_or(StoreError::Protocol)
}

/// Not `CLUSTER SHARDS`, which servers have only since 7.0.
fn slots() -> Cmd {
    redis::cmd("CLUSTER").arg("SLOTS").take()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While all is well: slots that were moved by hand redirect us until then.
const TIME_TO_LOOK: Duration = Duration::from_secs(15);
/// While a server is not well, and another may have taken its place.
const TIME_TO_LOOK_AGAIN: Duration = Duration::from_millis(250);
const TIME_BETWEEN_LOOKS: Duration = Duration::from_millis(50);
const TIME_TO_TELL: Duration = Duration::from_secs(1);
const TIME_FOR_THE_REST: Duration = Duration::from_millis(100);
const TIME_TO_CONNECT: Duration = Duration::from_millis(250);
