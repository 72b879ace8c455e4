//! The layer: readiness, futures and bodies.

use std::{
    future::{pending, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use resilience_core::{BoxError, Http, Reason, Rejectable as _, Results};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use super::{bulkhead, manual, policy, poll, poll_now, queued};

/// tower's `LoadShed` over `ConcurrencyLimit` parks a permit in each clone that was readied.
#[tokio::test]
async fn an_idle_clone_of_a_service_holds_no_permit() {
    let bulkhead = bulkhead(policy(1));
    let echo = service_fn(|number: u32| ready(Ok::<_, BoxError>(number)));
    let service = bulkhead.layer_with(Results).layer(echo);
    let mut idle: Vec<_> = (0..50).map(|_| service.clone()).collect();
    for clone in &mut idle {
        clone.ready().await.unwrap();
        clone.ready().await.unwrap();
    }
    assert_eq!(bulkhead.snapshot().running, 0);
    assert_eq!(service.clone().oneshot(7).await.unwrap(), 7);
}

/// A service whose readiness is a place, of which there is one among all clones.
#[derive(Default)]
struct OnePlace {
    places: Arc<AtomicU32>,
    held: bool,
}

impl Clone for OnePlace {
    fn clone(&self) -> Self {
        let places = self.places.clone();
        Self {
            places,
            held: false,
        }
    }
}

impl Drop for OnePlace {
    fn drop(&mut self) {
        self.places.fetch_sub(u32::from(self.held), SeqCst);
    }
}

impl Service<()> for OnePlace {
    type Response = ();
    type Error = BoxError;
    type Future = std::future::Ready<Result<(), BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if !self.held && self.places.fetch_add(1, SeqCst) > 0 {
            self.places.fetch_sub(1, SeqCst);
            return Poll::Pending;
        }
        self.held = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

#[test]
fn a_call_that_waits_gives_back_what_its_readiness_had_reserved() {
    let bulkhead = bulkhead(queued(1, 1));
    let running = bulkhead.try_acquire().unwrap();
    let inner = OnePlace::default();
    let places = inner.places.clone();
    let mut service = bulkhead.layer_with(Results).layer(inner);
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    assert_eq!(places.load(SeqCst), 1);
    let mut call = pin!(service.call(()));
    assert!(call.as_mut().poll(&mut context).is_pending());
    assert_eq!(places.load(SeqCst), 0);
    drop(running);
    assert!(call.as_mut().poll(&mut context).is_ready());
    assert_eq!(places.load(SeqCst), 0);
}

#[test]
fn a_call_that_is_refused_gives_back_what_its_readiness_had_reserved() {
    let bulkhead = bulkhead(policy(1));
    let _running = bulkhead.try_acquire().unwrap();
    let inner = OnePlace::default();
    let places = inner.places.clone();
    let mut service = bulkhead.layer_with(Results).layer(inner);
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    assert_eq!(places.load(SeqCst), 1);
    let mut call = pin!(service.call(()));
    assert_eq!(places.load(SeqCst), 0);
    assert!(call.as_mut().poll(&mut context).is_ready());
}

#[test]
fn a_call_on_an_instance_that_is_not_ready_is_refused_and_holds_nothing() {
    let bulkhead = bulkhead(policy(1));
    let mut service = bulkhead.layer_with(Results).layer(never());
    let error = poll_now(service.call(())).unwrap_err();
    let rejected = error.as_rejected().unwrap();
    assert_eq!(rejected.reason(), Reason::NotReady);
    assert_eq!(bulkhead.snapshot().running, 0);
}

#[test]
fn a_response_dropped_at_any_point_gives_back_what_it_held() {
    let (bulkhead, _clock) = manual(queued(1, 1));
    let layer = bulkhead.layer_with(Results);
    for polls in 0..3 {
        let mut service = layer.layer(never());
        assert!(poll_now(service.ready()).is_ok());
        let mut running = Box::pin(service.call(()));
        assert!(poll_now(service.ready()).is_ok());
        let mut waiting = Box::pin(service.call(()));
        for _ in 0..polls {
            assert!(poll(running.as_mut()).is_pending());
            assert!(poll(waiting.as_mut()).is_pending());
        }
        let full = bulkhead.snapshot();
        assert_eq!((full.running, full.queued), (1, 1));
        drop(running);
        let passed = bulkhead.snapshot();
        assert_eq!((passed.running, passed.queued), (1, 0));
        drop(waiting);
        assert_eq!(bulkhead.snapshot().running, 0);
    }
}

#[test]
fn a_call_that_panics_gives_its_permit_back() {
    let bulkhead = bulkhead(policy(1));
    let layer = bulkhead.layer_with(Results);
    let in_call = service_fn(|()| -> std::future::Ready<Result<(), BoxError>> { panic!("call") });
    let in_future = service_fn(|()| async { panic!("future") as Result<(), BoxError> });
    let called = AssertUnwindSafe(|| poll_now(layer.layer(in_call).oneshot(())));
    assert!(catch_unwind(called).is_err());
    let polled = AssertUnwindSafe(|| poll_now(layer.layer(in_future).oneshot(())));
    assert!(catch_unwind(polled).is_err());
    let snapshot = bulkhead.snapshot();
    assert_eq!((snapshot.running, snapshot.failed), (0, 2));
}

#[tokio::test]
async fn a_call_runs_until_the_end_of_the_body_or_until_the_head_by_choice() {
    let bulkhead = bulkhead(policy(1));
    let echo = service_fn(|_: Request<()>| {
        let body = Full::new(Bytes::from_static(b"soup"));
        ready(Ok::<_, BoxError>(Response::new(body)))
    });
    let at_end = bulkhead.layer().layer(echo);
    let response = at_end.oneshot(Request::new(())).await.unwrap();
    assert_eq!(bulkhead.snapshot().running, 1);
    response.into_body().collect().await.unwrap();
    assert_eq!(bulkhead.snapshot().running, 0);

    let at_head = bulkhead.layer_with(Http::at_headers()).layer(echo);
    let _response = at_head.oneshot(Request::new(())).await.unwrap();
    assert_eq!(bulkhead.snapshot().running, 0);
}

#[tokio::test]
async fn a_body_dropped_half_way_gives_the_permit_back() {
    let bulkhead = bulkhead(policy(1));
    let endless = service_fn(|_: Request<()>| {
        let frames = endless_body();
        ready(Ok::<_, BoxError>(Response::new(frames)))
    });
    let service = bulkhead.layer().layer(endless);
    let mut response = service.oneshot(Request::new(())).await.unwrap();
    assert!(poll(Pin::new(&mut response.body_mut().frame())).is_pending());
    assert_eq!(bulkhead.snapshot().running, 1);
    drop(response);
    let snapshot = bulkhead.snapshot();
    assert_eq!((snapshot.running, snapshot.dropped), (0, 1));
}

/// A body whose frames never come.
fn endless_body() -> impl http_body::Body<Data = Bytes, Error = BoxError> + Unpin {
    struct Never;
    impl http_body::Body for Never {
        type Data = Bytes;
        type Error = BoxError;
        fn poll_frame(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
            Poll::Pending
        }
    }
    Never
}

/// A service that answers when it is told to.
fn never() -> impl Service<(), Response = (), Error = BoxError, Future: Send> + Clone {
    service_fn(|()| pending::<Result<(), BoxError>>())
}
