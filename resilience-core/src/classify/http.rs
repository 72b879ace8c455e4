//! HTTP and gRPC, side by side.

use std::time::Duration;

use ::http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CONTENT_LENGTH, DATE, RETRY_AFTER},
};
use http_body::Body;

use super::{Classifier, Settle, WatchedBody, outcome_of_error};
use crate::{Outcome, Rejectable, protocol::Protocol};

/// Understands HTTP and gRPC answers without any setting.
///
/// | answer | outcome |
/// | --- | --- |
/// | status 429, 503; `grpc-status` 8 `RESOURCE_EXHAUSTED` | `Overload`, with its `Retry-After` or `grpc-retry-pushback-ms` |
/// | any other 5xx; `grpc-status` 2 `UNKNOWN`, 4 `DEADLINE_EXCEEDED`, 13 `INTERNAL`, 14 `UNAVAILABLE`, 15 `DATA_LOSS`; gRPC without a status | `Failure` |
/// | every other status | `Success` |
/// | an error, or a body that ends in one | `Failure`; a refusal of our own layers, `NotCalled` |
/// | a body dropped before its end | `Canceled`, unless the head had told already |
///
/// An answer is gRPC when its `content-type` is `application/grpc`, whatever encoding follows. The
/// outcome counts from the end of the body or its trailers, and permits are held so long;
/// [`Http::at_headers`] ends both at the head. A gRPC-Web answer hides its status in its body,
/// where nobody looks for it: stand inside of the layer that translates.
#[derive(Clone, Copy, Debug, Default)]
pub struct Http {
    end: End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Body,
    Headers,
}

impl Http {
    /// Looks on until the end of the body. The default.
    #[must_use]
    pub const fn new() -> Self {
        Self { end: End::Body }
    }

    /// Decides by the head alone: permits come back before the body is sent, and a gRPC status in
    /// trailers is not seen.
    #[must_use]
    pub const fn at_headers() -> Self {
        Self { end: End::Headers }
    }
}

impl<B, Err> Classifier<Response<B>, Err> for Http
where
    B: Body,
    Err: Rejectable,
{
    type Response<P: Settle> = Response<WatchedBody<B, P>>;

    fn watch<P: Settle>(
        &self,
        result: Result<Response<B>, Err>,
        mut permit: P,
    ) -> Result<Self::Response<P>, Err> {
        let mut response = match result {
            Ok(response) => response,
            Err(error) => {
                permit.settle(outcome_of_error(&error));
                return Err(error);
            }
        };
        permit.annotate(response.headers_mut());
        let protocol = Protocol::of(response.headers());
        let known = known_by_head(protocol, &response);
        if protocol.says_not_found(response.status(), response.headers()) {
            permit.not_found();
        }
        let length = protocol.length(&response);
        if self.end == End::Headers || length == Some(0) || response.body().is_end_stream() {
            let ended = self.end == End::Body;
            permit.settle(known.unwrap_or_else(|| protocol.without_trailers(ended)));
            return Ok(response.map(WatchedBody::settled));
        }
        permit.answered();
        Ok(response.map(|body| WatchedBody::watching(body, permit, known, protocol, length)))
    }
}

impl Protocol {
    /// How long the body is, where the head tells: a server may ask for no more than that.
    fn length<B>(self, response: &Response<B>) -> Option<u64> {
        match (self, response.status()) {
            // Ends in trailers, whatever its length.
            (Self::Grpc, _) => None,
            (_, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => Some(0),
            _ => digits(response.headers().get(CONTENT_LENGTH)?.as_bytes()),
        }
    }

    /// Whether the head tells that what was asked for does not exist.
    fn says_not_found(self, status: StatusCode, headers: &HeaderMap) -> bool {
        match self {
            Self::Http => status == StatusCode::NOT_FOUND,
            Self::Grpc | Self::GrpcWeb => is_not_found(headers),
        }
    }

    /// Whether the trailers tell so.
    pub(super) fn trailers_say_not_found(self, trailers: &HeaderMap) -> bool {
        match self {
            Self::Http | Self::GrpcWeb => false,
            Self::Grpc => is_not_found(trailers),
        }
    }

    /// The outcome where no trailers told: gRPC owes a status by the end of its body.
    pub(super) const fn without_trailers(self, ended: bool) -> Outcome {
        match self {
            Self::Grpc if ended => Outcome::Failure,
            Self::Grpc | Self::GrpcWeb | Self::Http => Outcome::Success,
        }
    }

    pub(super) fn of_trailers(self, trailers: &HeaderMap) -> Outcome {
        match self {
            Self::Http | Self::GrpcWeb => Outcome::Success,
            Self::Grpc => grpc_outcome(trailers).unwrap_or(Outcome::Failure),
        }
    }
}

fn known_by_head<B>(protocol: Protocol, response: &Response<B>) -> Option<Outcome> {
    let headers = response.headers();
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let retry_after = retry_after(headers);
            Some(Outcome::Overload { retry_after })
        }
        status if status.is_server_error() => Some(Outcome::Failure),
        _ if protocol != Protocol::Http => grpc_outcome(headers),
        _ => None,
    }
}

/// Whether a gRPC status is 5, `NOT_FOUND`.
fn is_not_found(headers: &HeaderMap) -> bool {
    headers
        .get("grpc-status")
        .is_some_and(|status| status.as_bytes() == b"5")
}

fn grpc_outcome(headers: &HeaderMap) -> Option<Outcome> {
    let status = headers.get("grpc-status")?;
    Some(match status.as_bytes() {
        b"8" => Outcome::Overload {
            retry_after: pushback(headers),
        },
        b"0" | b"1" | b"3" | b"5" | b"6" | b"7" | b"9" | b"10" | b"11" | b"12" | b"16" => {
            Outcome::Success
        }
        // 2, 4, 13, 14, 15, and whatever is no status at all.
        _ => Outcome::Failure,
    })
}

/// `Retry-After` (RFC 9110, 10.2.3): seconds, saturating, or a date, which is read against the
/// `Date` of the same answer so that no wall clock of ours takes part.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?;
    if let Some(seconds) = digits(value.as_bytes()) {
        return Some(Duration::from_secs(seconds));
    }
    let date = |value: &HeaderValue| httpdate::parse_http_date(value.to_str().ok()?).ok();
    let until = date(value)?;
    let sent = date(headers.get(DATE)?)?;
    Some(until.duration_since(sent).unwrap_or(Duration::ZERO))
}

/// `grpc-retry-pushback-ms` (gRFC A6): milliseconds; negative or unreadable says nothing here.
fn pushback(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("grpc-retry-pushback-ms")?;
    digits(value.as_bytes()).map(Duration::from_millis)
}

/// A number written in digits alone, at most `u64::MAX`.
pub(crate) fn digits(value: &[u8]) -> Option<u64> {
    let bytes = value.trim_ascii();
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(bytes.iter().fold(0_u64, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    }))
}
