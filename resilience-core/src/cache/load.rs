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
    join::Joined,
    lead::Lead,
    lease::First,
    measure::Count,
    once::Boxed,
    shared::{Freshness, Lookup, Shared},
    within::within,
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
pub(super) enum AtOnce<K, V, P, F, E> {
    Done(Fetched<V, P, F>),
    Load(Load<K, V, F, E>),
}

/// A load to be made, or to be waited for: all that one who waits has to carry.
#[derive(Debug)]
pub(super) struct Load<K, V, F, E> {
    shared: Arc<Shared<K, V>>,
    key: Hashed<K>,
    fallback: Fallback,
    /// Taken when it is known who needs it.
    loader: Option<F>,
    explain: Explain<E>,
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
    ) -> AtOnce<K, V, P, F, E>
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
        AtOnce::Load(Load {
            shared: self.clone(),
            key: key(),
            fallback,
            loader: Some(loader),
            explain,
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
}

impl<K, V, F, E> Load<K, V, F, E>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    F: Send + 'static,
    E: Send + 'static,
{
    /// Loads, for as long as the caller has patience, and falls back on what is stale.
    #[allow(
        clippy::manual_async_fn,
        reason = "what an async function is given takes its room twice, and thousands may wait"
    )]
    pub(super) fn in_time<Fut, P>(
        mut self,
    ) -> impl Future<Output = Result<Fetched<V, P, F>, Error<E>>> + Send
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Brought<V, P>, E>> + Send + 'static,
        P: Send + 'static,
    {
        async move {
            let error = match within(self.patience(), self.fetch()).await {
                Some(Ok(fetched)) => return Ok(fetched),
                Some(Err(error)) => error,
                None => Error::Rejected(self.shared.refuse(Reason::LoadTimeout)),
            };
            if self.fallback == Fallback::Stale
                && let Some(entry) = self.shared.stale(self.key.of())
            {
                self.shared.count(&entry, Freshness::Stale);
                return Ok(Fetched::Entry(entry, Source::Fallback));
            }
            if let Error::Rejected(rejected) = &error {
                self.shared.tell(rejected);
            }
            Err(error)
        }
    }

    fn patience(&self) -> Duration {
        match self.fallback {
            Fallback::Stale => self.shared.policy.patience(),
            Fallback::None => self.shared.policy.hard_timeout,
        }
    }

    /// Loads, or waits for another's load.
    async fn fetch<Fut, P>(&mut self) -> Result<Fetched<V, P, F>, Error<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Brought<V, P>, E>> + Send + 'static,
        P: Send + 'static,
    {
        let lead = loop {
            let mut follow = match self.shared.join(&self.key) {
                Joined::Landed(entry, freshness) => {
                    let loader = self.loader();
                    return Ok(self.shared.serve(entry, freshness, loader));
                }
                Joined::Lead(lead) => {
                    self.shared.tally.count(Count::Miss);
                    break lead;
                }
                Joined::Follow(follow) => follow,
            };
            if follow.is_inside(&Ancestry::here()) {
                return Err(Error::Rejected(self.shared.refuse(Reason::Reentrant)));
            }
            self.shared.tally.count(Count::Coalesced);
            match follow.news().await {
                News::Landed(entry) => {
                    return Ok(match entry.found {
                        Found::Private => Fetched::Alone(self.loader()),
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
        self.lead(lead).await
    }

    /// Makes the load, in a task of its own where it is to go on whatever becomes of the caller.
    /// Boxed, so that those who only wait do not carry the room for it.
    fn lead<Fut, P>(&mut self, lead: Lead<K, V>) -> Boxed<Result<Fetched<V, P, F>, Error<E>>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Brought<V, P>, E>> + Send + 'static,
        P: Send + 'static,
    {
        let (loader, here, explain) = (self.loader(), Ancestry::here(), self.explain);
        let policy = &self.shared.policy;
        let keeps =
            self.fallback == Fallback::Stale || policy.on_leader_gone == OnLeaderGone::KeepLoading;
        match Handle::try_current() {
            Ok(runtime) if keeps => {
                let load = lead.in_task().run(First::Look, loader, here, explain);
                let load = runtime.spawn(load.in_current_span());
                let panicked = self.shared.refuse(Reason::Panicked);
                let closed = closed(policy.name);
                Box::pin(async move {
                    load.await.unwrap_or_else(|gone| {
                        let why = if gone.is_panic() { panicked } else { closed };
                        Err(Error::Rejected(why))
                    })
                })
            }
            Ok(_) | Err(_) => Box::pin(lead.run(First::Look, loader, here, explain)),
        }
    }

    fn loader(&mut self) -> F {
        self.loader.take().expect("whoever takes it waits no more")
    }
}
