use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        AGE, CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, EXPIRES, SET_COOKIE,
        TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VARY,
    },
    response::Parts,
};

use super::{
    directives::{Directives, split},
    rules::Rules,
};
use crate::{cache::Policy, classify::digits, protocol::Protocol};

/// What is to be done with an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// The service failed: nobody else gets this.
    Failed,
    /// It is for the one who asked.
    Private,
    /// It is for everybody who asks the same, for so long.
    Shared(Terms),
}

/// For how long an answer is good; what it does not say is as the policy has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Terms {
    /// Counted from when it was made.
    fresh_for: Option<Duration>,
    /// Counted from now.
    at_most: Duration,
    pub(super) jitter: f64,
    pub(super) stale_while_revalidate: Option<Duration>,
    pub(super) stale_if_error: Option<Duration>,
    /// How old it was when it came.
    pub(super) age: Duration,
}

/// Judges an answer by its head (RFC 9111, 3).
pub(super) fn judge(
    head: &Parts,
    rules: &Rules,
    policy: &Policy,
    identified: bool,
    came: SystemTime,
) -> Verdict {
    let headers = &head.headers;
    if head.status.is_server_error() || head.status == StatusCode::TOO_MANY_REQUESTS {
        return Verdict::Failed;
    }
    let directives = Directives::of(headers);
    let shareable = rules.statuses.contains(&head.status)
        && head.status != StatusCode::PARTIAL_CONTENT
        && !directives.no_store
        && !directives.no_cache
        && (identified || !directives.private)
        && !headers.contains_key(SET_COOKIE)
        && !headers.contains_key(CONTENT_RANGE)
        && !headers.contains_key(TRAILER)
        && Protocol::of(headers) == Protocol::Http
        && !is_endless(headers)
        && varies_as_declared(headers, rules);
    if !shareable {
        return Verdict::Private;
    }
    let terms = terms(head, &directives, policy, came);
    if terms.ttl(terms.age).is_zero() {
        return Verdict::Private;
    }
    Verdict::Shared(terms)
}

fn terms(head: &Parts, directives: &Directives, policy: &Policy, came: SystemTime) -> Terms {
    let headers = &head.headers;
    let age = age(headers).max(apparent_age(headers, came));
    let fresh_for = directives.fresh_for().or_else(|| expires(headers, came));
    let negative = matches!(head.status, StatusCode::NOT_FOUND | StatusCode::GONE);
    let (usual, jitter) = if negative {
        (policy.negative_ttl, policy.negative_jitter)
    } else {
        (Duration::MAX, policy.jitter)
    };
    let stale = |said: Option<Duration>| match said {
        _ if directives.must_revalidate => Some(Duration::ZERO),
        // It implies the same (RFC 9111, 5.2.2.10), unless its own words are others.
        None if directives.shared_max_age.is_some() || negative => Some(Duration::ZERO),
        said => said,
    };
    Terms {
        fresh_for,
        at_most: match fresh_for {
            Some(_) => usual,
            // Some of the life that the policy gives it is over.
            None => usual.min(policy.ttl.saturating_sub(age)),
        },
        jitter,
        stale_while_revalidate: stale(directives.stale_while_revalidate),
        stale_if_error: stale(directives.stale_if_error),
        age,
    }
}

/// How old it says that it is: the most of what it says, and too old where that is no number.
fn age(headers: &HeaderMap) -> Duration {
    let said = headers.get_all(AGE).iter();
    let said = said.map(|age| digits(age.as_bytes()).unwrap_or(u64::MAX));
    Duration::from_secs(said.max().unwrap_or(0))
}

/// How old its date says that it is (RFC 9111, 4.2.3).
fn apparent_age(headers: &HeaderMap, came: SystemTime) -> Duration {
    let made = headers.get(DATE).and_then(date);
    let age = made.and_then(|made| came.duration_since(made).ok());
    // Dates are in whole seconds: of the one that goes on nothing is known.
    Duration::from_secs(age.unwrap_or_default().as_secs())
}

impl Terms {
    /// For how long it is fresh from now on, at this age (RFC 9111, 4.2.3).
    pub(super) fn ttl(&self, age: Duration) -> Duration {
        let said = self.fresh_for.map(|fresh_for| {
            // It is moved up by its share of jitter at most, and never past what was said.
            fresh_for.saturating_sub(age).div_f64(1.0 + self.jitter)
        });
        said.unwrap_or(Duration::MAX).min(self.at_most)
    }
}

/// Whether `body` is as long as its head says. To HEAD, that is the length of what GET would get.
pub(super) fn is_whole(method: &Method, headers: &HeaderMap, body: &Bytes) -> bool {
    let length = Some(body.len() as u64);
    let mut said = headers.get_all(CONTENT_LENGTH).iter();
    *method == Method::HEAD || said.all(|said| digits(said.as_bytes()) == length)
}

/// `Expires` against the `Date` of the same answer, so that no calendar of ours takes part, unless
/// there is none (RFC 9110, 6.6.1); what is no date has expired.
fn expires(headers: &HeaderMap, came: SystemTime) -> Option<Duration> {
    let until = date(headers.get(EXPIRES)?);
    let sent = headers.get(DATE).map_or(Some(came), date);
    let left = until
        .zip(sent)
        .and_then(|(until, sent)| until.duration_since(sent).ok());
    Some(left.unwrap_or_default())
}

/// A date (RFC 9110, 5.6.7), where it is one.
pub(super) fn date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

/// Whether the answer depends on nothing that the key leaves out. An identity in the key is not all
/// that a `Cookie` or an `Authorization` says.
fn varies_as_declared(headers: &HeaderMap, rules: &Rules) -> bool {
    let mut names = headers.get_all(VARY).iter().flat_map(split);
    names.all(|name| HeaderName::from_bytes(name).is_ok_and(|name| rules.vary.contains(&name)))
}

/// Streams that go on until somebody hangs up.
fn is_endless(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| {
        let kind = kind.to_ascii_lowercase();
        kind.starts_with(b"text/event-stream") || kind.starts_with(b"multipart/")
    })
}

/// Removes what belongs to one connection, one caller or one moment.
pub(super) fn strip(headers: &mut HeaderMap) {
    let nominated: Vec<_> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(split)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    for name in nominated.iter().chain(&NOT_STORED) {
        headers.remove(name);
    }
}

/// Quotas are the caller's own (draft-ietf-httpapi-ratelimit-headers: not to be believed on
/// answers from a cache); the rest is of the connection (RFC 9110, 7.6.1).
const NOT_STORED: [HeaderName; 13] = [
    AGE,
    CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authentication-info"),
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
];
