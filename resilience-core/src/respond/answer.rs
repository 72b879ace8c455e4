//! What a refusal looks like on the wire: HTTP and gRPC, side by side.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};

use super::fields::{self, ceil_seconds};
use crate::{
    Reason, Rejected,
    field_text::{push_name, value},
    protocol::Protocol,
};

/// How one reason is told.
struct Face {
    status: StatusCode,
    /// Problem type: a registered one where there is one, else `about:blank`, which means no
    /// more than the status does (RFC 9457, 4.2.1).
    kind: &'static str,
    /// Code of the gRPC status.
    code: u8,
    /// Whether coming back later can help.
    retry: bool,
}

const ABOUT_BLANK: &str = "about:blank";
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const REDUCED_CAPACITY: &str =
    "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

const INVALID_ARGUMENT: u8 = 3;
const DEADLINE_EXCEEDED: u8 = 4;
const NOT_FOUND: u8 = 5;
const RESOURCE_EXHAUSTED: u8 = 8;
const INTERNAL: u8 = 13;
const UNAVAILABLE: u8 = 14;

const fn face(reason: Reason) -> Face {
    let (status, kind, code, retry) = match reason {
        Reason::RateLimited => (
            StatusCode::TOO_MANY_REQUESTS,
            QUOTA_EXCEEDED,
            RESOURCE_EXHAUSTED,
            true,
        ),
        Reason::CostExceedsQuota => (
            StatusCode::TOO_MANY_REQUESTS,
            QUOTA_EXCEEDED,
            RESOURCE_EXHAUSTED,
            false,
        ),
        Reason::CircuitOpen => (
            StatusCode::SERVICE_UNAVAILABLE,
            REDUCED_CAPACITY,
            UNAVAILABLE,
            true,
        ),
        Reason::CircuitForcedOpen => (
            StatusCode::SERVICE_UNAVAILABLE,
            REDUCED_CAPACITY,
            UNAVAILABLE,
            false,
        ),
        Reason::ConcurrencyLimited | Reason::QueueTimeout => (
            StatusCode::SERVICE_UNAVAILABLE,
            REDUCED_CAPACITY,
            RESOURCE_EXHAUSTED,
            true,
        ),
        Reason::Closed => (
            StatusCode::SERVICE_UNAVAILABLE,
            ABOUT_BLANK,
            UNAVAILABLE,
            true,
        ),
        Reason::MissingKey => (
            StatusCode::BAD_REQUEST,
            ABOUT_BLANK,
            INVALID_ARGUMENT,
            false,
        ),
        Reason::Absent => (StatusCode::NOT_FOUND, ABOUT_BLANK, NOT_FOUND, false),
        // An open circuit needs no readiness; one that admits again meanwhile finds none.
        Reason::NotReady | Reason::LoadFailed | Reason::StoreUnavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            ABOUT_BLANK,
            UNAVAILABLE,
            true,
        ),
        Reason::LoadTimeout => (
            StatusCode::GATEWAY_TIMEOUT,
            ABOUT_BLANK,
            DEADLINE_EXCEEDED,
            true,
        ),
        Reason::Panicked | Reason::Reentrant => (
            StatusCode::INTERNAL_SERVER_ERROR,
            ABOUT_BLANK,
            INTERNAL,
            false,
        ),
    };
    Face {
        status,
        kind,
        code,
        retry,
    }
}

impl Protocol {
    pub(super) fn answer(self, rejected: &Rejected) -> Response<Bytes> {
        match self {
            Self::Http => http_answer(rejected),
            Self::Grpc => grpc_answer(rejected, "application/grpc"),
            Self::GrpcWeb => grpc_answer(rejected, "application/grpc-web+proto"),
        }
    }
}

/// How long a caller should stay away: what the layer knows, else a second, where coming back can
/// help at all.
fn wait(rejected: &Rejected, face: &Face) -> Option<Duration> {
    const SOON: Duration = Duration::from_secs(1);
    face.retry.then(|| rejected.retry_after().unwrap_or(SOON))
}

