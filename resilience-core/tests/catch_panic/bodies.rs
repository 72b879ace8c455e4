//! Panics of bodies, and what callers see of them.

use std::{
    convert::Infallible,
    future::ready,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use resilience_core::{BoxError, Reason, Respond, catch_panic::CatchPanic};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{SECRET, engine, reason};

/// A body that panics where it is told to, after a first frame.
#[derive(Clone, Copy, Debug, PartialEq)]
enum PanicsIn {
    Frame,
    Trailers,
    SizeHint,
    IsEndStream,
}

struct Bad {
    panics: PanicsIn,
    frames: u32,
}

impl Bad {
    const fn new(panics: PanicsIn) -> Self {
        Self { panics, frames: 0 }
    }
}

impl Body for Bad {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.frames += 1;
        match (self.frames, self.panics) {
            // Time for a server to send what it has.
            (2, _) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            (1, _) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"soup"))))),
            (3, PanicsIn::Frame) => panic!("{SECRET}"),
            (3, _) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"rice"))))),
            (4, PanicsIn::Trailers) => panic!("{SECRET}"),
            (4, _) => Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::new())))),
            _ => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        assert!(self.panics != PanicsIn::IsEndStream, "{SECRET}");
        false
    }

    fn size_hint(&self) -> SizeHint {
        assert!(self.panics != PanicsIn::SizeHint, "{SECRET}");
        SizeHint::default()
    }
}

fn serves(
    engine: &CatchPanic,
    panics: PanicsIn,
) -> impl Service<
    Request<hyper::body::Incoming>,
    Response = Response<impl Body<Data = Bytes, Error = BoxError> + Send + 'static>,
    Error = BoxError,
    Future: Send,
> + Clone
+ Send
+ 'static {
    engine.layer().layer(service_fn(move |_| {
        ready(Ok(Response::new(Bad::new(panics))))
    }))
}

async fn body_of(
    engine: &CatchPanic,
    panics: PanicsIn,
) -> impl Body<Data = Bytes, Error = BoxError> {
    let service = engine.layer().layer(service_fn(move |()| {
        ready(Ok::<_, BoxError>(Response::new(Bad::new(panics))))
    }));
    service.oneshot(()).await.unwrap().into_body()
}

#[tokio::test]
async fn a_panic_in_the_body_is_its_error_and_the_last_thing_it_says() {
    for (panics, before) in [(PanicsIn::Frame, 1), (PanicsIn::Trailers, 2)] {
        let engine = engine();
        let mut body = pin!(body_of(&engine, panics).await);
        for _ in 0..before {
            assert!(body.frame().await.unwrap().is_ok());
        }
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(reason(&error), Some(Reason::Panicked));
        assert!(!format!("{error} {error:?}").contains("password"));
        assert!(body.is_end_stream() && body.frame().await.is_none());
        assert_eq!(engine.snapshot().body, 1);
    }
}

#[tokio::test]
async fn a_body_that_panics_when_asked_about_itself_is_still_sent_whole() {
    for panics in [PanicsIn::SizeHint, PanicsIn::IsEndStream] {
        let engine = engine();
        let body = body_of(&engine, panics).await;
        assert_eq!(body.size_hint().exact(), None);
        assert!(!body.is_end_stream());
        let whole = body.collect().await.unwrap().to_bytes();
        assert_eq!(whole, "souprice");
        assert!(engine.snapshot().body >= 1);
    }
}

/// tower-http's layer lets a panic in a streaming body escape.
#[tokio::test]
async fn over_http1_no_short_body_looks_complete() {
    let (mut client, server) = tokio::io::duplex(4096);
    let service = hyper_util::service::TowerToHyperService::new(serves(&engine(), PanicsIn::Frame));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
    let serving = tokio::spawn(connection);
    let request = b"GET / HTTP/1.1\r\nhost: soup\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    assert!(!answer.contains("password"));
    assert!(serving.await.unwrap().is_err(), "the task did not panic");
}

#[tokio::test]
async fn over_http2_the_stream_is_reset_and_the_connection_goes_on() {
    let (client, server) = tokio::io::duplex(4096);
    let service = hyper_util::service::TowerToHyperService::new(serves(&engine(), PanicsIn::Frame));
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(server), service);
    tokio::spawn(connection);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client))
            .await
            .unwrap();
    tokio::spawn(connection);
    for _ in 0..2 {
        let request = Request::get("http://soup/").body(Empty::<Bytes>::new());
        let response = sender.send_request(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let error = response.into_body().collect().await.unwrap_err();
        assert!(format!("{error:?}").contains("INTERNAL_ERROR"), "{error:?}");
    }
}

#[tokio::test]
async fn http_callers_get_500_and_grpc_callers_internal_and_neither_the_message() {
    let stack = Respond::with((engine().layer(),));
    let service = stack.layer(service_fn(|_: Request<()>| async {
        panic!("{SECRET}") as Result<Response<Full<Bytes>>, Infallible>
    }));
    let response = service.clone().oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(!String::from_utf8_lossy(&body).contains("password"));

    let mut request = Request::new(());
    let grpc = "application/grpc".parse().unwrap();
    request.headers_mut().insert("content-type", grpc);
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "13");
    assert!(!format!("{:?}", response.headers()).contains("password"));
}
