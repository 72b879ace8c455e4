use std::{borrow::Cow, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};
use resilience_core::{Error, Reason};
use serde_json::{Map, Value, json};

/// A problem document (RFC 9457), in the same words as those of the library's refusals.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    retry_after: Option<Duration>,
    members: Map<String, Value>,
}

impl Problem {
    /// `reason` is a stable lower-case word, `detail` a sentence for people.
    #[must_use]
    pub fn new(
        status: StatusCode,
        reason: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let title = status.canonical_reason().unwrap_or("Refused");
        let mut members = Map::new();
        members.insert("type".into(), "about:blank".into());
        members.insert("title".into(), title.into());
        members.insert("status".into(), status.as_u16().into());
        members.insert("detail".into(), detail.into().into());
        members.insert("reason".into(), reason.into());
        Self {
            status,
            retry_after: None,
            members,
        }
    }

    /// The request does not say what it must; `field` names the place.
    #[must_use]
    pub fn invalid(
        field: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail).field(field)
    }

    /// Names the part of the request that is wrong, such as `items[0].quantity`.
    #[must_use]
    pub fn field(self, field: impl Into<Cow<'static, str>>) -> Self {
        self.with("field", field.into())
    }

    /// Adds a member.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self.with(
            "retry_after_ms",
            u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, json!(self.members).to_string()).into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, json);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            // Rounded up: nobody comes too early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

impl From<sqlx::Error> for Problem {
    /// The database's words go to the log; the client learns that it may come back.
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(%error, "the database failed");
        let detail = "the database does not answer";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "database_unavailable",
            detail,
        )
        .retry_after(Duration::from_secs(1))
    }
}

impl From<Error<sqlx::Error>> for Problem {
    /// Whoever waited for what another could not load is told why, as that one is.
    fn from(error: Error<sqlx::Error>) -> Self {
        let rejected = match error {
            Error::Inner(error) => return error.into(),
            Error::Rejected(rejected) => rejected,
        };
        let reason = rejected.reason();
        let status = match reason {
            Reason::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
            Reason::LoadTimeout => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let wait = rejected.retry_after().unwrap_or(Duration::from_secs(1));
        Self::new(status, reason.as_str(), reason.sentence())
            .with("policy", rejected.policy())
            .retry_after(wait)
    }
}
