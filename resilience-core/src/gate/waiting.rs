use std::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project::pin_project;

use super::{
    Entry, Gate, Service, Watched,
    shell::{Readiness, not_ready, watch},
};
use crate::{
    Rejectable, Rejected,
    classify::{Classifier, Settle, fail_on_unwind, outcome_of_error},
    rejected::answer_refused,
};

/// The mode of gates that may make a caller wait.
#[derive(Clone, Copy, Debug)]
pub enum Waiting {}

impl<S, G, C, Req, Res> tower_service::Service<Req> for Service<S, G, C, Waiting>
where
    S: tower_service::Service<Req, Response = Res> + Clone,
    S::Error: Rejectable,
    G: Gate<Req>,
    C: Classifier<Res, S::Error> + Clone,
{
    type Response = C::Response<G::Permit>;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, G::Permit, G::Wait, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.poll_inner(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let Readiness::Proven = mem::take(&mut self.readiness) else {
            return ResponseFuture::new(State::Refused(Some(not_ready())));
        };
        match self.gate.enter(&request) {
            Entry::Admitted(permit) => {
                let classifier = self.classifier.clone();
                let watched = watch(&mut self.inner, request, permit, classifier);
                ResponseFuture::new(State::Watched(watched))
            }
            Entry::Refused(rejected) => {
                self.forget_readiness();
                ResponseFuture::new(State::Refused(Some(rejected)))
            }
            Entry::Wait(wait) => ResponseFuture::new(State::Later(self.later(wait, request))),
        }
    }
}

impl<S: Clone, G, C> Service<S, G, C, Waiting> {
    /// What was reserved by `poll_ready` must not lie idle where the inner service is not called:
    /// dropping the instance gives it back.
    fn forget_readiness(&mut self) {
        self.inner = self.inner.clone();
    }

    /// Not inlined, since most calls go at once.
    #[inline(never)]
    fn later<Req>(&mut self, wait: G::Wait, request: Req) -> Parked<S, Req, G::Permit, G::Wait, C>
    where
        G: Gate<Req>,
        C: Clone,
    {
        // Not while this call waits either: the wait ends with a readiness of its own.
        self.forget_readiness();
        let call = Call {
            inner: self.inner.clone(),
            request,
            classifier: self.classifier.clone(),
        };
        Box::pin(Later {
            wait: Some(wait),
            permit: None,
            call: Some(call),
        })
    }
}

/// The answer of a [`Service`] whose gate may make a caller wait.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<S, Req, P, W, C>
where
    S: tower_service::Service<Req>,
    P: Settle,
{
    #[pin]
    state: State<S, Req, P, W, C>,
}

#[pin_project(project = StateProj)]
// A tag that hid in a spare byte would be written as a byte and moved as a word, and the move would
// wait for the write: 5 ns of a call.
#[repr(u64)]
enum State<S, Req, P, W, C>
where
    S: tower_service::Service<Req>,
    P: Settle,
{
    Refused(Option<Rejected>),
    /// On the heap, since few calls wait, and all would have to carry what that takes.
    Later(Parked<S, Req, P, W, C>),
    Watched(#[pin] Watched<S::Future, P, C>),
}

type Parked<S, Req, P, W, C> = Pin<Box<Later<S, Req, P, W, C>>>;

/// What comes of it: a call under way, or the error of readiness or of the wait.
type Called<S, Req, P, C> = Result<
    Watched<<S as tower_service::Service<Req>>::Future, P, C>,
    <S as tower_service::Service<Req>>::Error,
>;

/// A call that waits for its turn, and then until the inner service is ready.
#[pin_project]
struct Later<S, Req, P, W, C> {
    #[pin]
    wait: Option<W>,
    permit: Option<P>,
    call: Option<Call<S, Req, C>>,
}

/// What a waiting call needs once it may go.
struct Call<S, Req, C> {
    inner: S,
    request: Req,
    classifier: C,
}

impl<S, Req, P, W, C> ResponseFuture<S, Req, P, W, C>
where
    S: tower_service::Service<Req>,
    P: Settle,
{
    const fn new(state: State<S, Req, P, W, C>) -> Self {
        Self { state }
    }
}

impl<S, Req, P, W, C> std::fmt::Debug for ResponseFuture<S, Req, P, W, C>
where
    S: tower_service::Service<Req>,
    P: Settle,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match self.state {
            State::Refused(_) => "Refused",
            State::Later(_) => "Later",
            State::Watched(_) => "Watched",
        };
        write!(f, "ResponseFuture::{state}")
    }
}

impl<S, Req, P, W, C> Future for ResponseFuture<S, Req, P, W, C>
where
    S: tower_service::Service<Req>,
    S::Error: Rejectable,
    P: Settle,
    W: Future<Output = Result<P, Rejected>>,
    C: Classifier<S::Response, S::Error>,
{
    type Output = Result<C::Response<P>, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.as_mut().project().state.project() {
            StateProj::Watched(watched) => watched.poll(cx),
            StateProj::Refused(rejected) => answer_refused(rejected),
            StateProj::Later(later) => {
                let watched = ready!(later.as_mut().poll(cx))?;
                self.as_mut().project().state.set(State::Watched(watched));
                self.poll(cx)
            }
        }
    }
}

impl<S, Req, P, W, C> Later<S, Req, P, W, C>
where
    S: tower_service::Service<Req>,
    S::Error: Rejectable,
    P: Settle,
    W: Future<Output = Result<P, Rejected>>,
{
    /// Makes the call, once it may be made and the service is ready. Not inlined, since most calls
    /// are made at once.
    #[inline(never)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Called<S, Req, P, C>> {
        let mut this = self.project();
        if let Some(wait) = this.wait.as_mut().as_pin_mut() {
            let permit = ready!(wait.poll(cx));
            this.wait.set(None);
            *this.permit = Some(permit.map_err(S::Error::from_rejected)?);
        }
        let inner = &mut this.call.as_mut().expect("taken once").inner;
        let readiness = ready!(fail_on_unwind(this.permit, || inner.poll_ready(cx)));
        let permit = this.permit.take().expect("taken once");
        if let Err(error) = readiness {
            permit.settle(outcome_of_error(&error));
            return Poll::Ready(Err(error));
        }
        let Call {
            mut inner,
            request,
            classifier,
        } = this.call.take().expect("taken once");
        Poll::Ready(Ok(watch(&mut inner, request, permit, classifier)))
    }
}
