//! A shop of one's own for every test, and a client that opens a connection for each request.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ordering::{Config, Running};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpStream, task::AbortHandle, time::timeout};

/// The service on a free port, with a database in a folder of its own.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) running: Running,
    pub(crate) folder: Arc<TempDir>,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    pub(crate) async fn open_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::open_in(Arc::new(tempfile::tempdir().unwrap()), change).await
    }

    /// With the database in `folder`, which may be that of another gateway.
    pub(crate) async fn open_in(folder: Arc<TempDir>, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new("127.0.0.1:0", database_in(&folder));
        // A machine that is busy with other tests is no provider that fails.
        config.payment.answer = PATIENCE;
        config.payment.head_start = 2 * PATIENCE;
        change(&mut config);
        let running = ordering::start(config).await.unwrap();
        Self { running, folder }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        get(self.address(), path).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        post(self.address(), path, &[], body).await
    }

    pub(crate) async fn order(&self, body: &Value) -> Answer {
        self.post("/orders", body).await
    }

    pub(crate) async fn order_with_key(&self, key: &str, body: &Value) -> Answer {
        let key = [("idempotency-key", key)];
        post(self.address(), "/orders", &key, body).await
    }

    pub(crate) async fn fault(&self, mode: &str) {
        let answer = self
            .post("/admin/payment-fault", &json!({ "mode": mode }))
            .await;
        assert_eq!(answer.status, StatusCode::OK);
    }

    pub(crate) async fn stock(&self, dish: i64) -> i64 {
        let dish = self.get(&format!("/dishes/{dish}")).await.json();
        dish["stock"].as_i64().unwrap()
    }

    /// What the layers counted.
    pub(crate) async fn stats(&self) -> Value {
        let answer = self.get("/admin/stats").await;
        assert_eq!(answer.status, StatusCode::OK);
        answer.json()
    }

    /// Statements that were sent to the database.
    pub(crate) async fn statements(&self) -> u64 {
        self.stats().await["sql_statements"].as_u64().unwrap()
    }

    /// Waits until the order has `status`.
    pub(crate) async fn becomes(&self, order: &str, status: &str) {
        let path = format!("/orders/{order}");
        eventually(async || self.get(&path).await.json()["status"] == status).await;
    }
}

pub(crate) fn database_in(folder: &TempDir) -> String {
    format!("sqlite://{}", folder.path().join("ordering.db").display())
}

/// One portion of `dish` for `user`.
pub(crate) fn one(user: &str, dish: i64) -> Value {
    json!({ "user_id": user, "items": [{ "dish_id": dish, "quantity": 1 }] })
}

/// Asks again and again until the answer is yes. Long enough for the slowest machine: a test that
/// passes never waits for the end of it.
pub(crate) async fn eventually(mut holds: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, asking).await.unwrap();
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The document of a refusal, which must have `status` and name `field`.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, field: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["field"], field, "{problem}");
        problem
    }
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    send(address, Request::get(path), "").await
}

pub(crate) async fn post(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Answer {
    let mut request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(address, request, body.to_string()).await
}

pub(crate) async fn send(
    address: SocketAddr,
    request: http::request::Builder,
    body: impl Into<Bytes>,
) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    send_on(stream, request, body).await
}

/// One request on a connection of its own.
pub(crate) async fn send_on(
    stream: TcpStream,
    request: http::request::Builder,
    body: impl Into<Bytes>,
) -> Answer {
    Connection::on(stream).await.send(request, body).await
}

/// A connection for many requests, one after the other.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    task: AbortHandle,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).await.unwrap()).await
    }

    async fn on(stream: TcpStream) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let task = tokio::spawn(connection).abort_handle();
        Self { sender, task }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(Request::get(path), "").await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Answer {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.send(request, body.to_string()).await
    }

    async fn send(&mut self, request: http::request::Builder, body: impl Into<Bytes>) -> Answer {
        let request = request
            .header(header::HOST, "localhost")
            .body(Full::new(body.into()))
            .unwrap();
        self.sender.ready().await.unwrap();
        let answer = self.sender.send_request(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Longer than anything takes that goes well.
const PATIENCE: Duration = Duration::from_secs(60);
