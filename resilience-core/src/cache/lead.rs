use std::{future::Future, hash::Hash, sync::Arc, time::Duration};

use super::{
    ancestry::Ancestry,
    entry::{Entry, Found, Terms},
    flight::{ByKey, Flight, Landing, closed},
    lease::{Advice, First, Held},
    load::{Brought, Explain, Fetched, Source, within},
    measure::Count,
    shared::Shared,
    state::Age,
    storage::{Hashed, Removed},
};
use crate::{Error, Reason, Rejected};

/// The one who loads. Dropped, it is gone, and another may follow.
#[derive(Debug)]
pub(super) struct Lead<K: Eq, V> {
    shared: Arc<Shared<K, V>>,
    flight: Arc<Flight<K, V>>,
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
    pub(super) fn new(shared: Arc<Shared<K, V>>, flight: Arc<Flight<K, V>>) -> Self {
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
        let now = self.shared.environment.now();
        let took = now.saturating_since(self.flight.began());
        self.found_elsewhere(found, terms, took)
    }

    /// Ends the load with what was found before, in a load that took `took`.
    fn found_elsewhere(self, found: Found<V>, terms: &Terms, took: Duration) -> Landing<V> {
        let stamp = self.flight.stamp;
        let entry = self.shared.entry_of(found, terms, stamp, took);
        self.land(Landing::Entry(Arc::new(entry)))
    }

    /// Ends the load without a value.
    pub(super) fn failed(self, rejected: Rejected) -> Landing<V> {
        self.shared.tally.count(Count::LoadFailure);
        self.land(Landing::Refused(rejected))
    }

    fn land(mut self, landing: Landing<V>) -> Landing<V> {
        // A key is cloned by foreign code: should it panic, those who wait hear of it by `drop`.
        let key = self.flight.key.clone();
        self.landed = true;
        let failure = match &landing {
            Landing::Entry(_) => None,
            Landing::Refused(rejected) => {
                let terms = Terms::only(self.shared.policy.failure_ttl);
                let found = Found::Failed(rejected.clone());
                let entry = self.shared.entry(found, &terms, self.flight.stamp);
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
        // Nobody waits for the drop of what had to go, which is foreign code and may panic.
        let landed = self.flight.land(landing);
        drop(removed);
        landed
    }

    /// Leaves the stale value alone for a while, or takes note of the failure where there is
    /// none and the policy asks for it.
    fn settle_failure(&self, key: Hashed<K>, failure: Option<Arc<Entry<V>>>) -> Removed<K, V> {
        let shared = &self.shared;
        let now = shared.environment.now();
        if let Some(entry) = shared.storage.peek(key.of())
            && entry.is_valid(&shared.tags)
            && entry.age(&shared.policy, &shared.tags, now, || 0.0) != Age::Dead
        {
            entry.postpone(now.saturating_add(shared.policy.failure_throttle));
            return Removed::new();
        }
        match failure {
            Some(entry) => shared.storage.insert(key, entry),
            None => Removed::new(),
        }
    }
}

impl<K, V> Lead<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Takes what the second tier has, or what `loader` brings, as part of the loads `inside`.
    pub(super) async fn run<F, Fut, P, E>(
        self,
        first: First,
        loader: F,
        inside: Ancestry,
        explain: Explain<E>,
    ) -> Result<Fetched<V, P, F>, Error<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Brought<V, P>, E>>,
    {
        match self.shared.ask(&self.flight.key.key, first).await {
            Advice::Load(held) => self.load(held, loader, inside, explain).await,
            Advice::Take(found, terms, took) => match self.found_elsewhere(found, &terms, took) {
                Landing::Entry(entry) => Ok(Fetched::Entry(entry, Source::Loaded)),
                Landing::Refused(rejected) => Err(Error::Rejected(rejected)),
            },
        }
    }

    /// Runs `loader` to its end.
    async fn load<F, Fut, P, E>(
        self,
        held: Option<Held>,
        loader: F,
        inside: Ancestry,
        explain: Explain<E>,
    ) -> Result<Fetched<V, P, F>, Error<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Brought<V, P>, E>>,
    {
        let shared = self.shared.clone();
        shared.tally.count(Count::Load);
        let load = inside.run(&self.flight, async { shared.panics.call(loader).await });
        let brought = within(shared.policy.hard_timeout, load).await;
        let flight = self.flight.clone();
        let landing = match brought {
            Some(Ok(Brought::Value(loaded))) => {
                self.found(Found::Value(loaded.value), &loaded.terms)
            }
            Some(Ok(Brought::Absent)) => self.found(Found::Absent, &Terms::new()),
            Some(Ok(Brought::Private(own, alone_for))) => {
                drop(held.map(Held::for_nobody_else));
                self.found(Found::Private, &Terms::only(alone_for));
                return Ok(Fetched::Private(own));
            }
            Some(Err(Error::Rejected(panicked))) => self.failed(panicked),
            Some(Err(Error::Inner(error))) => {
                let rejected = explain(&error);
                self.failed(rejected.unwrap_or_else(|| shared.refuse(Reason::LoadFailed)));
                return Err(Error::Inner(error));
            }
            None => self.failed(shared.refuse(Reason::LoadTimeout)),
        };
        match landing {
            Landing::Entry(entry) => {
                shared.share_loaded(&flight.key, &entry, held);
                Ok(Fetched::Entry(entry, Source::Loaded))
            }
            Landing::Refused(rejected) => Err(Error::Rejected(rejected)),
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
