//! Whatever requests and answers say in their fields: nothing is shared that they forbid, nothing
//! is served for longer than they allow, and what may be shared is.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, UNIX_EPOCH},
};

use ::bytes::Bytes as Data;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ACCEPT_LANGUAGE, AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, COOKIE, DATE, ETAG,
        EXPIRES, IF_NONE_MATCH, PRAGMA, RANGE, SET_COOKIE, VARY,
    },
};
use http_body::{Body, Frame, SizeHint};
use resilience_core::{
    Environment, ManualClock, Rejected,
    cache::{
        EarlyRefresh, Policy,
        http::{HttpCache, Layer},
    },
};
use tower_layer::Layer as _;
use tower_service::Service;

use super::bytes::Bytes;

pub fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let terms = Terms::read(&mut bytes);
    let wait = Duration::from_secs(bytes.u16().into());
    let answer = Answer {
        status: *choose(&STATUSES, bytes.u8()),
        fields: fields(&ANSWERED, &mut bytes),
    };
    let first = Asked::read(Method::GET, &mut bytes);
    let second = match terms.second {
        Second::Same | Second::Fails => first.clone(),
        Second::Head => Asked::read(Method::HEAD, &mut bytes),
        Second::Own => Asked::read(Method::GET, &mut bytes),
    };
    let site = Site::new(&terms, answer.clone());
    site.ask(&first);
    site.clock.advance(wait);
    let before = site.calls();
    site.fails
        .store(u64::from(terms.second == Second::Fails), Ordering::Relaxed);
    let answered = site.ask(&second);
    let hit = site.calls() == before && answered.status() != StatusCode::GATEWAY_TIMEOUT;
    let shown = || format!("{terms:?} {wait:?}\n{answer:?}\n{first:?}\n{second:?}\n{answered:?}");
    match expected(&terms, &answer, &first, &second, wait) {
        Expected::Hit => assert!(hit, "{}", shown()),
        Expected::NoHit => assert!(!hit, "{}", shown()),
        Expected::Either => {}
    }
    let stale = terms.second == Second::Fails && answered.headers().contains_key(MADE);
    if stale && !hit {
        assert!(may_be_stale(&terms, &answer, &first, wait), "{}", shown());
    }
    if hit {
        assert_fit_for_all(&answer, &answered, wait);
    }
}

/// What is served from the cache has no field that was for another, and says how old it is.
fn assert_fit_for_all<B>(answer: &Answer, answered: &Response<B>, wait: Duration) {
    let fields = answered.headers();
    assert!(!fields.contains_key(SET_COOKIE) && !fields.contains_key(CONNECTION));
    let age = answer.age().and_then(|age| age.checked_add(wait.as_secs()));
    let said = fields.get(AGE).map(|age| age.to_str().expect("a number"));
    assert_eq!(said, age.map(|age| age.to_string()).as_deref());
    let status = fields.get_all("cache-status").iter().next_back();
    let status = status.and_then(|status| status.to_str().ok());
    assert!(status.is_some_and(|status| status.starts_with("\"pages\"; hit")));
}

/// Whether the second request is to be answered by the cache alone.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Hit,
    NoHit,
    /// Jitter decides.
    Either,
}

fn expected(
    terms: &Terms,
    answer: &Answer,
    first: &Asked,
    second: &Asked,
    wait: Duration,
) -> Expected {
    let shared = terms.serves(first)
        && !first.says("only-if-cached")
        && terms.serves(second)
        && terms.key(first) == terms.key(second)
        && !answer.is_for_one(terms.identity(first).is_some());
    let fresh = wait.as_secs() < answer.fresh_for(terms.jitter);
    let age = answer
        .age()
        .unwrap_or(u64::MAX)
        .saturating_add(wait.as_secs());
    let welcome = second.seconds("max-age").is_none_or(|oldest| age <= oldest);
    match terms.jitter {
        _ if !(shared && fresh && welcome) => Expected::NoHit,
        Jitter::None => Expected::Hit,
        Jitter::Half => Expected::Either,
    }
}

/// Whether the service's failure may be hidden by what it said before.
fn may_be_stale(terms: &Terms, answer: &Answer, asked: &Asked, wait: Duration) -> bool {
    let usual = match (answer.seconds("s-maxage"), answer.status.as_u16()) {
        (Some(_), _) | (None, 404 | 410) => 0,
        (None, _) => STALE_IF_ERROR,
    };
    let after = answer.seconds("stale-if-error").unwrap_or(usual);
    let after = after.max(answer.seconds("stale-while-revalidate").unwrap_or(0));
    let until = answer.fresh_for(terms.jitter).saturating_add(after);
    terms.serves(asked)
        && !answer.says("must-revalidate")
        && !answer.says("proxy-revalidate")
        && wait.as_secs() < until
}

