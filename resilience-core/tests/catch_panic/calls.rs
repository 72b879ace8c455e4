//! Panics of services: when asked whether they are ready, in a call and in its future.

use std::{
    any::Any,
    convert::Infallible,
    future::{Future, pending, ready},
    panic::{panic_any, resume_unwind},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use http::{Request, StatusCode};
use resilience_core::{
    BoxError, Error, Measured, Outcome, Reason, Rejectable, Rejected, Respond, Results,
    catch_panic::{CatchPanic, Plain, Snapshot},
    concurrency::{Bulkhead, Policy},
};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{SECRET, engine, listening, now, poll, reason};

/// A service that panics where it is told to.
#[derive(Clone, Copy)]
enum Panics {
    PollReady,
    Call,
    Poll,
}

impl Service<()> for Panics {
    type Response = ();
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::PollReady => panic!("{SECRET}"),
            Self::Call | Self::Poll => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, _request: ()) -> Self::Future {
        match self {
            Self::Call => panic!("{SECRET}"),
            Self::PollReady | Self::Poll => Box::pin(async { panic!("{SECRET}") }),
        }
    }
}

#[test]
fn a_panic_in_poll_ready_call_or_future_becomes_the_calls_error() {
    let engine = engine();
    for panics in [Panics::PollReady, Panics::Call, Panics::Poll] {
        let service = engine.plain_layer().layer(panics);
        let error = now(service.oneshot(())).unwrap_err();
        assert_eq!(reason(&error), Some(Reason::Panicked));
        assert!(!format!("{error} {error:?}").contains("password"));
    }
    let snapshot = engine.snapshot();
    let caught = (snapshot.poll_ready, snapshot.call, snapshot.future);
    assert_eq!((caught, snapshot.total()), ((1, 1, 1), 3));
}

#[test]
fn a_layer_further_out_counts_a_panic_as_a_failure() {
    let bulkhead = Bulkhead::new(Policy::new("outer", 1)).unwrap();
    let service = bulkhead
        .layer_with(Results)
        .layer(engine().plain_layer().layer(Panics::Poll));
    let error = now(service.oneshot(())).unwrap_err();
    let outcome = error.as_rejected().map(Rejected::outcome);
    assert_eq!(outcome, Some(Outcome::Failure));
    assert_eq!(bulkhead.snapshot().failed, 1);
}

#[test]
fn permits_held_further_in_come_back_at_once() {
    let bulkhead = Bulkhead::new(Policy::new("inner", 1)).unwrap();
    let inner = bulkhead.layer_with(Results).layer(Panics::Poll);
    let mut response = pin!(engine().plain_layer().layer(inner).oneshot(()));
    assert!(poll(response.as_mut()).is_ready());
    assert_eq!(bulkhead.snapshot().running, 0);
}

#[test]
fn what_a_future_holds_comes_back_with_its_panic_even_if_its_drop_panics_too() {
    struct Holds(Arc<AtomicU32>);
    impl Drop for Holds {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
            panic!("in drop");
        }
    }
    impl Future for Holds {
        type Output = Result<(), BoxError>;
        fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
            panic!("in poll");
        }
    }
    let (engine, drops) = (engine(), Arc::new(AtomicU32::new(0)));
    let held = drops.clone();
    let holds = service_fn(move |()| Holds(held.clone()));
    let mut service = engine.plain_layer().layer(holds);
    assert!(now(service.ready()).is_ok());
    let mut response = Box::pin(service.call(()));
    assert!(matches!(poll(response.as_mut()), Poll::Ready(Err(_))));
    assert_eq!(drops.load(SeqCst), 1);
    drop(response);
    assert_eq!((drops.load(SeqCst), engine.snapshot().future), (1, 2));
}

#[test]
fn payloads_of_every_kind_are_survived() {
    struct Nothing;
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in the payload's drop");
        }
    }
    let (engine, told, _clock) = listening();
    let catch = |payload: fn()| {
        let result: Result<(), Error<Infallible>> = now(engine.call(|| async move {
            payload();
            Ok(())
        }));
        assert_eq!(reason(&result.unwrap_err()), Some(Reason::Panicked));
    };
    catch(|| panic!("text"));
    catch(|| panic_any(String::from("owned")));
    catch(|| panic_any(Nothing));
    catch(|| panic_any(42_u64));
    catch(|| panic_any(Bomb));
    catch(|| resume_unwind(Box::new("resumed") as Box<dyn Any + Send>));
    let told: Vec<_> = told.lock().unwrap().iter().map(|it| it.0.clone()).collect();
    let none = "(no text)";
    assert_eq!(told, ["text", "owned", none, none, none, "resumed"]);
}

#[test]
fn what_does_not_panic_passes_unchanged() {
    let engine = engine();
    assert_eq!(now(engine.call(|| ready(Ok::<_, BoxError>(7)))).unwrap(), 7);
    let failed: Result<(), _> = now(engine.call(|| ready(Err("broken"))));
    assert_eq!(failed, Err(Error::Inner("broken")));
    let echo = service_fn(|number: u32| ready(Ok::<_, BoxError>(number)));
    let service = engine.plain_layer().layer(echo);
    assert_eq!(now(service.oneshot(7)).unwrap(), 7);
    assert_eq!(engine.snapshot(), Snapshot::default());
}

#[test]
fn a_call_on_an_instance_that_is_not_ready_is_refused() {
    let mut service = engine().plain_layer().layer(Panics::Call);
    let error = now(service.call(())).unwrap_err();
    assert_eq!(reason(&error), Some(Reason::NotReady));
}

#[tokio::test]
async fn axum_takes_the_layer_as_it_is() {
    let app: axum::Router = axum::Router::new()
        .route(
            "/",
            axum::routing::get(|| async { panic!("{SECRET}") as &'static str }),
        )
        .layer(Respond::with((engine().layer(),)));
    let response = app
        .oneshot(Request::new(axum::body::Body::empty()))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[test]
fn a_dropped_future_is_dropped() {
    let (engine, held) = (engine(), Arc::new(()));
    let inside = held.clone();
    let waits = service_fn(move |()| {
        let held = inside.clone();
        async move {
            pending::<()>().await;
            drop(held);
            Ok::<_, BoxError>(())
        }
    });
    let mut service = engine.plain_layer().layer(waits);
    assert!(now(service.ready()).is_ok());
    let mut response = Box::pin(service.call(()));
    assert!(poll(response.as_mut()).is_pending());
    assert_eq!(Arc::strong_count(&held), 3);
    drop(response);
    assert_eq!(Arc::strong_count(&held), 2);
}

#[test]
fn names_are_checked_and_types_go_anywhere() {
    fn anywhere<T: Send + Sync + Clone + 'static>() {}
    anywhere::<CatchPanic>();
    anywhere::<resilience_core::catch_panic::Layer<Plain>>();
    assert_eq!(CatchPanic::new("\n").unwrap_err().field(), "name");
    let future = engine().plain_layer().layer(Panics::Call).call(());
    // The box inside is two words: the rest is ours, a refusal at its largest.
    assert!(size_of_val(&future) <= 96, "{}", size_of_val(&future));
}

#[test]
fn the_figures_tell_where() {
    let engine = engine();
    let service = engine.plain_layer().layer(Panics::Call);
    assert!(now(service.oneshot(())).is_err());
    let mut figures = Vec::new();
    engine.measure(&mut |it| figures.push((it.instrument.name, it.label, it.value)));
    assert!(figures.contains(&("resilience.panics", Some("call"), 1)));
    assert!(figures.contains(&("resilience.panics", Some("body"), 0)));
}
