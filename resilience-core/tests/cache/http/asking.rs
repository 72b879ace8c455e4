//! What a request may ask of the cache.

use super::*;

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
    let now = before_now(Duration::ZERO);
    let dated: Fields = vec![(LAST_MODIFIED, CHANGED), (DATE, now)].leak();
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
    let made: Fields = vec![(DATE, now)].leak();
    let since: Fields = vec![(IF_MODIFIED_SINCE, now)].leak();
    for _ in 0..2 {
        assert_eq!(site.send(with("/made", since), made).await.status(), 304);
    }
    let long_since: Fields = &[(IF_MODIFIED_SINCE, CHANGED)];
    let undated = site.send(with("/undated", long_since), &[]).await;
    assert_eq!(undated.status(), 200);
}

fn before_now(age: Duration) -> &'static str {
    httpdate::fmt_http_date(Clock::tokio().date() - age).leak()
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
async fn what_had_no_date_is_dated_when_it_came() {
    // RFC 9110, 6.6.1: "MUST record the time it was received and append a corresponding Date".
    let site = site();
    let fields: Fields = &[(CACHE_CONTROL, "max-age=10")];
    site.send(get("/menu"), fields).await;
    let hit = site.send(get("/menu"), fields).await;
    assert_eq!(status(&hit).split(';').nth(1), Some(" hit"));
    assert!(hit.headers().contains_key(DATE), "{:?}", hit.headers());
}

#[tokio::test(start_paused = true)]
async fn who_sets_a_max_age_does_not_wish_for_what_is_stale() {
    // RFC 9111, 5.2.1.1.
    let policy = policy().stale_while_revalidate(100 * SECOND);
    let site = Site::new(policy);
    site.send(get("/menu"), &[]).await;
    advance(15 * SECOND).await;
    let fields: Fields = &[(CACHE_CONTROL, "max-age=60")];
    assert_eq!(site.send(with("/menu", fields), &[]).await.body(), "2");
}

#[tokio::test(start_paused = true)]
async fn a_fallback_is_no_older_than_the_caller_takes() {
    let site = Site::new(policy().stale_if_error(100 * SECOND));
    site.send(get("/menu"), &[]).await;
    advance(15 * SECOND).await;
    let fields: Fields = &[(CACHE_CONTROL, "max-age=5")];
    let refused = site.try_send(with("/menu", fields), fails).await;
    assert_eq!(refused.unwrap_err().reason(), Reason::LoadFailed);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_forwarded_does_not_say_so() {
    // RFC 9211, 2.2: `fwd` says that the request went forward.
    let site = site();
    let only: Fields = &[(CACHE_CONTROL, "only-if-cached")];
    let answer = site.send(with("/menu", only), &[]).await;
    assert_eq!((answer.status().as_u16(), site.calls()), (504, 0));
    assert!(!status(&answer).contains("fwd="), "{}", status(&answer));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_made_long_ago_is_as_old_as_its_date_says() {
    // RFC 9111, 4.2.3: apparent_age = max(0, response_time - date_value).
    let site = site();
    let made = before_now(3600 * SECOND);
    let fields: Fields = vec![(CACHE_CONTROL, "max-age=60"), (DATE, made)].leak();
    site.send(get("/menu"), fields).await;
    let again = site.send(get("/menu"), fields).await;
    assert!(
        !status(&again).contains("hit"),
        "{} {:?}",
        status(&again),
        again.headers()
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_voided_while_it_is_fetched_is_not_said_to_be_stored() {
    let site = site();
    let inner = service_fn(|_: Request<Body>| async {
        sleep(SECOND).await;
        Ok::<_, Rejected>(Response::new(Body::from("1")))
    });
    let fetching = tokio::spawn(site.layer.layer(inner).oneshot(get("/menu")));
    settle().await;
    site.pages.invalidate_all();
    let answer = fetching.await.unwrap().unwrap().map(|_| Bytes::new());
    let again = site.send(get("/menu"), &[]).await;
    assert!(status(&again).contains("fwd=miss"), "{}", status(&again));
    assert!(!status(&answer).contains("stored"), "{}", status(&answer));
}
