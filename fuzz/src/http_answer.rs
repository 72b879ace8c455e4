//! Any answer of a dependency is told apart as the table of `Http` says, once.

use std::{
    cell::Cell,
    collections::VecDeque,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use ::bytes::Bytes as Data;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, RETRY_AFTER},
};
use http_body::{Body, Frame};
use resilience_core::{Classifier, Http, Outcome, Rejected, Settle};

use super::bytes::Bytes;

pub fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let choice = bytes.u8();
    let status = StatusCode::from_u16(100 + bytes.u16() % 900).expect("has three digits");
    let mut head = HeaderMap::new();
    let kind = match choice & 9 {
        0 => "text/plain",
        1 => GRPC,
        _ => GRPC_WEB,
    };
    head.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if choice & 4 == 4 {
        add_header(&mut head, CONTENT_LENGTH.as_str(), &mut bytes);
    }
    add_header(&mut head, RETRY_AFTER.as_str(), &mut bytes);
    add_header(&mut head, DATE.as_str(), &mut bytes);
    add_status(&mut head, &mut bytes);
    let answer = Answer {
        frames: frames(&mut bytes),
        knows_its_end: choice & 2 == 2,
    };
    let known = told_by_head(status, &head);
    let length = length(status, &head);
    let at_end = known.unwrap_or_else(|| told_by_body(&head, length, &answer));
    let told = |classifier, polls| told(classifier, status, &head, &answer, polls);
    assert_alike(told(Http::new(), usize::MAX), Some(at_end), &head);
    let at_head = known.unwrap_or(Outcome::Success);
    assert_alike(told(Http::at_headers(), 0), Some(at_head), &head);
    let over = answer.is_end_stream() || length == Some(0);
    let dropped = if over { Some(at_end) } else { known };
    assert_alike(told(Http::new(), 0), dropped, &head);
}

/// What `classifier` tells of an answer that is dropped after this many polls.
fn told(
    classifier: Http,
    status: StatusCode,
    head: &HeaderMap,
    answer: &Answer,
    polls: usize,
) -> Option<Outcome> {
    let permit = Permit::default();
    let outcome = permit.0.clone();
    let mut response = Response::new(answer.clone());
    *response.status_mut() = status;
    *response.headers_mut() = head.clone();
    let watched = classifier.watch(Ok::<_, Rejected>(response), permit);
    {
        let mut body = pin!(watched.expect("no error went in").into_body());
        let mut context = Context::from_waker(Waker::noop());
        let mut frame = || body.as_mut().poll_frame(&mut context);
        (0..polls).find(|_| !matches!(frame(), Poll::Ready(Some(Ok(_)))));
    }
    outcome.get()
}

fn told_by_head(status: StatusCode, head: &HeaderMap) -> Option<Outcome> {
    match status.as_u16() {
        429 | 503 => Some(Outcome::Overload {
            retry_after: number(head, RETRY_AFTER.as_str()).map(Duration::from_secs),
        }),
        500..600 => Some(Outcome::Failure),
        _ if is(head, GRPC) || is(head, GRPC_WEB) => told_by_status(head),
        _ => None,
    }
}

/// What the frames tell; once as many bytes are there as promised, nobody asks for more.
fn told_by_body(head: &HeaderMap, length: Option<u64>, answer: &Answer) -> Outcome {
    let grpc = is(head, GRPC);
    let mut left = length;
    for part in &answer.frames {
        if left == Some(0) {
            break;
        }
        match part {
            Part::Data => left = left.and_then(|left| left.checked_sub(SOUP.len() as u64)),
            Part::Trailers(trailers) if grpc => {
                return told_by_status(trailers).unwrap_or(Outcome::Failure);
            }
            Part::Trailers(_) => return Outcome::Success,
            Part::Error => return Outcome::Failure,
        }
    }
    if grpc {
        Outcome::Failure
    } else {
        Outcome::Success
    }
}

/// The length that the head promises; gRPC ends in trailers, whatever it is.
fn length(status: StatusCode, head: &HeaderMap) -> Option<u64> {
    match status.as_u16() {
        _ if is(head, GRPC) => None,
        204 | 304 => Some(0),
        _ => number(head, CONTENT_LENGTH.as_str()),
    }
}

fn is(head: &HeaderMap, kind: &str) -> bool {
    head.get(CONTENT_TYPE).is_some_and(|value| value == kind)
}

fn told_by_status(headers: &HeaderMap) -> Option<Outcome> {
    let status = headers.get("grpc-status")?.to_str().unwrap_or_default();
    let known = (0..=16).find(|number: &u8| number.to_string() == status);
    Some(match known {
        Some(8) => Outcome::Overload {
            retry_after: number(headers, "grpc-retry-pushback-ms").map(Duration::from_millis),
        },
        None | Some(2 | 4 | 13..=15) => Outcome::Failure,
        Some(_) => Outcome::Success,
    })
}

/// Digits with nothing but blanks around them; what is too large for the machine is its largest.
fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// The same, but for the wait where the answer has a `Date`: against it a date can be read too,
/// which this model does not do.
fn assert_alike(told: Option<Outcome>, expected: Option<Outcome>, head: &HeaderMap) {
    let without_wait = |outcome| match outcome {
        Some(Outcome::Overload { .. }) if head.contains_key(DATE) => {
            Some(Outcome::Overload { retry_after: None })
        }
        other => other,
    };
    assert_eq!(without_wait(told), without_wait(expected), "{head:?}");
}

fn add_header(headers: &mut HeaderMap, name: &'static str, bytes: &mut Bytes<'_>) {
    let value = HeaderValue::from_bytes(bytes.until(b'\n'));
    if let Some(value) = value.ok().filter(|value| !value.is_empty()) {
        headers.insert(name, value);
    }
}

fn add_status(headers: &mut HeaderMap, bytes: &mut Bytes<'_>) {
    add_header(headers, "grpc-status", bytes);
    add_header(headers, "grpc-retry-pushback-ms", bytes);
}

/// Data, trailers and errors, in any order, though nothing after trailers or an error: bodies
/// end there.
fn frames(bytes: &mut Bytes<'_>) -> VecDeque<Part> {
    let mut frames = VecDeque::new();
    while !bytes.is_empty() {
        let end = match bytes.u8() % 4 {
            0 | 1 => Part::Data,
            2 => Part::Error,
            _ => {
                let mut trailers = HeaderMap::new();
                add_status(&mut trailers, bytes);
                Part::Trailers(trailers)
            }
        };
        let ended = !matches!(end, Part::Data);
        frames.push_back(end);
        if ended {
            break;
        }
    }
    frames
}

#[derive(Clone, Debug)]
enum Part {
    Data,
    Trailers(HeaderMap),
    Error,
}

#[derive(Clone, Debug)]
struct Answer {
    frames: VecDeque<Part>,
    knows_its_end: bool,
}

impl Body for Answer {
    type Data = Data;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Data>, &'static str>>> {
        Poll::Ready(self.frames.pop_front().map(|part| match part {
            Part::Data => Ok(Frame::data(Data::from_static(SOUP))),
            Part::Trailers(trailers) => Ok(Frame::trailers(trailers)),
            Part::Error => Err("the connection was reset"),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.knows_its_end && self.frames.is_empty()
    }
}

#[derive(Default)]
struct Permit(Rc<Cell<Option<Outcome>>>);

impl Settle for Permit {
    fn settle(self, outcome: Outcome) {
        self.0.set(Some(outcome));
    }
}

const GRPC: &str = "application/grpc+proto";
const GRPC_WEB: &str = "application/grpc-web";

/// What each frame of data holds.
const SOUP: &[u8] = b"soup";
