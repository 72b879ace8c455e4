use std::{borrow::Borrow, fmt, hash::Hash, sync::Arc, time::Duration};

use super::{
    Policy,
    entry::{Birth, Entry, Found, Terms},
    flight::{ByKey, Flight, Flights, Landing},
    follow::Follow,
    hashed::{Hashed, HashedRef},
    heard::Heard,
    lead::Lead,
    measure::{Count, Tally},
    second::Second,
    state::{Age, Life},
    storage::Storage,
    tags::{Stamp, Tags},
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
    pub(super) second: Option<Second<K, V>>,
}

/// What a look at a key gives that is no plain hit.
#[derive(Debug)]
pub(super) enum Lookup<V> {
    /// Something to serve.
    Serve(Entry<V>, Freshness),
    /// The same, and to be loaded again in the background.
    Refresh(Entry<V>, Freshness),
    /// Something to serve only where a load fails or takes too long.
    Stale(Entry<V>),
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
    Landed(Entry<V>, Freshness),
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
            tags: Tags::new(Heard::nothing()),
            tally: Tally::default(),
            second: None,
        })
    }

    /// What `hit` makes of a value that is simply good, and of the time; else whatever there is of
    /// `key`. Counts nothing.
    #[inline]
    pub(super) fn look<Q, T>(
        &self,
        key: HashedRef<'_, Q>,
        hit: impl FnOnce(&V, &Life, Timestamp) -> T,
    ) -> Result<T, Lookup<V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
        V: Clone,
    {
        let read = |entry: &Entry<V>| {
            let now = self.environment.now();
            let value = entry.hit(&self.tags, now)?;
            Some(hit(value, entry.life(), now))
        };
        match self.storage.get(key, read) {
            Some(Some(hit)) => Ok(hit),
            // Looked at twice, so that what a hit hands on stays small.
            Some(None) => Err(self.look_closely(key)),
            None => Err(Lookup::Miss),
        }
    }

    #[cold]
    fn look_closely<Q>(&self, key: HashedRef<'_, Q>) -> Lookup<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
        V: Clone,
    {
        let now = self.environment.now();
        let found = self.storage.peek(key, |entry| self.judge(entry, now));
        found.unwrap_or(Lookup::Miss)
    }

    fn judge(&self, entry: &Entry<V>, now: Timestamp) -> Lookup<V>
    where
        V: Clone,
    {
        if !entry.is_valid(&self.tags) {
            return Lookup::Miss;
        }
        let draw = || self.environment.draw();
        match entry.age(&self.policy, &self.tags, now, draw) {
            Age::Fresh => Lookup::Serve(entry.clone(), Freshness::Fresh),
            Age::Dead => Lookup::Miss,
            // Where its last load failed a moment ago, what there is must do.
            Age::Due if entry.is_postponed(now) => Lookup::Serve(entry.clone(), Freshness::Fresh),
            Age::Due => Lookup::Refresh(entry.clone(), Freshness::Fresh),
            Age::Revalidate | Age::Fallback if entry.is_postponed(now) => {
                Lookup::Serve(entry.clone(), Freshness::Stale)
            }
            Age::Revalidate => Lookup::Refresh(entry.clone(), Freshness::Stale),
            Age::Fallback => Lookup::Stale(entry.clone()),
        }
    }

    /// Counts what is served of `entry`.
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

    /// An entry as of now that took no load.
    pub(super) fn entry(&self, found: Found<V>, terms: &Terms, stamp: Stamp) -> Entry<V> {
        self.entry_of(found, terms, stamp, Duration::ZERO)
    }

    /// An entry as of now, of a load that took `took`.
    pub(super) fn entry_of(
        &self,
        found: Found<V>,
        terms: &Terms,
        stamp: Stamp,
        took: Duration,
    ) -> Entry<V> {
        let longest = match &self.second {
            Some(second) if !self.tags.is_in_touch() => second.longest_alone(),
            Some(_) | None => Duration::MAX,
        };
        let birth = Birth {
            stamp,
            now: self.environment.now(),
            took,
            random: self.environment.draw(),
            longest,
        };
        Entry::new(found, terms, &self.policy, &self.tags, birth)
    }

    /// What has been invalidated so far, as far as it concerns `key`.
    pub(super) fn stamp(&self, key: &K) -> Stamp {
        let mark = self.second.as_ref().map_or(0, |second| second.mark(key));
        self.tags.stamp(mark)
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

impl<K: Hash + Eq + Clone, V: Clone> Shared<K, V> {
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
        let now = self.environment.now();
        let landed = self.storage.peek(key.of(), |entry| self.judge(entry, now));
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
        entry: &Entry<V>,
    ) -> Option<Lead<K, V>> {
        if self
            .under_way(&mut self.flights.shard(key.hash), key.of())
            .is_some()
        {
            return None;
        }
        let flight = self.take_off(key);
        let mut shard = self.flights.shard(key.hash);
        let stored = self.storage.peek(key.of(), |stored| stored.is(entry));
        if self.under_way(&mut shard, key.of()).is_some() || stored != Some(true) {
            return None;
        }
        shard.insert(ByKey(flight.clone()));
        drop(shard);
        Some(Lead::new(self.clone(), flight))
    }

    /// Stores `entry`, and gives it to those who wait for a load of its key: that load is
    /// overtaken.
    pub(super) fn put(&self, key: Hashed<K>, entry: Entry<V>) {
        let mut shard = self.flights.shard(key.hash);
        let overtaken = shard.swap_take(&key.of());
        let (removed, landing) = if self.storage.admits(&entry) {
            (self.storage.insert(key, entry), Landing::Overtaken)
        } else {
            let removed = self.storage.remove(key.of());
            let landing = Landing::Entry(Arc::new(entry));
            (removed.into_iter().collect(), landing)
        };
        drop(shard);
        // Nobody waits for the drop of what had to go, which is foreign code and may panic.
        if let Some(ByKey(flight)) = overtaken {
            flight.land(landing);
        }
        drop(removed);
    }

    fn take_off(&self, key: &Hashed<K>) -> Arc<Flight<K, V>> {
        let now = self.environment.now();
        // Stamped before the load begins, so that nothing that is invalidated from here on is
        // missed.
        Arc::new(Flight::new(key.clone(), self.stamp(&key.key), now))
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
        let flight = self.under_way(shard, key)?;
        Some(Follow::new(self.clone(), flight.clone()))
    }

    /// The load of `key`, where there is one that can still end.
    fn under_way<'a>(
        &self,
        shard: &'a mut super::flight::Shard<K, V>,
        key: HashedRef<'_, K>,
    ) -> Option<&'a Arc<Flight<K, V>>> {
        let (index, ByKey(flight)) = shard.get_full(&key)?;
        let running = self.environment.now().saturating_since(flight.began());
        if running >= self.policy.hard_timeout {
            // Its leader is not polled any more, or would have ended it: those who wait have
            // their own deadlines, and who comes now begins anew.
            shard.swap_remove_index(index);
            return None;
        }
        Some(&shard[index].0)
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
