use std::{
    fmt,
    future::Future,
    hash::Hash,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project::pin_project;

use super::{
    Cache, Loaded,
    at_once::AtOnce,
    brought::{Brought, Cause, Explain, Fetched},
    entry::Found,
    hashed::HashedRef,
    once::{Boxed, Once},
    shared::{Lookup, Shared},
    tally::Count,
};
use crate::{
    Error, KeyExtractor, Reason, Rejectable, Rejected, gate::not_ready, rejected::answer_refused,
};

/// Puts a [`Cache`] in front of a service. Every service it makes shares the cache.
#[derive(Debug)]
pub struct Layer<K, V, X> {
    cache: Cache<K, V>,
    extractor: X,
}

impl<K, V, X> Layer<K, V, X> {
    pub(super) const fn new(cache: Cache<K, V>, extractor: X) -> Self {
        Self { cache, extractor }
    }
}

/// By hand, since clones share whatever the cache holds.
impl<K, V, X: Clone> Clone for Layer<K, V, X> {
    fn clone(&self) -> Self {
        Self::new(self.cache.clone(), self.extractor.clone())
    }
}

impl<S, K, V, X: Clone> tower_layer::Layer<S> for Layer<K, V, X> {
    type Service = Service<S, K, V, X>;

    fn layer(&self, inner: S) -> Self::Service {
        Service {
            inner,
            ready: false,
            cache: self.cache.clone(),
            extractor: self.extractor.clone(),
        }
    }
}

/// A service behind a [`Cache`].
///
/// It is always ready: a hit needs nothing of the service inside. A miss readies a clone of it,
/// so that nothing is reserved by a caller who is served from the cache.
#[derive(Debug)]
pub struct Service<S, K, V, X> {
    inner: S,
    ready: bool,
    cache: Cache<K, V>,
    extractor: X,
}

/// By hand, since a clone is not ready: readiness was proven for one instance alone.
impl<S: Clone, K, V, X: Clone> Clone for Service<S, K, V, X> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            ready: false,
            cache: self.cache.clone(),
            extractor: self.extractor.clone(),
        }
    }
}

impl<S, K, V, X, Req> tower_service::Service<Req> for Service<S, K, V, X>
where
    S: tower_service::Service<Req, Response = V> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Rejectable + Send + 'static,
    Req: Send + 'static,
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    X: KeyExtractor<Req, Key = K>,
{
    type Response = V;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        if !mem::take(&mut self.ready) {
            return State::Refused(Some(not_ready())).into();
        }
        let Some(key) = self.extractor.key(&request) else {
            return State::Passing(Once::new(self.inner.clone(), request)).into();
        };
        let shared = self.cache.shared();
        let looked = shared.storage.hash(&key);
        match shared.look(looked, |value, _, _| value.clone()) {
            Ok(value) => {
                shared.tally.count(Count::Hit);
                State::Done(Some(value)).into()
            }
            Err(lookup) => load(shared, lookup, looked, self.inner.clone(), request).into(),
        }
    }
}

/// What else there is, or a load that `inner` answers.
#[cold]
fn load<S, K, V, Req>(
    shared: &Arc<Shared<K, V>>,
    lookup: Lookup<V>,
    looked: HashedRef<'_, K>,
    inner: S,
    request: Req,
) -> State<S, Req>
where
    S: tower_service::Service<Req, Response = V> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Rejectable + Send + 'static,
    Req: Send + 'static,
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let loader = || {
        let call = Once::new(inner, request);
        async {
            let response = call.await?;
            Ok(Brought::<V, std::convert::Infallible>::Value(Loaded::new(
                response,
            )))
        }
    };
    let explain = Explain::by(|error: &S::Error| Cause::of(error.as_rejected()));
    match shared.at_once(lookup, looked, loader, explain) {
        AtOnce::Done(fetched) => match answer(shared, fetched) {
            Ok(value) => State::Done(Some(value)),
            Err(rejected) => State::Refused(Some(rejected)),
        },
        AtOnce::Load(load) => {
            let shared = shared.clone();
            // In a box of its own, or else one who waits would carry the room for it twice.
            let load = Box::pin(load.in_time());
            State::Loading(Box::pin(async move {
                let answer = match load.await {
                    Ok(fetched) => answer(&shared, fetched),
                    Err(Error::Inner(error)) => return Err(error),
                    Err(Error::Rejected(rejected)) => Err(rejected),
                };
                answer.map_err(S::Error::from_rejected)
            }))
        }
    }
}

fn answer<K, V, F>(
    shared: &Arc<Shared<K, V>>,
    fetched: Fetched<V, std::convert::Infallible, F>,
) -> Result<V, Rejected>
where
    K: Hash + Eq,
    V: Clone,
{
    match fetched {
        Fetched::Entry(entry, _) => shared.value(entry.found),
        Fetched::Private(never) => match never {},
        Fetched::Alone(_) => unreachable!("no loader here brings anything private"),
    }
}

impl<K: Hash + Eq, V> Shared<K, V> {
    /// The value that was found, or why there is none.
    pub(super) fn value(&self, found: Found<V>) -> Result<V, Rejected> {
        let rejected = match found {
            Found::Value(value) => return Ok(value),
            Found::Failed(rejected) => *rejected,
            Found::Absent => self.refuse(Reason::Absent),
            Found::Private => unreachable!("what is private is not handed out"),
        };
        self.tell(&rejected);
        Err(rejected)
    }
}

/// The answer of a [`Service`].
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<S: tower_service::Service<Req>, Req> {
    #[pin]
    state: State<S, Req>,
}

#[pin_project(project = StateProj)]
enum State<S: tower_service::Service<Req>, Req> {
    Refused(Option<Rejected>),
    Done(Option<S::Response>),
    Passing(#[pin] Once<S, Req>),
    Loading(Boxed<Result<S::Response, S::Error>>),
}

impl<S: tower_service::Service<Req>, Req> fmt::Debug for ResponseFuture<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Refused(_) => "Refused",
            State::Done(_) => "Done",
            State::Passing(_) => "Passing",
            State::Loading(_) => "Loading",
        };
        write!(f, "ResponseFuture::{state}")
    }
}

impl<S: tower_service::Service<Req>, Req> From<State<S, Req>> for ResponseFuture<S, Req> {
    fn from(state: State<S, Req>) -> Self {
        Self { state }
    }
}

impl<S, Req> Future for ResponseFuture<S, Req>
where
    S: tower_service::Service<Req>,
    S::Error: Rejectable,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Done(value) => {
                Poll::Ready(Ok(value.take().expect("polled after it was ready")))
            }
            StateProj::Refused(rejected) => answer_refused(rejected),
            StateProj::Passing(call) => call.poll(cx),
            StateProj::Loading(load) => load.as_mut().poll(cx),
        }
    }
}
