use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project::pin_project;

use crate::classify::{Classifier, Settle, fail_on_unwind};

/// A call under way, whose permit a classifier settles.
#[derive(Debug)]
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct Watched<F, P: Settle, C> {
    #[pin]
    inner: F,
    permit: Option<P>,
    classifier: C,
}

impl<F, P: Settle, C> Watched<F, P, C> {
    pub(crate) const fn new(inner: F, permit: Option<P>, classifier: C) -> Self {
        Self {
            inner,
            permit,
            classifier,
        }
    }
}

impl<F, P, C, Res, Err> Future for Watched<F, P, C>
where
    F: Future<Output = Result<Res, Err>>,
    P: Settle,
    C: Classifier<Res, Err>,
{
    type Output = Result<C::Response<P>, Err>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(fail_on_unwind(this.permit, || this.inner.poll(cx)));
        let permit = this.permit.take().expect("polled after it was ready");
        Poll::Ready(this.classifier.watch(result, permit))
    }
}
