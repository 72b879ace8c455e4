//! The fields of draft-ietf-httpapi-ratelimit-headers-10: `RateLimit-Policy` and `RateLimit`.
//!
//! Both are lists of strings with parameters (RFC 9651). Names are printable ASCII without quotes
//! or backslashes, which [`check_name`](crate::invalid::check_name) saw to, so nothing needs an
//! escape.

use std::{cell::Cell, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    QuotaStatus,
    field_text::{push_name, push_number, repeated, value},
};

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
    if let Some(policy) = repeated(&LAST_POLICY, |text| write_policy(text, name, quota)) {
        headers.append(RATELIMIT_POLICY, policy);
    }
    let state = value(|text| {
        push_name(text, name);
        push_parameter(text, b'r', quota.remaining);
        push_parameter(text, b't', ceil_seconds(reset));
    });
    if let Some(state) = state {
        headers.append(RATELIMIT, state);
    }
}

thread_local! {
    /// Most answers of a service tell of one quota.
    static LAST_POLICY: Cell<Option<HeaderValue>> = const { Cell::new(None) };
}

fn write_policy(text: &mut Vec<u8>, name: &str, quota: &QuotaStatus) {
    push_name(text, name);
    push_parameter(text, b'q', quota.limit);
    // A window that is no whole number of seconds has no way to say so, and is left out.
    let seconds = quota.window.as_secs();
    if seconds > 0 && quota.window.subsec_nanos() == 0 {
        push_parameter(text, b'w', seconds);
    }
}

fn push_parameter(text: &mut Vec<u8>, key: u8, value: u64) {
    text.extend_from_slice(&[b';', key, b'=']);
    push_number(text, value.min(MAX_INTEGER));
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
