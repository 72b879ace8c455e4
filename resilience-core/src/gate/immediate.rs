use std::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project::pin_project;

use super::{
    Entry, Gate, Never, Service, Watched,
    shell::{Readiness, not_ready, watch},
};
use crate::{
    Rejectable, Rejected,
    classify::{Classifier, Settle},
    rejected::answer_refused,
};

/// The mode of gates that answer at once.
#[derive(Clone, Copy, Debug)]
pub enum Immediate {}

impl<S, G, C, Req, Res> tower_service::Service<Req> for Service<S, G, C, Immediate>
where
    S: tower_service::Service<Req, Response = Res>,
    S::Error: Rejectable,
    G: Gate<Req, Wait = Never<<G as Gate<Req>>::Permit>>,
    C: Classifier<Res, S::Error> + Clone,
{
    type Response = C::Response<G::Permit>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, G::Permit, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if let Some(asked) = self.gate.refuses_all() {
            self.readiness = Readiness::Refused { asked };
            return Poll::Ready(Ok(()));
        }
        self.poll_inner(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let readiness = mem::take(&mut self.readiness);
        if !matches!(readiness, Readiness::Proven) {
            return ResponseFuture::refused(self.refuse::<Req>(readiness));
        }
        match self.gate.enter(&request) {
            Entry::Admitted(permit) => {
                let classifier = self.classifier.clone();
                let watched = watch(&mut self.inner, request, permit, classifier);
                ResponseFuture {
                    state: State::Watched(watched),
                }
            }
            Entry::Refused(rejected) => ResponseFuture::refused(rejected),
            Entry::Wait(never) => match never.never {},
        }
    }
}

impl<S, G, C> Service<S, G, C, Immediate> {
    #[inline(never)]
    fn refuse<Req>(&self, readiness: Readiness) -> Rejected
    where
        G: Gate<Req>,
    {
        match readiness {
            Readiness::Refused { asked } => self.gate.refuse(asked),
            Readiness::Unknown | Readiness::Proven => not_ready(),
        }
    }
}

/// The answer of a [`Service`] whose gate answers at once.
#[derive(Debug)]
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F, P: Settle, C> {
    #[pin]
    state: State<F, P, C>,
}

#[derive(Debug)]
#[pin_project(project = StateProj)]
// A tag that hid in a spare byte would be written as a byte and moved as a word, and the move would
// wait for the write: 5 ns of a call.
#[repr(u64)]
enum State<F, P: Settle, C> {
    Refused(Option<Rejected>),
    Watched(#[pin] Watched<F, P, C>),
}

impl<F, P: Settle, C> ResponseFuture<F, P, C> {
    const fn refused(rejected: Rejected) -> Self {
        Self {
            state: State::Refused(Some(rejected)),
        }
    }
}

impl<F, P, C, Res, Err> Future for ResponseFuture<F, P, C>
where
    F: Future<Output = Result<Res, Err>>,
    P: Settle,
    C: Classifier<Res, Err>,
    Err: Rejectable,
{
    type Output = Result<C::Response<P>, Err>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Refused(rejected) => answer_refused(rejected),
            StateProj::Watched(watched) => watched.poll(cx),
        }
    }
}
