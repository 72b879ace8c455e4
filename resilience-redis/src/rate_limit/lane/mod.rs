//! The way of questions to the server, many at a time.
//!
//! Whoever comes for a key with nobody in line before puts the key into the queue. Flights take
//! what is there, up to a batch each, ask the server and tell the callers; a flight belongs to
//! nobody who waits, so that whoever goes away leaves nothing half done. There is no timer: a
//! flight departs as soon as it can, and what comes while all are under way fills the next one.
//! One that finds nothing left to ask waits for whoever comes next.

mod alarm;
mod change;
mod departures;
mod flight;
mod stand;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::Cmd;
use resilience_core::{Environment, Timestamp};
use tokio::{runtime::Handle, time::sleep};

use self::{departures::Departures, flight::Flight, stand::Stand};
use crate::{
    RedisStore,
    connection::{Connection, WeakNode, Wire},
    rate_limit::{
        fallback::Stake,
        line::{Entry, Leasing},
        options::Options,
        quota::{Kind, Rule, ServerClocks, as_they_stand},
        refund::{Leases, Refunds},
    },
    script::{Script, of_family, script},
};

/// The questions of one limiter.
pub(super) struct Lane {
    pub(super) connection: Connection,
    runtime: Handle,
    environment: Environment,
    pub(super) patience: Duration,
    /// Questions under way at once, and keys in one of them.
    pub(super) flights: usize,
    pub(super) keys: usize,
    pub(super) take: Script,
    pub(super) refund: Script,
    /// Whether a call that comes alone may be decided without a script: not in a cluster, since a
    /// count that moves comes late and goes late, nor where the time must be known to the microsecond.
    asks_plainly: bool,
    pub(super) rules: Arc<[Rule]>,
    /// What a question is asked by says what its answer means: this stays as it is, and another
    /// takes its place where the rules change.
    asked_by: Mutex<Arc<[Rule]>>,
    clocks: Mutex<ServerClocks<WeakNode>>,
    departures: Mutex<Departures>,
    stand: Arc<Stand>,
    refunds: Mutex<Refunds>,
    pub(super) leases: Leases,
    /// Of each limit, units that all processes together may take ahead.
    lease_percent: u64,
    stake: Stake,
}

impl Lane {
    pub(super) fn new(
        store: &RedisStore,
        rules: Arc<[Rule]>,
        options: &Options,
        stake: Stake,
    ) -> Self {
        let connection = store.connection().clone();
        let take = match &rules[..] {
            [
                Rule {
                    kind: Kind::Window { .. },
                    ..
                },
            ] => script!("window_take"),
            _ => of_family!("quotas", "take"),
        };
        // In a cluster a script sees the keys of one slot.
        let (flights, keys) = if connection.is_cluster() {
            (CLUSTER_FLIGHTS, 1)
        } else {
            (FLIGHTS, KEYS)
        };
        Self {
            flights,
            keys,
            patience: connection.settings().time_to_decide(),
            asks_plainly: !connection.is_cluster() && options.lease_percent == 0,
            connection,
            runtime: store.runtime().clone(),
            environment: options.environment.clone(),
            take,
            refund: of_family!("quotas", "refund"),
            asked_by: Mutex::new(as_they_stand(&rules)),
            rules,
            clocks: Mutex::default(),
            departures: Mutex::default(),
            stand: Arc::default(),
            refunds: Mutex::default(),
            leases: Leases::default(),
            lease_percent: options.lease_percent,
            stake,
        }
    }

    #[inline]
    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What the next question is asked by.
    fn asked_by(&self) -> MutexGuard<'_, Arc<[Rule]>> {
        self.asked_by.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what `new` allow, which count alike.
    pub(super) fn follow(&self, new: &[Rule]) {
        for (old, new) in self.rules.iter().zip(new) {
            old.follow(new);
        }
        *self.asked_by() = as_they_stand(&self.rules);
    }

    #[inline]
    pub(super) const fn environment(&self) -> &Environment {
        &self.environment
    }

    #[inline]
    pub(super) fn now(&self) -> Timestamp {
        self.environment.now()
    }

    pub(super) const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Whether units may be taken ahead, and how many: none while those of any key may have to fit into
    /// this process' part as well.
    pub(super) fn leasing(&self, now: Timestamp) -> Option<Leasing> {
        let leases = self.lease_percent > 0 && !self.stake.may_have_moved(now);
        leases.then(|| Leasing {
            percent: self.lease_percent,
            nodes: self.stake.nodes(),
            now,
        })
    }

    /// Sends somebody to ask for those who wait for `entry`.
    pub(super) fn push(self: &Arc<Self>, entry: Arc<Entry>) {
        if self.departures().add(entry, self.keys, self.flights) {
            self.depart();
        }
    }

    /// Sends one more flight: the one on the stand or, where none is, a new one.
    fn depart(self: &Arc<Self>) {
        if !self.stand.call() {
            let flight = Flight::new(self);
            self.runtime.spawn(flight.run());
        }
    }

    /// Sends `command` about `name` for nobody who waits; if the server is not heard of it within some
    /// seconds, that is all.
    fn send_aside(&self, name: &[u8], command: Cmd) {
        let (connection, patience) = (self.connection.clone(), self.patience);
        let name = name.to_vec();
        self.runtime.spawn(async move {
            for pause in PAUSES {
                sleep(pause).await;
                let request = async |wire: Wire| wire.ask(&command).await?.extract_error();
                let sent = connection.run_aside(&name, patience, request).await;
                if sent.is_ok() {
                    return;
                }
            }
        });
    }

    const fn stand(&self) -> &Arc<Stand> {
        &self.stand
    }

    /// The server whose clock counts for `name`, where that is not the same for all.
    fn owner_of(&self, name: &[u8]) -> Option<WeakNode> {
        if !self.connection.is_cluster() {
            return None;
        }
        let owner = self.connection.node_of(name).ok();
        owner.map(|owner| owner.downgrade())
    }

    pub(super) fn clocks(&self) -> MutexGuard<'_, ServerClocks<WeakNode>> {
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn departures(&self) -> MutexGuard<'_, Departures> {
        self.departures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn refunds(&self) -> MutexGuard<'_, Refunds> {
        self.refunds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.stand.close();
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}

/// Questions under way at once in a cluster, each about one key.
const CLUSTER_FLIGHTS: usize = 128;
/// Questions under way at once: while one is answered the next is written.
const FLIGHTS: usize = 4;
/// Before each of so many tries to send what nobody waits for.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(10),
];
/// Keys in one question: the server is at it for some 100 microseconds.
const KEYS: usize = 128;
