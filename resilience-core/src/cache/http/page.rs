use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{AGE, CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, LAST_MODIFIED, VARY},
    response::Parts,
};
use http_body::Body;

use super::{
    CacheBody,
    directives::split,
    request::{Demand, Has},
    response::{date, strip},
};
use crate::{
    Timestamp,
    cache::{
        brought::{Fault, Source},
        shared::Freshness,
        state::Life,
    },
    field_text::{push_name, push_number, repeated},
};

/// A whole answer, shared by all who get it.
#[derive(Clone, Debug)]
pub struct Page(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// How old it was when it came.
    age: Duration,
}

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

impl Page {
    /// One that came at `came`, and is dated so where it has no date (RFC 9110, 6.6.1).
    pub(super) fn new(head: &Parts, body: Bytes, age: Duration, came: SystemTime) -> Self {
        let mut headers = head.headers.clone();
        strip(&mut headers);
        if !headers.contains_key(DATE)
            && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(came))
        {
            headers.insert(DATE, date);
        }
        Self(Arc::new(Inner {
            status: head.status,
            headers,
            body,
            age,
        }))
    }

    /// What it takes, in KiB, begun ones counted whole.
    pub(super) fn weight(&self, key: usize) -> u64 {
        let Inner { headers, body, .. } = &*self.0;
        let fields = headers.iter();
        let fields: usize = fields
            .map(|(name, value)| FIELD + name.as_str().len() + value.len())
            .sum();
        kibibytes(PAGE + key + fields + body.len())
    }

    pub(super) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// How old it is.
    pub(super) fn age(&self, life: &Life, now: Timestamp) -> Duration {
        self.0.age.saturating_add(life.since_load(now))
    }

    /// The answer as the one who asked for it alone gets it.
    pub(super) fn answer_as_it_came<B: Body>(&self, demand: &Demand) -> Response<CacheBody<B>> {
        let mut response = self.answer(demand);
        let age = self.0.age.as_secs();
        if age > 0 {
            response.headers_mut().insert(AGE, HeaderValue::from(age));
        }
        response
    }

    /// The answer as one caller gets it.
    pub(super) fn answer<B: Body>(&self, demand: &Demand) -> Response<CacheBody<B>> {
        let Inner {
            status,
            headers,
            body,
            ..
        } = &*self.0;
        let mut response = Response::new(CacheBody::default());
        if demand.has.as_ref().is_some_and(|has| self.is(has)) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            // A date names the answer where it has no entity tag.
            let dated = (!headers.contains_key(ETAG)).then_some(LAST_MODIFIED);
            for name in IN_304.into_iter().chain(dated) {
                for value in headers.get_all(&name) {
                    response.headers_mut().append(name.clone(), value.clone());
                }
            }
        } else {
            *response.status_mut() = *status;
            *response.headers_mut() = headers.clone();
            *response.body_mut() = CacheBody::stored(body.clone());
        }
        response
    }

    /// Whether this is what the caller has already.
    fn is(&self, has: &Has) -> bool {
        self.0.status == StatusCode::OK
            && match has {
                Has::Tags(tags) => self.has_one_of(tags),
                Has::AsOf(date) => self.is_as_of(*date),
            }
    }

    /// Whether nothing was changed in it since (RFC 9111, 4.3.2).
    fn is_as_of(&self, then: SystemTime) -> bool {
        let headers = &self.0.headers;
        let changed = headers.get(LAST_MODIFIED).or_else(|| headers.get(DATE));
        changed
            .and_then(date)
            .is_some_and(|changed| changed <= then)
    }

    /// Entity tags are compared weakly (RFC 9110, 13.1.2).
    fn has_one_of(&self, tags: &HeaderValue) -> bool {
        let weak = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_owned();
        let Some(tag) = self.0.headers.get(ETAG) else {
            return false;
        };
        let tag = weak(tag.as_bytes());
        split(tags).any(|asked| asked == b"*" || weak(asked) == tag)
    }
}

/// What a key takes of which nothing is stored but a note.
pub(super) fn weight_of_key(key: usize) -> u64 {
    kibibytes(PAGE + key)
}

fn kibibytes(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(1024)
}

/// A field of a header map, and what a page takes beside its fields and its body; about.
const FIELD: usize = 64;
const PAGE: usize = 384;

/// What a 304 repeats (RFC 9110, 15.4.5).
const IN_304: [HeaderName; 6] = [CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, VARY];

/// Adds what this cache did to `Cache-Status` (RFC 9211), after what others did before it.
pub(super) fn tell(headers: &mut HeaderMap, name: &str, what: &str) {
    tell_text(headers, name, |text| {
        text.extend_from_slice(what.as_bytes())
    });
}

fn tell_text(headers: &mut HeaderMap, name: &str, what: impl FnOnce(&mut Vec<u8>)) {
    let status = repeated(&LAST_STATUS, |text| {
        push_name(text, name);
        text.extend_from_slice(b"; ");
        what(text);
    });
    if let Some(status) = status {
        headers.append(CACHE_STATUS, status);
    }
}

/// Whether what was loaded is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeping {
    Stored,
    Passed,
}

/// Adds the age, and where the answer comes from.
pub(super) fn tell_source<B>(
    response: &mut Response<B>,
    name: &str,
    page: &Page,
    life: &Life,
    now: Timestamp,
    source: Source,
    keeping: Keeping,
) {
    let age = page.age(life, now).as_secs();
    let told = response.status();
    let headers = response.headers_mut();
    if (!matches!(source, Source::Loaded(_)) || age > 0)
        && let Some(age) = repeated(&LAST_AGE, |text| push_number(text, age))
    {
        headers.insert(AGE, age);
    }
    // Below zero where it is stale.
    let ttl = life.left(now).as_secs();
    let over = life.over(now).as_secs();
    tell_text(headers, name, |text| {
        let push = |text: &mut Vec<u8>, part: &str| text.extend_from_slice(part.as_bytes());
        push(text, source.text());
        let answered = match source {
            Source::Stored(_) | Source::Fallback(Fault::TooLong) => None,
            Source::Fallback(Fault::Failed(status)) => status,
            // As it is told where nothing else is said (RFC 9211, 2.3).
            Source::Loaded(_) | Source::Coalesced(_) => {
                Some(page.0.status.as_u16()).filter(|status| *status != told.as_u16())
            }
        };
        if let Some(status) = answered {
            push(text, "; fwd-status=");
            push_number(text, status.into());
        }
        if let (Source::Loaded(_), Keeping::Stored) = (source, keeping) {
            push(text, "; stored");
        }
        push(text, if over > 0 { "; ttl=-" } else { "; ttl=" });
        push_number(text, ttl.max(over));
        push(
            text,
            match source {
                Source::Stored(Freshness::Stale) => "; detail=stale",
                Source::Fallback(Fault::Failed(_)) => "; detail=stale-if-error",
                Source::Fallback(Fault::TooLong) => "; detail=timeout",
                Source::Stored(Freshness::Fresh) | Source::Loaded(_) | Source::Coalesced(_) => "",
            },
        );
    });
}

thread_local! {
    /// Both change with the second, and pages are loaded and asked for together.
    static LAST_AGE: Cell<Option<HeaderValue>> = const { Cell::new(None) };
    static LAST_STATUS: Cell<Option<HeaderValue>> = const { Cell::new(None) };
}
