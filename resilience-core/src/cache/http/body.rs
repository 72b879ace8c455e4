use std::{
    fmt,
    future::poll_fn,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::respond::AnswerBody;

/// The body of an answer: the service's own, or one from the cache.
#[pin_project]
pub struct CacheBody<B: Body> {
    #[pin]
    kind: Kind<B>,
}

#[pin_project(project = KindProj)]
enum Kind<B: Body> {
    /// The service's own, or a stored one.
    Whole(#[pin] AnswerBody<B>),
    /// The service's own, of which some was read before it turned out not to be for the cache.
    Begun(Bytes, Option<Tail<B>>),
}

/// What follows what was read.
enum Tail<B: Body> {
    More(Pin<Box<B>>),
    Trailers(HeaderMap),
    Failed(B::Error),
}

impl<B: Body> CacheBody<B> {
    pub(super) const fn inner(body: B) -> Self {
        let kind = Kind::Whole(AnswerBody::inner(body));
        Self { kind }
    }

    pub(super) fn stored(bytes: Bytes) -> Self {
        let kind = Kind::Whole(AnswerBody::written(bytes));
        Self { kind }
    }

    /// Whether it is known to end in an error.
    pub(super) const fn is_cut_short(&self) -> bool {
        matches!(self.kind, Kind::Begun(_, Some(Tail::Failed(_))))
    }
}

/// An empty body, whatever `B` is.
impl<B: Body> Default for CacheBody<B> {
    fn default() -> Self {
        let kind = Kind::Whole(AnswerBody::default());
        Self { kind }
    }
}

/// Reads `body` to its end; gives it back as it was where it is longer than `limit`, ends in an
/// error or has trailers.
pub(super) async fn read<B>(body: B, limit: usize) -> Result<Bytes, CacheBody<B>>
where
    B: Body<Data = Bytes>,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(CacheBody::inner(body));
    }
    let mut body = Box::pin(body);
    // Copied as it comes: what is kept holds on to no buffer of the connection that it came from.
    let mut whole = Vec::new();
    let tail = loop {
        let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await else {
            return Ok(whole.into_boxed_slice().into());
        };
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => {
                whole.extend_from_slice(&data);
                if whole.len() > limit {
                    break Tail::More(body);
                }
            }
            Ok(Err(frame)) => {
                if let Ok(trailers) = frame.into_trailers() {
                    break Tail::Trailers(trailers);
                }
            }
            Err(error) => break Tail::Failed(error),
        }
    };
    let kind = Kind::Begun(whole.into(), Some(tail));
    Err(CacheBody { kind })
}

impl<B> Body for CacheBody<B>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let (begun, tail) = match self.project().kind.project() {
            KindProj::Whole(body) => return body.poll_frame(cx),
            KindProj::Begun(begun, tail) => (begun, tail),
        };
        if !begun.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(mem::take(begun)))));
        }
        match tail.take() {
            None => Poll::Ready(None),
            Some(Tail::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Some(Tail::Failed(error)) => Poll::Ready(Some(Err(error))),
            Some(Tail::More(mut body)) => {
                let poll = body.as_mut().poll_frame(cx);
                *tail = Some(Tail::More(body));
                poll
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(body) => body.is_end_stream(),
            Kind::Begun(begun, tail) => {
                begun.is_empty()
                    && match tail {
                        None => true,
                        Some(Tail::More(body)) => body.is_end_stream(),
                        Some(Tail::Trailers(_) | Tail::Failed(_)) => false,
                    }
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(body) => body.size_hint(),
            Kind::Begun(begun, tail) => {
                let read = begun.len() as u64;
                let mut hint = match tail {
                    Some(Tail::More(body)) => body.size_hint(),
                    Some(Tail::Failed(_)) => SizeHint::default(),
                    Some(Tail::Trailers(_)) | None => SizeHint::with_exact(0),
                };
                if let Some(upper) = hint.upper() {
                    hint.set_upper(upper.saturating_add(read));
                }
                hint.set_lower(hint.lower().saturating_add(read));
                hint
            }
        }
    }
}

impl<B: Body> fmt::Debug for CacheBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Whole(_) => "Whole",
            Kind::Begun(..) => "Begun",
        };
        write!(f, "CacheBody::{kind}")
    }
}
