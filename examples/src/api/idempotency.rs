//! `Idempotency-Key`: a client that does not know whether its order arrived sends it again.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use resilience_core::concurrency::{Bulkheads, Permit};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::Problem;

/// Waits until no other request with `key` is served.
///
/// The one after it finds in the database what came of the one before: a client that sends twice
/// in its impatience is told twice what it ordered, and not that it was too quick.
pub(super) async fn turn(keys: &Bulkheads<String>, key: &str) -> Result<Permit, Problem> {
    let turn = keys.bulkhead(key).acquire().await;
    turn.map_err(|_| {
        let detail = "a request with this key is under way";
        Problem::new(StatusCode::CONFLICT, "idempotency_key_in_flight", detail)
            .field(HEADER)
            .retry_after(Duration::from_secs(1))
    })
}

/// The key of a request, where it has one.
///
/// The draft has it as a quoted string; many clients send it bare. Both name the same key.
pub(super) fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let bytes = value.as_bytes();
    let bytes = bytes
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(bytes);
    let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'"' && *byte != b'\\';
    if values.next().is_some() || !(1..=LONGEST).contains(&bytes.len()) || !bytes.iter().all(plain)
    {
        let detail = "must be one key of 1 to 255 visible ASCII characters";
        return Err(Problem::invalid(HEADER, detail));
    }
    Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
}

/// What tells a body from another: two are the same when they say the same, whatever their spaces.
///
/// A digest, since it is kept for a day, and a body may have 64 KiB that say nothing.
pub(super) fn digest(body: Map<String, Value>) -> String {
    let digest = Sha256::digest(Value::Object(body).to_string());
    let hex = digest.iter().map(|byte| format!("{byte:02x}"));
    hex.collect()
}

/// The request's field, in lower case.
pub(super) const HEADER: &str = "idempotency-key";

const LONGEST: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(value: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(HEADER.parse().unwrap(), value.parse().unwrap())]);
        key_of(&headers).unwrap_or(None)
    }

    #[test]
    fn a_quoted_key_and_a_bare_one_are_the_same_key() {
        assert_eq!(key("abc").unwrap(), "abc");
        assert_eq!(key("\"abc\"").unwrap(), "abc");
        assert_eq!(key(&"k".repeat(255)).unwrap().len(), 255);
    }

    #[test]
    fn a_key_that_is_empty_too_long_or_unprintable_is_refused() {
        let long = "k".repeat(256);
        for bad in ["", "\"\"", "a b", "a\"b", long.as_str()] {
            assert_eq!(key(bad), None, "{bad}");
        }
    }
}
