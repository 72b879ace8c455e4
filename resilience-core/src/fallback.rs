//! An answer instead of a refusal.
//!
//! Guards against turning a refusal into a broken page where something lesser would do: the menu
//! of an hour ago, an empty list of recommendations. Not for calls whose answer must be true (an
//! order that was not placed must not look as if it was), and not for failures of the service
//! itself: only what one of our own layers refused is replaced.
//!
//! # Place in a stack
//!
//! Around the layer whose refusals it replaces, also those of `poll_ready`; what stands further
//! out, a breaker say, sees its answer as the service's own. A panic inside the closure is the
//! caller's, and no second vote.
//!
//! ```
//! # fn main() -> Result<(), resilience_core::InvalidPolicy> {
//! use resilience_core::{CircuitBreaker, Fallback, Reason, Respond, circuit_breaker::Policy};
//!
//! let breaker = CircuitBreaker::new(Policy::new("recommendations"))?;
//! let nothing = Fallback::http(|rejected| match rejected.reason() {
//!     Reason::CircuitOpen => Some(http::Response::new("[]".into())),
//!     _ => None,
//! });
//! let app: axum::Router = axum::Router::new()
//!     .route("/", axum::routing::get(async || "[1, 2]"))
//!     .layer(Respond::with((nothing, breaker.layer())));
//! # Ok(())
//! # }
//! ```
//!
//! # Sharing
//!
//! Clones share nothing but the closure.
//!
//! # Cancellation
//!
//! Dropping the future drops the call inside.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project::pin_project;
use tower_service::Service;

use crate::{Rejectable, Rejected, rejected::answer_refused};

/// Answers for the layers inside when they refuse.
#[derive(Clone, Copy, Debug)]
pub struct Fallback<A> {
    answers: A,
}

impl<F> Fallback<Typed<F>> {
    /// Answers with what `answer` gives; `None` lets the refusal stand. For any service.
    #[must_use]
    pub const fn new<Res>(answer: F) -> Self
    where
        F: Fn(&Rejected) -> Option<Res>,
    {
        let answers = Typed(answer);
        Self { answers }
    }
}

#[cfg(feature = "http")]
impl<F> Fallback<Http<F>> {
    /// Answers with what `answer` gives; `None` lets the refusal stand. For HTTP, whatever the
    /// body of the service.
    #[must_use]
    pub const fn http(answer: F) -> Self
    where
        F: Fn(&Rejected) -> Option<http::Response<bytes::Bytes>>,
    {
        let answers = Http(answer);
        Self { answers }
    }
}

/// How answers are made and how the service's own pass.
pub trait Answers<Res> {
    /// What the caller gets.
    type Response;

    /// Passes an answer of the service.
    fn pass(&self, response: Res) -> Self::Response;

    /// Answers for a layer that refused, or lets the refusal stand.
    fn answer(&self, rejected: &Rejected) -> Option<Self::Response>;
}

/// Answers of the service's own type.
#[derive(Clone, Copy, Debug)]
pub struct Typed<F>(F);

impl<F, Res> Answers<Res> for Typed<F>
where
    F: Fn(&Rejected) -> Option<Res>,
{
    type Response = Res;

    fn pass(&self, response: Res) -> Res {
        response
    }

    fn answer(&self, rejected: &Rejected) -> Option<Res> {
        self.0(rejected)
    }
}

/// Answers over HTTP.
#[cfg(feature = "http")]
#[derive(Clone, Copy, Debug)]
pub struct Http<F>(F);

#[cfg(feature = "http")]
impl<F, B> Answers<http::Response<B>> for Http<F>
where
    F: Fn(&Rejected) -> Option<http::Response<bytes::Bytes>>,
{
    type Response = http::Response<crate::respond::AnswerBody<B>>;

    fn pass(&self, response: http::Response<B>) -> Self::Response {
        response.map(crate::respond::AnswerBody::inner)
    }

    fn answer(&self, rejected: &Rejected) -> Option<Self::Response> {
        Some(self.0(rejected)?.map(crate::respond::AnswerBody::written))
    }
}

impl<S, A: Clone> tower_layer::Layer<S> for Fallback<A> {
    type Service = FallbackService<S, A>;

    fn layer(&self, inner: S) -> Self::Service {
        FallbackService::new(inner, self.answers.clone())
    }
}

/// A service with an answer for refusals.
#[derive(Debug)]
pub struct FallbackService<S, A> {
    inner: S,
    answers: A,
    refused: Option<Rejected>,
}

impl<S, A> FallbackService<S, A> {
    const fn new(inner: S, answers: A) -> Self {
        Self {
            inner,
            answers,
            refused: None,
        }
    }
}

/// By hand, since a refusal of readiness was meant for one instance alone.
impl<S: Clone, A: Clone> Clone for FallbackService<S, A> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.answers.clone())
    }
}

impl<S, A, Req> Service<Req> for FallbackService<S, A>
where
    S: Service<Req>,
    S::Error: Rejectable,
    A: Answers<S::Response> + Clone,
{
    type Response = A::Response;
    type Error = S::Error;
    type Future = FallbackFuture<S::Future, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if self.refused.is_some() {
            return Poll::Ready(Ok(()));
        }
        let Err(error) = ready!(self.inner.poll_ready(cx)) else {
            return Poll::Ready(Ok(()));
        };
        // There is nobody yet to be answered: the next call is.
        self.refused = error.as_rejected().cloned();
        Poll::Ready(self.refused.as_ref().map_or(Err(error), |_| Ok(())))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        FallbackFuture {
            state: match self.refused.take() {
                Some(rejected) => State::Refused(Some(rejected)),
                None => State::Called(self.inner.call(request)),
            },
            answers: self.answers.clone(),
        }
    }
}

/// The answer of a [`FallbackService`].
#[derive(Debug)]
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct FallbackFuture<F, A> {
    #[pin]
    state: State<F>,
    answers: A,
}

#[derive(Debug)]
#[pin_project(project = StateProj)]
enum State<F> {
    Called(#[pin] F),
    Refused(Option<Rejected>),
}

impl<F, A, Res, Err> Future for FallbackFuture<F, A>
where
    F: Future<Output = Result<Res, Err>>,
    A: Answers<Res>,
    Err: Rejectable,
{
    type Output = Result<A::Response, Err>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = match this.state.project() {
            StateProj::Called(future) => ready!(future.poll(cx)),
            StateProj::Refused(rejected) => ready!(answer_refused(rejected)),
        };
        Poll::Ready(match result {
            Ok(response) => Ok(this.answers.pass(response)),
            Err(error) => {
                let answer = error.as_rejected().and_then(|it| this.answers.answer(it));
                answer.ok_or(error)
            }
        })
    }
}
