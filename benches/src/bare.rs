use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    hint::black_box,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use http::{Request, Response};
use resilience_core::Error;
use tower::Service;

/// Answers at once, with what it was asked.
#[derive(Clone, Copy, Debug)]
pub struct Bare;

/// The future of [`Bare`]: named, as small as its answer.
#[derive(Debug)]
pub struct Answer(u64);

impl Service<u64> for Bare {
    type Response = u64;
    type Error = Error<Infallible>;
    type Future = Answer;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: u64) -> Answer {
        Answer(black_box(request))
    }
}

impl Future for Answer {
    type Output = Result<u64, Error<Infallible>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(self.0))
    }
}

/// Answers every HTTP request at once, with the same soup.
#[derive(Clone, Copy, Debug)]
pub struct BareHttp;

/// The future of [`BareHttp`].
pub type HttpAnswer = Ready<Result<Response<Body>, Infallible>>;

impl<B> Service<Request<B>> for BareHttp {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = HttpAnswer;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Request<B>) -> HttpAnswer {
        black_box(&request);
        ready(Ok(Response::new(Body::from("soup"))))
    }
}
