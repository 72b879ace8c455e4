use std::{
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project::pin_project;

use super::{CatchPanic, Place, Scope};
use crate::{Rejectable, Rejected, rejected::answer_refused};

/// A future whose panic is a refusal, and which is dropped when it ends.
#[derive(Debug)]
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Catching<F> {
    #[pin]
    future: Option<F>,
    engine: CatchPanic,
}

impl<F> Catching<F> {
    pub(crate) const fn new(future: Option<F>, engine: CatchPanic) -> Self {
        Self { future, engine }
    }
}

impl<F: Future> Future for Catching<F> {
    type Output = Result<F::Output, Rejected>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let future = this.future.as_mut().as_pin_mut();
        let future = future.expect("polled after it was ready");
        let mut polled = Poll::Pending;
        let result = match this
            .engine
            .catch(Place::Future, || polled = future.poll(cx))
        {
            Ok(()) => Ok(ready!(polled)),
            Err(rejected) => Err(rejected),
        };
        // What it holds must come back now, and its drop may panic as well.
        let drop_it = || this.future.set(None);
        drop(this.engine.catch(Place::Future, drop_it));
        Poll::Ready(result)
    }
}

/// The answer of a [`Service`](super::Service).
#[derive(Debug)]
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F, M> {
    #[pin]
    state: State<F>,
    scope: PhantomData<fn() -> M>,
}

#[derive(Debug)]
#[pin_project(project = StateProj)]
enum State<F> {
    Refused(Option<Rejected>),
    Called(#[pin] Catching<F>),
}

impl<F, M> ResponseFuture<F, M> {
    pub(super) const fn refused(rejected: Rejected) -> Self {
        Self::new(State::Refused(Some(rejected)))
    }

    pub(super) const fn called(future: Option<F>, engine: CatchPanic) -> Self {
        Self::new(State::Called(Catching::new(future, engine)))
    }

    const fn new(state: State<F>) -> Self {
        let scope = PhantomData;
        Self { state, scope }
    }
}

impl<F, M, Res, Err> Future for ResponseFuture<F, M>
where
    F: Future<Output = Result<Res, Err>>,
    M: Scope<Res>,
    Err: Rejectable,
{
    type Output = Result<M::Response, Err>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Refused(rejected) => answer_refused(rejected),
            StateProj::Called(mut catching) => {
                let result = match ready!(catching.as_mut().poll(cx)) {
                    Ok(result) => result,
                    Err(rejected) => Err(Err::from_rejected(rejected)),
                };
                let engine = catching.project().engine;
                Poll::Ready(result.map(|response| M::answer(response, engine)))
            }
        }
    }
}
