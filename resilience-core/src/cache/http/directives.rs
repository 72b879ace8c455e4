use std::time::Duration;

use http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};

use crate::classify::digits;

/// What `Cache-Control` says (RFC 9111, 5.2; RFC 5861), as far as a shared cache has to listen.
///
/// Whatever cannot be read is read as the more careful: a number that is none is 0, of two
/// numbers the smaller counts, and a directive for some fields alone is one for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Directives {
    pub(super) no_store: bool,
    pub(super) no_cache: bool,
    pub(super) private: bool,
    /// Nothing stale, whatever else is said: `must-revalidate`, `proxy-revalidate`.
    pub(super) must_revalidate: bool,
    pub(super) only_if_cached: bool,
    pub(super) max_age: Option<Duration>,
    pub(super) shared_max_age: Option<Duration>,
    pub(super) stale_while_revalidate: Option<Duration>,
    pub(super) stale_if_error: Option<Duration>,
}

impl Directives {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        for line in headers.get_all(CACHE_CONTROL) {
            for item in split(line) {
                directives.take(item);
            }
        }
        directives
    }

    /// For how long a shared cache may call the answer fresh.
    pub(super) fn fresh_for(&self) -> Option<Duration> {
        self.shared_max_age.or(self.max_age)
    }

    fn take(&mut self, item: &[u8]) {
        let (name, value) = match item.iter().position(|&byte| byte == b'=') {
            Some(at) => (&item[..at], &item[at + 1..]),
            None => (item, &[][..]),
        };
        let age = |held: &mut Option<Duration>| {
            let seconds = seconds(value);
            *held = Some(held.map_or(seconds, |held| held.min(seconds)));
        };
        match name.trim_ascii().to_ascii_lowercase().as_slice() {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"must-revalidate" | b"proxy-revalidate" => self.must_revalidate = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"max-age" => age(&mut self.max_age),
            b"s-maxage" => age(&mut self.shared_max_age),
            b"stale-while-revalidate" => age(&mut self.stale_while_revalidate),
            b"stale-if-error" => age(&mut self.stale_if_error),
            _ => {}
        }
    }
}

/// The members of a list, split at commas that stand outside of quotes; at all of them where a
/// quote is left open, since nobody knows what it was meant to hide.
pub(super) fn split(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let line = line.as_bytes();
    let mut end = Quotes::default();
    line.iter().for_each(|byte| end.read(*byte));
    let mut quotes = Quotes::default();
    let items = line.split(move |&byte| {
        quotes.read(byte);
        byte == b',' && (!quotes.open || end.open)
    });
    items
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty())
}

/// Whether a reader is inside of a quoted string (RFC 9110, 5.6.4).
#[derive(Debug, Default)]
struct Quotes {
    open: bool,
    escaped: bool,
}

impl Quotes {
    fn read(&mut self, byte: u8) {
        match byte {
            _ if std::mem::take(&mut self.escaped) => {}
            b'"' => self.open = !self.open,
            b'\\' => self.escaped = self.open,
            _ => {}
        }
    }
}

/// The largest number of seconds (RFC 9111, 1.2.2).
const LONGEST: u64 = 1 << 31;

/// A number of seconds, quoted or not; 0 for what is no number.
fn seconds(value: &[u8]) -> Duration {
    let value = value.trim_ascii();
    let quoted = value.strip_prefix(b"\"");
    let value = quoted
        .and_then(|inner| inner.strip_suffix(b"\""))
        .unwrap_or(value);
    Duration::from_secs(digits(value).unwrap_or(0).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &[&'static str]) -> Directives {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_static(line));
        }
        Directives::of(&headers)
    }

    #[test]
    fn directives_are_found_in_any_case_and_over_several_lines() {
        let read = parse(&["Max-Age=60 , PRIVATE", "stale-if-error=\"30\",,"]);
        assert_eq!(read.max_age, Some(Duration::from_secs(60)));
        assert_eq!(read.stale_if_error, Some(Duration::from_secs(30)));
        assert!(read.private && !read.no_store);
    }

    #[test]
    fn what_cannot_be_read_is_read_as_the_more_careful() {
        for broken in [
            "max-age",
            "max-age=",
            "max-age=-1",
            "max-age=1.5",
            "max-age=x",
        ] {
            assert_eq!(parse(&[broken]).max_age, Some(Duration::ZERO), "{broken}");
        }
        let twice = parse(&["max-age=60", "max-age=5"]);
        assert_eq!(twice.max_age, Some(Duration::from_secs(5)));
        let huge = parse(&["max-age=99999999999999999999999"]);
        assert_eq!(huge.max_age, Some(Duration::from_secs(LONGEST)));
        assert!(parse(&["no-cache=\"set-cookie\""]).no_cache);
        assert!(parse(&["private=\"x, y\""]).private);
    }

    #[test]
    fn a_comma_in_quotes_ends_nothing() {
        let read = parse(&[r#"ext="a, no-store", ext="\", no-store", max-age=7"#]);
        assert!(!read.no_store);
        assert_eq!(read.max_age, Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_quote_that_is_left_open_hides_nothing() {
        for line in [r#"ext="a, no-store"#, r#"ext="a\", no-store"#] {
            assert!(parse(&[line]).no_store, "{line}");
        }
    }

    #[test]
    fn what_shared_caches_are_told_goes_before_what_all_are_told() {
        let read = parse(&["max-age=60, s-maxage=5"]);
        assert_eq!(read.fresh_for(), Some(Duration::from_secs(5)));
    }
}
