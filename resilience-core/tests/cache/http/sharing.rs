//! Who is served what another asked for.

use super::*;

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
