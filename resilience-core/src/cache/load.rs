use std::{borrow::Borrow, future::Future, hash::Hash, sync::Arc, time::Duration};

use tokio::runtime::Handle;
use tracing::Instrument as _;

use super::{
    OnLeaderGone,
    ancestry::Ancestry,
    entry::{Entry, Found, Loaded},
    flight::closed,
    follow::News,
    hashed::{Hashed, HashedRef},
    lease::First,
    measure::Count,
    shared::{Freshness, Joined, Lookup, Shared},
    state::Age,
};
use crate::{Error, Reason, Rejected};

/// What a loader brings.
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only HTTP has it"))]
#[derive(Debug)]
pub(super) enum Brought<V, P> {
    /// A value for everybody.
    Value(Loaded<V>),
    /// The news that there is none.
    Absent,
    /// Something for the one who asked, and for how long nobody need wait for the like.
    Private(P, Duration),
}

/// What a caller gets.
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only HTTP has it"))]
#[derive(Debug)]
pub(super) enum Fetched<V, P, F> {
    /// What everybody gets.
    Entry(Entry<V>, Source),
    /// What its own loader brought for it alone.
    Private(P),
    /// Its loader, unused: what others get is not for it.
    Alone(F),
}

/// What a caller gets without waiting.
#[derive(Debug)]
pub(super) enum AtOnce<K, V, P, F> {
    Done(Fetched<V, P, F>),
    Load(Load<K, F>),
}

/// A load to be made, or to be waited for.
#[derive(Debug)]
pub(super) struct Load<K, F> {
    key: Hashed<K>,
    fallback: Fallback,
    loader: F,
}

/// Whether there was a stale value when a load was found to be needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fallback {
    Stale,
    None,
}

/// Where an entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// It was there.
    Stored(Freshness),
    /// It was there, and is served since a load failed or takes too long.
    Fallback,
    /// This caller loaded it.
    Loaded,
    /// Another caller loaded it at the same time.
    Coalesced,
}

/// What becomes of a load that brings nothing to store.
#[derive(Debug)]
pub(super) struct Explain<E> {
    /// How a loader's error is told to those who only waited, where it is a refusal itself.
    pub(super) refusal: fn(&E) -> Option<Rejected>,
    /// What a note about its key weighs.
    pub(super) weight: u64,
}

impl<E> Explain<E> {
    /// Where keys are small.
    pub(super) const fn by(refusal: fn(&E) -> Option<Rejected>) -> Self {
        Self { refusal, weight: 1 }
    }
}

/// By hand, since errors need not be.
impl<E> Clone for Explain<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Explain<E> {}

