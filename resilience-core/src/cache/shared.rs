use std::{borrow::Borrow, fmt, hash::Hash, sync::Arc};

use super::{
    Policy,
    ancestry::Ancestry,
    entry::{Birth, Entry, Found, Terms},
    flight::{ByKey, Flight, Flights, Landing, closed},
    measure::{Count, Tally},
    state::Age,
    storage::{Hashed, HashedRef, Storage},
    tags::Tags,
};
use crate::{CatchPanic, Environment, Event, InvalidPolicy, Reason, Rejected, Timestamp};

/// What all clones of a cache share.
pub(super) struct Shared<K, V> {
    pub(super) policy: Policy,
    pub(super) environment: Environment,
    pub(super) panics: CatchPanic,
    pub(super) storage: Storage<K, V>,
    pub(super) flights: Flights<K, V>,
    pub(super) tags: Tags,
    pub(super) tally: Tally,
}

/// What a look at a key gives.
#[derive(Debug)]
pub(super) enum Lookup<V> {
    /// Something to serve.
    Serve(Arc<Entry<V>>, Freshness),
    /// The same, and to be loaded again in the background.
    Refresh(Arc<Entry<V>>, Freshness),
    /// Something to serve only where a load fails or takes too long.
    Stale(Arc<Entry<V>>),
    /// Nothing.
    Miss,
}

/// Whether what is served is past its time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    Fresh,
    Stale,
}

/// What becomes of one who needs a load.
#[derive(Debug)]
pub(super) enum Joined<K: Eq, V> {
    /// It has just ended.
    Landed(Arc<Entry<V>>, Freshness),
    /// This one makes it.
    Lead(Lead<K, V>),
    /// Another makes it.
    Follow(Follow<K, V>),
}

impl<K: Hash + Eq, V> Shared<K, V> {
    pub(super) fn new(policy: Policy, environment: &Environment) -> Result<Self, InvalidPolicy> {
        policy.check()?;
        Ok(Self {
            policy,
            environment: environment.clone(),
            panics: CatchPanic::new_in(policy.name, environment)?,
            storage: Storage::new(&policy)?,
            flights: Flights::new(),
            tags: Tags::default(),
            tally: Tally::default(),
        })
    }

    #[inline]
    pub(super) fn look<Q>(&self, key: HashedRef<'_, Q>) -> Lookup<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let Some(entry) = self.storage.get(key) else {
            return Lookup::Miss;
        };
        self.judge(entry)
    }

    #[inline]
    fn judge(&self, entry: Arc<Entry<V>>) -> Lookup<V> {
        if !entry.is_valid(&self.tags) {
            return Lookup::Miss;
        }
        let now = self.environment.now();
        match entry.age(&self.policy, now, || self.environment.draw()) {
            Age::Fresh => Lookup::Serve(entry, Freshness::Fresh),
            Age::Dead => Lookup::Miss,
            // Where its last load failed a moment ago, what there is must do.
            Age::Due if entry.is_postponed(now) => Lookup::Serve(entry, Freshness::Fresh),
            Age::Due => Lookup::Refresh(entry, Freshness::Fresh),
            Age::Revalidate | Age::Fallback if entry.is_postponed(now) => {
                Lookup::Serve(entry, Freshness::Stale)
            }
            Age::Revalidate => Lookup::Refresh(entry, Freshness::Stale),
            Age::Fallback => Lookup::Stale(entry),
        }
    }

    /// Counts what is served of `entry`.
    #[inline]
    pub(super) fn count(&self, entry: &Entry<V>, freshness: Freshness) {
        self.tally.count(match &entry.found {
            Found::Value(_) => match freshness {
                Freshness::Fresh => Count::Hit,
                Freshness::Stale => Count::StaleHit,
            },
            Found::Absent | Found::Failed(_) => Count::NegativeHit,
            Found::Private => Count::Miss,
        });
    }

    /// An entry as of now.
    pub(super) fn entry(&self, found: Found<V>, terms: &Terms, epoch: u64) -> Entry<V> {
        let now = self.environment.now();
        self.entry_since(now, found, terms, epoch)
    }

    /// An entry of a load that began at `began`.
    fn entry_since(
        &self,
        began: Timestamp,
        found: Found<V>,
        terms: &Terms,
        epoch: u64,
    ) -> Entry<V> {
        let now = self.environment.now();
        let birth = Birth {
            epoch,
            now,
            took: now.saturating_since(began),
            random: self.environment.draw(),
        };
        Entry::new(found, terms, &self.policy, &self.tags, birth)
    }

    pub(super) fn refuse(&self, reason: Reason) -> Rejected {
        Rejected::new(reason, self.policy.name)
    }

    /// Tells of a refusal, where it is ours and not told yet.
    pub(super) fn tell(&self, rejected: &Rejected) {
        if rejected.policy() == self.policy.name && rejected.reason() != Reason::Panicked {
            self.environment.emit(&Event::Rejected(rejected));
        }
    }
}

