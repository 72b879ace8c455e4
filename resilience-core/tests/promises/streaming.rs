//! Streaming is seen to its end.

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use resilience_core::{
    Bulkhead, CircuitBreaker, Http, Respond, circuit_breaker, circuit_breaker::Phase, concurrency,
};
use tonic::{Code, transport::Endpoint};
use tower::{Layer as _, ServiceExt as _};

use crate::{
    grpc,
    support::{self, Connection},
};

#[tokio::test]
async fn a_grpc_status_in_trailers_opens_a_breaker_on_either_side() {
    let policy = || circuit_breaker::Policy::new("kitchen").min_calls(5);
    let (inbound, outbound) = (
        CircuitBreaker::new(policy()).unwrap(),
        CircuitBreaker::new(policy()).unwrap(),
    );
    let (listener, address) = support::listen().await;
    let server = tonic::transport::Server::builder()
        .layer(Respond::with((inbound.layer(),)))
        .add_service(grpc::Echo);
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(server.serve_with_incoming(incoming));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = Respond::with((outbound.layer(),)).layer(endpoint.connect_lazy());
    for _ in 0..5 {
        let status = grpc::stream(channel.clone(), "13").await.unwrap_err();
        assert_eq!(status.code(), Code::Internal);
    }
    assert_eq!(outbound.phase(), Phase::Open);
    let status = grpc::say(channel, "soup").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(inbound.phase(), Phase::Open);
    let direct = endpoint.connect_lazy();
    let status = grpc::say(direct, "soup").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(outbound.snapshot().rejected, 1);
}

/// An app whose only route answers with a body that lasts until the sender is dropped.
fn endless() -> (tokio::sync::mpsc::Sender<Bytes>, Router) {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let receiver = std::sync::Arc::new(std::sync::Mutex::new(Some(receiver)));
    let handler = move || async move {
        let receiver = receiver.lock().unwrap().take();
        Body::new(Channel(receiver))
    };
    (sender, Router::new().route("/", get(handler)))
}

struct Channel(Option<tokio::sync::mpsc::Receiver<Bytes>>);

impl http_body::Body for Channel {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        match &mut self.0 {
            None => std::task::Poll::Ready(None),
            Some(receiver) => receiver
                .poll_recv(cx)
                .map(|bytes| bytes.map(|bytes| Ok(http_body::Frame::data(bytes)))),
        }
    }
}

#[tokio::test]
async fn a_permit_is_held_to_the_end_of_the_body() {
    let bulkhead = Bulkhead::new(concurrency::Policy::new("one", 1)).unwrap();
    let (sender, app) = endless();
    let app = app.layer(Respond::with((bulkhead.layer(),)));
    let streaming = app.clone().oneshot(support::get("/")).await.unwrap();
    let refused = app.clone().oneshot(support::get("/")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    sender.send(Bytes::from_static(b"soup")).await.unwrap();
    drop(sender);
    assert_eq!(support::text(streaming).await, "soup");
    let admitted = app.oneshot(support::get("/")).await.unwrap();
    assert_eq!(admitted.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_body_whose_length_stands_in_the_head_alone_is_seen_to_its_end() {
    let breaker = CircuitBreaker::new(circuit_breaker::Policy::new("kitchen")).unwrap();
    let handler = async || {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        sender.send(Bytes::from_static(b"soup")).await.unwrap();
        let body = Body::new(Channel(Some(receiver)));
        ([(http::header::CONTENT_LENGTH, "4")], body)
    };
    let app = Router::new().route("/", get(handler));
    let address = support::serve(app.layer(Respond::with((breaker.layer(),)))).await;
    let connection = Connection::to(address);
    for _ in 0..2 {
        assert_eq!(connection.get("/").await.body(), "soup");
    }
    // The second answer can only come when the first was settled.
    assert!(breaker.snapshot().totals.successes >= 1);
}

#[tokio::test]
async fn a_permit_is_held_to_the_headers_by_choice() {
    let bulkhead = Bulkhead::new(concurrency::Policy::new("one", 1)).unwrap();
    let (sender, app) = endless();
    let app = app.layer(Respond::with((bulkhead.layer_with(Http::at_headers()),)));
    let streaming = app.clone().oneshot(support::get("/")).await.unwrap();
    assert_eq!(bulkhead.snapshot().running, 0);
    drop((sender, streaming));
}

#[tokio::test]
async fn a_client_that_goes_away_half_way_gives_everything_back_and_votes_nowhere() {
    let bulkhead = Bulkhead::new(concurrency::Policy::new("one", 1)).unwrap();
    let breaker = CircuitBreaker::new(circuit_breaker::Policy::new("kitchen")).unwrap();
    let (sender, app) = endless();
    let app = app.layer(Respond::with((breaker.layer(), bulkhead.layer())));
    let address = support::serve(app).await;
    let connection = Connection::to(address);
    let mut streaming = connection.open(Method::GET, "/").await;
    sender.send(Bytes::from_static(b"soup")).await.unwrap();
    streaming.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(bulkhead.snapshot().running, 1);
    drop((streaming, connection));
    // The server notices when the connection is gone: the channel closes with the body.
    sender.closed().await;
    assert_eq!(bulkhead.snapshot().running, 0);
    assert_eq!(breaker.snapshot().calls, 0);
}
