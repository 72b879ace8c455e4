//! A body that is seen to its end.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::http::HeaderMap;
use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::{Settle, fail_on_unwind};
use crate::{Outcome, protocol::Protocol};

/// The body of an answer whose permit is settled at its end, at its trailers, or when it is
/// dropped.
#[derive(Debug)]
#[pin_project]
pub struct WatchedBody<B, P: Settle> {
    #[pin]
    body: B,
    watch: Watch<P>,
}

/// What is left to tell; tells on drop what the head told.
#[derive(Debug)]
struct Watch<P: Settle> {
    permit: Option<P>,
    known: Option<Outcome>,
    protocol: Protocol,
    /// Bytes still to come, where the head promised a length.
    left: Option<u64>,
}

impl<B, P: Settle> WatchedBody<B, P> {
    /// A body with nothing left to tell.
    pub(super) const fn settled(body: B) -> Self {
        let watch = Watch {
            permit: None,
            known: None,
            protocol: Protocol::Http,
            left: None,
        };
        Self { body, watch }
    }

    pub(super) const fn watching(
        body: B,
        permit: P,
        known: Option<Outcome>,
        protocol: Protocol,
        length: Option<u64>,
    ) -> Self {
        let watch = Watch {
            permit: Some(permit),
            known,
            protocol,
            left: length,
        };
        Self { body, watch }
    }
}

impl<P: Settle> Watch<P> {
    fn settle_by(&mut self, trailers: &HeaderMap) {
        if let Some(permit) = &mut self.permit
            && self.protocol.trailers_say_not_found(trailers)
        {
            permit.not_found();
        }
        self.settle(self.protocol.of_trailers(trailers));
    }

    fn settle(&mut self, outcome: Outcome) {
        if let Some(permit) = self.permit.take() {
            permit.settle(self.known.unwrap_or(outcome));
        }
    }

    /// Counts data; says whether it was the last that the head promised.
    fn is_last(&mut self, data: &impl Buf) -> bool {
        self.left = self
            .left
            .and_then(|left| left.checked_sub(data.remaining() as u64));
        self.left == Some(0)
    }
}

impl<P: Settle> Drop for Watch<P> {
    fn drop(&mut self) {
        if let Some(known) = self.known {
            self.settle(known);
        }
    }
}

impl<B: Body, P: Settle> Body for WatchedBody<B, P> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let (frame, ended) = ready!(fail_on_unwind(&mut this.watch.permit, || {
            let frame = this.body.as_mut().poll_frame(cx);
            frame.map(|frame| (frame, this.body.is_end_stream()))
        }));
        let watch = this.watch;
        match &frame {
            None => watch.settle(watch.protocol.without_trailers(true)),
            Some(Err(_)) => watch.settle(Outcome::Failure),
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    watch.settle_by(trailers);
                } else if frame.data_ref().is_some_and(|data| watch.is_last(data)) || ended {
                    // A server that knows the length stops polling here.
                    watch.settle(watch.protocol.without_trailers(true));
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
