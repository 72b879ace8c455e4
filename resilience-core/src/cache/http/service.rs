use std::{
    cell::Cell,
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use pin_project::pin_project;

use super::{
    CacheBody, HttpCache, Identity, Page, load,
    load::Failure,
    page::{tell, tell_source},
    request::{self, Course, Demand},
    rules::Rules,
};
use crate::{
    Error, Rejectable, Rejected,
    cache::{
        entry::Found,
        load::{AtOnce, Brought, Fetched},
        once::{Boxed, Once},
        shared::{Lookup, Shared},
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
            Course::Serve(demand) => self.serve(request, &key, demand),
            Course::Pass(why) => self.pass(request, why, None),
            Course::Write => {
                let address = request::address(&request);
                self.pass(request, "fwd=method", Some(address))
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
        address: Option<String>,
    ) -> State<S, A, B>
    where
        S: tower_service::Service<Request<A>, Response = Response<B>> + Clone,
        B: Body,
    {
        State::Passing {
            call: Once::new(self.inner.clone(), request),
            why,
            address,
            cache: self.cache.clone(),
        }
    }

    fn serve<A, B>(&self, request: Request<A>, key: &[u8], demand: Demand) -> State<S, A, B>
    where
        S: tower_service::Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Rejectable + Send + 'static,
        A: Body + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Send,
    {
        let shared = self.cache.shared();
        let looked = shared.storage.hash(key);
        if demand.max_age.is_some() || demand.only_if_cached {
            match shared.look(looked) {
                Lookup::Serve(entry, _) | Lookup::Refresh(entry, _) => {
                    if demand.only_if_cached && matches!(entry.found, Found::Private) {
                        return State::Done(Some(nothing_cached(shared.policy.name)));
                    }
                    let now = shared.environment.now();
                    if let (Some(max_age), Found::Value(page)) = (demand.max_age, &entry.found)
                        && page.age(&entry.life, now) > max_age
                    {
                        return self.pass(request, "fwd=request", None);
                    }
                }
                Lookup::Stale(_) | Lookup::Miss if demand.only_if_cached => {
                    return State::Done(Some(nothing_cached(shared.policy.name)));
                }
                Lookup::Stale(_) | Lookup::Miss => {}
            }
        }
        let loader = load::loader(
            self.inner.clone(),
            request,
            shared,
            self.rules.clone(),
            demand.identified,
            key.len(),
        );
        match shared.at_once(looked, loader, Failure::explain) {
            AtOnce::Done(Fetched::Alone(loader)) => {
                let name = shared.policy.name;
                State::Loading(Box::pin(alone(name, loader, demand)))
            }
            AtOnce::Done(fetched) => State::Done(Some(answer(shared, fetched, &demand))),
            AtOnce::Load(load) => {
                let shared = shared.clone();
                State::Loading(Box::pin(async move {
                    match shared.load_in_time(load, Failure::explain).await {
                        Ok(Fetched::Alone(loader)) => {
                            alone(shared.policy.name, loader, demand).await
                        }
                        Ok(fetched) => {
                            answer(&shared, fetched, &demand).map_err(S::Error::from_rejected)
                        }
                        Err(Error::Inner(failure)) => failure.answer(shared.policy.name),
                        Err(Error::Rejected(rejected)) => Err(S::Error::from_rejected(rejected)),
                    }
                }))
            }
        }
    }
}

type Answer<B> = Response<CacheBody<B>>;

/// The answer to one for whom nobody else's is.
async fn alone<F, Fut, B, E>(name: &'static str, loader: F, demand: Demand) -> Result<Answer<B>, E>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<Brought<Page, Answer<B>>, Failure<Answer<B>, E>>>,
    B: Body,
{
    let mut response = match loader().await {
        Ok(Brought::Private(own, _)) => own,
        Ok(Brought::Value(loaded)) => loaded.value.answer(demand.if_none_match.as_ref()),
        Ok(Brought::Absent) => unreachable!("an answer is always there"),
        Err(failure) => return failure.answer(name),
    };
    tell(response.headers_mut(), name, "fwd=miss");
    Ok(response)
}

/// What a caller gets of what was fetched.
fn answer<B: Body, F>(
    shared: &Shared<Vec<u8>, Page>,
    fetched: Fetched<Page, Answer<B>, F>,
    demand: &Demand,
) -> Result<Answer<B>, Rejected> {
    let name = shared.policy.name;
    match fetched {
        Fetched::Entry(entry, source) => {
            let page = shared.value(&entry)?;
            let mut response = page.answer(demand.if_none_match.as_ref());
            let stored = if shared.storage.admits(&entry) {
                "fwd=miss; stored"
            } else {
                "fwd=miss"
            };
            let now = shared.environment.now();
            let headers = response.headers_mut();
            tell_source(headers, name, &page, &entry.life, now, source, stored);
            Ok(response)
        }
        Fetched::Private(mut own) => {
            load::tell_status(&mut own, name);
            Ok(own)
        }
        Fetched::Alone(_) => unreachable!("sent on its way before"),
    }
}

/// 504, as `only-if-cached` asks for (RFC 9111, 5.2.1.7).
fn nothing_cached<B: Body>(name: &'static str) -> Result<Answer<B>, Rejected> {
    let mut response = Response::new(CacheBody::default());
    *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    tell(
        response.headers_mut(),
        name,
        "fwd=miss; detail=only-if-cached",
    );
    Ok(response)
}

/// The answer of a [`Service`].
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<S, A, B>
where
    S: tower_service::Service<Request<A>>,
    B: Body,
{
    #[pin]
    state: State<S, A, B>,
}

#[pin_project(project = StateProj)]
enum State<S, A, B>
where
    S: tower_service::Service<Request<A>>,
    B: Body,
{
    Refused(Option<Rejected>),
    Done(Option<Result<Answer<B>, Rejected>>),
    Passing {
        #[pin]
        call: Once<S, Request<A>>,
        why: &'static str,
        /// What to void where it succeeds.
        address: Option<String>,
        cache: HttpCache,
    },
    Loading(Boxed<Result<Answer<B>, S::Error>>),
}

impl<S, A, B> From<State<S, A, B>> for ResponseFuture<S, A, B>
where
    S: tower_service::Service<Request<A>>,
    B: Body,
{
    fn from(state: State<S, A, B>) -> Self {
        Self { state }
    }
}

impl<S, A, B> fmt::Debug for ResponseFuture<S, A, B>
where
    S: tower_service::Service<Request<A>>,
    B: Body,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Refused(_) => "Refused",
            State::Done(_) => "Done",
            State::Passing { .. } => "Passing",
            State::Loading(_) => "Loading",
        };
        write!(f, "ResponseFuture::{state}")
    }
}

impl<S, A, B> Future for ResponseFuture<S, A, B>
where
    S: tower_service::Service<Request<A>, Response = Response<B>>,
    S::Error: Rejectable,
    B: Body,
{
    type Output = Result<Answer<B>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Refused(rejected) => {
                let rejected = rejected.take().expect("polled after it was ready");
                Poll::Ready(Err(S::Error::from_rejected(rejected)))
            }
            StateProj::Done(answer) => {
                let answer = answer.take().expect("polled after it was ready");
                Poll::Ready(answer.map_err(S::Error::from_rejected))
            }
            StateProj::Loading(load) => load.as_mut().poll(cx),
            StateProj::Passing {
                call,
                why,
                address,
                cache,
            } => {
                let mut response = ready!(call.poll(cx))?.map(CacheBody::inner);
                let status = response.status();
                if let Some(address) = address.take()
                    && (status.is_success() || status.is_redirection())
                {
                    cache.invalidate_tag(&address);
                }
                tell(response.headers_mut(), cache.name(), why);
                Poll::Ready(Ok(response))
            }
        }
    }
}
