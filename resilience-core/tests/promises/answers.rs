//! One line for HTTP and gRPC: refusals are answers, and errors stay what they were.

use std::time::Duration;

use axum::{Router, routing::get};
use http::{HeaderValue, StatusCode, header};
use hyper::{body::Body as _, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use resilience_core::{
    Bulkhead, CatchPanic, CircuitBreaker, RateLimiter, Respond, circuit_breaker, concurrency,
    rate_limit::{self, Quota},
};
use serde_json::Value;
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use crate::support;

fn one_a_minute() -> RateLimiter {
    let policy = rate_limit::Policy::new("minute", Quota::per_minute(1));
    RateLimiter::new(policy).unwrap()
}

/// The example of the README: five failures of five open it.
fn breaker() -> CircuitBreaker {
    let policy = circuit_breaker::Policy::new("kitchen").min_calls(5);
    CircuitBreaker::new(policy).unwrap()
}

#[tokio::test]
async fn a_refusal_tells_when_to_come_back_in_seconds_rounded_up() {
    let limiter = one_a_minute();
    let app = Router::new()
        .route("/", get(async || "soup"))
        .layer(Respond::with((limiter.layer(),)));
    let admitted = app.clone().oneshot(support::get("/")).await.unwrap();
    assert_eq!(admitted.status(), StatusCode::OK);
    assert_eq!(
        admitted.headers()["ratelimit-policy"],
        r#""minute";q=1;w=60"#
    );
    let state = admitted.headers()["ratelimit"].to_str().unwrap();
    assert!(state.starts_with(r#""minute";r=0;t="#), "{state}");

    let refused = app.oneshot(support::get("/")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let headers = refused.headers();
    let wait: u64 = headers[header::RETRY_AFTER]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=66).contains(&wait), "{wait}");
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
    assert_eq!(headers["ratelimit-policy"], r#""minute";q=1;w=60"#);
    assert_eq!(headers["ratelimit"], format!(r#""minute";r=0;t={wait}"#));
    let problem: Value = serde_json::from_str(&support::text(refused).await).unwrap();
    assert_eq!(problem["status"], 429);
    assert_eq!(problem["reason"], "rate_limited");
    assert_eq!(problem["violated-policies"][0], "minute");
}

#[tokio::test]
async fn a_breaker_opens_on_answers_of_500_without_any_setting() {
    let breaker = breaker();
    let app = Router::new()
        .route("/", get(async || StatusCode::INTERNAL_SERVER_ERROR))
        .layer(Respond::with((breaker.layer(),)));
    for _ in 0..5 {
        let response = app.clone().oneshot(support::get("/")).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        support::text(response).await;
    }
    let refused = app.oneshot(support::get("/")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let wait: u64 = refused.headers()[header::RETRY_AFTER]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=5).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_panic_is_a_500_without_its_message_and_opens_a_breaker_outside() {
    let breaker = breaker();
    let panics = CatchPanic::new("kitchen").unwrap();
    let app = Router::new()
        .route(
            "/",
            get(async || -> &'static str { panic!("password=S3CR3T") }),
        )
        .layer(Respond::with((breaker.layer(), panics.layer())));
    for _ in 0..5 {
        let response = app.clone().oneshot(support::get("/")).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!support::text(response).await.contains("S3CR3T"));
    }
    let refused = app.oneshot(support::get("/")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn what_an_inner_layer_refused_is_no_failure_to_a_breaker_outside() {
    let breaker = breaker();
    let limiter = one_a_minute();
    let app = Router::new()
        .route("/", get(async || "soup"))
        .layer(Respond::with((breaker.layer(), limiter.layer())));
    for _ in 0..50 {
        let response = app.clone().oneshot(support::get("/")).await.unwrap();
        support::text(response).await;
    }
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.calls, snapshot.failures), (1, 0));
}

#[tokio::test]
async fn what_an_inner_layer_refused_is_given_back_by_a_limit_outside() {
    let quota = Quota::new(2, Duration::from_secs(3600));
    let limiter = RateLimiter::new(rate_limit::Policy::new("two", quota)).unwrap();
    let full = Bulkhead::new(concurrency::Policy::new("full", 1)).unwrap();
    let held = full.try_acquire().unwrap();
    let app = Router::new()
        .route("/", get(async || "soup"))
        .layer(Respond::with((limiter.layer(), full.layer())));
    for _ in 0..10 {
        let refused = app.clone().oneshot(support::get("/")).await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    drop(held);
    let response = app.oneshot(support::get("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

/// Most clients look for the status in the head where the stream ends with it, and in the trailers
/// else; one that finds it in neither takes it for an error of the protocol.
#[tokio::test]
async fn a_refusal_in_grpc_ends_the_stream_with_its_head() {
    let app = Router::new()
        .route("/", get(async || "soup"))
        .layer(Respond::with((one_a_minute().layer(),)));
    let address = support::serve(app).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut ask = || {
        let mut request = support::get("http://localhost/");
        let grpc = HeaderValue::from_static("application/grpc");
        request.headers_mut().insert(header::CONTENT_TYPE, grpc);
        sender.send_request(request)
    };
    assert_eq!(ask().await.unwrap().status(), StatusCode::OK);
    for _ in 0..50 {
        let refused = ask().await.unwrap();
        assert_eq!(refused.headers()["grpc-status"], "8");
        assert!(refused.body().is_end_stream());
    }
}

#[tokio::test]
async fn a_browser_that_speaks_grpc_gets_a_status_that_it_can_read() {
    let app = Router::new()
        .route("/", get(async || "soup"))
        .layer(Respond::with((one_a_minute().layer(),)));
    let request = || {
        let mut request = support::get("/");
        let web = "application/grpc-web-text".parse().unwrap();
        request.headers_mut().insert(header::CONTENT_TYPE, web);
        request
    };
    app.clone().oneshot(request()).await.unwrap();
    let refused = app.oneshot(request()).await.unwrap();
    assert_eq!(refused.status(), StatusCode::OK);
    let headers = refused.headers();
    assert_eq!(headers[header::CONTENT_TYPE], "application/grpc-web+proto");
    assert_eq!(headers["grpc-status"], "8");
}