impl<K: Hash + Eq + Clone, V> Shared<K, V> {
    /// Begins the load of `key`, or joins the one under way.
    pub(super) fn join(self: &Arc<Self>, key: &Hashed<K>) -> Joined<K, V> {
        if let Some(follow) = self.follow(key.of()) {
            return Joined::Follow(follow);
        }
        let flight = self.take_off(key);
        let mut shard = self.flights.shard(key.hash);
        if let Some(follow) = self.follow_in(&mut shard, key.of()) {
            return Joined::Follow(follow);
        }
        // A load that ended since the key was looked at has left its outcome here: it is stored
        // under the same lock.
        let landed = self.storage.peek(key.of()).map(|entry| self.judge(entry));
        if let Some(Lookup::Serve(entry, freshness) | Lookup::Refresh(entry, freshness)) = landed {
            return Joined::Landed(entry, freshness);
        }
        shard.insert(ByKey(flight.clone()));
        drop(shard);
        Joined::Lead(Lead::new(self.clone(), flight))
    }

    /// Begins the load of `key`, unless there is one under way, or has been since `entry` was
    /// looked at.
    pub(super) fn refresh(
        self: &Arc<Self>,
        key: &Hashed<K>,
        entry: &Arc<Entry<V>>,
    ) -> Option<Lead<K, V>> {
        if self.flights.shard(key.hash).contains(&key.of()) {
            return None;
        }
        let flight = self.take_off(key);
        let mut shard = self.flights.shard(key.hash);
        let stored = self.storage.peek(key.of())?;
        if shard.contains(&key.of()) || !Arc::ptr_eq(&stored, entry) {
            return None;
        }
        shard.insert(ByKey(flight.clone()));
        drop(shard);
        Some(Lead::new(self.clone(), flight))
    }

    /// Stores `entry`, and gives it to those who wait for a load of its key: that load is
    /// overtaken.
    pub(super) fn put(&self, key: Hashed<K>, entry: Arc<Entry<V>>) {
        let mut shard = self.flights.shard(key.hash);
        let overtaken = shard.swap_take(&key.of());
        let removed = self.storage.insert(key, entry.clone());
        drop(shard);
        drop(removed);
        if let Some(ByKey(flight)) = overtaken {
            flight.land(Landing::Entry(entry));
        }
    }

    fn take_off(&self, key: &Hashed<K>) -> Arc<Flight<K, V>> {
        let now = self.environment.now();
        // The epoch is read before the load begins, so that nothing that is invalidated from
        // here on is missed.
        Arc::new(Flight::new(key.clone(), self.tags.epoch(), now))
    }

    fn follow(self: &Arc<Self>, key: HashedRef<'_, K>) -> Option<Follow<K, V>> {
        let mut shard = self.flights.shard(key.hash);
        self.follow_in(&mut shard, key)
    }

    fn follow_in(
        self: &Arc<Self>,
        shard: &mut super::flight::Shard<K, V>,
        key: HashedRef<'_, K>,
    ) -> Option<Follow<K, V>> {
        let ByKey(flight) = shard.get(&key)?;
        let running = self.environment.now().saturating_since(flight.began());
        if running >= self.policy.hard_timeout {
            // Its leader is not polled any more, or would have ended it: those who wait have
            // their own deadlines, and who comes now begins anew.
            shard.swap_remove(&key);
            return None;
        }
        flight.join();
        Some(Follow {
            shared: self.clone(),
            flight: flight.clone(),
            epoch: self.tags.epoch(),
            waits: true,
        })
    }
}

impl<K: Hash + Eq, V> Shared<K, V> {
    /// Forgets `key`; a load that is under way is not stored, and nobody joins it any more.
    pub(super) fn invalidate<Q>(&self, key: HashedRef<'_, Q>)
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let mut shard = self.flights.shard(key.hash);
        let flight = shard.swap_take(&key);
        let removed = self.storage.remove(key);
        drop(shard);
        drop((flight, removed));
    }
}

impl<K, V> fmt::Debug for Shared<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// The one who loads. Dropped, it is gone, and another may follow.
#[derive(Debug)]
pub(super) struct Lead<K: Eq, V> {
    pub(super) shared: Arc<Shared<K, V>>,
    pub(super) flight: Arc<Flight<K, V>>,
    successor: Successor,
    landed: bool,
}

/// What happens when a leader goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Successor {
    /// One of those who wait leads.
    Waiting,
    /// All who wait are refused: the leader was a task, which goes away with its runtime alone.
    None,
}

impl<K: Eq, V> Lead<K, V> {
    fn new(shared: Arc<Shared<K, V>>, flight: Arc<Flight<K, V>>) -> Self {
        Self {
            shared,
            flight,
            successor: Successor::Waiting,
            landed: false,
        }
    }

    /// The same, on its way into a task of its own.
    pub(super) fn in_task(mut self) -> Self {
        self.successor = Successor::None;
        self
    }
}

impl<K: Hash + Eq + Clone, V> Lead<K, V> {
    /// Ends the load with what was found; stores it, unless it has been overtaken.
    pub(super) fn found(self, found: Found<V>, terms: &Terms) -> Landing<V> {
        let epoch = self.flight.epoch;
        let began = self.flight.began();
        let entry = self.shared.entry_since(began, found, terms, epoch);
        self.land(Landing::Entry(Arc::new(entry)))
    }