impl<K, V> Shared<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// What a look at a key comes to without waiting; a load in the background may begin.
    #[cold]
    pub(super) fn at_once<Q, F, Fut, P, E>(
        self: &Arc<Self>,
        lookup: Lookup<V>,
        looked: HashedRef<'_, Q>,
        loader: F,
        explain: Explain<E>,
    ) -> AtOnce<K, V, P, F>
    where
        K: Borrow<Q>,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Brought<V, P>, E>> + Send + 'static,
        P: Send + 'static,
        E: Send + 'static,
    {
        let key = || Hashed {
            hash: looked.hash,
            key: looked.key.to_owned(),
        };
        let fallback = match lookup {
            Lookup::Serve(entry, freshness) => {
                return AtOnce::Done(self.serve(entry, freshness, loader));
            }
            Lookup::Refresh(entry, freshness) => match Handle::try_current() {
                Ok(runtime) => {
                    self.count(&entry, freshness);
                    if let Some(lead) = self.refresh(&key(), &entry) {
                        let lead = lead.in_task();
                        let load = lead.run(First::Claim, loader, Ancestry::none(), explain);
                        runtime.spawn(load.in_current_span());
                    }
                    return AtOnce::Done(Fetched::Entry(entry, Source::Stored(freshness)));
                }
                // There is no background to load in.
                Err(_) if freshness == Freshness::Fresh => {
                    return AtOnce::Done(self.serve(entry, freshness, loader));
                }
                Err(_) => Fallback::Stale,
            },
            Lookup::Stale(_) => Fallback::Stale,
            Lookup::Miss => Fallback::None,
        };
        let key = key();
        AtOnce::Load(Load {
            key,
            fallback,
            loader,
        })
    }

    fn serve<P, F>(&self, entry: Entry<V>, freshness: Freshness, loader: F) -> Fetched<V, P, F> {
        self.count(&entry, freshness);
        match entry.found {
            Found::Private => Fetched::Alone(loader),
            Found::Value(_) | Found::Absent | Found::Failed(_) => {
                Fetched::Entry(entry, Source::Stored(freshness))
            }
        }
    }

    /// Loads, for as long as the caller has patience, and falls back on what is stale.
    pub(super) async fn load_in_time<F, Fut, P, E>(
        self: &Arc<Self>,
        load: Load<K, F>,
        explain: Explain<E>,
    ) -> Result<Fetched<V, P, F>, Error<E>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Brought<V, P>, E>> + Send + 'static,
        P: Send + 'static,
        E: Send + 'static,
    {
        let Load {
            key,
            fallback,
            loader,
        } = load;
        let patience = match fallback {
            Fallback::Stale => self.policy.patience(),
            Fallback::None => self.policy.hard_timeout,
        };
        let keeps =
            fallback == Fallback::Stale || self.policy.on_leader_gone == OnLeaderGone::KeepLoading;
        let load = self.load(&key, keeps, loader, explain);
        let error = match within(patience, load).await {
            Some(Ok(fetched)) => return Ok(fetched),
            Some(Err(error)) => error,
            None => Error::Rejected(self.refuse(Reason::LoadTimeout)),
        };
        if fallback == Fallback::Stale
            && let Some(entry) = self.stale(key.of())
        {
            self.count(&entry, Freshness::Stale);
            return Ok(Fetched::Entry(entry, Source::Fallback));
        }
        if let Error::Rejected(rejected) = &error {
            self.tell(rejected);
        }
        Err(error)
    }

    /// What may be served in place of a load, after all this time. What was there before it may
    /// have been invalidated: only what is there now counts.
    fn stale(&self, key: HashedRef<'_, K>) -> Option<Entry<V>> {
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

    /// Loads, or waits for another's load.
    async fn load<F, Fut, P, E>(
        self: &Arc<Self>,
        key: &Hashed<K>,
        keeps: bool,
        loader: F,
        explain: Explain<E>,
    ) -> Result<Fetched<V, P, F>, Error<E>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Brought<V, P>, E>> + Send + 'static,
        P: Send + 'static,
        E: Send + 'static,
    {
        let here = Ancestry::here();
        let lead = loop {
            let follow = match self.join(key) {
                Joined::Landed(entry, freshness) => return Ok(self.serve(entry, freshness, loader)),
                Joined::Lead(lead) => {
                    self.tally.count(Count::Miss);
                    break lead;
                }
                Joined::Follow(follow) => follow,
            };
            if follow.is_inside(&here) {
                return Err(Error::Rejected(self.refuse(Reason::Reentrant)));
            }
            self.tally.count(Count::Coalesced);
            match follow.news().await {
                News::Landed(entry) => {
                    return Ok(match entry.found {
                        Found::Private => Fetched::Alone(loader),
                        Found::Value(_) | Found::Absent | Found::Failed(_) => {
                            Fetched::Entry(Arc::unwrap_or_clone(entry), Source::Coalesced)
                        }
                    });
                }
                News::Refused(rejected) => return Err(Error::Rejected(rejected)),
                News::Lead(lead) => break lead,
                News::Outdated => {}
            }
        };
        match Handle::try_current() {
            Ok(runtime) if keeps => {
                let load = lead.in_task().run(First::Look, loader, here, explain);
                let load = runtime.spawn(load.in_current_span());
                load.await.unwrap_or_else(|gone| {
                    Err(Error::Rejected(if gone.is_panic() {
                        self.refuse(Reason::Panicked)
                    } else {
                        closed(self.policy.name)
                    }))
                })
            }
            // Boxed, so that those who only wait do not carry the room for it.
            Ok(_) | Err(_) => Box::pin(lead.run(First::Look, loader, here, explain)).await,
        }
    }
}

/// What `future` gives within `limit`; without a runtime there are no timers, and no limit.
pub(super) async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    if limit == Duration::MAX || Handle::try_current().is_err() {
        return Some(future.await);
    }
    tokio::time::timeout(limit, future).await.ok()
}
