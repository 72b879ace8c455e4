use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project::pin_project;
use tower_service::Service;

/// What is not worth a name of its own: beside a load, its box costs nothing.
pub(super) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One call of a service of its own, which it readies first.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub(super) struct Once<S: Service<Req>, Req> {
    #[pin]
    state: State<S, Req, S::Future>,
}

#[pin_project(project = StateProj)]
enum State<S, Req, F> {
    Readying(Option<(S, Req)>),
    Called(#[pin] F),
}

impl<S: Service<Req>, Req> Once<S, Req> {
    pub(super) const fn new(service: S, request: Req) -> Self {
        let state = State::Readying(Some((service, request)));
        Self { state }
    }
}

impl<S: Service<Req>, Req> Future for Once<S, Req> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let future = match state.as_mut().project() {
                StateProj::Called(future) => return future.poll(cx),
                StateProj::Readying(call) => {
                    let (service, _) = call.as_mut().expect("taken once");
                    ready!(service.poll_ready(cx))?;
                    let (mut service, request) = call.take().expect("taken once");
                    service.call(request)
                }
            };
            state.set(State::Called(future));
        }
    }
}
