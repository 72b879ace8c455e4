//! What answers mean, and when that is known.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![cfg(feature = "http")]

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use resilience_core::{
    BoxError, Classifier, Http, Outcome, Reason, Rejected, Results, Settle, classify::WatchedBody,
};

/// A permit that remembers what it was told.
#[derive(Clone, Debug, Default)]
struct Recorder(Arc<Mutex<Vec<Outcome>>>);

struct Permit(Recorder, bool);

impl Recorder {
    fn permit(&self) -> Permit {
        Permit(self.clone(), false)
    }

    fn told(&self) -> Vec<Outcome> {
        self.0.lock().unwrap().clone()
    }
}

impl Settle for Permit {
    fn settle(mut self, outcome: Outcome) {
        self.1 = true;
        self.0.0.lock().unwrap().push(outcome);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.1 {
            self.0.0.lock().unwrap().push(Outcome::Canceled);
        }
    }
}

fn response(status: u16, headers: &[(&str, &str)]) -> http::response::Builder {
    headers.iter().fold(
        Response::builder().status(status),
        |builder, (name, value)| builder.header(*name, *value),
    )
}

fn outcome_of(status: u16, headers: &[(&str, &str)]) -> Outcome {
    let recorder = Recorder::default();
    let answer = response(status, headers).body(Empty::<Bytes>::new());
    let answer: Result<_, BoxError> = Ok(answer.unwrap());
    let _ = Http::new().watch(answer, recorder.permit()).unwrap();
    let [outcome] = recorder.told()[..] else {
        panic!("an empty body is over at once: {:?}", recorder.told());
    };
    outcome
}

const GRPC: (&str, &str) = ("content-type", "application/grpc+proto");

fn overload(seconds: u64) -> Outcome {
    Outcome::Overload {
        retry_after: Some(Duration::from_secs(seconds)),
    }
}

#[test]
fn a_5xx_is_a_failure_and_a_4xx_is_not() {
    for status in [200, 204, 301, 400, 401, 404, 409, 422] {
        assert_eq!(outcome_of(status, &[]), Outcome::Success, "{status}");
    }
    for status in [500, 501, 502, 504, 599] {
        assert_eq!(outcome_of(status, &[]), Outcome::Failure, "{status}");
    }
}

#[test]
fn a_429_and_a_503_ask_to_be_left_alone_for_as_long_as_they_say() {
    let none = Outcome::Overload { retry_after: None };
    for status in [429, 503] {
        assert_eq!(outcome_of(status, &[]), none);
        assert_eq!(outcome_of(status, &[("retry-after", " 5 ")]), overload(5));
        assert_eq!(outcome_of(status, &[("retry-after", "0")]), overload(0));
        for bad in ["", "-1", "+5", "1e3", "5s", "1.5", "soon", "0x10"] {
            assert_eq!(outcome_of(status, &[("retry-after", bad)]), none, "{bad}");
        }
        let huge = [("retry-after", "18446744073709551616")];
        assert_eq!(outcome_of(status, &huge), overload(u64::MAX));
        let nines = "9".repeat(10 * 1024);
        assert_eq!(
            outcome_of(status, &[("retry-after", &nines)]),
            overload(u64::MAX)
        );
    }
}

#[test]
fn a_date_is_read_against_the_date_of_the_same_answer() {
    let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    let after = |text| [date, ("retry-after", text)];
    let later = after("Sun, 06 Nov 1994 08:50:37 GMT");
    assert_eq!(outcome_of(503, &later), overload(60));
    let earlier = after("Sun, 06 Nov 1994 08:00:00 GMT");
    assert_eq!(outcome_of(503, &earlier), overload(0));
    let undated = [("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT")];
    assert_eq!(
        outcome_of(503, &undated),
        Outcome::Overload { retry_after: None }
    );
}

#[test]
fn a_grpc_status_in_the_head_decides() {
    let of = |status| outcome_of(200, &[GRPC, ("grpc-status", status)]);
    for status in ["0", "1", "3", "5", "6", "7", "9", "10", "11", "12", "16"] {
        assert_eq!(of(status), Outcome::Success, "{status}");
    }
    for status in ["2", "4", "13", "14", "15", "17", "", "x", "-1", "00"] {
        assert_eq!(of(status), Outcome::Failure, "{status}");
    }
    assert_eq!(of("8"), Outcome::Overload { retry_after: None });
    let pushed = [
        GRPC,
        ("grpc-status", "8"),
        ("grpc-retry-pushback-ms", "2000"),
    ];
    assert_eq!(outcome_of(200, &pushed), overload(2));
    let never = [GRPC, ("grpc-status", "8"), ("grpc-retry-pushback-ms", "-1")];
    assert_eq!(
        outcome_of(200, &never),
        Outcome::Overload { retry_after: None }
    );
}

