use std::{
    future::{Ready, pending, poll_fn, ready},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use resilience_core::{
    BoxError, Error, Outcome, Reason, Rejectable, Rejected, Results,
    circuit_breaker::{Phase, Policy},
};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{Circuit, SECOND};

type Body = Full<&'static [u8]>;

fn answer(status: StatusCode) -> Result<Response<Body>, BoxError> {
    let mut response = Response::new(Full::new(&b"body"[..]));
    *response.status_mut() = status;
    Ok(response)
}

fn request() -> Request<Empty<&'static [u8]>> {
    Request::new(Empty::new())
}

#[tokio::test]
async fn a_server_error_is_a_failure_without_any_setting_and_counts_at_the_end_of_the_body() {
    let circuit = Circuit::fragile();
    let service = service_fn(|_| ready(answer(StatusCode::INTERNAL_SERVER_ERROR)));
    let service = circuit.layer().layer(service);
    let response = service.clone().oneshot(request()).await.unwrap();
    response.into_body().collect().await.unwrap();
    circuit.is(Phase::Open);
    let refused = service.oneshot(request()).await.unwrap_err();
    assert_eq!(refused.as_rejected().unwrap().reason(), Reason::CircuitOpen);
}

#[tokio::test]
async fn a_long_body_does_not_make_a_call_slow() {
    let circuit = Circuit::new(Policy::new("p").slow_calls(SECOND, 0.5));
    let service = circuit
        .layer()
        .layer(service_fn(|_| ready(answer(StatusCode::OK))));
    let response = service.oneshot(request()).await.unwrap();
    circuit.advance(SECOND * 60);
    response.into_body().collect().await.unwrap();
    let snapshot = circuit.snapshot();
    assert_eq!((snapshot.calls, snapshot.slow), (1, 0));
}

#[tokio::test]
async fn a_body_that_is_dropped_half_way_has_no_vote() {
    let circuit = Circuit::fragile();
    let service = circuit
        .layer()
        .layer(service_fn(|_| ready(answer(StatusCode::OK))));
    drop(service.oneshot(request()).await.unwrap());
    let snapshot = circuit.snapshot();
    assert_eq!((snapshot.calls, snapshot.totals.canceled), (0, 1));
}

/// A service whose readiness is what its closure says.
#[derive(Clone)]
struct Readiness<F>(F);

