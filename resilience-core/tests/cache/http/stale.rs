//! What is served in place of an answer that cannot be had, and what is said of it.

use super::*;

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