fn http_answer(rejected: &Rejected) -> Response<Bytes> {
    let face = face(rejected.reason());
    let wait = wait(rejected, &face);
    let mut response = Response::new(Bytes::from(problem(rejected, &face, wait)));
    *response.status_mut() = face.status;
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/problem+json");
    headers.insert(CONTENT_TYPE, json);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(wait) = wait {
        headers.insert(RETRY_AFTER, HeaderValue::from(ceil_seconds(wait).max(1)));
    }
    if let Some(status) = cache_status(rejected) {
        headers.insert("cache-status", status);
    }
    if let Some(quota) = rejected.quota() {
        let reset = wait.unwrap_or(quota.window);
        fields::append(headers, rejected.policy(), &quota, reset);
    }
    response
}

/// What a cache says of an answer that it did not get (RFC 9211): these reasons are a cache's alone.
fn cache_status(rejected: &Rejected) -> Option<HeaderValue> {
    let reason = rejected.reason();
    let loads = matches!(
        reason,
        Reason::LoadFailed | Reason::LoadTimeout | Reason::Reentrant
    );
    let write = |text: &mut Vec<u8>| {
        push_name(text, rejected.policy());
        text.extend_from_slice(b"; fwd=miss; detail=");
        text.extend_from_slice(reason.as_str().as_bytes());
    };
    loads.then(|| value(write)).flatten()
}

/// A problem document (RFC 9457). Every string in it is one of ours or a checked name: nothing
/// needs an escape, and nothing comes from the request or the service.
fn problem(rejected: &Rejected, face: &Face, wait: Option<Duration>) -> String {
    let kind = face.kind;
    let status = face.status.as_u16();
    let phrase = face.status.canonical_reason().unwrap_or("Refused");
    let detail = rejected.reason().sentence();
    let reason = rejected.reason().as_str();
    let policy = rejected.policy();
    let mut json = format!(
        r#"{{"type":"{kind}","title":"{phrase}","status":{status},"detail":"{detail}","reason":"{reason}","policy":"{policy}""#
    );
    if let Some(wait) = wait {
        write!(json, r#","retry_after_ms":{}"#, ceil_millis(wait)).expect("a string takes all");
    }
    if rejected.quota().is_some() {
        write!(json, r#","violated-policies":["{policy}"]"#).expect("a string takes all");
    }
    json.push('}');
    json
}

/// A status without a body: everything stands in the head.
fn grpc_answer(rejected: &Rejected, media_type: &'static str) -> Response<Bytes> {
    let face = face(rejected.reason());
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert("grpc-status", HeaderValue::from(u16::from(face.code)));
    let message = HeaderValue::from_static(rejected.reason().sentence());
    headers.insert("grpc-message", message);
    headers.insert("grpc-retry-pushback-ms", pushback(wait(rejected, &face)));
    response
}

/// `grpc-retry-pushback-ms` (gRFC A6): a signed 32-bit number of milliseconds; -1 for "do not".
fn pushback(wait: Option<Duration>) -> HeaderValue {
    match wait {
        None => HeaderValue::from_static("-1"),
        Some(wait) => HeaderValue::from(i32::try_from(ceil_millis(wait)).unwrap_or(i32::MAX)),
    }
}

fn ceil_millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The same as a `tonic::Status`, with the refusal as its source.
#[cfg(feature = "grpc")]
pub(crate) fn status(rejected: Rejected) -> tonic::Status {
    let face = face(rejected.reason());
    let code = tonic::Code::from_i32(i32::from(face.code));
    let mut status = tonic::Status::new(code, rejected.reason().sentence());
    if let Ok(pushback) = pushback(wait(&rejected, &face)).to_str()
        && let Ok(pushback) = pushback.parse()
    {
        status
            .metadata_mut()
            .insert("grpc-retry-pushback-ms", pushback);
    }
    status.set_source(std::sync::Arc::new(rejected));
    status
}
