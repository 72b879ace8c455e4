//! Whole answers: shared where they are everybody's, and nowhere else.

mod any;
mod asking;
mod life;
mod sharing;
mod stale;
mod storing;
mod writing;

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
