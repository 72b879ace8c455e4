//! `Idempotency-Key`: a client that does not know whether its order arrived sends it again.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderMap, StatusCode};

use super::Problem;

/// The keys whose requests are under way; clones share them.
#[derive(Clone, Debug, Default)]
pub struct KeysInFlight(Arc<Mutex<HashSet<String>>>);

/// A request under way; its key is free again when this is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct InFlight {
    keys: KeysInFlight,
    key: String,
}

impl KeysInFlight {
    /// Enters `key`, unless it is under way already.
    pub(super) fn enter(&self, key: String) -> Result<InFlight, Problem> {
        if !self.lock().insert(key.clone()) {
            let detail = "a request with this key is under way";
            let problem = Problem::new(StatusCode::CONFLICT, "idempotency_key_in_flight", detail);
            return Err(problem
                .field(HEADER)
                .retry_after(std::time::Duration::from_secs(1)));
        }
        let keys = self.clone();
        Ok(InFlight { keys, key })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InFlight {
    pub(super) fn key(&self) -> &str {
        &self.key
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.keys.lock().remove(&self.key);
    }
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
