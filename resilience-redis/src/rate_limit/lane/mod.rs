//! The way of questions to the server, many at a time.
//!
//! Whoever comes for a key with nobody in line before puts the key into the queue. Flights take
//! what is there, up to a batch each, ask the server and tell the callers; a flight belongs to
//! nobody who waits, so that whoever goes away leaves nothing half done. There is no timer: a
//! flight departs as soon as it can, and what comes while all are under way fills the next one.
//! One that finds nothing left to ask waits for whoever comes next.

mod alarm;
mod departures;
mod flight;
mod stand;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use resilience_core::{Environment, Timestamp};
use tokio::{runtime::Handle, task::JoinSet};

use self::{departures::Departures, flight::Flight, stand::Stand};
use crate::{
    RedisStore, StoreError,
    connection::{Connection, WeakNode},
    rate_limit::{
        fallback::Stake,
        line::{Entry, Leasing},
        options::Options,
        quota::{Kind, Rule, ServerClocks, as_they_stand},
        refund::{self, Leases, Refund, Refunds},
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
    flights: usize,
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

    /// Gives back all units that were taken ahead, whether anybody waits for it or not.
    pub(super) async fn return_leases(self: &Arc<Self>) -> Result<(), StoreError> {
        let refunds = self.leases.surrender(&self.rules);
        let returning = Arc::clone(self).send_all(refunds);
        let done = self.runtime.spawn(returning).await;
        done.unwrap_or(Err(StoreError::Unavailable))
    }

    /// Sends `refunds`, as many questions at once as may be under way.
    async fn send_all(self: Arc<Self>, refunds: Vec<Refund>) -> Result<(), StoreError> {
        let mut refunds = refunds.into_iter();
        let (mut under_way, mut outcome) = (JoinSet::new(), Ok(()));
        loop {
            let batch: Vec<_> = refunds.by_ref().take(self.keys).collect();
            if batch.is_empty() || under_way.len() >= self.flights {
                let Some(sent) = under_way.join_next().await else {
                    return outcome;
                };
                let sent = sent.unwrap_or(Err(StoreError::Unavailable));
                outcome = outcome.and(sent);
            }
            if !batch.is_empty() {
                let lane = Arc::clone(&self);
                under_way.spawn(async move { lane.send_refunds(&batch).await });
            }
        }
    }

    /// Sends somebody to ask for those who wait for `entry`.
    pub(super) fn push(self: &Arc<Self>, entry: Arc<Entry>) {
        if self.departures().add(entry, self.keys, self.flights) {
            self.depart();
        }
    }

    /// Gives units back as soon as the server can be heard; if it cannot, or is too slow for all that
    /// go back, they stay taken.
    pub(super) fn give_back(self: &Arc<Self>, refunds: impl IntoIterator<Item = Refund>) {
        let (batches, dropped) = self.refunds().add(refunds, (self.keys, self.flights));
        for batch in batches {
            let run = refund::Run::new(Arc::clone(self), batch);
            self.runtime.spawn(run.run());
        }
        if !dropped.is_empty() {
            let leased = dropped.iter().map(Refund::leased).sum();
            self.leases.settle(leased, false);
        }
    }

    /// Gives `units` back to `name`, the oldest.
    pub(super) async fn refund_oldest(
        self: &Arc<Self>,
        name: &str,
        units: u64,
    ) -> Result<(), StoreError> {
        let now = self.ask_time(name).await?;
        let refund = Refund::oldest(name, units, &self.rules, now);
        self.send_refunds(&[refund]).await
    }

    /// Deletes all counts of `name`.
    pub(super) async fn clear(&self, name: &str) -> Result<(), StoreError> {
        let now = self.ask_time(name).await?;
        let refund = Refund::oldest(name, 1, &self.rules, now);
        // One command a key: while a slot of a cluster moves some are at one server and some at another.
        let mut unlink = redis::pipe();
        for key in refund.keys() {
            unlink.cmd("UNLINK").arg(key).ignore();
        }
        let request = async |mut wire| unlink.query_async(&mut wire).await;
        self.connection.run(name, self.patience, request).await
    }

    /// What the clock shows of the server that has `name`, in microseconds since 1970.
    async fn ask_time(&self, name: &str) -> Result<u64, StoreError> {
        let request = async |mut wire| redis::cmd("TIME").query_async(&mut wire).await;
        let time = self.connection.run(name, self.patience, request).await;
        time.map(|(seconds, micros): (u64, u64)| seconds * 1_000_000 + micros)
    }

    /// Sends one more flight: the one on the stand or, where none is, a new one.
    fn depart(self: &Arc<Self>) {
        if !self.stand.call() {
            let flight = Flight::new(Arc::clone(self));
            self.runtime.spawn(flight.run());
        }
    }

    const fn stand(&self) -> &Arc<Stand> {
        &self.stand
    }

    pub(super) async fn send_refunds(
        self: &Arc<Self>,
        refunds: &[Refund],
    ) -> Result<(), StoreError> {
        let Some(first) = refunds.first() else {
            return Ok(());
        };
        let request = async |wire| {
            let write = |command: &mut _| refund::write(&self.rules, refunds, command);
            self.refund.run_with(&wire, (0, 0), write).await
        };
        let name = first.name().to_owned();
        let reply = self.connection.run(&name, self.patience, request).await;
        let leased = refunds.iter().map(Refund::leased).sum();
        self.leases.settle(leased, reply.is_ok());
        self.doubt(refunds.iter().filter_map(Refund::entry));
        reply.map(|_| ())
    }

    /// The server whose clock counts for `name`, where that is not the same for all.
    fn owner_of(&self, name: &str) -> Option<WeakNode> {
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
/// Keys in one question: the server is at it for some 100 microseconds.
const KEYS: usize = 128;
