//! Whole answers: shared where they are everybody's, and nowhere else.

use std::future::pending;

use ::http::{
    HeaderName, Request, Response, StatusCode,
    header::{
        ACCEPT_LANGUAGE, AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, COOKIE, DATE, ETAG,
        EXPIRES, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, PRAGMA, RANGE, SET_COOKIE, VARY,
    },
};
use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use resilience_core::{
    BoxError, Rejected,
    cache::http::{CacheBody, HttpCache, Layer, Tags},
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::*;

/// What the service answers, as a list of fields; its body is the number of the call.
type Fields = &'static [(HeaderName, &'static str)];

#[derive(Clone)]
struct Site {
    pages: HttpCache,
    layer: Layer,
    calls: Arc<AtomicU64>,
}

impl Site {
    fn new(policy: Policy) -> Self {
        let environment = Environment::new().clock(Clock::tokio());
        let pages = HttpCache::new_in(policy.jitter(0.0), &environment).unwrap();
        Self {
            layer: pages.layer(),
            pages,
            calls: Arc::default(),
        }
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Sends `request` to a service that answers as `answer` says.
    fn send_to<F>(
        &self,
        request: Request<Body>,
        answer: F,
    ) -> impl Future<Output = Response<Bytes>> + Send + use<F>
    where
        F: FnOnce(Request<Body>, u64) -> Response<Body> + Clone + Send + 'static,
    {
        let response = self.try_send(request, answer);
        async {
            let (head, body) = response.await.unwrap().into_parts();
            Response::from_parts(head, body.collect().await.unwrap().to_bytes())
        }
    }

    fn try_send<F>(
        &self,
        request: Request<Body>,
        answer: F,
    ) -> impl Future<Output = Result<Response<CacheBody<Body>>, Rejected>> + Send + use<F>
    where
        F: FnOnce(Request<Body>, u64) -> Response<Body> + Clone + Send + 'static,
    {
        let calls = self.calls.clone();
        let inner = service_fn(move |request| {
            let answer = answer.clone();
            let number = calls.fetch_add(1, Ordering::Relaxed) + 1;
            async move { Ok::<_, Rejected>(answer(request, number)) }
        });
        self.layer.layer(inner).oneshot(request)
    }

    /// The answer to `request`, where the service answers 200 with `fields`.
    fn send(
        &self,
        request: Request<Body>,
        fields: Fields,
    ) -> impl Future<Output = Response<Bytes>> + Send + use<> {
        self.send_to(request, move |_, number| ok(fields, number))
    }
}

/// Fields whose names have no constants.
fn named(fields: &[(&'static str, &'static str)]) -> Fields {
    let fields = fields.iter();
    let fields = fields.map(|(name, value)| (HeaderName::from_static(name), *value));
    fields.collect::<Vec<_>>().leak()
}

fn ok(fields: Fields, number: u64) -> Response<Body> {
    let mut response = Response::new(Body::from(number.to_string()));
    for (name, value) in fields {
        response.headers_mut().append(name, value.parse().unwrap());
    }
    response
}

/// A service that is down.
fn fails(_: Request<Body>, _: u64) -> Response<Body> {
    let mut response = Response::new(Body::from("down"));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}

fn site() -> Site {
    Site::new(policy())
}

fn get(path: &str) -> Request<Body> {
    with(path, &[])
}

fn with(path: &str, fields: Fields) -> Request<Body> {
    let mut request = Request::builder().uri(path).body(Body::empty()).unwrap();
    for (name, value) in fields {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    request
}

fn status(response: &Response<Bytes>) -> &str {
    let all = response.headers().get_all("cache-status");
    all.iter().next_back().unwrap().to_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_served_from_the_cache_with_its_age_and_says_so() {
    let site = site();
    let first = site.send(get("/menu"), &[]).await;
    assert_eq!(status(&first), r#""dishes"; fwd=miss; stored; ttl=10"#);
    assert_eq!(first.headers().get(AGE), None);
    advance(3 * SECOND).await;
    let second = site.send(get("/menu"), &[]).await;
    assert_eq!(second.body(), "1");
    assert_eq!(status(&second), r#""dishes"; hit; ttl=7"#);
    assert_eq!(second.headers()[AGE], "3");
    advance(7 * SECOND).await;
    assert_eq!(site.send(get("/menu"), &[]).await.body(), "2");
}

#[tokio::test(start_paused = true)]
async fn what_an_answer_says_of_its_life_goes_before_the_policy() {
    for (said, life) in [
        ("max-age=3", 3),
        ("max-age=3, s-maxage=5", 5),
        ("public, max-age=100", 100),
    ] {
        let site = site();
        let fields: Fields = match life {
            3 => &[(CACHE_CONTROL, "max-age=3")],
            5 => &[(CACHE_CONTROL, "max-age=3, s-maxage=5")],
            _ => &[(CACHE_CONTROL, "public, max-age=100")],
        };
        site.send(get("/menu"), fields).await;
        advance(life * SECOND - MILLISECOND).await;
        assert_eq!(site.send(get("/menu"), fields).await.body(), "1", "{said}");
        advance(MILLISECOND).await;
        assert_eq!(site.send(get("/menu"), fields).await.body(), "2", "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_came_with_an_age_has_that_much_less_to_live() {
    let site = site();
    let fields: Fields = &[(CACHE_CONTROL, "max-age=10"), (AGE, "8")];
    site.send(get("/menu"), fields).await;
    advance(SECOND).await;
    assert_eq!(site.send(get("/menu"), fields).await.headers()[AGE], "9");
    advance(SECOND).await;
    assert_eq!(site.send(get("/menu"), fields).await.body(), "2");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_says_nothing_of_its_life_has_had_some_of_the_policys_elsewhere() {
    for (fields, left) in [
        (&[(AGE, "8")] as Fields, 2),
        (&[(AGE, "0"), (AGE, " 7 ")], 3),
    ] {
        let site = site();
        site.send(get("/menu"), fields).await;
        advance(left * SECOND - MILLISECOND).await;
        assert_eq!(site.send(get("/menu"), fields).await.body(), "1");
        advance(MILLISECOND).await;
        assert_eq!(site.send(get("/menu"), fields).await.body(), "2");
    }
}

/// Answers that are never stored, whatever is asked.
#[tokio::test(start_paused = true)]
async fn what_is_not_for_everybody_is_not_stored() {
    let cases: [Fields; 18] = [
        &[(CACHE_CONTROL, "no-store")],
        &[(CACHE_CONTROL, "no-cache")],
        &[(CACHE_CONTROL, "private")],
        &[(CACHE_CONTROL, "private=\"x\", max-age=60")],
        &[(CACHE_CONTROL, "max-age=0")],
        &[(CACHE_CONTROL, "max-age=what")],
        &[(CACHE_CONTROL, "max-age=60, extension=\"a\\\", private")],
        &[(CACHE_CONTROL, "max-age=60, extension=\"a, no-store")],
        &[(AGE, "10")],
        &[(AGE, "+1")],
        &[(AGE, "99999999999999999999")],
        &[
            (SET_COOKIE, "session=1"),
            (CACHE_CONTROL, "public, max-age=60"),
        ],
        &[(VARY, "*")],
        &[(VARY, "Cookie")],
        &[(VARY, "accept-language")],
        &[(::http::header::EXPIRES, "0")],
        &[(CONTENT_TYPE, "application/grpc")],
        &[(::http::header::CONTENT_RANGE, "bytes 0-1/5")],
    ];
    for fields in cases {
        let site = site();
        for number in 1..4 {
            let answer = site.send(get("/menu"), fields).await;
            assert_eq!(answer.body(), &number.to_string(), "{fields:?}");
            assert!(!status(&answer).contains("stored"), "{fields:?}");
        }
        assert!(site.pages.snapshot().hits == 0);
    }
}

#[tokio::test(start_paused = true)]
async fn only_statuses_that_were_declared_are_stored_and_errors_never() {
    for (code, stored) in [
        (200, true),
        (203, true),
        (204, false),
        (206, false),
        (300, true),
        (301, true),
        (302, false),
        (304, false),
        (400, false),
        (403, false),
        (404, true),
        (410, true),
        (429, false),
        (500, false),
        (503, false),
    ] {
        let site = site();
        let answer = move |_, number: u64| {
            let mut response = ok(&[(CACHE_CONTROL, "max-age=60")], number);
            *response.status_mut() = StatusCode::from_u16(code).unwrap();
            response
        };
        for _ in 0..3 {
            let answered = site.send_to(get("/menu"), answer).await;
            assert_eq!(answered.status(), code);
        }
        assert_eq!(site.calls(), if stored { 1 } else { 3 }, "{code}");
        advance(6 * SECOND).await;
        site.send_to(get("/menu"), answer).await;
        let negative = [404, 410].contains(&code);
        let expected = if stored { 1 + u64::from(negative) } else { 4 };
        assert_eq!(site.calls(), expected, "{code}: a negative one lives 5 s");
    }
}

#[tokio::test(start_paused = true)]
async fn no_user_is_ever_served_what_was_answered_to_another() {
    let credentials: [Fields; 3] = [
        &[(AUTHORIZATION, "Bearer a")],
        &[(COOKIE, "session=a")],
        &[(AUTHORIZATION, "Basic a"), (COOKIE, "session=a")],
    ];
    let answers: [Fields; 5] = [
        &[],
        &[(CACHE_CONTROL, "public, max-age=60")],
        &[(CACHE_CONTROL, "s-maxage=60")],
        &[
            (VARY, "Authorization, Cookie"),
            (CACHE_CONTROL, "max-age=60"),
        ],
        &[(SET_COOKIE, "session=a")],
    ];
    for of_a in credentials {
        for fields in answers {
            let site = site();
            let nonce = site.send(with("/me", of_a), fields).await;
            for of_b in [
                with("/me", &[(AUTHORIZATION, "Bearer b")]),
                with("/me", &[(COOKIE, "session=b")]),
                with("/me", &[]),
            ] {
                let other = site.send(of_b, fields).await;
                assert_ne!(nonce.body(), other.body(), "{of_a:?} {fields:?}");
            }
            // Nor is somebody who is known served what a stranger was.
            let again = site.send(with("/me", of_a), fields).await;
            assert!(!status(&again).contains("hit"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_what_is_private_ask_for_themselves() {
    for fields in [
        &[(CACHE_CONTROL, "private")] as Fields,
        &[(SET_COOKIE, "session=1")],
        &[(VARY, "*")],
    ] {
        let site = site();
        let callers: Vec<_> = (0..50)
            .map(|_| {
                let site = site.clone();
                tokio::spawn(async move { site.send(get("/me"), fields).await })
            })
            .collect();
        let mut bodies = std::collections::BTreeSet::new();
        for caller in callers {
            bodies.insert(caller.await.unwrap().into_body());
        }
        assert_eq!(bodies.len(), 50, "each got its own");
    }
}

#[tokio::test(start_paused = true)]
async fn an_identity_in_the_key_lets_each_have_his_own() {
    let site = site();
    let layer = site.layer.clone().identity(|request: &Request<Body>| {
        let user = request.headers().get(AUTHORIZATION)?;
        Some(user.as_bytes().to_vec())
    });
    let calls = site.calls.clone();
    let service = layer.layer(service_fn(move |request: Request<Body>| {
        calls.fetch_add(1, Ordering::Relaxed);
        let user = request.headers().get(AUTHORIZATION).cloned();
        async move {
            let text = user
                .as_ref()
                .map_or("nobody", |it| it.to_str().unwrap())
                .to_owned();
            let mut response = Response::new(Body::from(text));
            let private = "private, max-age=60".parse().unwrap();
            response.headers_mut().insert(CACHE_CONTROL, private);
            Ok::<_, Rejected>(response)
        }
    }));
    for _ in 0..2 {
        for (request, expected) in [
            (with("/me", &[(AUTHORIZATION, "a")]), "a"),
            (with("/me", &[(AUTHORIZATION, "b")]), "b"),
            (get("/me"), "nobody"),
        ] {
            let response = service.clone().oneshot(request).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, expected);
        }
    }
    assert_eq!(
        site.calls(),
        4,
        "the stranger's answer was private, and nobody's"
    );
}

#[tokio::test(start_paused = true)]
async fn an_identity_is_not_all_that_a_cookie_says() {
    let site = site();
    let user = |_: &Request<Body>| Some("ana");
    let theme = |request: Request<Body>| async move {
        let theme = request.headers()[COOKIE].to_str().unwrap().to_owned();
        let mut response = Response::new(Body::from(theme));
        response
            .headers_mut()
            .insert(VARY, "Cookie".parse().unwrap());
        Ok::<_, Rejected>(response)
    };
    let whole = site.layer.clone().vary([COOKIE]).identity(user);
    for (layer, kept) in [(site.layer.identity(user), false), (whole, true)] {
        let service = layer.layer(service_fn(theme));
        for (round, cookie) in [(1, "dark"), (1, "light"), (2, "dark"), (2, "light")] {
            let cookie: Fields = vec![(COOKIE, cookie)].leak();
            let answer = service
                .clone()
                .oneshot(with("/menu", cookie))
                .await
                .unwrap();
            let (head, body) = answer.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            assert_eq!(body, cookie[0].1);
            let answer = Response::from_parts(head, body);
            assert_eq!(status(&answer).contains("hit"), kept && round == 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_service_cannot_see_cannot_poison_an_answer() {
    let site = site();
    let echo = |request: Request<Body>, _| {
        let seen = request.headers().keys().map(HeaderName::as_str);
        Response::new(Body::from(seen.collect::<Vec<_>>().join(",")))
    };
    let hostile = named(&[
        ("x-forwarded-host", "evil.example"),
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/admin"),
        ("host", "example.com"),
        ("accept-language", "de"),
        ("if-none-match", "\"1\""),
    ]);
    let first = site.send_to(with("/menu", hostile), echo).await;
    assert_eq!(first.body(), "host");
    // What passes the cache by arrives as it was.
    let passing = with("/menu", &[(COOKIE, "a"), (ACCEPT_LANGUAGE, "de")]);
    let answered = site.send_to(passing, echo).await;
    assert_eq!(answered.body(), "cookie,accept-language");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_names_two_hosts_is_served_for_neither() {
    let site = site();
    let echo = |request: Request<Body>, _| {
        let host = &request.headers()[::http::header::HOST];
        Response::new(Body::from(host.as_bytes().to_vec()))
    };
    let address = "http://a.example/menu";
    let hostile = with(address, &[(::http::header::HOST, "evil.example")]);
    let passed = site.send_to(hostile, echo).await;
    assert_eq!(status(&passed), r#""dishes"; fwd=bypass"#);
    let honest = || with(address, &[(::http::header::HOST, "A.example")]);
    assert_eq!(site.send_to(honest(), echo).await.body(), "A.example");
    let hit = site.send_to(honest(), echo).await;
    assert_eq!(status(&hit), r#""dishes"; hit; ttl=10"#);
}

#[tokio::test(start_paused = true)]
async fn one_who_wants_only_what_is_cached_never_reaches_the_service() {
    let site = site();
    let private: Fields = &[(CACHE_CONTROL, "private")];
    site.send(get("/me"), private).await;
    let only: Fields = &[(CACHE_CONTROL, "only-if-cached")];
    let refused = site.send(with("/me", only), private).await;
    assert_eq!(refused.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(site.calls(), 1);
    site.send(get("/menu"), &[]).await;
    advance(2 * SECOND).await;
    for fields in [
        &[(CACHE_CONTROL, "only-if-cached, max-age=1")] as Fields,
        &[(CACHE_CONTROL, "only-if-cached, max-age=0")],
        &[(CACHE_CONTROL, "no-cache, only-if-cached")],
        &[(CACHE_CONTROL, "only-if-cached"), (COOKIE, "session=a")],
        &[(CACHE_CONTROL, "only-if-cached"), (RANGE, "bytes=0-1")],
    ] {
        let refused = site.send(with("/menu", fields), &[]).await;
        assert_eq!(refused.status(), StatusCode::GATEWAY_TIMEOUT, "{fields:?}");
    }
    assert_eq!(site.send(with("/menu", only), &[]).await.body(), "2");
    assert_eq!(site.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn whatever_may_change_the_answer_is_part_of_the_key() {
    let mut site = site();
    site.layer = site.layer.vary([ACCEPT_LANGUAGE]);
    let host: Fields = &[(::http::header::HOST, "a.example")];
    let other: Fields = &[(::http::header::HOST, "b.example")];
    let requests = || {
        let mut head = get("/menu");
        *head.method_mut() = ::http::Method::HEAD;
        vec![
            get("/menu"),
            head,
            get("/menu?"),
            get("/menu?a=1"),
            get("/menu?a=1&a=2"),
            get("/menu?a=2&a=1"),
            get("/menu/"),
            get("//menu"),
            get("/me;x.css"),
            get("/me%2f..%2fmenu"),
            get("/MENU"),
            get("http://a.example/menu"),
            get("https://a.example/menu"),
            with("/menu", host),
            with("/menu", other),
            with("/menu", &[(ACCEPT_LANGUAGE, "de")]),
            with("/menu", &[(ACCEPT_LANGUAGE, "")]),
            with("/menu", &[(ACCEPT_LANGUAGE, "de"), (ACCEPT_LANGUAGE, "en")]),
            with("/menu", &[(ACCEPT_LANGUAGE, "de, en")]),
        ]
    };
    let fields: Fields = &[(VARY, "Accept-Language")];
    let mut bodies = std::collections::BTreeSet::new();
    for request in requests() {
        bodies.insert(site.send(request, fields).await.into_body());
    }
    assert_eq!(bodies.len(), requests().len());
    for request in requests() {
        assert!(status(&site.send(request, fields).await).contains("hit"));
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_no_plain_reads_pass() {
    let long: &'static str = Box::leak(format!("/menu?{}", "x".repeat(10 * 1024)).into());
    let method = |method: &str| {
        let mut request = get("/menu");
        *request.method_mut() = method.parse().unwrap();
        request
    };
    let mut fat = get("/menu");
    *fat.body_mut() = Body::from("fat");
    for request in [
        method("POST"),
        method("OPTIONS"),
        method("PROPFIND"),
        fat,
        get(long),
        with("/menu", &[(RANGE, "bytes=0-1")]),
        with("/menu", &[(::http::header::UPGRADE, "websocket")]),
        with("/menu", &[(CACHE_CONTROL, "no-store")]),
        with("/menu", &[(CACHE_CONTROL, "no-cache")]),
        with("/menu", &[(CACHE_CONTROL, "max-age=0")]),
        with("/menu", &[(::http::header::PRAGMA, "no-cache")]),
        with(
            "/menu",
            &[(::http::header::HOST, "a"), (::http::header::HOST, "b")],
        ),
        with("/menu", &[(CONTENT_TYPE, "application/grpc")]),
    ] {
        let site = site();
        site.send(get("/menu"), &[]).await;
        let shown = format!("{:?}", request.headers());
        let passed = site.send(request, &[]).await;
        assert_eq!(passed.body(), "2", "{shown}");
        assert!(status(&passed).contains("fwd="), "{shown}");
        assert!(!status(&passed).contains("stored"), "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_wants_nothing_old_or_nothing_new_gets_that() {
    let site = site();
    let only = with("/menu", &[(CACHE_CONTROL, "only-if-cached")]);
    let nothing = site.send(only, &[]).await;
    assert_eq!(nothing.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(site.calls(), 0);
    site.send(get("/menu"), &[]).await;
    advance(5 * SECOND).await;
    let young = || with("/menu", &[(CACHE_CONTROL, "max-age=5")]);
    assert_eq!(site.send(young(), &[]).await.body(), "1");
    advance(SECOND).await;
    assert_eq!(site.send(young(), &[]).await.body(), "2");
    let only = with("/menu", &[(CACHE_CONTROL, "only-if-cached")]);
    assert_eq!(site.send(only, &[]).await.body(), "1");
}

#[tokio::test(start_paused = true)]
async fn a_pragma_of_old_forbids_what_is_cached_in_any_case_and_any_line() {
    let site = site();
    site.send(get("/menu"), &[]).await;
    let cases: [(Fields, bool); 5] = [
        (&[(PRAGMA, "no-cache")], false),
        (&[(PRAGMA, "No-Cache")], false),
        (&[(PRAGMA, "x, NO-CACHE")], false),
        (&[(PRAGMA, "x"), (PRAGMA, "no-cache")], false),
        // It was said in the words of today.
        (&[(PRAGMA, "no-cache"), (CACHE_CONTROL, "max-age=60")], true),
    ];
    for (fields, hit) in cases {
        let answer = site.send(with("/menu", fields), &[]).await;
        assert_eq!(status(&answer).contains("hit"), hit, "{fields:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_who_has_the_answer_already_is_told_so() {
    let site = site();
    let fields: Fields = &[(ETAG, "\"soup\""), (CONTENT_TYPE, "text/plain")];
    for tag in ["\"soup\"", "W/\"soup\"", "\"x\", \"soup\"", "*"] {
        let mut request = get("/menu");
        request
            .headers_mut()
            .insert(IF_NONE_MATCH, tag.parse().unwrap());
        let answer = site.send(request, fields).await;
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{tag}");
        assert_eq!(answer.headers()[ETAG], "\"soup\"");
        assert_eq!(answer.headers().get(CONTENT_TYPE), None);
        assert!(answer.body().is_empty());
    }
    let other = with("/menu", &[(IF_NONE_MATCH, "\"stew\"")]);
    assert_eq!(site.send(other, fields).await.body(), "1");
    assert_eq!(site.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_who_has_the_answer_may_say_so_in_any_line() {
    let site = site();
    let fields: Fields = &[(ETAG, "\"soup\"")];
    let lines: Fields = &[
        (IF_NONE_MATCH, "\"stew\""),
        (IF_NONE_MATCH, "\"bread\", W/\"soup\""),
    ];
    for _ in 0..2 {
        let answer = site.send(with("/menu", lines), fields).await;
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
    }
    let others = with("/menu", &[(IF_NONE_MATCH, "\"so"), (IF_NONE_MATCH, "up\"")]);
    assert_eq!(site.send(others, fields).await.status(), StatusCode::OK);
    assert_eq!(site.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_who_has_the_answer_may_say_so_by_its_date() {
    let site = site();
    const CHANGED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let dated: Fields = &[
        (LAST_MODIFIED, CHANGED),
        (DATE, "Sun, 06 Nov 1994 09:00:00 GMT"),
    ];
    for (since, status) in [
        (CHANGED, 304),
        ("Sun, 06 Nov 1994 08:49:38 GMT", 304),
        ("Sun, 06 Nov 1994 08:49:36 GMT", 200),
        ("yesterday", 200),
    ] {
        let since: Fields = vec![(IF_MODIFIED_SINCE, since)].leak();
        let answer = site.send(with("/menu", since), dated).await;
        assert_eq!(answer.status(), status, "{since:?}");
        assert_eq!(answer.headers()[LAST_MODIFIED], CHANGED);
        assert_eq!(answer.body().is_empty(), status == 304);
    }
    // Entity tags go before it.
    let both: Fields = &[(IF_NONE_MATCH, "\"stew\""), (IF_MODIFIED_SINCE, CHANGED)];
    assert_eq!(site.send(with("/menu", both), dated).await.status(), 200);
    assert_eq!(site.calls(), 1);
    // What says when it was made says no less.
    let made: Fields = &[(DATE, CHANGED)];
    let since: Fields = &[(IF_MODIFIED_SINCE, CHANGED)];
    for _ in 0..2 {
        assert_eq!(site.send(with("/made", since), made).await.status(), 304);
    }
    assert_eq!(site.send(with("/never", since), &[]).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn one_who_has_what_had_to_be_fetched_hears_what_the_service_said() {
    let site = site();
    let has: Fields = &[(IF_NONE_MATCH, "\"soup\"")];
    let answer = site.send(with("/menu", has), &[(ETAG, "\"soup\"")]).await;
    assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
    let expected = r#""dishes"; fwd=miss; fwd-status=200; stored; ttl=10"#;
    assert_eq!(status(&answer), expected);
}

#[tokio::test(start_paused = true)]
async fn an_end_without_a_date_counts_from_when_the_answer_came() {
    let site = site();
    let end = Clock::tokio().date() + 1000 * SECOND;
    let end: Fields = vec![(EXPIRES, &*httpdate::fmt_http_date(end).leak())].leak();
    site.send(get("/menu"), end).await;
    advance(500 * SECOND).await;
    assert_eq!(site.send(get("/menu"), end).await.body(), "1");
    advance(500 * SECOND).await;
    assert_eq!(site.send(get("/menu"), end).await.body(), "2");
    let broken: Fields = &[
        (EXPIRES, "Fri, 31 Dec 9999 23:59:59 GMT"),
        (DATE, "yesterday"),
    ];
    let over: Fields = &[(EXPIRES, "Thu, 01 Jan 1970 00:00:00 GMT")];
    for fields in [broken, over] {
        site.send(get("/other"), fields).await;
        let again = site.send(get("/other"), fields).await;
        assert!(!status(&again).contains("hit"), "{fields:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_a_load_that_fails_hear_how_it_did() {
    let site = site();
    let fields: Fields = &[(CACHE_CONTROL, "max-age=5, stale-if-error=60")];
    site.send(get("/menu"), fields).await;
    advance(6 * SECOND).await;
    let fails = || site.send_to(get("/menu"), fails);
    let (loading, waiting) = tokio::join!(fails(), fails());
    let expected = r#""dishes"; fwd=stale; fwd-status=502; ttl=-1; detail=stale-if-error"#;
    assert_eq!([status(&loading), status(&waiting)], [expected; 2]);
    assert_eq!(site.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_who_gets_a_stale_answer_since_the_next_takes_too_long_hears_that() {
    let policy = policy().stale_if_error(60 * SECOND).soft_timeout(SECOND);
    let pages = Site::new(policy).pages;
    slow_site(&pages).oneshot(get("/menu")).await.unwrap();
    advance(8 * SECOND).await;
    let stale = slow_site(&pages).oneshot(get("/menu")).await.unwrap();
    let expected = r#""dishes"; fwd=stale; ttl=-2; detail=timeout"#;
    assert_eq!(status(&stale.map(|_| Bytes::new())), expected);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_could_not_be_had_says_so_in_its_cache_status() {
    let site = Site::new(policy().hard_timeout(SECOND));
    let inner = service_fn(|_: Request<Body>| async {
        sleep(3 * SECOND).await;
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let service = resilience_core::Respond::with((site.layer,)).layer(inner);
    let answer = service.oneshot(get("/menu")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    let answer = answer.map(|_| Bytes::new());
    let expected = r#""dishes"; fwd=miss; detail=load_timeout"#;
    assert_eq!(status(&answer), expected);
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_served_while_the_service_fails() {
    let site = site();
    let fields: Fields = &[(CACHE_CONTROL, "max-age=5, stale-if-error=60")];
    site.send(get("/menu"), fields).await;
    advance(6 * SECOND).await;
    let stale = site.send_to(get("/menu"), fails).await;
    assert_eq!(
        (stale.status(), &**stale.body()),
        (StatusCode::OK, &b"1"[..])
    );
    assert_eq!(
        status(&stale),
        r#""dishes"; fwd=stale; fwd-status=502; ttl=-1; detail=stale-if-error"#
    );
    advance(60 * SECOND).await;
    let failed = site.send_to(get("/menu"), fails).await;
    assert_eq!(failed.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(status(&failed), r#""dishes"; fwd=miss; fwd-status=502"#);
}

#[tokio::test(start_paused = true)]
async fn one_who_gets_another_in_place_of_a_stale_answer_hears_that_it_was_stale() {
    let site = site();
    let fields: Fields = &[(CACHE_CONTROL, "max-age=5, stale-if-error=60")];
    site.send(get("/menu"), fields).await;
    advance(6 * SECOND).await;
    let next = site.send(get("/menu"), fields).await;
    assert_eq!(next.body(), "2");
    assert_eq!(status(&next), r#""dishes"; fwd=stale; stored; ttl=5"#);
    advance(6 * SECOND).await;
    let own = site.send(get("/menu"), &[(CACHE_CONTROL, "private")]).await;
    assert_eq!(status(&own), r#""dishes"; fwd=stale; fwd-status=200"#);
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_served_where_the_next_is_cut_short() {
    let site = site();
    let fields: Fields = &[(CACHE_CONTROL, "max-age=5, stale-if-error=60")];
    site.send(get("/menu"), fields).await;
    advance(6 * SECOND).await;
    let cut = |_, _| {
        let frames = vec![Ok(http_body::Frame::data(Bytes::from("2"))), Err("broken")];
        Response::new(Body::new(Frames(frames.into_iter())))
    };
    assert_eq!(site.send_to(get("/menu"), cut).await.body(), "1");
    advance(2 * SECOND).await;
    assert_eq!(site.send(get("/menu"), fields).await.body(), "3");
    assert_eq!(site.send(get("/menu"), fields).await.body(), "3");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_not_there_is_served_stale_only_where_it_says_so() {
    let policy = policy().stale_while_revalidate(60 * SECOND);
    for (fields, stale) in [
        (&[] as Fields, false),
        (
            &[(CACHE_CONTROL, "max-age=5, stale-while-revalidate=60")],
            true,
        ),
    ] {
        let site = Site::new(policy);
        let missing = move |_, number| {
            let mut response = ok(fields, number);
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        };
        site.send_to(get("/menu"), missing).await;
        advance(6 * SECOND).await;
        let created = site.send(get("/menu"), &[]).await;
        assert_eq!(created.status() == StatusCode::NOT_FOUND, stale);
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_not_there_has_the_jitter_of_what_is_not_there() {
    let fresh_for = async |jitter| {
        let environment = Environment::new()
            .clock(Clock::tokio())
            .random(Random::seeded(1));
        let policy = policy().negative_jitter(jitter);
        let pages = HttpCache::new_in(policy, &environment).unwrap();
        let missing = async |_: Request<Body>| {
            let mut response = ok(&[], 1);
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok::<_, Rejected>(response)
        };
        let mut ends = std::collections::BTreeSet::new();
        for number in 0..50 {
            let site = pages.layer().layer(service_fn(missing));
            let answer = site.oneshot(get(&format!("/{number}"))).await.unwrap();
            ends.insert(status(&answer.map(|_| Bytes::new())).to_owned());
        }
        ends.len()
    };
    assert_eq!(fresh_for(0.0).await, 1);
    assert!(fresh_for(0.5).await > 3);
}

#[tokio::test(start_paused = true)]
async fn must_revalidate_goes_before_whatever_lets_a_stale_answer_be_served() {
    let policy = policy()
        .stale_if_error(60 * SECOND)
        .stale_while_revalidate(60 * SECOND);
    for fields in [
        &[(CACHE_CONTROL, "max-age=5, must-revalidate")] as Fields,
        &[(
            CACHE_CONTROL,
            "max-age=5, must-revalidate, stale-while-revalidate=60",
        )],
        &[(
            CACHE_CONTROL,
            "max-age=5, stale-if-error=60, proxy-revalidate",
        )],
    ] {
        let site = Site::new(policy);
        site.send(get("/menu"), fields).await;
        advance(5 * SECOND).await;
        assert_eq!(site.send(get("/menu"), fields).await.body(), "2");
        advance(5 * SECOND).await;
        let failed = site.send_to(get("/menu"), fails).await;
        assert_eq!(failed.status(), StatusCode::BAD_GATEWAY);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_served_while_another_is_fetched() {
    let site = site();
    let fields: Fields = &[(CACHE_CONTROL, "max-age=5, stale-while-revalidate=60")];
    site.send(get("/menu"), fields).await;
    advance(6 * SECOND).await;
    let stale = site.send(get("/menu"), fields).await;
    assert_eq!(stale.body(), "1");
    assert_eq!(status(&stale), r#""dishes"; hit; ttl=-1; detail=stale"#);
    settle().await;
    assert_eq!(site.send(get("/menu"), fields).await.body(), "2");
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_a_broken_one_and_one_with_trailers_stream_through() {
    let mut site = site();
    site.layer = site.layer.max_body(10);
    let frames = |frames: Vec<Result<http_body::Frame<Bytes>, &'static str>>| {
        let stream = Frames(frames.into_iter());
        Response::new(Body::new(stream))
    };
    let data = |text: &'static str| Ok(http_body::Frame::data(Bytes::from(text)));
    for _ in 0..2 {
        let long = move |_, _| frames(vec![data("0123456"), data("789"), data("10"), data("11")]);
        assert_eq!(
            site.send_to(get("/long"), long).await.body(),
            "01234567891011"
        );
        let known = |_, _| Response::new(Body::from("0123456789ten"));
        assert_eq!(
            site.send_to(get("/known"), known).await.body(),
            "0123456789ten"
        );

        let broken = move |_, _| frames(vec![data("012"), Err("broken")]);
        let response = site.try_send(get("/broken"), broken).await.unwrap();
        assert!(response.into_body().collect().await.is_err());

        let trailers = move |_, _| {
            let mut fields = ::http::HeaderMap::new();
            fields.insert("checksum", "7".parse().unwrap());
            frames(vec![data("012"), Ok(http_body::Frame::trailers(fields))])
        };
        let response = site.try_send(get("/trailers"), trailers).await.unwrap();
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["checksum"], "7");
        assert_eq!(collected.to_bytes(), "012");
    }
    assert_eq!(site.calls(), 8);
}

struct Frames(std::vec::IntoIter<Result<http_body::Frame<Bytes>, &'static str>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, &'static str>>> {
        std::task::Poll::Ready(self.0.next())
    }
}

#[tokio::test(start_paused = true)]
async fn quotas_and_what_is_of_the_connection_are_not_stored() {
    let site = site();
    let fields = named(&[
        ("ratelimit", "\"all\";r=1;t=1"),
        ("ratelimit-policy", "\"all\";q=1"),
        ("connection", "x-hop, close"),
        ("x-hop", "1"),
        ("x-kept", "1"),
    ]);
    for _ in 0..2 {
        let answer = site.send(get("/menu"), fields).await;
        let mut names: Vec<_> = answer.headers().keys().map(HeaderName::as_str).collect();
        names.retain(|name| !["age", "cache-status", "content-length"].contains(name));
        assert_eq!(names, ["x-kept"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_successful_write_voids_what_is_stored_of_its_address() {
    let host: Fields = &[(::http::header::HOST, "Example.com")];
    let site = site();
    site.send(with("/dishes/7?x=1", host), &[]).await;
    let write = |code: u16| {
        let mut request = with("/dishes/7?x=1", host);
        *request.method_mut() = ::http::Method::PUT;
        let answer = move |_, _| {
            Response::builder()
                .status(code)
                .body(Body::empty())
                .unwrap()
        };
        site.send_to(request, answer)
    };
    write(500).await;
    let kept = site.send(with("/dishes/7?x=1", host), &[]).await;
    assert_eq!(kept.body(), "1");
    write(204).await;
    let fresh = site.send(with("/dishes/7?x=1", host), &[]).await;
    assert_eq!(fresh.body(), "4");
    site.pages.invalidate_tag("example.com/dishes/7?x=1");
    let fresh = site.send(with("/dishes/7?x=1", host), &[]).await;
    assert_eq!(fresh.body(), "5");
}

#[tokio::test(start_paused = true)]
async fn a_write_of_which_nobody_knows_how_it_ended_voids_what_is_stored() {
    let host: Fields = &[(::http::header::HOST, "example.com")];
    let read = || with("/dishes/7", host);
    let write = || {
        let mut request = read();
        *request.method_mut() = ::http::Method::PUT;
        request
    };
    let site = site();
    site.send(read(), &[]).await;

    let hangs = service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Rejected>>());
    let mut hung = tokio_test::task::spawn(site.layer.layer(hangs).oneshot(write()));
    assert!(hung.poll().is_pending());
    drop(hung);
    assert_eq!(site.send(read(), &[]).await.body(), "2");

    let breaks = async |_: Request<Body>| Err::<Response<Body>, BoxError>("cut off".into());
    let broken = site.layer.layer(service_fn(breaks)).oneshot(write()).await;
    assert!(broken.is_err());
    assert_eq!(site.send(read(), &[]).await.body(), "3");

    let refuses = async |_: Request<Body>| {
        Err::<Response<Body>, _>(Rejected::new(Reason::ConcurrencyLimited, "places"))
    };
    let refused = site.layer.layer(service_fn(refuses)).oneshot(write()).await;
    assert!(refused.is_err());
    assert_eq!(
        site.send(read(), &[]).await.body(),
        "3",
        "it was not called"
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_elsewhere_does_not_void_what_is_being_fetched() {
    let site = site();
    let reading = tokio::spawn({
        let slow = slow_site(&site.pages);
        async move { slow.oneshot(get("/menu")).await.unwrap() }
    });
    settle().await;
    let mut order = get("/orders");
    *order.method_mut() = ::http::Method::POST;
    site.send(order, &[]).await;
    reading.await.unwrap();
    let again = timed(slow_site(&site.pages).oneshot(get("/menu"))).await;
    assert_eq!(again.1, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_answer_can_name_tags_of_its_own() {
    let site = site();
    let tagged = |_, number: u64| {
        let mut response = ok(&[], number);
        response.extensions_mut().insert(Tags::new(["menu"]));
        response
    };
    site.send_to(get("/menu"), tagged).await;
    assert_eq!(site.send_to(get("/menu"), tagged).await.body(), "1");
    site.pages.invalidate_tag("menu");
    assert_eq!(site.send_to(get("/menu"), tagged).await.body(), "2");
}

#[tokio::test(start_paused = true)]
async fn those_who_waited_for_an_answer_of_500_are_refused_and_do_not_storm() {
    let site = site();
    let fails = |_, _| {
        let mut response = Response::new(Body::from("down"));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    };
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let site = site.clone();
            tokio::spawn(async move { site.try_send(get("/menu"), fails).await })
        })
        .collect();
    let mut refused = 0;
    for caller in callers {
        match caller.await.unwrap() {
            Ok(response) => assert_eq!(response.status(), 500),
            Err(rejected) => {
                assert_eq!(rejected.reason(), Reason::LoadFailed);
                refused += 1;
            }
        }
    }
    assert_eq!((site.calls(), refused), (1, 99));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_as_long_as_it_said_is_not_stored() {
    for length in ["0", "2", "100", "one"] {
        let site = site();
        let fields = named(&[("content-length", length)]);
        assert_eq!(site.send(get("/menu"), fields).await.body(), "1");
        assert_eq!(
            site.send(get("/menu"), fields).await.body(),
            "2",
            "{length}"
        );
        assert_eq!(site.pages.snapshot().hits, 0);
    }
    let site = site();
    for _ in 0..2 {
        let fields = named(&[("content-length", "1")]);
        assert_eq!(site.send(get("/menu"), fields).await.body(), "1");
    }
    // To HEAD, it is the length of what GET would get.
    for _ in 0..2 {
        let mut request = get("/menu");
        *request.method_mut() = ::http::Method::HEAD;
        let answer = |_, _| {
            let mut response = Response::new(Body::empty());
            let fields = response.headers_mut();
            fields.insert("content-length", "100".parse().unwrap());
            response
        };
        site.send_to(request, answer).await;
    }
    assert_eq!(site.calls(), 2);
}

/// Answers after three seconds.
fn slow_site(
    pages: &HttpCache,
) -> impl tower::Service<
    Request<Body>,
    Response = Response<CacheBody<Body>>,
    Error = Rejected,
    Future: Send,
> + Clone
+ Send
+ use<> {
    let inner = service_fn(|_: Request<Body>| async {
        sleep(3 * SECOND).await;
        Ok::<_, Rejected>(ok(&[(CACHE_CONTROL, "max-age=10")], 1))
    });
    pages.layer().layer(inner)
}

#[tokio::test(start_paused = true)]
async fn an_answer_ages_from_the_moment_it_was_asked_for() {
    let site = site();
    let first = slow_site(&site.pages).oneshot(get("/menu")).await.unwrap();
    assert_eq!(first.headers()[AGE], "3");
    let first = first.map(|_| Bytes::new());
    assert_eq!(status(&first), r#""dishes"; fwd=miss; stored; ttl=7"#);
    advance(6 * SECOND).await;
    let hit = slow_site(&site.pages).oneshot(get("/menu")).await.unwrap();
    assert_eq!(hit.headers()[AGE], "9");
    advance(SECOND).await;
    let again = slow_site(&site.pages).oneshot(get("/menu")).await.unwrap();
    assert_eq!(again.headers()[AGE], "3");
}

#[tokio::test(start_paused = true)]
async fn one_who_asks_for_himself_hears_how_old_the_answer_was() {
    let site = site();
    site.send(get("/menu"), &[(CACHE_CONTROL, "private")]).await;
    let alone = site.send(get("/menu"), &[(AGE, "5")]).await;
    assert_eq!((alone.body().as_ref(), site.calls()), (&b"2"[..], 2));
    assert_eq!(alone.headers()[AGE], "5");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_put_by_hand_wins_over_the_one_that_is_fetched() {
    let site = site();
    let mut key = Vec::new();
    for part in ["GET", "", "", "/menu", ""] {
        key.extend(u32::try_from(part.len()).unwrap().to_le_bytes());
        key.extend(part.as_bytes());
    }
    key.push(0);
    site.send(get("/menu"), &[]).await;
    let page = site.pages.get(&key).unwrap();
    advance(10 * SECOND).await;
    let fetching = tokio::spawn(slow_site(&site.pages).oneshot(get("/menu")));
    settle().await;
    site.pages.insert(key.clone(), page);
    // What is there when the first one has its answer is for somebody alone.
    site.pages.invalidate(&key);
    let private: Fields = &[(CACHE_CONTROL, "private")];
    assert_eq!(site.send(get("/menu"), private).await.body(), "2");
    let answer = fetching.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "1");
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_a_long_key_weighs_what_the_key_does() {
    let site = Site::new(policy().failure_ttl(60 * SECOND));
    let path = format!("/menu?{}", "x".repeat(5000));
    site.send(get(&path), &[(CACHE_CONTROL, "private")]).await;
    let private = site.pages.snapshot().weight;
    assert!(private >= 5, "{private}");
    site.send_to(get(&format!("{path}y")), fails).await;
    let failed = site.pages.snapshot().weight - private;
    assert!(failed >= 5, "{failed}");
}

/// Values that mean something, and such as only look like it.
fn value() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let known = prop::sample::select(vec![
        "no-store",
        "private",
        "public",
        "max-age=60",
        "s-maxage=9",
        "max-age",
        "=",
        ",,",
        "\"",
        "*",
        "W/\"1\"",
        "\"1\"",
        "accept-language",
        "cookie",
        "0",
        "-1",
        "99999999999999999999",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "stale-if-error=9",
        "only-if-cached",
        "no-cache=\"a, b\"",
    ]);
    let known = known.prop_map(str::to_owned);
    prop_oneof![
        prop::collection::vec(known, 1..4).prop_map(|all| all.join(", ")),
        "[ -~]{0,24}",
    ]
}

fn fields(
    names: &'static [HeaderName],
) -> impl proptest::strategy::Strategy<Value = Vec<(HeaderName, String)>> {
    use proptest::prelude::*;
    let name = prop::sample::select(names.to_vec());
    prop::collection::vec((name, value()), 0..4)
}

const ASKED: [HeaderName; 6] = [
    CACHE_CONTROL,
    IF_NONE_MATCH,
    AUTHORIZATION,
    COOKIE,
    ACCEPT_LANGUAGE,
    ::http::header::PRAGMA,
];

const ANSWERED: [HeaderName; 8] = [
    CACHE_CONTROL,
    VARY,
    AGE,
    ETAG,
    SET_COOKIE,
    ::http::header::EXPIRES,
    ::http::header::DATE,
    ::http::header::CONNECTION,
];

proptest::proptest! {
    #[test]
    fn no_field_breaks_it_or_lets_one_with_credentials_share(
        asked in fields(&ASKED),
        answered in fields(&ANSWERED),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let site = Site::new(policy());
        let secret = asked.iter().any(|(name, _)| *name == AUTHORIZATION || *name == COOKIE);
        let own = answered.iter().any(|(name, _)| *name == SET_COOKIE);
        for _ in 0..2 {
            let mut request = get("/menu");
            for (name, value) in &asked {
                if let Ok(value) = value.parse() {
                    request.headers_mut().append(name.clone(), value);
                }
            }
            let answered = answered.clone();
            let answer = move |_, number: u64| {
                let mut response = ok(&[], number);
                for (name, value) in answered {
                    if let Ok(value) = value.parse() {
                        response.headers_mut().append(name, value);
                    }
                }
                response
            };
            runtime.block_on(site.send_to(request, answer));
        }
        proptest::prop_assert!(!(secret || own) || site.pages.snapshot().hits == 0);
    }
}
