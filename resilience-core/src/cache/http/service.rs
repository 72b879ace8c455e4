use std::{
    cell::Cell,
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

use super::{
    CacheBody, HttpCache, Identity, Page, ResponseFuture,
    answer::{alone, answer, nothing_cached},
    future::{Answer, State},
    load::{self, Failure},
    page::{Keeping, tell_source, weight_of_key},
    request::{self, Course, Demand},
    rules::Rules,
    write::Write,
};
use crate::{
    Error, Rejectable,
    cache::{
        at_once::AtOnce,
        brought::{Explain, Fetched, Need, Source},
        entry::Found,
        hashed::HashedRef,
        once::Once,
        shared::{Freshness, Lookup},
        tally::Count,
    },
    gate::not_ready,
};

/// An HTTP service behind an [`HttpCache`].
///
/// It is always ready: a hit needs nothing of the service inside. What is not served from the
/// cache readies a clone of it, so that nothing is reserved by a caller who needs nothing.
#[derive(Debug)]
pub struct Service<S, I> {
    inner: S,
    ready: bool,
    cache: HttpCache,
    rules: Arc<Rules>,
    identity: I,
}

impl<S, I> Service<S, I> {
    pub(super) const fn new(inner: S, cache: HttpCache, rules: Arc<Rules>, identity: I) -> Self {
        Self {
            inner,
            ready: false,
            cache,
            rules,
            identity,
        }
    }
}

/// By hand, since a clone is not ready: readiness was proven for one instance alone.
impl<S: Clone, I: Clone> Clone for Service<S, I> {
    fn clone(&self) -> Self {
        Self::new(
            self.inner.clone(),
            self.cache.clone(),
            self.rules.clone(),
            self.identity.clone(),
        )
    }
}

/// What is stored of what one caller asks for.
enum Stored<'a, B: Body> {
    /// The answer.
    Answer(Answer<B>),
    /// Something older than the caller takes.
    TooOld,
    /// What is no plain hit, and under which key.
    Other(Lookup<Page>, HashedRef<'a, [u8]>),
}

thread_local! {
    /// Where keys are written, so that a hit allocates none.
    static KEY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl<S, I, A, B> tower_service::Service<Request<A>> for Service<S, I>
where
    S: tower_service::Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Rejectable + Send + 'static,
    I: Identity<Request<A>>,
    A: Body + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Send,
{
    type Response = Response<CacheBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, A, B>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        if !mem::take(&mut self.ready) {
            return State::Refused(Some(not_ready())).into();
        }
        let mut key = KEY.take();
        key.clear();
        let state = match request::judge(&request, &self.rules, &self.identity, &mut key) {
            Course::Serve(demand) => match self.stored(&key, &demand) {
                Stored::Answer(answer) => State::Done(Some(answer)),
                Stored::TooOld if demand.only_if_cached => self.nothing(),
                Stored::TooOld => self.pass(request, "fwd=request", None),
                Stored::Other(lookup, looked) => self.load(request, lookup, looked, demand),
            },
            Course::Nothing => self.nothing(),
            Course::Pass(why) => self.pass(request, why, None),
            Course::Write => {
                let write = Write::new(self.cache.clone(), request::address(&request));
                self.pass(request, "fwd=method", Some(write))
            }
        };
        KEY.set(key);
        state.into()
    }
}

impl<S, I> Service<S, I> {
    fn pass<A, B>(
        &self,
        request: Request<A>,
        why: &'static str,
        write: Option<Write>,
    ) -> State<S, A, B>
    where
        S: tower_service::Service<Request<A>, Response = Response<B>> + Clone,
        B: Body,
    {
        State::Passing {
            call: Once::new(self.inner.clone(), request),
            name: self.cache.name(),
            why,
            write,
        }
    }

    fn nothing<A, B>(&self) -> State<S, A, B>
    where
        S: tower_service::Service<Request<A>>,
        B: Body,
    {
        State::Done(Some(nothing_cached(self.cache.name())))
    }

    /// What is stored under `key`, as far as it meets `demand`.
    fn stored<'a, B: Body>(&self, key: &'a [u8], demand: &Demand) -> Stored<'a, B> {
        let shared = self.cache.shared();
        let looked = shared.storage.hash(key);
        let hit = shared.look(looked, |page, life, now| (page.clone(), *life, now));
        let lookup = match hit {
            Ok((page, life, now)) if demand.takes(page.age(&life, now)) => {
                shared.tally.count(Count::Hit);
                let source = Source::Stored(Freshness::Fresh);
                let mut answer = page.answer(demand);
                let name = shared.policy.name;
                tell_source(
                    &mut answer,
                    name,
                    &page,
                    &life,
                    now,
                    source,
                    Keeping::Stored,
                );
                return Stored::Answer(answer);
            }
            Ok(_) => return Stored::TooOld,
            Err(lookup) => lookup,
        };
        let now = shared.environment.now();
        match &lookup {
            Lookup::Serve(entry, _) | Lookup::Refresh(entry, _) => match &entry.found {
                Found::Value(page) if !demand.takes(page.age(entry.life(), now)) => {
                    return Stored::TooOld;
                }
                Found::Private if demand.only_if_cached => {
                    return Stored::Answer(nothing_cached(shared.policy.name));
                }
                Found::Value(_) | Found::Private | Found::Absent | Found::Failed(_) => {}
            },
            Lookup::Stale(_) | Lookup::Miss if demand.only_if_cached => {
                return Stored::Answer(nothing_cached(shared.policy.name));
            }
            Lookup::Stale(_) | Lookup::Miss => {}
        }
        // Whoever sets a bound does not wish for what is stale, and waits (RFC 9111, 5.2.1.1).
        let lookup = match lookup {
            Lookup::Serve(entry, Freshness::Stale) | Lookup::Refresh(entry, Freshness::Stale)
                if demand.max_age.is_some() && !demand.only_if_cached =>
            {
                Lookup::Stale(entry)
            }
            lookup => lookup,
        };
        Stored::Other(lookup, looked)
    }

    /// What else there is, or a load that the service inside answers.
    fn load<A, B>(
        &self,
        request: Request<A>,
        lookup: Lookup<Page>,
        looked: HashedRef<'_, [u8]>,
        demand: Demand,
    ) -> State<S, A, B>
    where
        S: tower_service::Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Rejectable + Send + 'static,
        A: Body + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Send,
    {
        let shared = self.cache.shared();
        let why = Need::of(&lookup);
        let loader = load::loader(
            self.inner.clone(),
            request,
            shared.clone(),
            self.rules.clone(),
            demand.identified,
            looked.key.len(),
        );
        let explain = Explain {
            cause: Failure::cause,
            weight: weight_of_key(looked.key.len()),
        };
        match shared.at_once(lookup, looked, loader, explain) {
            AtOnce::Done(Fetched::Alone(loader)) => {
                let name = shared.policy.name;
                State::Loading(Box::pin(alone(name, loader, demand, why)))
            }
            AtOnce::Done(fetched) => match answer(shared, fetched, &demand, why) {
                Ok(answer) => State::Done(Some(answer)),
                Err(rejected) => State::Refused(Some(rejected)),
            },
            AtOnce::Load(load) => {
                let shared = shared.clone();
                // In a box of its own, or else one who waits would carry the room for it twice.
                let load = Box::pin(load.in_time());
                State::Loading(Box::pin(async move {
                    match load.await {
                        Ok(Fetched::Alone(loader)) => {
                            alone(shared.policy.name, loader, demand, why).await
                        }
                        Ok(fetched) => {
                            answer(&shared, fetched, &demand, why).map_err(S::Error::from_rejected)
                        }
                        Err(Error::Inner(failure)) => failure.answer(shared.policy.name, why),
                        Err(Error::Rejected(rejected)) => Err(S::Error::from_rejected(rejected)),
                    }
                }))
            }
        }
    }
}
