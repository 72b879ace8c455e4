//! The service's HTTP face.

mod admin;
mod body;
mod dishes;
mod health;
mod idempotency;
mod orders;
mod page;
mod path;
mod problem;

pub use self::{
    body::{MAX_BODY_BYTES, buffer},
    health::Health,
    problem::Problem,
};

use axum::{
    Router,
    routing::{get, post},
};
use http::StatusCode;

use crate::Service;

/// What everybody may ask.
pub(crate) fn public() -> Router<Service> {
    Router::new()
        .route("/", get(page::page))
        .route("/page.css", get(page::style))
        .route("/page.js", get(page::script))
        .route("/orders", post(orders::place))
        .route("/orders/{id}", get(orders::one))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
}

/// The pages of dishes, which everybody may ask for.
pub(crate) fn pages() -> Router<Service> {
    Router::new()
        .route("/dishes", get(dishes::all))
        .route("/dishes/{id}", get(dishes::one))
        .method_not_allowed_fallback(method_not_allowed)
}

/// What only this machine may ask: switches for trying what the layers do, and what they did.
pub(crate) fn admin() -> Router<Service> {
    Router::new()
        .route(
            "/admin/payment-fault",
            post(admin::switch_fault).get(admin::fault),
        )
        .route("/admin/panic", post(admin::panic))
        .route("/admin/stats", get(admin::stats))
        .method_not_allowed_fallback(method_not_allowed)
        .route_layer(axum::middleware::from_fn(admin::loopback_only))
}

/// What a machine that watches over the service asks.
pub(crate) fn operations() -> Router<Service> {
    Router::new()
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .method_not_allowed_fallback(method_not_allowed)
}

async fn not_found() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is nothing at this path",
    )
    .field("path")
}

async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path knows other methods: see the field Allow",
    )
    .field("method")
}
