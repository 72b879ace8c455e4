use std::{future::Future, hash::Hash, pin::pin, sync::Arc, time::Duration};

use tokio::runtime::Handle;
use tracing::Instrument as _;

use super::{
    OnLeaderGone,
    ancestry::Ancestry,
    brought::{Brought, Explain, Fault, Fetched, Need, Source},
    entry::{Entry, Found},
    flight::{Refusal, closed},
    follow::News,
    hashed::Hashed,
    join::Joined,
    lead::Lead,
    lease::First,
    once::Boxed,
    shared::{Freshness, Shared},
    tally::Count,
    within::within,
};
use crate::{Error, Reason};

/// A load to be made, or to be waited for: all that one who waits has to carry.
#[derive(Debug)]
pub(super) struct Load<K, V, F, E> {
    wanted: Wanted<K, V, E>,
    /// Taken when it is known who needs it.
    loader: Option<F>,
}

/// What is to be loaded.
#[derive(Debug)]
struct Wanted<K, V, E> {
    shared: Arc<Shared<K, V>>,
    key: Hashed<K>,
    need: Need,
    explain: Explain<E>,
}

/// How long one who waits has waited already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// Not at all.
    First,
    /// As long as one who has something stale to fall back on.
    Rest,
}

impl<K, V, F, E> Load<K, V, F, E> {
    pub(super) const fn new(
        shared: Arc<Shared<K, V>>,
        key: Hashed<K>,
        need: Need,
        explain: Explain<E>,
        loader: F,
    ) -> Self {
        let wanted = Wanted {
            shared,
            key,
            need,
            explain,
        };
        Self {
            wanted,
            loader: Some(loader),
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
            let mut fetch = pin!(self.wanted.fetch(&mut self.loader));
            let mut patience = Patience::First;
            let fetched = loop {
                let fetched = within(self.wanted.patience(patience), fetch.as_mut()).await;
                // What there was to be had instead may have been invalidated meanwhile.
                let waits_on = fetched.is_none()
                    && patience == Patience::First
                    && self.wanted.need == Need::Stale
                    && self.wanted.stale().is_none();
                if !waits_on {
                    break fetched;
                }
                patience = Patience::Rest;
            };
            let failed = match fetched {
                Some(Ok(Fetched::Entry(entry, source))) => {
                    let source = source.for_one_in(self.wanted.need);
                    return Ok(Fetched::Entry(entry, source));
                }
                Some(Ok(own)) => return Ok(own),
                Some(Err(failed)) => failed,
                None => {
                    let rejected = self.wanted.shared.refuse(Reason::LoadTimeout);
                    Failed::others(Refusal::from(rejected))
                }
            };
            if let Some(entry) = self.wanted.stale() {
                self.wanted.shared.count(&entry, Freshness::Stale);
                return Ok(Fetched::Entry(entry, Source::Fallback(failed.fault())));
            }
            let error = failed.error;
            if let Error::Rejected(rejected) = &error {
                self.wanted.shared.tell(rejected);
            }
            Err(error)
        }
    }
}

impl<K, V, E> Wanted<K, V, E>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + 'static,
{
    fn patience(&self, patience: Patience) -> Duration {
        let longest = self.shared.longest_load();
        let first = match (self.need, self.shared.policy.soft_timeout) {
            (Need::Stale, Some(soft)) => soft.min(longest),
            (Need::Stale, None) | (Need::Miss, _) => longest,
        };
        match patience {
            Patience::First => first,
            Patience::Rest => longest.saturating_sub(first),
        }
    }

    /// What is still there of the stale value that there was.
    fn stale(&self) -> Option<Entry<V>> {
        match self.need {
            Need::Stale => self.shared.stale(self.key.of()),
            Need::Miss => None,
        }
    }

    /// Loads, or waits for another's load.
    async fn fetch<F, Fut, P>(&self, loader: &mut Option<F>) -> Result<Fetched<V, P, F>, Failed<E>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Brought<V, P>, E>> + Send + 'static,
        P: Send + 'static,
    {
        let lead = loop {
            let mut follow = match self.shared.join(&self.key) {
                Joined::Landed(entry, freshness) => {
                    return Ok(self.shared.serve(entry, freshness, take(loader)));
                }
                Joined::Lead(lead) => {
                    self.shared.tally.count(Count::Miss);
                    break lead;
                }
                Joined::Follow(follow) => follow,
            };
            if follow.is_inside(&Ancestry::here()) {
                let rejected = self.shared.refuse(Reason::Reentrant);
                return Err(Failed::others(Refusal::from(rejected)));
            }
            self.shared.tally.count(Count::Coalesced);
            match follow.news().await {
                News::Landed(entry) => {
                    return Ok(match entry.found {
                        Found::Private => Fetched::Alone(take(loader)),
                        Found::Value(_) | Found::Absent | Found::Failed(_) => Fetched::Entry(
                            Arc::unwrap_or_clone(entry),
                            Source::Coalesced(self.need),
                        ),
                    });
                }
                News::Refused(refusal) => return Err(Failed::others(refusal)),
                News::Lead(lead) => break lead,
                News::Outdated => {}
            }
        };
        let led = self.lead(lead, take(loader)).await;
        led.map_err(|error| Failed::own(error, self.explain))
    }

    /// Makes the load, in a task of its own where it is to go on whatever becomes of the caller.
    /// Boxed, so that those who only wait do not carry the room for it.
    fn lead<F, Fut, P>(
        &self,
        lead: Lead<K, V>,
        loader: F,
    ) -> Boxed<Result<Fetched<V, P, F>, Error<E>>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Brought<V, P>, E>> + Send + 'static,
        P: Send + 'static,
    {
        let (here, explain) = (Ancestry::here(), self.explain);
        let policy = &self.shared.policy;
        let keeps = self.need == Need::Stale || policy.on_leader_gone == OnLeaderGone::KeepLoading;
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
}

/// Why one who waited gets nothing.
#[derive(Debug)]
struct Failed<E> {
    error: Error<E>,
    /// What the service answered.
    status: Option<u16>,
}

impl<E> Failed<E> {
    fn own(error: Error<E>, explain: Explain<E>) -> Self {
        let status = match &error {
            Error::Inner(error) => (explain.cause)(error).status(),
            Error::Rejected(_) => None,
        };
        Self { error, status }
    }

    fn others(refusal: Refusal) -> Self {
        Self {
            status: refusal.status,
            error: refusal.into_error(),
        }
    }

    fn fault(&self) -> Fault {
        match &self.error {
            Error::Rejected(rejected) if rejected.reason() == Reason::LoadTimeout => Fault::TooLong,
            Error::Rejected(_) | Error::Inner(_) => Fault::Failed(self.status),
        }
    }
}

fn take<F>(loader: &mut Option<F>) -> F {
    loader.take().expect("whoever takes it waits no more")
}
