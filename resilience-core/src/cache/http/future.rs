use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;

use super::{CacheBody, page::tell, write::Write};
use crate::{
    Rejectable, Rejected,
    cache::once::{Boxed, Once},
    rejected::answer_refused,
};

/// What a service behind the cache answers.
pub(super) type Answer<B> = Response<CacheBody<B>>;

/// The answer of a [`Service`](super::Service).
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
pub(super) enum State<S, A, B>
where
    S: tower_service::Service<Request<A>>,
    B: Body,
{
    Refused(Option<Rejected>),
    Done(Option<Answer<B>>),
    Passing {
        #[pin]
        call: Once<S, Request<A>>,
        name: &'static str,
        why: &'static str,
        /// What it may change.
        write: Option<Write>,
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
            StateProj::Refused(rejected) => answer_refused(rejected),
            StateProj::Done(answer) => {
                Poll::Ready(Ok(answer.take().expect("polled after it was ready")))
            }
            StateProj::Loading(load) => load.as_mut().poll(cx),
            StateProj::Passing {
                call,
                name,
                why,
                write,
            } => {
                let answered = ready!(call.poll(cx));
                if let Some(write) = write.take() {
                    write.settle(&answered);
                }
                let mut response = answered?.map(CacheBody::inner);
                tell(response.headers_mut(), name, why);
                Poll::Ready(Ok(response))
            }
        }
    }
}
