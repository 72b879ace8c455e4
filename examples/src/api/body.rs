//! Bodies: read whole before anything of value is taken, and parsed with a finger on the field.

use std::time::Duration;

use axum::{
    body::{Body, Bytes, HttpBody as _},
    extract::{FromRequest, Request},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::Problem;

/// The largest body taken: fifty items and a user id are less than 4 KiB.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Reads the whole body before handing the request on.
///
/// Stands before the bulkhead: a client that sends slowly holds its connection and none of the
/// places that others wait for.
pub async fn buffer(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    match timeout(BODY_PATIENCE, read(body)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(head, Body::from(bytes))).await,
        Ok(Err(problem)) => problem.into_response(),
        Err(_) => Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            "the body took too long to arrive",
        )
        .field("body")
        .into_response(),
    }
}

async fn read(mut body: Body) -> Result<Bytes, Problem> {
    let mut bytes = Vec::new();
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let unreadable = |_| Problem::invalid("body", "the body broke off");
        let Ok(data) = frame.map_err(unreadable)?.into_data() else {
            continue;
        };
        seen = seen.saturating_add(data.len());
        // What is too long is still read for a while: a client that is busy sending when its
        // connection is closed never reads the answer.
        if seen > DRAINED_BYTES {
            break;
        }
        if seen <= MAX_BODY_BYTES {
            bytes.extend_from_slice(&data);
        }
    }
    if seen > MAX_BODY_BYTES {
        let detail = "the body is longer than 64 KiB";
        let problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail);
        return Err(problem.field("body").with("limit", MAX_BODY_BYTES));
    }
    Ok(bytes.into())
}

/// A body that is a JSON object.
#[derive(Clone, Debug)]
pub(super) struct JsonObject(pub(super) Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for JsonObject {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "the body must be sent as application/json",
            )
            .field("content-type"));
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|_| Problem::invalid("body", "the body could not be read"))?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(object)) => Ok(Self(object)),
            Ok(_) => Err(Problem::invalid("body", "the body must be a JSON object")),
            Err(error) => Err(Problem::invalid(
                "body",
                format!("the body is no JSON: {error}"),
            )),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// The member `name`, as a text of 1 to `longest` characters.
pub(super) fn text(
    object: &Map<String, Value>,
    name: &'static str,
    longest: usize,
) -> Result<String, Problem> {
    let problem = || {
        Problem::invalid(
            name,
            format!("must be a text of 1 to {longest} characters without control characters"),
        )
    };
    let text = object
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(problem)?;
    let length = text.chars().count();
    if length == 0 || length > longest || text.chars().any(char::is_control) {
        return Err(problem());
    }
    Ok(text.to_owned())
}

/// The member `name` of the object at `path`, as a whole number from 1 to `largest`.
pub(super) fn count(
    object: &Map<String, Value>,
    path: &str,
    name: &'static str,
    largest: i64,
) -> Result<i64, Problem> {
    object
        .get(name)
        .and_then(Value::as_i64)
        .filter(|number| (1..=largest).contains(number))
        .ok_or_else(|| {
            Problem::invalid(
                format!("{path}.{name}"),
                format!("must be a whole number from 1 to {largest}"),
            )
        })
}

/// For a whole body; a phone in a tunnel needs a few seconds for 4 KiB.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

const DRAINED_BYTES: usize = 1024 * 1024;
