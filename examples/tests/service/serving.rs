use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
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

/// A server of our own, with a short answer and one that no socket takes at once.
async fn serve(limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = Router::new()
        .route("/", axum::routing::get(async || "in"))
        .route("/much", axum::routing::get(async || vec![0; MUCH]));
    Server::start(listener, app, limits).unwrap()
}

/// More bytes than sockets hold.
const MUCH: usize = 64 << 20;

/// Longer than the slowest machine takes to notice.
const SURELY_CLOSED: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_finishes_its_head_is_closed() {
    let mut limits = Limits::default();
    limits.head = Duration::from_millis(200);
    let server = serve(limits).await;
    let mut clients = Vec::new();
    // Nothing, half a preface of HTTP/2, half a head, and a second head that never comes.
    let whole = "GET / HTTP/1.1\r\nhost: shop\r\n\r\n";
    let halves = ["", "PRI * HT", "GET /dishes HTTP/1.1\r\nhost: sh", whole];
    for half in halves {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        clients.push(stream);
    }
    for (mut client, half) in clients.into_iter().zip(halves) {
        let mut rest = Vec::new();
        let end = timeout(SURELY_CLOSED, client.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "still open after {half:?}");
    }
    assert_eq!(get(server.address(), "/").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_answer_is_closed() {
    let mut limits = Limits::default();
    limits.connections = 1;
    limits.stall = Duration::from_millis(200);
    let server = serve(limits).await;
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    let ask = b"GET /much HTTP/1.1\r\nhost: shop\r\n\r\n";
    client.write_all(ask).await.unwrap();
    let other = timeout(SURELY_CLOSED, get(server.address(), "/")).await;
    assert_eq!(other.unwrap().status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_http2_on_which_nothing_goes_on_is_closed() {
    let mut limits = Limits::default();
    limits.connections = 1;
    limits.head = Duration::from_millis(100);
    limits.stall = Duration::from_millis(200);
    let server = serve(limits).await;
    // Asks once and is silent from then on; takes nothing of its answer.
    for (path, window) in [("/", 65_535), ("/much", 0)] {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let connection = tokio::spawn(connection);
        let url = format!("http://localhost{path}");
        let request = Request::get(url).body(Empty::<Bytes>::new());
        let answer = sender.send_request(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let other = timeout(SURELY_CLOSED, get(server.address(), "/")).await;
        assert!(other.is_ok(), "still open after {path}");
        connection.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_http2_that_is_read_slowly_is_kept() {
    let mut limits = Limits::default();
    limits.head = Duration::from_millis(100);
    limits.stall = Duration::from_secs(2);
    let server = serve(limits).await;
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://localhost/much").body(Empty::<Bytes>::new());
    let mut answer = sender.send_request(request.unwrap()).await.unwrap();
    for _ in 0..25 {
        tokio::time::sleep(limits.stall / 10).await;
        let frame = answer.frame().await.expect("there is more");
        assert!(frame.is_ok(), "it was cut off");
    }
    connection.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_beyond_the_cap_waits_until_another_ends() {
    let mut limits = Limits::default();
    limits.connections = 1;
    let server = serve(limits).await;
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
async fn a_shutdown_does_not_wait_for_a_head_that_may_never_be_whole() {
    let mut limits = Limits::default();
    limits.head = SURELY_CLOSED;
    let server = serve(limits).await;
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: sh")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let stopped = timeout(SURELY_CLOSED / 3, server.shutdown(SURELY_CLOSED)).await;
    assert_eq!(stopped, Ok(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_read_no_answer_take_no_place_from_others() {
    let shop = Shop::open().await;
    let stream = TcpStream::connect(shop.address()).await.unwrap();
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let mut unread = Vec::new();
    // More than there are places.
    for _ in 0..80 {
        let request = Request::get("http://localhost/page.js").body(Empty::<Bytes>::new());
        unread.push(sender.send_request(request.unwrap()).await.unwrap());
    }
    let answer = timeout(Duration::from_secs(5), shop.get("/page.css")).await;
    assert_eq!(answer.unwrap().status, StatusCode::OK);
    connection.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_sends_answers_that_have_begun_to_their_end() {
    let server = serve(Limits::default()).await;
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    let ask = b"GET /much HTTP/1.1\r\nhost: shop\r\n\r\n";
    client.write_all(ask).await.unwrap();
    assert!(client.read(&mut [0; 1]).await.unwrap() > 0);
    let stopping = tokio::spawn(server.shutdown(SURELY_CLOSED));
    // Longer than a connection without anything under way is kept.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() > MUCH, "{}", rest.len());
    assert_eq!(stopping.await.unwrap(), 0);
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
        let policies: Vec<_> = answer.headers.get_all("ratelimit-policy").iter().collect();
        assert_eq!(
            policies,
            ["\"everybody\";q=20000;w=1", "\"client\";q=3;w=10"]
        );
        let limits: Vec<_> = answer.headers.get_all("ratelimit").iter().collect();
        let limit = limits[1].to_str().unwrap();
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
