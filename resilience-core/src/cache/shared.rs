use std::{borrow::Borrow, fmt, hash::Hash, time::Duration};

use super::{
    Policy,
    entry::{Birth, Entry, Found, Terms},
    flight::Flights,
    hashed::HashedRef,
    heard::{Heard, Stamp},
    second::Second,
    state::{Age, Life},
    storage::Storage,
    tags::Tags,
    tally::{Count, Tally},
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

    pub(super) fn judge(&self, entry: &Entry<V>, now: Timestamp) -> Lookup<V>
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

    /// What may be served in place of a load, after all this time. What was there before it may
    /// have been invalidated: only what is there now counts.
    pub(super) fn stale(&self, key: HashedRef<'_, K>) -> Option<Entry<V>>
    where
        V: Clone,
    {
        let now = self.environment.now();
        let serves = |entry: &Entry<V>| {
            let age = entry.age(&self.policy, &self.tags, now, || 0.0);
            let serves = matches!(entry.found, Found::Value(_))
                && age != Age::Dead
                && entry.is_valid(&self.tags);
            serves.then(|| entry.clone())
        };
        self.storage.peek(key, serves).flatten()
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

impl<K, V> Shared<K, V> {
    /// The longest that anybody waits for a load: what it may take itself, and the second tier
    /// before it.
    pub(super) fn longest_load(&self) -> Duration {
        let tier = self.second.as_ref().map(Second::longest_wait);
        let load = self.policy.hard_timeout;
        load.saturating_add(tier.unwrap_or_default())
    }

    /// Whether `entry` has been invalidated since its load began, and before one asked for whom
    /// `epoch` was the last invalidation.
    pub(super) fn is_outdated(&self, entry: &Entry<V>, epoch: u64) -> bool {
        epoch > entry.epoch() && !entry.is_valid(&self.tags)
    }
}

impl<K, V> fmt::Debug for Shared<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
