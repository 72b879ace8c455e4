use std::{
    iter,
    time::{Duration, SystemTime},
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, COOKIE, HOST, IF_MATCH, IF_MODIFIED_SINCE,
        IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, PRAGMA, RANGE, TRANSFER_ENCODING, UPGRADE,
    },
};
use http_body::Body;

use super::{
    Identity,
    directives::{Directives, split},
    response::date,
    rules::Rules,
};
use crate::protocol::Protocol;

/// What is to be done with a request.
#[derive(Debug)]
pub(super) enum Course {
    /// It passes, for the reason that `Cache-Status` gives.
    Pass(&'static str),
    /// It is for the cache alone, and not served from there.
    Nothing,
    /// It passes, and voids what is stored of its address where it succeeds.
    Write,
    /// It is served from the cache, as these say.
    Serve(Demand),
}

/// What a request that is served from the cache says beside its key.
#[derive(Debug)]
pub(super) struct Demand {
    /// Whether its identity is part of the key.
    pub(super) identified: bool,
    /// What the caller has already.
    pub(super) has: Option<Has>,
    /// The oldest answer that is welcome.
    pub(super) max_age: Option<Duration>,
    pub(super) only_if_cached: bool,
}

/// By what a caller names the answer that it has.
#[derive(Debug)]
pub(super) enum Has {
    /// One with one of these entity tags.
    Tags(HeaderValue),
    /// One of this date.
    AsOf(SystemTime),
}

impl Demand {
    /// Whether an answer of this age is welcome.
    pub(super) fn takes(&self, age: Duration) -> bool {
        self.max_age.is_none_or(|oldest| age <= oldest)
    }
}

/// The longest key: a longer one is nobody's honest request.
const LONGEST_KEY: usize = 8 * 1024;

/// Says what is to be done with `request`, and writes its key, where it has one.
pub(super) fn judge<B, I>(
    request: &Request<B>,
    rules: &Rules,
    identity: &I,
    key: &mut Vec<u8>,
) -> Course
where
    B: Body,
    I: Identity<Request<B>>,
{
    let headers = request.headers();
    match *request.method() {
        Method::GET | Method::HEAD => {}
        // Those that change nothing (RFC 9110, 9.2.1).
        Method::OPTIONS | Method::TRACE => return Course::Pass("fwd=method"),
        _ => return Course::Write,
    }
    let directives = Directives::of(headers);
    let pass = |why| match directives.only_if_cached {
        true => Course::Nothing,
        false => Course::Pass(why),
    };
    if !is_plain(request) {
        return pass("fwd=bypass");
    }
    if passes_by(&directives, headers) {
        return pass("fwd=request");
    }
    write(request, &rules.vary, key);
    let identified = identity.write(request, key);
    let credentials = headers.contains_key(AUTHORIZATION) || headers.contains_key(COOKIE);
    if (credentials && !identified) || key.len() > LONGEST_KEY {
        return pass("fwd=bypass");
    }
    Course::Serve(Demand {
        identified,
        has: has(headers),
        max_age: directives.max_age,
        only_if_cached: directives.only_if_cached,
    })
}

/// Whether nothing matters beside its address and what its key can hold.
fn is_plain<B: Body>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.body().is_end_stream()
        && !carries_body(headers)
        && Protocol::of(headers) == Protocol::Http
        && !BYPASSING.iter().any(|name| headers.contains_key(name))
        && !names_two_hosts(request)
}

/// Whether it wants nothing that is stored, or nothing of it to be.
fn passes_by(directives: &Directives, headers: &HeaderMap) -> bool {
    directives.no_store
        || directives.no_cache
        || directives.max_age == Some(Duration::ZERO)
        || (!headers.contains_key(CACHE_CONTROL) && forbids_caching(headers))
}

/// Fields that ask for a part, for another protocol, or under a condition that we do not judge.
const BYPASSING: [HeaderName; 5] = [RANGE, IF_RANGE, IF_MATCH, IF_UNMODIFIED_SINCE, UPGRADE];

fn carries_body(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH);
    length.is_some_and(|length| length.as_bytes() != b"0")
        || headers.contains_key(TRANSFER_ENCODING)
}

