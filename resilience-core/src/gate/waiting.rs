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
        let state = match self.gate.enter(&request) {
            Entry::Admitted(permit) => {
                let classifier = self.classifier.clone();
                State::Watched(watch(&mut self.inner, request, permit, classifier))
            }
            Entry::Refused(rejected) => State::Refused(Some(rejected)),
            Entry::Wait(wait) => {
                // What was reserved by `poll_ready` must not lie idle while this call waits:
                // dropping the instance gives it back, and the wait ends with a readiness of
                // its own.
                let inner = self.inner.clone();
                self.inner = inner.clone();
                let call = Call {
                    inner,
                    request,
                    classifier: self.classifier.clone(),
                };
                State::Waiting {
                    wait,
                    call: Some(call),
                }
            }
        };
        ResponseFuture::new(state)
    }
}

/// What a waiting call needs once it may go.
#[derive(Debug)]
struct Call<S, Req, C> {
    inner: S,
    request: Req,
    classifier: C,
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
enum State<S, Req, P, W, C>
where
    S: tower_service::Service<Req>,
    P: Settle,
{
    Refused(Option<Rejected>),
    Waiting {
        #[pin]
        wait: W,
        call: Option<Call<S, Req, C>>,
    },
    Readying {
        permit: Option<P>,
        call: Option<Call<S, Req, C>>,
    },
    Watched(#[pin] Watched<S::Future, P, C>),
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
            State::Waiting { .. } => "Waiting",
            State::Readying { .. } => "Readying",
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
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProj::Refused(rejected) => {
                    let rejected = rejected.take().expect("polled after it was ready");
                    return Poll::Ready(Err(S::Error::from_rejected(rejected)));
                }
                StateProj::Waiting { wait, call } => match ready!(wait.poll(cx)) {
                    Err(rejected) => State::Refused(Some(rejected)),
                    Ok(permit) => State::Readying {
                        permit: Some(permit),
                        call: call.take(),
                    },
                },
                StateProj::Readying { permit, call } => {
                    let inner = &mut call.as_mut().expect("taken once").inner;
                    let readiness = ready!(fail_on_unwind(permit, || inner.poll_ready(cx)));
                    let permit = permit.take().expect("taken once");
                    if let Err(error) = readiness {
                        permit.settle(outcome_of_error(&error));
                        return Poll::Ready(Err(error));
                    }
                    let Call {
                        mut inner,
                        request,
                        classifier,
                    } = call.take().expect("taken once");
                    State::Watched(watch(&mut inner, request, permit, classifier))
                }
                StateProj::Watched(watched) => return watched.poll(cx),
            };
            this.state.set(next);
        }
    }
}
