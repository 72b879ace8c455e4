//! An answer instead of a refusal, and of nothing else.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    convert::Infallible,
    future::Ready,
    task::{Context, Poll},
    time::Duration,
};

use resilience_core::{
    CatchPanic, CircuitBreaker, Fallback, Reason, Rejected, Results,
    circuit_breaker::{Phase, Policy},
};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

/// Open for as long as the test runs.
fn open() -> CircuitBreaker {
    let breaker = CircuitBreaker::new(Policy::new("menu")).unwrap();
    breaker.open_for(Duration::from_secs(3600)).unwrap();
    breaker
}

fn yesterday(rejected: &Rejected) -> Option<&'static str> {
    (rejected.reason() == Reason::CircuitOpen).then_some("yesterday's soup")
}

async fn answer(
    breaker: &CircuitBreaker,
    today: Result<&'static str, Rejected>,
) -> Result<&'static str, Rejected> {
    let service = service_fn(move |()| std::future::ready(today.clone()));
    let service = Fallback::new(yesterday).layer(breaker.layer_with(Results).layer(service));
    service.oneshot(()).await
}

#[tokio::test]
async fn a_refusal_is_replaced() {
    let breaker = open();
    assert_eq!(answer(&breaker, Ok("soup")).await, Ok("yesterday's soup"));
    assert_eq!(breaker.snapshot().rejected, 1);
}

#[tokio::test]
async fn an_answer_of_the_service_passes() {
    let breaker = open();
    breaker.force_closed().unwrap();
    assert_eq!(answer(&breaker, Ok("soup")).await, Ok("soup"));
}

#[tokio::test]
async fn a_refusal_that_the_closure_does_not_answer_stands() {
    let breaker = open();
    breaker.force_open().unwrap();
    let rejected = answer(&breaker, Ok("soup")).await.unwrap_err();
    assert_eq!(rejected.reason(), Reason::CircuitForcedOpen);
}

#[tokio::test]
async fn a_refusal_of_readiness_is_replaced_in_the_call_or_stands_there() {
    let panics = CatchPanic::new("kitchen").unwrap();
    let service = panics.plain_layer().layer(Broken);
    let soup = |_: &Rejected| Some("soup of before");
    let mut replaced = Fallback::new(soup).layer(service.clone());
    for _ in 0..2 {
        let service = replaced.ready().await.unwrap();
        assert_eq!(service.call(()).await, Ok("soup of before"));
    }
    let mut stands = Fallback::new(yesterday).layer(service);
    let rejected = stands.ready().await.unwrap().call(()).await.unwrap_err();
    assert_eq!(rejected.reason(), Reason::Panicked);
}

/// Panics where it is asked whether it is ready.
#[derive(Clone)]
struct Broken;

impl Service<()> for Broken {
    type Response = &'static str;
    type Error = Rejected;
    type Future = Ready<Result<&'static str, Rejected>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Rejected>> {
        panic!("in poll_ready")
    }

    fn call(&mut self, (): ()) -> Self::Future {
        unreachable!("it was never ready")
    }
}

#[tokio::test]
async fn a_closure_that_panics_is_no_second_vote() {
    let breaker = open();
    let service = service_fn(async |()| Ok::<_, Rejected>("soup"));
    let panics = |_: &Rejected| -> Option<&'static str> { panic!("in the fallback") };
    let service = Fallback::new(panics).layer(breaker.layer_with(Results).layer(service));
    tokio::spawn(service.oneshot(())).await.unwrap_err();
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.phase, snapshot.failures), (Phase::Open, 0));
}

#[cfg(feature = "http")]
#[tokio::test]
async fn over_http_the_answer_needs_no_body_of_the_service() {
    use http_body_util::BodyExt as _;
    use resilience_core::Respond;

    let breaker = open();
    let nothing = |_: &Rejected| Some(http::Response::new("[]".into()));
    let app = service_fn(async |_: http::Request<()>| {
        Ok::<_, Infallible>(http::Response::new(axum::body::Body::from("[1]")))
    });
    let layers = (Fallback::http(nothing), breaker.layer());
    let app = Respond::with(layers).layer(app);
    for (force, expected) in [(false, "[]"), (true, "[1]")] {
        if force {
            breaker.force_closed().unwrap();
        }
        let response = app.clone().oneshot(http::Request::new(())).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, expected);
    }
}
