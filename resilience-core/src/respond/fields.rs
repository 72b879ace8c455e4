//! The fields of draft-ietf-httpapi-ratelimit-headers-10: `RateLimit-Policy` and `RateLimit`.
//!
//! Both are lists of strings with parameters (RFC 9651). Names are printable ASCII without quotes
//! or backslashes, which [`check_name`](crate::invalid::check_name) saw to, so nothing needs an
//! escape.

use std::{fmt::Write as _, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::QuotaStatus;

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The largest integer of a structured field: 15 digits (RFC 9651, 3.3.1).
const MAX_INTEGER: u64 = 999_999_999_999_999;

/// Writes the `RateLimit-Policy` and `RateLimit` fields: which quota `name` is and where it stands;
/// `reset` is how long until there is more of it.
///
/// Added to what the answer says of other quotas: a request may pass several limiters. For engines
/// of your own; [`RateLimiter`](crate::RateLimiter) does it by itself.
pub fn append(headers: &mut HeaderMap, name: &'static str, quota: &QuotaStatus, reset: Duration) {
    let mut text = String::with_capacity(name.len() + 48);
    push_policy(&mut text, name, quota);
    append_text(headers, RATELIMIT_POLICY, &text);
    text.clear();
    let remaining = quota.remaining.min(MAX_INTEGER);
    let seconds = ceil_seconds(reset);
    write!(text, "\"{name}\";r={remaining};t={seconds}").expect("a string takes all");
    append_text(headers, RATELIMIT, &text);
}

fn push_policy(text: &mut String, name: &str, quota: &QuotaStatus) {
    let limit = quota.limit.min(MAX_INTEGER);
    write!(text, "\"{name}\";q={limit}").expect("a string takes all");
    // A window that is no whole number of seconds has no way to say so, and is left out.
    let seconds = quota.window.as_secs();
    if seconds > 0 && quota.window.subsec_nanos() == 0 {
        write!(text, ";w={}", seconds.min(MAX_INTEGER)).expect("a string takes all");
    }
}

fn append_text(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.append(name, value);
    }
}

/// Whole seconds, rounded up so that nobody comes too early.
pub(crate) fn ceil_seconds(wait: Duration) -> u64 {
    let up = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(up).min(MAX_INTEGER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(limit: u64, window: Duration, reset: Duration) -> (String, String) {
        let mut headers = HeaderMap::new();
        let quota = QuotaStatus {
            limit,
            window,
            remaining: 7,
        };
        append(&mut headers, "burst", &quota, reset);
        let text = |name| headers[name].to_str().unwrap().to_owned();
        (text("ratelimit-policy"), text("ratelimit"))
    }

    #[test]
    fn seconds_are_rounded_up_and_a_fractional_window_is_left_out() {
        let (policy, state) = fields(100, Duration::from_secs(60), Duration::from_millis(1001));
        assert_eq!(policy, r#""burst";q=100;w=60"#);
        assert_eq!(state, r#""burst";r=7;t=2"#);
        let (policy, _) = fields(u64::MAX, Duration::from_millis(1500), Duration::ZERO);
        assert_eq!(policy, r#""burst";q=999999999999999"#);
    }
}