/// How the cache is set up, and what the second request is.
#[derive(Debug)]
struct Terms {
    identified: bool,
    jitter: Jitter,
    second: Second,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Jitter {
    None,
    Half,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Second {
    Same,
    /// The same, and the service fails now.
    Fails,
    Head,
    Own,
}

impl Terms {
    fn read(bytes: &mut Bytes<'_>) -> Self {
        let choice = bytes.u8();
        Self {
            identified: choice & 1 == 1,
            jitter: if choice & 2 == 2 {
                Jitter::Half
            } else {
                Jitter::None
            },
            second: match choice >> 2 & 3 {
                0 => Second::Same,
                1 => Second::Fails,
                2 => Second::Head,
                _ => Second::Own,
            },
        }
    }

    /// Whose a request is, where the cache is told.
    fn identity(&self, asked: &Asked) -> Option<Vec<u8>> {
        let user = asked.fields.get(AUTHORIZATION)?;
        self.identified.then(|| user.as_bytes().to_vec())
    }

    /// Whether the request has to do with the cache at all.
    fn serves(&self, asked: &Asked) -> bool {
        let fields = &asked.fields;
        let reloads = asked.says("no-store")
            || asked.says("no-cache")
            || asked.seconds("max-age") == Some(0)
            || (fields.get(PRAGMA).is_some_and(|it| it == "no-cache")
                && !fields.contains_key(CACHE_CONTROL));
        let secret = fields.contains_key(AUTHORIZATION) || fields.contains_key(COOKIE);
        !reloads && !fields.contains_key(RANGE) && (!secret || self.identity(asked).is_some())
    }

    /// What tells requests apart.
    fn key(&self, asked: &Asked) -> (Method, Vec<HeaderValue>, Option<Vec<u8>>) {
        let languages = asked.fields.get_all(ACCEPT_LANGUAGE).iter().cloned();
        (
            asked.method.clone(),
            languages.collect(),
            self.identity(asked),
        )
    }
}

#[derive(Clone, Debug)]
struct Asked {
    method: Method,
    fields: HeaderMap,
}

impl Asked {
    fn read(method: Method, bytes: &mut Bytes<'_>) -> Self {
        let fields = fields(&ASKED, bytes);
        Self { method, fields }
    }

    fn says(&self, name: &str) -> bool {
        says(&self.fields, name)
    }

    fn seconds(&self, name: &str) -> Option<u64> {
        seconds(&self.fields, name)
    }
}

#[derive(Clone, Debug)]
struct Answer {
    status: StatusCode,
    fields: HeaderMap,
}

impl Answer {
    fn says(&self, name: &str) -> bool {
        says(&self.fields, name)
    }

    fn seconds(&self, name: &str) -> Option<u64> {
        seconds(&self.fields, name)
    }

    /// Whether it must not be kept for others who ask the same.
    fn is_for_one(&self, identified: bool) -> bool {
        !matches!(self.status.as_u16(), 200 | 203 | 300 | 301 | 404 | 410)
            || self.says("no-store")
            || self.says("no-cache")
            || (self.says("private") && !identified)
            || self.fields.contains_key(SET_COOKIE)
            || members(&self.fields, &VARY)
                .iter()
                .any(|name| name != "accept-language")
    }

    /// For how many seconds from when it came it may be called fresh: what it says of itself
    /// counts from when it was made and is never prolonged.
    fn fresh_for(&self, jitter: Jitter) -> u64 {
        let Some(age) = self.age() else { return 0 };
        let jittered = |seconds: u64| match jitter {
            Jitter::None => seconds,
            Jitter::Half => seconds + seconds.div_ceil(2),
        };
        let said = self.seconds("s-maxage").or_else(|| self.seconds("max-age"));
        let said = said.or_else(|| self.fields.get(EXPIRES).map(|until| self.expires(until)));
        let left = match said {
            Some(said) => said.saturating_sub(age),
            None => jittered(TTL.saturating_sub(age)),
        };
        match self.status.as_u16() {
            404 | 410 => left.min(jittered(NEGATIVE_TTL)),
            _ => left,
        }
    }

    fn expires(&self, until: &HeaderValue) -> u64 {
        let date = |value: &HeaderValue| httpdate::parse_http_date(value.to_str().ok()?).ok();
        // The first answer comes when the clock begins.
        let sent = self.fields.get(DATE).map_or(Some(UNIX_EPOCH), date);
        let left = date(until)
            .zip(sent)
            .map(|(until, sent)| until.duration_since(sent));
        left.and_then(Result::ok).map_or(0, |left| left.as_secs())
    }

    /// The greatest that it says; `None` where nobody can tell.
    fn age(&self) -> Option<u64> {
        let ages = self.fields.get_all(AGE).iter();
        let ages = ages.map(|age| digits(age.to_str().ok()?.trim())?.parse().ok());
        ages.collect::<Option<Vec<u64>>>()
            .map(|ages| ages.into_iter().max().unwrap_or(0))
    }
}

fn says(fields: &HeaderMap, name: &str) -> bool {
    directives(fields).iter().any(|(said, _)| said == name)
}

/// The number of seconds of a directive: 0 where it is none, the smallest where there are several.
fn seconds(fields: &HeaderMap, name: &str) -> Option<u64> {
    let said = directives(fields)
        .into_iter()
        .filter(|(said, _)| said == name);
    said.map(|(_, value)| {
        let value = value.unwrap_or_default();
        let bare = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
        let number = digits(bare.unwrap_or(&value)).map(|it| it.parse().unwrap_or(u64::MAX));
        number.unwrap_or(0).min(1 << 31)
    })
    .min()
}

fn digits(text: &str) -> Option<&str> {
    let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then_some(text)
}

fn directives(fields: &HeaderMap) -> Vec<(String, Option<String>)> {
    let members = members(fields, &CACHE_CONTROL).into_iter();
    let pair = |member: String| match member.split_once('=') {
        Some((name, value)) => (name.trim().to_owned(), Some(value.trim().to_owned())),
        None => (member, None),
    };
    members.map(pair).collect()
}

/// All members of a list in lower case, read one character after the other. Where a quote is left
/// open, nobody knows which comma was meant to end something: all do.
fn members(fields: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let mut members = Vec::new();
    for line in fields.get_all(name) {
        let line = String::from_utf8_lossy(line.as_bytes()).to_ascii_lowercase();
        let (mut all, mut member, mut characters) = (Vec::new(), String::new(), line.chars());
        let mut quoted = false;
        while let Some(character) = characters.next() {
            match character {
                ',' if !quoted => all.push(std::mem::take(&mut member)),
                '\\' if quoted => {
                    member.push('\\');
                    member.extend(characters.next());
                }
                '"' => {
                    quoted = !quoted;
                    member.push('"');
                }
                other => member.push(other),
            }
        }
        all.push(member);
        if quoted {
            all = line.split(',').map(str::to_owned).collect();
        }
        let all = all.iter().map(|member| member.trim().to_owned());
        members.extend(all.filter(|member| !member.is_empty()));
    }
    members
}

/// Lines of a letter that chooses a name, and a value, up to an empty line. What no value can hold
/// stands for what often does.
fn fields(names: &[HeaderName], bytes: &mut Bytes<'_>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    while let Some((name, value)) = bytes.until(b'\n').split_first() {
        let mut text = Vec::new();
        for byte in value {
            match WORDS.get(usize::from(*byte)) {
                Some(word) => text.extend(word.bytes()),
                None => text.push(*byte),
            }
        }
        if let Ok(value) = HeaderValue::from_bytes(&text) {
            fields.append(choose(names, *name).clone(), value);
        }
    }
    fields
}

fn choose<T>(all: &[T], number: u8) -> &T {
    &all[usize::from(number) % all.len()]
}

/// A cache on a clock of its own, before a service that always says the same.
struct Site {
    layer: Layer,
    identified: bool,
    answer: Arc<Answer>,
    clock: ManualClock,
    calls: Arc<AtomicU64>,
    fails: Arc<AtomicU64>,
}

impl Site {
    fn new(terms: &Terms, answer: Answer) -> Self {
        let clock = ManualClock::new();
        let environment = Environment::new().clock(clock.clone());
        let jitter = match terms.jitter {
            Jitter::None => 0.0,
            Jitter::Half => 0.5,
        };
        let policy = Policy::new("pages", Duration::from_secs(TTL))
            .negative_ttl(Duration::from_secs(NEGATIVE_TTL))
            .stale_if_error(Duration::from_secs(STALE_IF_ERROR))
            .early_refresh(EarlyRefresh::Never)
            .jitter(jitter)
            .negative_jitter(jitter)
            .capacity(1 << 20)
            .expected_entries(16);
        let pages = HttpCache::new_in(policy, &environment).expect("can work");
        Self {
            layer: pages.layer().vary([ACCEPT_LANGUAGE]),
            identified: terms.identified,
            answer: Arc::new(answer),
            clock,
            calls: Arc::default(),
            fails: Arc::default(),
        }
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn ask(&self, asked: &Asked) -> Response<()> {
        let mut request = Request::new(Soup::default());
        *request.method_mut() = asked.method.clone();
        *request.headers_mut() = asked.fields.clone();
        let inner = Kitchen {
            answer: self.answer.clone(),
            calls: self.calls.clone(),
            fails: self.fails.clone(),
        };
        if self.identified {
            let user = |request: &Request<Soup>| {
                let user = request.headers().get(AUTHORIZATION)?;
                Some(user.as_bytes().to_vec())
            };
            call(self.layer.clone().identity(user).layer(inner), request)
        } else {
            call(self.layer.layer(inner), request)
        }
    }
}

/// Without a runtime whatever is loaded is loaded at once.
fn call<S, B>(mut service: S, request: Request<Soup>) -> Response<()>
where
    S: Service<Request<Soup>, Response = Response<B>, Error = Rejected>,
{
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    match pin!(service.call(request)).poll(&mut context) {
        Poll::Ready(answered) => answered.expect("nothing is refused").map(|_| ()),
        Poll::Pending => panic!("nothing is waited for"),
    }
}

#[derive(Clone)]
struct Kitchen {
    answer: Arc<Answer>,
    calls: Arc<AtomicU64>,
    fails: Arc<AtomicU64>,
}

impl Service<Request<Soup>> for Kitchen {
    type Response = Response<Soup>;
    type Error = Rejected;
    type Future = std::future::Ready<Result<Response<Soup>, Rejected>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Rejected>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Soup>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut response = Response::new(Soup(Some(Data::from_static(b"soup"))));
        if self.fails.load(Ordering::Relaxed) == 1 {
            *response.status_mut() = StatusCode::BAD_GATEWAY;
        } else {
            *response.status_mut() = self.answer.status;
            *response.headers_mut() = self.answer.fields.clone();
            response
                .headers_mut()
                .insert(MADE, HeaderValue::from_static("yes"));
        }
        std::future::ready(Ok(response))
    }
}

#[derive(Default)]
struct Soup(Option<Data>);

impl Body for Soup {
    type Data = Data;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Data>, Infallible>>> {
        Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, Data::len) as u64)
    }
}

