//! What voids or replaces a stored answer.

use super::*;

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
