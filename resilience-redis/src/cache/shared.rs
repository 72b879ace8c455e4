use std::{
    sync::{Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use resilience_core::{
    Clock, InvalidPolicy,
    cache::{Lease, Listener, Notice},
};
use tokio::sync::Semaphore;

use super::{
    ear::Ear,
    ears::Ears,
    frame::ServerTime,
    names::{Names, Part},
    unsent::{Ticket, Unsent},
    waiters::Waiters,
};
use crate::{
    RedisStore, StoreError,
    connection::Node,
    identity,
    script::{Script, script},
};

/// What the parts of a tier have in common: its [entries](super::entries), its
/// [leases](super::leases), and what it [hears](super::hearing).
pub(super) struct Shared {
    pub(super) store: RedisStore,
    pub(super) names: Names,
    /// Who we are in messages.
    pub(super) origin: String,
    pub(super) clock: Clock,
    pub(super) claims: AtomicU64,
    pub(super) claim: Script,
    pub(super) fill: Script,
    pub(super) release: Script,
    pub(super) listener: OnceLock<Listener>,
    pub(super) waiters: Waiters,
    pub(super) unsent: Mutex<Unsent>,
    pub(super) ears: Mutex<Ears>,
    /// For the one who forgets everything: that takes long, and once is enough for all.
    pub(super) clearing: Semaphore,
    /// What came of that the last time, for all who had asked by then.
    pub(super) cleared: Mutex<Option<(Ticket, Result<(), StoreError>)>>,
}

impl Shared {
    pub(super) fn new(store: &RedisStore, name: &str) -> Result<Self, InvalidPolicy> {
        let prefix = store.connection().settings().key_prefix();
        Ok(Self {
            names: Names::new(prefix, name)?,
            store: store.clone(),
            origin: identity::unique(),
            clock: Clock::system(),
            claims: AtomicU64::new(0),
            claim: script!("cache_claim"),
            fill: script!("cache_fill"),
            release: script!("cache_release"),
            listener: OnceLock::new(),
            waiters: Waiters::default(),
            unsent: Mutex::new(Unsent::new()),
            ears: Mutex::default(),
            clearing: Semaphore::new(1),
            cleared: Mutex::default(),
        })
    }

    pub(super) fn tell(&self, notice: Notice) {
        if let Some(listener) = self.listener.get() {
            listener.tell(notice);
        }
    }

    /// Whether what Redis has of this key may be given to anybody.
    pub(super) fn believes(&self, part: &Part) -> bool {
        self.ears().in_touch && self.unsent().believes(part)
    }

    pub(super) fn ear_of(&self, name: &str) -> Result<Ear, StoreError> {
        let node = self.store.connection().node_of(name)?;
        let ears = self.ears();
        let ear = ears.at.get(&node).and_then(|server| server.ear.clone());
        ear.ok_or(StoreError::Unavailable)
    }

    /// What the clock of the server that owns `name` says: the owners of a cluster need not agree.
    pub(super) fn now_at(&self, name: &str) -> Result<ServerTime, StoreError> {
        let node = self.store.connection().node_of(name)?;
        let ears = self.ears();
        let now = ears
            .at
            .get(&node)
            .and_then(|server| server.now(self.millis()));
        now.ok_or(StoreError::Unavailable)
    }

    /// Whether the server owns `name`.
    pub(super) fn owns(&self, node: &Node, name: &str) -> bool {
        let owner = self.store.connection().node_of(name);
        owner.is_ok_and(|owner| owner == *node)
    }

    pub(super) fn token(&self, lease: Lease) -> String {
        format!("{}-{:x}", self.origin, lease.number())
    }

    /// What our own clock says, in milliseconds.
    pub(super) fn millis(&self) -> u64 {
        self.clock.now().as_nanos() / 1_000_000
    }

    pub(super) fn deadline(&self) -> Duration {
        self.store.connection().settings().time_to_decide()
    }

    /// How long a server may be silent until it is given up.
    pub(super) fn patience(&self) -> Duration {
        self.store.connection().settings().longest_silence()
    }

    pub(super) fn unsent(&self) -> MutexGuard<'_, Unsent> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cleared(&self) -> MutexGuard<'_, Option<(Ticket, Result<(), StoreError>)>> {
        self.cleared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ears(&self) -> MutexGuard<'_, Ears> {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
