use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project::pin_project;
use tokio::{
    runtime::Handle,
    time::{Timeout, timeout},
};

/// What a future gives within a time; `None` is that it took longer.
#[pin_project(project = WithinProj)]
#[must_use = "futures do nothing unless polled"]
pub(super) enum Within<F> {
    Limited(#[pin] Timeout<F>),
    Unlimited(#[pin] F),
}

/// What `future` gives within `limit`; without a runtime there are no timers, and no limit.
pub(super) fn within<F: Future>(limit: Duration, future: F) -> Within<F> {
    if limit == Duration::MAX || Handle::try_current().is_err() {
        Within::Unlimited(future)
    } else {
        Within::Limited(timeout(limit, future))
    }
}

impl<F: Future> Future for Within<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        match self.project() {
            WithinProj::Limited(future) => future.poll(cx).map(Result::ok),
            WithinProj::Unlimited(future) => future.poll(cx).map(Some),
        }
    }
}
