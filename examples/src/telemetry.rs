//! What the service says about itself: log lines and figures.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, Meter, MeterProvider as _},
};
use opentelemetry_sdk::{error::OTelSdkError, metrics::SdkMeterProvider};
use prometheus::{Registry, TextEncoder};
use resilience_core::Clock;
use tower_http::{
    classify::{ServerErrorsAsFailures, SharedClassifier},
    request_id::{MakeRequestId, RequestId},
    trace::{MakeSpan, OnResponse, TraceLayer},
};
use tracing::Span;
use tracing_subscriber::EnvFilter;

use crate::store::Status;

/// Writes log lines as JSON to stderr: `RUST_LOG` chooses which, `info` and worse by default.
pub fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    // Panics are lines of the log like all others.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, panic = panic.payload_as_str(), "panicked");
    }));
}

/// The service's own figures and those of its layers; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
    clock: Clock,
    durations: Histogram<f64>,
    orders: Counter<u64>,
}

impl Metrics {
    /// Figures that start at nothing.
    ///
    /// # Errors
    ///
    /// When the exporter cannot be registered.
    pub fn new() -> Result<Self, OTelSdkError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .build()?;
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let meter = provider.meter("ordering");
        let durations = meter
            .f64_histogram("http.server.request.duration")
            .with_unit("s")
            .with_description("Time from the head of a request to the head of its answer")
            .with_boundaries(DURATIONS.to_vec())
            .build();
        let orders = meter
            .u64_counter("ordering.orders")
            .with_unit("{order}")
            .with_description("Answers to those who placed an order, by the order's status")
            .build();
        Ok(Self {
            registry,
            provider,
            clock: Clock::system(),
            durations,
            orders,
        })
    }

    /// Where figures are registered.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.provider.meter("ordering")
    }

    /// All figures in Prometheus' text format.
    #[must_use]
    pub fn text(&self) -> String {
        let families = self.registry.gather();
        TextEncoder::new()
            .encode_to_string(&families)
            .unwrap_or_else(|error| format!("# {error}\n"))
    }

    /// Counts an answer about an order.
    pub fn order(&self, status: Status) {
        let status = KeyValue::new("status", status.as_str());
        self.orders.add(1, &[status]);
    }
}

/// Takes the time of a request.
///
/// The route stands for the path: a label with as many values as there are orders would fill the
/// memory of whoever collects the figures.
pub async fn measure(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let started = metrics.clock.now();
    let response = next.run(request).await;
    let seconds = metrics.clock.now().saturating_since(started).as_secs_f64();
    let route = route.map_or_else(|| "none".into(), |path| Arc::from(path.as_str()));
    let attributes = [
        KeyValue::new("http.request.method", method),
        KeyValue::new("http.route", opentelemetry::StringValue::from(route)),
        KeyValue::new(
            "http.response.status_code",
            i64::from(response.status().as_u16()),
        ),
    ];
    metrics.durations.record(seconds, &attributes);
    response
}

/// A method that nobody knows could be any word.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}

/// Takes away a request id that could not stand in a log line as it is; a new one follows.
#[must_use]
pub fn drop_bad_request_id<B>(mut request: http::Request<B>) -> http::Request<B> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
    let good = |id: &HeaderValue| {
        let id = id.as_bytes();
        (1..=LONGEST_REQUEST_ID).contains(&id.len()) && id.iter().all(plain)
    };
    let headers = request.headers_mut();
    if !headers.get(REQUEST_ID).is_some_and(good) {
        headers.remove(REQUEST_ID);
    }
    request
}

/// Makes request ids of 64 random bits: enough to tell lines of a log apart, and no secret.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomRequestId;

impl MakeRequestId for RandomRequestId {
    fn make_request_id<B>(&mut self, _request: &http::Request<B>) -> Option<RequestId> {
        let id = format!("{:016x}", fastrand::u64(..));
        HeaderValue::try_from(id).ok().map(RequestId::new)
    }
}

/// Writes a line for each answer, and gives every line in between the id of its request.
pub type LogLayer =
    TraceLayer<SharedClassifier<ServerErrorsAsFailures>, RequestSpan, (), AnswerLine, (), (), ()>;

/// See [`LogLayer`].
#[must_use]
pub fn log() -> LogLayer {
    TraceLayer::new_for_http()
        .make_span_with(RequestSpan)
        .on_request(())
        .on_response(AnswerLine)
        .on_body_chunk(())
        .on_eos(())
        .on_failure(())
}

/// Makes the span of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestSpan;

impl<B> MakeSpan<B> for RequestSpan {
    fn make_span(&mut self, request: &http::Request<B>) -> Span {
        tracing::info_span!(
            "request",
            request_id = request_id(request.headers()),
            method = request.method().as_str(),
            path = request.uri().path(),
        )
    }
}

/// Writes the line of an answer.
#[derive(Clone, Copy, Debug)]
pub struct AnswerLine;

impl<B> OnResponse<B> for AnswerLine {
    fn on_response(self, response: &http::Response<B>, latency: Duration, _span: &Span) {
        tracing::info!(
            request_id = request_id(response.headers()),
            status = response.status().as_u16(),
            latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
            "answered"
        );
    }
}

fn request_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(REQUEST_ID)?.to_str().ok()
}

/// The field that carries a request's id, in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const LONGEST_REQUEST_ID: usize = 128;

/// Seconds; as OpenTelemetry's conventions for HTTP have them.
const DURATIONS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