/// As it was done before there was `Cache-Control` (RFC 9111, 5.4).
fn forbids_caching(headers: &HeaderMap) -> bool {
    let mut pragmas = headers.get_all(PRAGMA).iter().flat_map(split);
    pragmas.any(|pragma| pragma.eq_ignore_ascii_case(b"no-cache"))
}

/// Entity tags go before dates, and a date that is none or one of several counts for nothing
/// (RFC 9110, 13.1.3).
fn has(headers: &HeaderMap) -> Option<Has> {
    if let Some(tags) = if_none_match(headers) {
        return Some(Has::Tags(tags));
    }
    let mut dates = headers.get_all(IF_MODIFIED_SINCE).iter();
    let first = date(dates.next()?)?;
    dates.next().is_none().then_some(Has::AsOf(first))
}

/// All lines of it as one (RFC 9110, 5.3); the one that there mostly is costs nothing.
fn if_none_match(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(IF_NONE_MATCH).iter();
    let first = lines.next()?.clone();
    let Some(second) = lines.next() else {
        return Some(first);
    };
    let mut all = first.as_bytes().to_vec();
    for line in iter::once(second).chain(lines) {
        all.extend(b", ");
        all.extend(line.as_bytes());
    }
    // Valid lines make a valid one.
    HeaderValue::from_bytes(&all).ok()
}

/// Method, scheme, authority, path and query as they came, and the declared fields, each with its
/// length before it so that no two keys meet by shifting a byte.
fn write<B>(request: &Request<B>, vary: &[HeaderName], key: &mut Vec<u8>) {
    let uri = request.uri();
    field(key, request.method().as_str().as_bytes());
    field(key, uri.scheme_str().unwrap_or_default().as_bytes());
    let start = key.len();
    field(key, authority(request));
    key[start + size_of::<u32>()..].make_ascii_lowercase();
    field(key, uri.path().as_bytes());
    field(key, uri.query().unwrap_or_default().as_bytes());
    // "/menu" and "/menu?" are two addresses.
    key.push(u8::from(uri.query().is_some()));
    for name in vary {
        for value in request.headers().get_all(name) {
            field(key, value.as_bytes());
        }
        // No field is as long as this.
        key.extend(u32::MAX.to_le_bytes());
    }
}

/// Appends a field of a key.
pub(super) fn field(key: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX - 1);
    key.extend(length.to_le_bytes());
    key.extend(bytes);
}

fn authority<B>(request: &Request<B>) -> &[u8] {
    let host = request.headers().get(HOST).map(HeaderValue::as_bytes);
    let named = request.uri().authority();
    named.map_or_else(|| host.unwrap_or_default(), |it| it.as_str().as_bytes())
}

/// Whether it says in two ways for whom it is: the key would hold one, and the service might go by
/// the other.
fn names_two_hosts<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let differs = |host: &HeaderValue| !host.as_bytes().eq_ignore_ascii_case(authority(request));
    hosts.next().is_some_and(differs) || hosts.next().is_some()
}

/// The address that an unsafe request voids (RFC 9111, 4.4), as a tag of what is stored of it.
pub(super) fn address<B>(request: &Request<B>) -> String {
    let authority = String::from_utf8_lossy(authority(request)).to_ascii_lowercase();
    let path = request.uri().path_and_query();
    let path = path.map_or("/", http::uri::PathAndQuery::as_str);
    format!("{authority}{path}")
}

/// Leaves those fields alone that are part of the key or said to tell nothing apart: what the
/// service does not see cannot change what others are served.
pub(super) fn strip(headers: &mut HeaderMap, rules: &Rules, identified: bool) {
    let kept = |name: &HeaderName| {
        rules.vary.contains(name)
            || rules.pass.contains(name)
            || *name == HOST
            || (identified && (*name == AUTHORIZATION || *name == COOKIE))
    };
    if headers.keys().all(kept) {
        return;
    }
    let all = std::mem::take(headers);
    let mut current = None;
    for (name, value) in all {
        // A name comes with the first of its values alone.
        current = name.or(current);
        if let Some(name) = current.as_ref().filter(|name| kept(name)) {
            headers.append(name.clone(), value);
        }
    }
}
