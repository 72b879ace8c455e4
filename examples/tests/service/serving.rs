use std::time::Duration;

use axum::Router;
use http::StatusCode;
use ordering::{
    Config,
    server::{Limits, Server},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::client::{Shop, database_in, eventually, get, one, post};

/// Five seconds are given for a head; a slow machine may take its time to notice.
const SURELY_CLOSED: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_finishes_its_head_is_closed() {
    let shop = Shop::open().await;
    let mut clients = Vec::new();
    // Nothing, half a preface of HTTP/2, half a head, and a second head that never comes.
    let whole = "GET /health/live HTTP/1.1\r\nhost: shop\r\n\r\n";
    let halves = ["", "PRI * HT", "GET /dishes HTTP/1.1\r\nhost: sh", whole];
    for half in halves {
        let mut stream = TcpStream::connect(shop.address()).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        clients.push(stream);
    }
    for (mut client, half) in clients.into_iter().zip(halves) {
        let mut rest = Vec::new();
        let end = timeout(SURELY_CLOSED, client.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "still open after {half:?}");
    }
    assert_eq!(shop.get("/health/live").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_beyond_the_cap_waits_until_another_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = Router::new().route("/", axum::routing::get(async || "in"));
    let mut limits = Limits::default();
    limits.connections = 1;
    let server = Server::start(listener, app, limits).unwrap();
    let mut first = TcpStream::connect(server.address()).await.unwrap();
    first
        .write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n")
        .await
        .unwrap();
    assert!(first.read(&mut [0; 1024]).await.unwrap() > 0);
    let mut second = tokio::spawn(get(server.address(), "/"));
    assert!(
        timeout(Duration::from_millis(100), &mut second)
            .await
            .is_err()
    );
    drop(first);
    assert_eq!(second.await.unwrap().status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_lets_requests_under_way_finish() {
    let shop = Shop::open().await;
    shop.fault("slow").await;
    let address = shop.address();
    let order = tokio::spawn(async move { post(address, "/orders", &[], &one("ada", 1)).await });
    eventually(async || shop.stock(1).await == 49).await;
    assert_eq!(shop.running.shutdown(Duration::from_secs(30)).await, 0);
    assert_eq!(order.await.unwrap().status, StatusCode::CREATED);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_waits_no_longer_than_it_was_told() {
    let shop = Shop::open().await;
    shop.fault("hang").await;
    let address = shop.address();
    let order = tokio::spawn(async move { post(address, "/orders", &[], &one("ada", 1)).await });
    eventually(async || shop.stock(1).await == 49).await;
    assert_eq!(shop.running.shutdown(Duration::from_millis(1)).await, 1);
    assert!(order.await.is_err(), "the connection was cut off");
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_in_the_error() {
    let shop = Shop::open().await;
    let folder = tempfile::tempdir().unwrap();
    let config = Config::new(shop.address().to_string(), database_in(&folder));
    let error = ordering::start(config).await.unwrap_err().to_string();
    assert!(error.contains(&shop.address().to_string()), "{error}");
    assert!(error.contains("--listen"), "{error}");
    assert_eq!(
        get(shop.address(), "/health/live").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_client_that_asks_too_often_is_told_when_to_come_back() {
    let shop = Shop::open_with(|config| config.requests_per_client = 3).await;
    for left in [2, 1, 0] {
        let answer = shop.get("/dishes/1").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(
            answer.header("ratelimit-policy"),
            Some("\"client\";q=3;w=10")
        );
        let limit = answer.header("ratelimit").unwrap();
        assert!(
            limit.starts_with(&format!("\"client\";r={left};t=")),
            "{limit}"
        );
    }
    let refused = shop.order(&one("ada", 1)).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        refused.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(refused.json()["reason"], "rate_limited");
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=11).contains(&seconds), "{seconds}");
    assert!(refused.headers.contains_key("x-request-id"));
    let ready = shop.get("/health/ready").await;
    assert_eq!(ready.status, StatusCode::OK, "those who watch get through");
}
