//! The sentences of `catch_panic`'s documents, one test each.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    any::Any,
    convert::Infallible,
    future::{Future, pending, ready},
    panic::{panic_any, resume_unwind},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use resilience_core::{
    BoxError, Environment, Error, Event, ManualClock, Measured, Outcome, Reason, Rejectable,
    Rejected, Respond, Results,
    catch_panic::{CatchPanic, Plain, Snapshot},
    concurrency::{Bulkhead, Policy},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{Layer, Service, ServiceExt, service_fn};

const SECRET: &str = "password=hunter2";

type Told = Arc<Mutex<Vec<(String, u64)>>>;

fn engine() -> CatchPanic {
    CatchPanic::new("test").unwrap()
}

fn listening() -> (CatchPanic, Told, ManualClock) {
    let (told, clock) = (Told::default(), ManualClock::new());
    let listener = told.clone();
    let environment = Environment::new()
        .clock(clock.clone())
        .observer(move |event: &Event<'_>| {
            if let Event::Panicked {
                message,
                suppressed,
                ..
            } = *event
            {
                let event = (message.to_owned(), suppressed);
                listener.lock().unwrap().push(event);
            }
        });
    let engine = CatchPanic::new_in("test", &environment).unwrap();
    (engine, told, clock)
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

fn reason(error: &impl Rejectable) -> Option<Reason> {
    error.as_rejected().map(Rejected::reason)
}

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
fn the_message_goes_to_the_log_in_at_most_200_characters() {
    let (engine, told, _clock) = listening();
    let long = "\u{1b}[31m\n".to_owned() + &SECRET.repeat(100);
    let result: Result<(), Error<Infallible>> = now(engine.call(|| async { panic_any(long) }));
    assert!(!format!("{result:?}").contains("password"));
    let told = told.lock().unwrap();
    assert!(told[0].0.contains("password") && told[0].0.chars().count() <= 200);
    assert!(!told[0].0.chars().any(char::is_control));
}

#[test]
fn ten_events_a_second_and_what_goes_over_is_told_with_the_next() {
    let (engine, told, clock) = listening();
    let boom = || {
        let result: Result<(), Error<Infallible>> = now(engine.call(|| async { panic!("boom") }));
        assert!(result.is_err());
    };
    (0..1000).for_each(|_| boom());
    assert_eq!(told.lock().unwrap().len(), 10);
    clock.advance(Duration::from_secs(1));
    boom();
    assert_eq!(told.lock().unwrap().last().unwrap().1, 990);
    assert_eq!(engine.snapshot().total(), 1001);
}

#[test]
fn the_panic_hook_stays_the_applications() {
    static HOOKED: AtomicU32 = AtomicU32::new(0);
    std::panic::set_hook(Box::new(|info| {
        if info.payload().downcast_ref() == Some(&"for the hook") {
            HOOKED.fetch_add(1, SeqCst);
        }
    }));
    let call = engine();
    let result: Result<(), Error<Infallible>> = now(call.call(|| async { panic!("for the hook") }));
    assert!(result.is_err());
    assert_eq!(HOOKED.load(SeqCst), 1);
}

#[test]
fn a_listener_that_panics_reaches_no_caller() {
    let environment = Environment::new().observer(|_: &Event<'_>| panic!("listener"));
    let engine = CatchPanic::new_in("test", &environment).unwrap();
    let result: Result<(), Error<Infallible>> = now(engine.call(|| async { panic!("boom") }));
    assert_eq!(reason(&result.unwrap_err()), Some(Reason::Panicked));
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
fn the_figures_tell_where() {
    let engine = engine();
    let service = engine.plain_layer().layer(Panics::Call);
    assert!(now(service.oneshot(())).is_err());
    let mut figures = Vec::new();
    engine.measure(&mut |it| figures.push((it.instrument.name, it.label, it.value)));
    assert!(figures.contains(&("resilience.panics", Some("call"), 1)));
    assert!(figures.contains(&("resilience.panics", Some("body"), 0)));
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
