use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::{CatchPanic, Place};
use crate::BoxError;

/// A body whose panic is its error, and which is dropped then.
#[derive(Debug)]
#[pin_project]
pub struct CatchBody<B> {
    #[pin]
    body: Option<B>,
    engine: CatchPanic,
}

impl<B> CatchBody<B> {
    pub(super) const fn new(body: B, engine: CatchPanic) -> Self {
        let body = Some(body);
        Self { body, engine }
    }
}

/// Errors are boxed, since a panic must find room beside the body's own.
impl<B> Body for CatchBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        let poll = || body.poll_frame(cx).map_err(Into::into);
        match this.engine.catch(Place::Body, poll) {
            Ok(poll) => poll,
            Err(rejected) => {
                // What it holds must come back now, and its drop may panic as well.
                let drop_it = || this.body.set(None);
                drop(this.engine.catch(Place::Body, drop_it));
                Poll::Ready(Some(Err(rejected.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let Some(body) = &self.body else {
            return true;
        };
        // "No" costs a poll; "yes" could cut the body short.
        let ended = self.engine.catch(Place::Body, || body.is_end_stream());
        ended.unwrap_or(false)
    }

    fn size_hint(&self) -> SizeHint {
        let Some(body) = &self.body else {
            return SizeHint::with_exact(0);
        };
        let hint = self.engine.catch(Place::Body, || body.size_hint());
        hint.unwrap_or_default()
    }
}