/// Marks what the service made, also where the cache serves it.
const MADE: HeaderName = HeaderName::from_static("x-made");

const TTL: u64 = 10;
const NEGATIVE_TTL: u64 = 5;
const STALE_IF_ERROR: u64 = 30;

const STATUSES: [StatusCode; 14] = [
    StatusCode::OK,
    StatusCode::NOT_FOUND,
    StatusCode::NON_AUTHORITATIVE_INFORMATION,
    StatusCode::GONE,
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::MULTIPLE_CHOICES,
    StatusCode::NO_CONTENT,
    StatusCode::PARTIAL_CONTENT,
    StatusCode::FOUND,
    StatusCode::NOT_MODIFIED,
    StatusCode::FORBIDDEN,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::SERVICE_UNAVAILABLE,
];

const ANSWERED: [HeaderName; 8] = [
    CACHE_CONTROL,
    AGE,
    VARY,
    EXPIRES,
    DATE,
    SET_COOKIE,
    CONNECTION,
    ETAG,
];

const ASKED: [HeaderName; 7] = [
    CACHE_CONTROL,
    ACCEPT_LANGUAGE,
    AUTHORIZATION,
    COOKIE,
    PRAGMA,
    RANGE,
    IF_NONE_MATCH,
];

/// What the bytes stand for that no value can hold; those that are left out end a line or are
/// blanks.
const WORDS: [&str; 32] = [
    "max-age=",
    "7",
    ", ",
    "no-store",
    "s-maxage=",
    "private",
    "no-cache",
    "stale-if-error=",
    "stale-while-revalidate=",
    "\t",
    "",
    "must-revalidate",
    "proxy-revalidate",
    "only-if-cached",
    "public",
    "accept-language",
    "authorization",
    "cookie",
    "*",
    "60",
    "5",
    "0",
    "\"",
    "\\",
    "Thu, 01 Jan 1970 00:00:07 GMT",
    "Thu, 01 Jan 1970 00:01:07 GMT",
    "18446744073709551616",
    "\"soup\"",
    "W/",
    "extension=",
    "-1",
    "=",
];
