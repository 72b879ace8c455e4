use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

/// The body of an answer: the service's own, or what a layer wrote in its place.
#[derive(Debug)]
#[pin_project]
pub struct AnswerBody<B> {
    #[pin]
    kind: Kind<B>,
}

#[derive(Debug)]
#[pin_project(project = KindProj)]
enum Kind<B> {
    Inner(#[pin] B),
    Written(Option<Bytes>),
}

impl<B> AnswerBody<B> {
    pub(crate) const fn inner(body: B) -> Self {
        let kind = Kind::Inner(body);
        Self { kind }
    }

    /// One without bytes has ended: gRPC owes the end of the stream with the head (Trailers-Only).
    pub(crate) fn written(bytes: Bytes) -> Self {
        let kind = Kind::Written(Some(bytes).filter(|bytes| !bytes.is_empty()));
        Self { kind }
    }
}

/// An empty body, whatever `B` is.
impl<B> Default for AnswerBody<B> {
    fn default() -> Self {
        let kind = Kind::Written(None);
        Self { kind }
    }
}

impl<B> Body for AnswerBody<B>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProj::Inner(body) => body.poll_frame(cx),
            KindProj::Written(bytes) => Poll::Ready(bytes.take().map(|it| Ok(Frame::data(it)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner(body) => body.is_end_stream(),
            Kind::Written(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner(body) => body.size_hint(),
            Kind::Written(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
        }
    }
}