#[test]
fn grpc_without_a_status_is_a_failure() {
    assert_eq!(outcome_of(200, &[GRPC]), Outcome::Failure);
}

#[tokio::test]
async fn grpc_for_browsers_keeps_its_status_in_the_body_and_is_no_failure_for_that() {
    const WEB: (&str, &str) = ("content-type", "application/grpc-web+proto");
    let (recorder, body) = streamed(response(200, &[WEB]), vec![data()]);
    body.collect().await.unwrap();
    assert_eq!(recorder.told(), [Outcome::Success]);
    let unavailable = [WEB, ("grpc-status", "14")];
    assert_eq!(outcome_of(200, &unavailable), Outcome::Failure);
}

type Frames = Vec<Result<Frame<Bytes>, BoxError>>;

fn streamed(
    head: http::response::Builder,
    frames: Frames,
) -> (
    Recorder,
    WatchedBody<impl Body<Data = Bytes, Error = BoxError> + Unpin, Permit>,
) {
    let recorder = Recorder::default();
    let body = StreamBody::new(tokio_stream(frames));
    let answer: Result<_, BoxError> = Ok(head.body(body).unwrap());
    let answer = Http::new().watch(answer, recorder.permit()).unwrap();
    (recorder, answer.into_body())
}

fn tokio_stream(frames: Frames) -> Iter {
    Iter(frames.into_iter())
}

struct Iter(std::vec::IntoIter<Result<Frame<Bytes>, BoxError>>);

impl futures_core::Stream for Iter {
    type Item = Result<Frame<Bytes>, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next())
    }
}

fn data() -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from_static(b"soup")))
}

fn trailers(status: &'static str) -> Result<Frame<Bytes>, BoxError> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    Ok(Frame::trailers(trailers))
}

#[tokio::test]
async fn an_outcome_counts_from_the_end_of_the_body() {
    let (recorder, mut body) = streamed(response(200, &[]), vec![data(), data()]);
    body.frame().await.unwrap().unwrap();
    body.frame().await.unwrap().unwrap();
    assert_eq!(recorder.told(), []);
    assert!(body.frame().await.is_none());
    assert_eq!(recorder.told(), [Outcome::Success]);
    drop(body);
    assert_eq!(recorder.told(), [Outcome::Success]);
}

#[tokio::test]
async fn a_grpc_status_in_trailers_decides() {
    for (status, outcome) in [
        ("0", Outcome::Success),
        ("14", Outcome::Failure),
        ("8", Outcome::Overload { retry_after: None }),
    ] {
        let (recorder, body) = streamed(response(200, &[GRPC]), vec![data(), trailers(status)]);
        body.collect().await.unwrap();
        assert_eq!(recorder.told(), [outcome]);
    }
    let (recorder, body) = streamed(response(200, &[GRPC]), vec![data()]);
    body.collect().await.unwrap();
    assert_eq!(recorder.told(), [Outcome::Failure], "no status at all");
}

#[tokio::test]
async fn a_body_that_ends_in_an_error_is_a_failure() {
    let (recorder, body) = streamed(response(200, &[]), vec![data(), Err("reset".into())]);
    body.collect().await.unwrap_err();
    assert_eq!(recorder.told(), [Outcome::Failure]);
}

#[tokio::test]
async fn a_body_dropped_half_way_is_canceled_unless_the_head_had_told() {
    let (recorder, mut body) = streamed(response(200, &[]), vec![data(), data()]);
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(recorder.told(), [Outcome::Canceled]);
    let (recorder, body) = streamed(response(500, &[]), vec![data()]);
    assert_eq!(
        recorder.told(),
        [],
        "permits are held to the end of the body"
    );
    drop(body);
    assert_eq!(recorder.told(), [Outcome::Failure]);
}

