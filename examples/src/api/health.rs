use std::time::Duration;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::Service;

/// The process runs; whoever cannot hear this should start it anew.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

/// Whether requests should be sent here now.
pub(super) async fn ready(State(service): State<Service>) -> Response {
    let database = match timeout(CHECK_PATIENCE, service.store.check()).await {
        Ok(Ok(())) => "ok",
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: the database is away");
            "away"
        }
        Err(_) => "slow",
    };
    let unsettled = match database {
        "ok" => service.store.count_unsettled().await.ok(),
        _ => None,
    };
    let shutdown = if service.is_stopping() {
        "under way"
    } else {
        "no"
    };
    let ready = database == "ok" && shutdown == "no";
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({
        "status": if ready { "ready" } else { "not ready" },
        "database": database,
        "shutdown": shutdown,
        // Waiting for their payment, or for the word that there is none.
        "unsettled_orders": unsettled,
        // Open, it keeps nobody away: orders are taken and paid later.
        "payment_circuit": service.payment_circuit(),
    });
    let mut response = (status, Json(body)).into_response();
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

/// All figures, in Prometheus' text format.
pub(super) async fn metrics(State(service): State<Service>) -> Response {
    let text = service.metrics.text();
    let mut response = text.into_response();
    let kind = HeaderValue::from_static(prometheus::TEXT_FORMAT);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

const CHECK_PATIENCE: Duration = Duration::from_secs(1);