    /// Ends the load without a value.
    pub(super) fn failed(self, rejected: Rejected) -> Landing<V> {
        self.shared.tally.count(Count::LoadFailure);
        self.land(Landing::Refused(rejected))
    }

    fn land(mut self, landing: Landing<V>) -> Landing<V> {
        self.landed = true;
        let key = self.flight.key.clone();
        let failure = match &landing {
            Landing::Entry(_) => None,
            Landing::Refused(rejected) => {
                let terms = Terms::only(self.shared.policy.failure_ttl);
                let found = Found::Failed(rejected.clone());
                let entry = self.shared.entry(found, &terms, self.flight.epoch);
                Some(Arc::new(entry))
            }
        };
        let shared = &self.shared;
        let mut shard = shared.flights.shard(key.hash);
        let current = shard.get(&key.of());
        let removed = if current.is_some_and(|ByKey(it)| Arc::ptr_eq(it, &self.flight)) {
            let flight = shard.swap_take(&key.of());
            let stored = match (&landing, failure) {
                (Landing::Entry(entry), _) => shared.storage.insert(key, entry.clone()),
                (Landing::Refused(_), failure) => self.settle_failure(key, failure),
            };
            Some((flight, stored))
        } else {
            None
        };
        drop(shard);
        drop(removed);
        self.flight.land(landing)
    }

    /// Leaves the stale value alone for a while, or takes note of the failure where there is
    /// none and the policy asks for it.
    fn settle_failure(
        &self,
        key: Hashed<K>,
        failure: Option<Arc<Entry<V>>>,
    ) -> super::storage::Removed<K, V> {
        let shared = &self.shared;
        let now = shared.environment.now();
        if let Some(entry) = shared.storage.peek(key.of())
            && entry.is_valid(&shared.tags)
            && entry.age(&shared.policy, now, || 0.0) != Age::Dead
        {
            entry.postpone(now.saturating_add(shared.policy.failure_throttle));
            return super::storage::Removed::new();
        }
        match failure {
            Some(entry) => shared.storage.insert(key, entry),
            None => super::storage::Removed::new(),
        }
    }
}

impl<K: Eq, V> Drop for Lead<K, V> {
    fn drop(&mut self) {
        if self.landed {
            return;
        }
        let flight = &self.flight;
        let key = flight.key.of();
        let mut shard = self.shared.flights.shard(key.hash);
        let over = self.successor == Successor::None;
        let removed = if (flight.leave() || over)
            && shard
                .get(&key)
                .is_some_and(|ByKey(it)| Arc::ptr_eq(it, flight))
        {
            shard.swap_take(&key)
        } else {
            None
        };
        drop(shard);
        drop(removed);
        if over {
            flight.land(Landing::Refused(closed(self.shared.policy.name)));
        } else {
            flight.call_next();
        }
    }
}

/// One who waits for another's load. Dropped, it waits no more.
#[derive(Debug)]
pub(super) struct Follow<K: Eq, V> {
    shared: Arc<Shared<K, V>>,
    pub(super) flight: Arc<Flight<K, V>>,
    /// What had been invalidated when it began to wait.
    epoch: u64,
    waits: bool,
}

/// What one who waits is told.
#[derive(Debug)]
pub(super) enum News<K: Eq, V> {
    /// The load is over.
    Landed(Landing<V>),
    /// The leader is gone, and this one leads.
    Lead(Lead<K, V>),
    /// What was loaded has been invalidated since, and before this one began to wait.
    Outdated,
}

impl<K: Eq, V> Follow<K, V> {
    pub(super) async fn news(mut self) -> News<K, V> {
        let now = || self.shared.environment.now();
        match self.flight.news(now).await {
            super::flight::News::Landed(Landing::Entry(entry))
                if self.epoch > entry.epoch() && !entry.is_valid(&self.shared.tags) =>
            {
                News::Outdated
            }
            super::flight::News::Landed(landing) => News::Landed(landing),
            super::flight::News::Lead => {
                let lead = Lead::new(self.shared.clone(), self.flight.clone());
                // The leader counts no more as one who waits.
                self.waits = false;
                self.flight.quit();
                News::Lead(lead)
            }
        }
    }

    /// Whether it would wait for itself.
    pub(super) fn is_inside(&self, loads: &Ancestry) -> bool {
        loads.contains(&self.flight)
    }
}

impl<K: Eq, V> Drop for Follow<K, V> {
    fn drop(&mut self) {
        if !self.waits || !self.flight.quit() {
            return;
        }
        let key = self.flight.key.of();
        let mut shard = self.shared.flights.shard(key.hash);
        // Looked at once more: with the shard locked nobody joins.
        let mine = shard.get(&key);
        let removed = if mine.is_some_and(|ByKey(it)| Arc::ptr_eq(it, &self.flight))
            && self.flight.is_deserted()
        {
            shard.swap_take(&key)
        } else {
            None
        };
        drop(shard);
        drop(removed);
    }
}
