use std::{future::Future, hash::Hash, sync::Arc, time::Duration};

use super::{
    ancestry::Ancestry,
    brought::{Brought, Explain, Fetched, Need, Source},
    entry::{Entry, Found, Terms},
    flight::{Flight, Landing, Own, Refusal, closed},
    hashed::{Hashed, HashedRef},
    lease::{Advice, First, Held},
    shared::Shared,
    state::Age,
    storage::Removed,
    tally::Count,
    within::within,
};
use crate::{Error, Reason, catch_panic::Place};

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

/// How a load ended for the one who made it.
type Landed<V> = Result<Arc<Entry<V>>, Refusal>;

impl<K: Hash + Eq + Clone, V: Clone> Lead<K, V> {
    /// Ends the load with what was found; stores it, unless it has been overtaken.
    pub(super) fn found(self, found: Found<V>, terms: &Terms) -> Landed<V> {
        let now = self.shared.environment.now();
        let took = now.saturating_since(self.flight.began());
        self.found_elsewhere(found, terms, took)
    }

    /// Ends the load with what was found before, in a load that took `took`.
    fn found_elsewhere(self, found: Found<V>, terms: &Terms, took: Duration) -> Landed<V> {
        let stamp = self.flight.stamp;
        let entry = self.shared.entry_of(found, terms, stamp, took);
        self.land(Ok(Arc::new(entry)), 1)
    }

    /// Ends the load without a value; a note about that weighs `weight`.
    pub(super) fn failed(self, refusal: Refusal, weight: u64) -> Landed<V> {
        self.shared.tally.count(Count::LoadFailure);
        self.land(Err(refusal), weight)
    }

    fn land(mut self, own: Landed<V>, note: u64) -> Landed<V> {
        let shared = self.shared.clone();
        // A key is cloned by foreign code: should it panic, those who wait hear of it by `drop`.
        let key = self.flight.key.clone();
        // Values are cloned and keys compared by foreign code as well: should that panic, nothing
        // is stored, and those who wait get what there is all the same.
        let removed = shared.panics.catch(Place::Call, || {
            let left = self.left_by(&own, note);
            self.settle(key, left)
        });
        if removed.is_err() {
            shared.flights.remove(&self.flight);
        }
        self.landed = true;
        let ended = self.flight.land(Landing::from(own.clone()));
        // Nobody waits for the drop of what had to go, which is foreign code and may panic.
        drop(removed);
        match ended {
            // It was overtaken by what had been invalidated before it began.
            Landing::Entry(entry) if shared.is_outdated(&entry, self.flight.stamp.epoch) => own,
            Landing::Entry(entry) => Ok(entry),
            Landing::Refused(refusal) => Err(refusal),
        }
    }

    /// What is to be stored of how a load ended.
    fn left_by(&self, landed: &Landed<V>, note: u64) -> Entry<V> {
        let rejected = match landed {
            Ok(entry) => return Entry::clone(entry),
            Err(refusal) => refusal.rejected.clone(),
        };
        let terms = Terms::only(self.shared.policy.failure_ttl, note);
        let found = Found::Failed(Box::new(rejected));
        self.shared.entry(found, &terms, self.flight.stamp)
    }

    /// Takes the load off the list and stores what is left by it, unless it has been overtaken, or
    /// voided while it ran.
    fn settle(&self, key: Hashed<K>, left: Entry<V>) -> Removed<K, V> {
        let shared = &self.shared;
        let mut shard = shared.flights.shard(key.hash);
        if shard.swap_take(&Own(&self.flight)).is_none() {
            return Removed::new();
        }
        if matches!(left.found, Found::Failed(_)) && self.postpone(key.of()) {
            return Removed::new();
        }
        if !left.is_valid_here(&shared.tags) {
            return shared.storage.remove(key.of()).into_iter().collect();
        }
        shared.storage.insert(key, left)
    }

    /// Leaves a stale value alone for a while, where there is one.
    fn postpone(&self, key: HashedRef<'_, K>) -> bool {
        let shared = &self.shared;
        let now = shared.environment.now();
        let postponed = shared.storage.peek(key, |entry| {
            let serves = entry.is_valid(&shared.tags)
                && entry.age(&shared.policy, &shared.tags, now, || 0.0) != Age::Dead;
            if serves {
                entry.postpone(now.saturating_add(shared.policy.failure_throttle));
            }
            serves
        });
        postponed.unwrap_or(false)
    }
}

impl<K, V> Lead<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
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
        let shared = self.shared.clone();
        let held = match shared.ask(&self.flight.key.key, first).await {
            Advice::Load(held) => held,
            Advice::Take(found, terms, took) => {
                let landed = self.found_elsewhere(found, &terms, took);
                return landed.map(fetched).map_err(Refusal::into_error);
            }
        };
        shared.tally.count(Count::Load);
        // What the tier took is no part of the load.
        self.flight.begin(shared.environment.now());
        let load = inside.run(&self.flight, async { shared.panics.call(loader).await });
        let brought = within(shared.policy.hard_timeout, load).await;
        self.end(brought, held, explain)
    }

    /// Ends the load with what a loader brought; `None` is that it took too long.
    fn end<F, P, E>(
        self,
        brought: Option<Result<Brought<V, P>, Error<E>>>,
        held: Option<Held>,
        explain: Explain<E>,
    ) -> Result<Fetched<V, P, F>, Error<E>> {
        let (shared, flight) = (self.shared.clone(), self.flight.clone());
        let landed = match brought {
            Some(Ok(Brought::Value(loaded))) => {
                self.found(Found::Value(loaded.value), &loaded.terms)
            }
            Some(Ok(Brought::Absent)) => self.found(Found::Absent, &Terms::new()),
            Some(Ok(Brought::Private(own, alone_for))) => {
                drop(held.map(Held::for_nobody_else));
                drop(self.found(Found::Private, &Terms::only(alone_for, explain.weight)));
                return Ok(Fetched::Private(own));
            }
            Some(Err(Error::Rejected(panicked))) => self.failed(panicked.into(), explain.weight),
            Some(Err(Error::Inner(error))) => {
                let cause = (explain.cause)(&error);
                let status = cause.status();
                let rejected = cause.refusal();
                let rejected = rejected.unwrap_or_else(|| shared.refuse(Reason::LoadFailed));
                let overtaken = self.failed(Refusal { rejected, status }, explain.weight);
                return overtaken.map(fetched).map_err(|_| Error::Inner(error));
            }
            None => self.failed(shared.refuse(Reason::LoadTimeout).into(), explain.weight),
        };
        let entry = landed.map_err(Refusal::into_error)?;
        shared.share_loaded(&flight.key, &entry, held);
        Ok(fetched(entry))
    }
}

/// What the one who loaded gets.
fn fetched<V: Clone, P, F>(entry: Arc<Entry<V>>) -> Fetched<V, P, F> {
    Fetched::Entry(Arc::unwrap_or_clone(entry), Source::Loaded(Need::Miss))
}

impl<K: Eq, V> Drop for Lead<K, V> {
    fn drop(&mut self) {
        if self.landed {
            return;
        }
        let flight = &self.flight;
        let mut shard = self.shared.flights.shard(flight.key.hash);
        let over = self.successor == Successor::None;
        let removed = (flight.leave() || over).then(|| shard.swap_take(&Own(flight)));
        drop(shard);
        drop(removed);
        if over {
            flight.land(Landing::Refused(closed(self.shared.policy.name).into()));
        } else {
            flight.call_next();
        }
    }
}