impl<F: FnMut() -> Poll<Result<(), BoxError>>> Service<()> for Readiness<F> {
    type Response = ();
    type Error = BoxError;
    type Future = Ready<Result<(), BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        (self.0)()
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

#[tokio::test]
async fn a_service_that_fails_to_get_ready_counts_once() {
    let circuit = Circuit::new(Policy::new("p"));
    let broken = Readiness(|| Poll::Ready(Err(BoxError::from("down"))));
    let mut service = circuit.layer_with(Results).layer(broken);
    poll_fn(|cx| service.poll_ready(cx)).await.unwrap_err();
    let snapshot = circuit.snapshot();
    assert_eq!((snapshot.calls, snapshot.failures), (1, 1));
}

#[tokio::test]
async fn a_service_that_fails_to_get_ready_fails_a_probe_and_prolongs_nothing_while_open() {
    let circuit = Circuit::fragile();
    circuit.fail(1).advance(SECOND);
    let broken = Readiness(|| Poll::Ready(Err(BoxError::from("down"))));
    let mut service = circuit.layer_with(Results).layer(broken);
    poll_fn(|cx| service.poll_ready(cx)).await.unwrap_err();
    assert_eq!(
        circuit.entered(),
        [Phase::Open, Phase::HalfOpen, Phase::Open]
    );
    poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
    assert_eq!(circuit.snapshot().rejected, 0);
    assert_eq!(circuit.retry_after(), Some(SECOND));
}

#[tokio::test]
async fn a_service_whose_readiness_a_layer_further_in_refuses_has_not_failed() {
    for (reason, failures) in [(Reason::RateLimited, 0), (Reason::Panicked, 1)] {
        let circuit = Circuit::new(Policy::new("p"));
        let refuses = move || Err(BoxError::from(Rejected::new(reason, "further in")));
        let mut service = circuit
            .layer_with(Results)
            .layer(Readiness(move || Poll::Ready(refuses())));
        poll_fn(|cx| service.poll_ready(cx)).await.unwrap_err();
        assert_eq!(circuit.snapshot().failures, failures, "{reason:?}");
    }
}

#[tokio::test]
async fn an_open_circuit_answers_though_the_service_is_not_ready() {
    let circuit = Circuit::fragile();
    circuit.fail(1);
    let stuck = Readiness(|| Poll::Pending);
    let refused = circuit
        .layer_with(Results)
        .layer(stuck)
        .oneshot(())
        .await
        .unwrap_err();
    assert!(refused.as_rejected().is_some());
}

#[tokio::test]
async fn a_wait_that_ends_between_readiness_and_call_refuses_once_more() {
    let circuit = Circuit::fragile();
    circuit.fail(1);
    let service = service_fn(|()| ready(Ok::<(), BoxError>(())));
    let mut service = circuit.layer_with(Results).layer(service);
    poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
    circuit.advance(SECOND);
    let refused = service.call(()).await.unwrap_err();
    assert_eq!(refused.as_rejected().unwrap().reason(), Reason::CircuitOpen);
    assert_eq!(circuit.snapshot().rejected, 1);
    service.ready().await.unwrap().call(()).await.unwrap();
    circuit.is(Phase::Closed);
}

#[tokio::test]
async fn a_panic_is_a_failure_and_goes_on() {
    let circuit = Circuit::fragile();
    let service = service_fn(|()| async {
        panic!("inside");
        #[allow(unreachable_code)]
        Ok::<(), BoxError>(())
    });
    let service = circuit.layer_with(Results).layer(service);
    let call = tokio::spawn(service.oneshot(()));
    assert!(call.await.unwrap_err().is_panic());
    circuit.is(Phase::Open);
}

#[tokio::test]
async fn a_classifier_that_panics_is_a_failure() {
    let circuit = Circuit::fragile();
    let classifier = |_: &Result<(), BoxError>| -> Outcome { panic!("a broken classifier") };
    let service = service_fn(|()| ready(Ok::<(), BoxError>(())));
    let service = circuit.layer_with(classifier).layer(service);
    assert!(tokio::spawn(service.oneshot(())).await.is_err());
    circuit.is(Phase::Open);
}

#[tokio::test]
async fn a_dropped_call_gives_its_probe_back() {
    let circuit = Circuit::fragile();
    circuit.fail(1).advance(SECOND);
    let service = service_fn(|()| pending::<Result<(), BoxError>>());
    let mut service = circuit.layer_with(Results).layer(service);
    let mut call = Box::pin(service.ready().await.unwrap().call(()));
    assert!(poll_once(call.as_mut()).is_pending());
    assert_eq!(circuit.snapshot().permits_left, 0);
    drop(call);
    assert_eq!(circuit.snapshot().permits_left, 1);
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn refusals_of_layers_further_in_do_not_count() {
    let circuit = Circuit::fragile();
    let full = Rejected::new(Reason::ConcurrencyLimited, "inner");
    let service = service_fn(move |()| ready(Err::<(), _>(full.clone())));
    let service = circuit.layer_with(Results).layer(service);
    service.oneshot(()).await.unwrap_err();
    let snapshot = circuit.snapshot();
    assert_eq!((snapshot.phase, snapshot.calls), (Phase::Closed, 0));
    assert_eq!(snapshot.totals.not_called, 1);
}

#[tokio::test]
async fn without_tower_a_call_is_guarded_all_the_same() {
    let circuit = Circuit::fragile();
    assert_eq!(circuit.call(async || Ok::<_, &str>(1)).await, Ok(1));
    let failed = circuit.call(async || Err::<(), _>("down")).await;
    assert_eq!(failed, Err(Error::Inner("down")));
    let mut called = false;
    let refused = circuit
        .call(|| {
            called = true;
            ready(Ok::<_, &str>(()))
        })
        .await;
    assert!(matches!(refused, Err(Error::Rejected(_))) && !called);
}

#[tokio::test]
async fn an_operation_that_panics_before_it_is_a_future_is_a_failure() {
    let circuit = Circuit::fragile();
    let operation = || -> Ready<Result<(), BoxError>> { panic!("at once") };
    let breaker = circuit.breaker.clone();
    let call = tokio::spawn(async move { breaker.call(operation).await });
    assert!(call.await.is_err());
    circuit.is(Phase::Open);
}
