use std::{
    marker::PhantomData,
    mem,
    task::{Context, Poll, ready},
};

use super::{CatchPanic, Place, ResponseFuture};
use crate::{Rejectable, gate::not_ready};

/// How much of an answer is watched: `Streaming` or [`Plain`].
pub trait Scope<Res> {
    /// What the caller gets instead of `Res`.
    type Response;

    /// Watches what is left of `response`.
    fn answer(response: Res, engine: &CatchPanic) -> Self::Response;
}

/// Until the call has returned.
#[derive(Clone, Copy, Debug)]
pub enum Plain {}

impl<Res> Scope<Res> for Plain {
    type Response = Res;

    fn answer(response: Res, _engine: &CatchPanic) -> Res {
        response
    }
}

/// Until the end of an HTTP or gRPC answer's body.
#[cfg(feature = "http")]
#[derive(Clone, Copy, Debug)]
pub enum Streaming {}

#[cfg(feature = "http")]
impl<B> Scope<http::Response<B>> for Streaming {
    type Response = http::Response<super::CatchBody<B>>;

    fn answer(response: http::Response<B>, engine: &CatchPanic) -> Self::Response {
        response.map(|body| super::CatchBody::new(body, engine.clone()))
    }
}

/// Puts [`CatchPanic`] around a service.
#[derive(Debug)]
pub struct Layer<M> {
    engine: CatchPanic,
    scope: PhantomData<fn() -> M>,
}

impl<M> Layer<M> {
    pub(super) const fn new(engine: CatchPanic) -> Self {
        let scope = PhantomData;
        Self { engine, scope }
    }
}

/// By hand, since the scope is only a name.
impl<M> Clone for Layer<M> {
    fn clone(&self) -> Self {
        Self::new(self.engine.clone())
    }
}

impl<S, M> tower_layer::Layer<S> for Layer<M> {
    type Service = Service<S, M>;

    fn layer(&self, inner: S) -> Self::Service {
        Service {
            inner,
            ready: false,
            engine: self.engine.clone(),
            scope: PhantomData,
        }
    }
}

/// A service whose panics are refusals.
#[derive(Debug)]
pub struct Service<S, M> {
    inner: S,
    ready: bool,
    engine: CatchPanic,
    scope: PhantomData<fn() -> M>,
}

/// By hand, since a clone is not ready: readiness was proven for one instance alone.
impl<S: Clone, M> Clone for Service<S, M> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            ready: false,
            engine: self.engine.clone(),
            scope: PhantomData,
        }
    }
}

impl<S, M, Req> tower_service::Service<Req> for Service<S, M>
where
    S: tower_service::Service<Req>,
    S::Error: Rejectable,
    M: Scope<S::Response>,
{
    type Response = M::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, M>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.ready = false;
        let poll = || self.inner.poll_ready(cx);
        let result = match self.engine.catch(Place::PollReady, poll) {
            Ok(poll) => ready!(poll),
            Err(rejected) => Err(S::Error::from_rejected(rejected)),
        };
        self.ready = result.is_ok();
        Poll::Ready(result)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        if !mem::take(&mut self.ready) {
            return ResponseFuture::refused(not_ready());
        }
        // Put down here rather than handed through: futures of whole stacks are large.
        let mut future = None;
        let call = || future = Some(self.inner.call(request));
        match self.engine.catch(Place::Call, call) {
            Ok(()) => ResponseFuture::called(future, self.engine.for_call()),
            Err(rejected) => ResponseFuture::refused(rejected),
        }
    }
}
