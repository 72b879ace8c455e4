//! What is stored, and what passes.

use super::*;

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
        names.retain(|name| !["age", "cache-status", "content-length", "date"].contains(name));
        assert_eq!(names, ["x-kept"]);
    }
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