#[tokio::test]
async fn a_server_that_knows_the_length_need_not_poll_for_the_end() {
    let recorder = Recorder::default();
    let answer: Result<_, BoxError> = Ok(Response::new(Full::new(Bytes::from_static(b"soup"))));
    let answer = Http::new().watch(answer, recorder.permit()).unwrap();
    let mut body = answer.into_body();
    assert_eq!(body.size_hint().exact(), Some(4));
    body.frame().await.unwrap().unwrap();
    assert!(body.is_end_stream());
    assert_eq!(recorder.told(), [Outcome::Success]);
}

#[tokio::test]
async fn a_body_is_over_when_it_has_sent_what_its_head_promised() {
    // A server stops asking then: a file, or an answer handed on from another server.
    let promised = response(200, &[("content-length", "8")]);
    let (recorder, mut body) = streamed(promised, vec![data(), data()]);
    body.frame().await.unwrap().unwrap();
    assert_eq!(recorder.told(), []);
    body.frame().await.unwrap().unwrap();
    assert_eq!(recorder.told(), [Outcome::Success]);
    drop(body);
    assert_eq!(recorder.told(), [Outcome::Success]);
}

#[test]
fn an_answer_whose_head_allows_no_body_is_over_at_once() {
    for head in [
        response(200, &[("content-length", "0")]),
        response(204, &[]),
        response(304, &[("content-length", "8")]),
    ] {
        let (recorder, body) = streamed(head, vec![data()]);
        assert_eq!(recorder.told(), [Outcome::Success]);
        drop(body);
    }
}

#[tokio::test]
async fn a_body_that_breaks_a_promised_length_is_canceled_when_dropped() {
    for promise in ["9", "x", "-4"] {
        let promised = response(200, &[("content-length", promise)]);
        let (recorder, mut body) = streamed(promised, vec![data(), data()]);
        body.frame().await.unwrap().unwrap();
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert_eq!(recorder.told(), [Outcome::Canceled], "{promise}");
    }
}

#[test]
fn at_headers_decides_by_the_head_alone() {
    let recorder = Recorder::default();
    let answer: Result<_, BoxError> = Ok(Response::new(Full::new(Bytes::from_static(b"soup"))));
    let answer = Http::at_headers().watch(answer, recorder.permit()).unwrap();
    assert_eq!(recorder.told(), [Outcome::Success]);
    drop(answer);
    assert_eq!(recorder.told().len(), 1);
}

#[test]
fn a_body_that_panics_is_a_failure() {
    struct Bomb;
    impl Body for Bomb {
        type Data = Bytes;
        type Error = BoxError;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            panic!("in a frame")
        }
    }
    let recorder = Recorder::default();
    let answer: Result<_, BoxError> = Ok(Response::new(Bomb));
    let answer = Http::new().watch(answer, recorder.permit()).unwrap();
    let mut body = Box::pin(answer.into_body());
    let poll = || {
        body.as_mut()
            .poll_frame(&mut Context::from_waker(std::task::Waker::noop()))
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll)).unwrap_err();
    assert_eq!(recorder.told(), [Outcome::Failure]);
}

#[test]
fn refusals_of_our_own_layers_are_not_called_and_panics_are_failures() {
    for (reason, outcome) in [
        (Reason::RateLimited, Outcome::NotCalled),
        (Reason::CircuitOpen, Outcome::NotCalled),
        (Reason::Panicked, Outcome::Failure),
    ] {
        let recorder = Recorder::default();
        let refused: Result<(), Rejected> = Err(Rejected::new(reason, "inner"));
        Results
            .watch(refused.clone(), recorder.permit())
            .unwrap_err();
        let boxed: Result<(), BoxError> = refused.map_err(Into::into);
        Results.watch(boxed, recorder.permit()).unwrap_err();
        assert_eq!(recorder.told(), [outcome; 2]);
    }
    let recorder = Recorder::default();
    let failed: Result<(), BoxError> = Err("broken".into());
    Results.watch(failed, recorder.permit()).unwrap_err();
    assert_eq!(recorder.told(), [Outcome::Failure]);
}

#[test]
fn a_classifier_that_panics_counts_as_a_failed_call() {
    let recorder = Recorder::default();
    let classifier = |_: &Result<(), BoxError>| -> Outcome { panic!("in a classifier") };
    let watch = || classifier.watch(Ok(()), recorder.permit());
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(watch)).unwrap_err();
    assert_eq!(recorder.told(), [Outcome::Failure]);
}
