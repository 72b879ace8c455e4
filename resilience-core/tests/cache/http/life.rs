//! How old a stored answer is, and how old it may become.

use super::*;

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
