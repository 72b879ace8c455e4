use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use super::AnswerBody;
use crate::{Error, Rejected, protocol::Protocol};

/// A service whose layers' refusals are answers.
#[derive(Debug)]
pub struct RespondService<S> {
    inner: S,
    refused: Option<Rejected>,
}

impl<S> RespondService<S> {
    pub(super) const fn new(inner: S) -> Self {
        Self {
            inner,
            refused: None,
        }
    }
}

/// By hand, since a refusal of readiness was meant for one instance alone.
impl<S: Clone> Clone for RespondService<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone())
    }
}

impl<S, E, ReqBody, ResBody> Service<Request<ReqBody>> for RespondService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>, Error = Error<E>>,
    ResBody: Body<Data = Bytes>,
{
    type Response = Response<AnswerBody<ResBody>>;
    type Error = E;
    type Future = RespondFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        if self.refused.is_some() {
            return Poll::Ready(Ok(()));
        }
        match ready!(self.inner.poll_ready(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(Error::Inner(error)) => Poll::Ready(Err(error)),
            Err(Error::Rejected(rejected)) => {
                // An answer needs a request: the next call gets it.
                self.refused = Some(rejected);
                Poll::Ready(Ok(()))
            }
        }
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let protocol = Protocol::of(request.headers());
        let state = match self.refused.take() {
            Some(rejected) => State::Refused(Some(rejected)),
            None => State::Called(self.inner.call(request)),
        };
        RespondFuture { state, protocol }
    }
}

/// The answer of a [`RespondService`].
#[derive(Debug)]
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct RespondFuture<F> {
    #[pin]
    state: State<F>,
    protocol: Protocol,
}

#[derive(Debug)]
#[pin_project(project = StateProj)]
enum State<F> {
    Called(#[pin] F),
    Refused(Option<Rejected>),
}

impl<F, B, E> Future for RespondFuture<F>
where
    F: Future<Output = Result<Response<B>, Error<E>>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<AnswerBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let rejected = match this.state.project() {
            StateProj::Called(future) => match ready!(future.poll(cx)) {
                Ok(response) => return Poll::Ready(Ok(response.map(AnswerBody::inner))),
                Err(Error::Inner(error)) => return Poll::Ready(Err(error)),
                Err(Error::Rejected(rejected)) => rejected,
            },
            StateProj::Refused(rejected) => rejected.take().expect("polled after it was ready"),
        };
        let answer = this.protocol.answer(&rejected);
        Poll::Ready(Ok(answer.map(AnswerBody::written)))
    }
}
