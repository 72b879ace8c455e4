//! State belongs to the engine, not to `layer()`.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Router,
    routing::{get, post},
};
use http::{Method, StatusCode};
use resilience_core::{
    RateLimiter, Respond,
    rate_limit::{Policy, Quota},
};
use tonic::{Code, transport::Endpoint};
use tower::{Layer as _, ServiceExt as _};

use crate::{
    grpc,
    support::{self, Connection},
};

/// Ten, and no more while the test runs.
fn ten() -> RateLimiter {
    let quota = Quota::new(10, Duration::from_secs(3600));
    RateLimiter::new(Policy::new("ten", quota)).unwrap()
}

fn app(limiter: &RateLimiter) -> Router {
    Router::new()
        .route("/a", get(async || "a").post(async || "a"))
        .route("/b", post(async || "b").get(async || "b"))
        .layer(Respond::with((limiter.layer(),)))
}

fn count<T: Ord>(all: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
    all.into_iter().fold(BTreeMap::new(), |mut counts, one| {
        *counts.entry(one).or_default() += 1;
        counts
    })
}

#[tokio::test]
async fn a_limit_holds_over_twenty_connections_two_routes_and_two_methods() {
    let limiter = ten();
    let address = support::serve(app(&limiter)).await;
    let mut statuses = Vec::new();
    for _ in 0..20 {
        let connection = Connection::to(address);
        for (method, path) in [
            (Method::GET, "/a"),
            (Method::POST, "/a"),
            (Method::GET, "/b"),
            (Method::POST, "/b"),
        ] {
            statuses.push(connection.send(method, path).await.status());
        }
    }
    let expected = [(StatusCode::OK, 10), (StatusCode::TOO_MANY_REQUESTS, 70)];
    assert_eq!(count(statuses), expected.into());
}

#[tokio::test]
async fn a_limit_holds_when_each_request_goes_to_a_clone_of_a_bare_router() {
    let limiter = ten();
    let app = app(&limiter);
    let mut statuses = Vec::new();
    for _ in 0..30 {
        let response = app.clone().oneshot(support::get("/a")).await.unwrap();
        statuses.push(response.status());
    }
    let expected = [(StatusCode::OK, 10), (StatusCode::TOO_MANY_REQUESTS, 20)];
    assert_eq!(count(statuses), expected.into());
}

async fn say_on_connections(address: std::net::SocketAddr, times: usize) -> Vec<Code> {
    let mut codes = Vec::new();
    for _ in 0..times {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let answer = grpc::say(channel, "soup").await;
        codes.push(answer.map_or_else(|status| status.code(), |_| Code::Ok));
    }
    codes
}

fn ok_and_exhausted(codes: &[Code]) -> (usize, usize) {
    let count = |code| codes.iter().filter(|it| **it == code).count();
    (count(Code::Ok), count(Code::ResourceExhausted))
}

#[tokio::test]
async fn a_limit_holds_over_the_connections_of_a_tonic_server() {
    let limiter = ten();
    let (listener, address) = support::listen().await;
    let server = tonic::transport::Server::builder()
        .layer(Respond::with((limiter.layer(),)))
        .add_service(grpc::Echo);
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(server.serve_with_incoming(incoming));
    let codes = say_on_connections(address, 20).await;
    assert_eq!(ok_and_exhausted(&codes), (10, 10));
}

#[tokio::test]
async fn a_limit_holds_over_the_clones_of_a_tonic_client() {
    let limiter = ten();
    let (listener, address) = support::listen().await;
    let server = tonic::transport::Server::builder().add_service(grpc::Echo);
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(server.serve_with_incoming(incoming));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = Respond::with((limiter.layer(),)).layer(endpoint.connect_lazy());
    let mut codes = Vec::new();
    for _ in 0..20 {
        let answer = grpc::say(channel.clone(), "soup").await;
        if let Err(status) = &answer {
            let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
            let milliseconds: i64 = pushback.to_str().unwrap().parse().unwrap();
            assert!(milliseconds > 0);
        }
        codes.push(answer.map_or_else(|status| status.code(), |_| Code::Ok));
    }
    assert_eq!(ok_and_exhausted(&codes), (10, 10));
}

#[tokio::test]
async fn one_stack_on_one_port_serves_axum_and_tonic_alike() {
    let limiter = ten();
    let app = tonic::service::Routes::new(grpc::Echo)
        .into_axum_router()
        .route("/menu", get(async || "soup"))
        .layer(Respond::with((limiter.layer(),)));
    let address = support::serve(app).await;
    let codes = say_on_connections(address, 6).await;
    assert_eq!(ok_and_exhausted(&codes), (6, 0));
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(Connection::to(address).get("/menu").await.status());
    }
    let expected = [(StatusCode::OK, 4), (StatusCode::TOO_MANY_REQUESTS, 2)];
    assert_eq!(count(statuses), expected.into());
    let codes = say_on_connections(address, 2).await;
    assert_eq!(ok_and_exhausted(&codes), (0, 2));
}
