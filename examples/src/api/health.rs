use std::{convert::Infallible, time::Duration};

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

use crate::{Service, store::Store};

/// The process runs; whoever cannot hear this should start it anew.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

/// How the database is.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    database: &'static str,
    /// Orders that wait for their payment, or for the word that there is none.
    unsettled: Option<i64>,
}

impl Health {
    const SLOW: Self = Self {
        database: "slow",
        unsettled: None,
    };

    async fn of(store: Store) -> Result<Self, Infallible> {
        let health = timeout(CHECK_PATIENCE, Self::found_in(&store)).await;
        Ok(health.unwrap_or(Self::SLOW))
    }

    async fn found_in(store: &Store) -> Self {
        if let Err(error) = store.check().await {
            tracing::warn!(%error, "not ready: the database is away");
            return Self {
                database: "away",
                unsettled: None,
            };
        }
        Self {
            database: "ok",
            unsettled: store.count_unsettled().await.ok(),
        }
    }
}

/// Whether requests should be sent here now.
pub(super) async fn ready(State(service): State<Service>) -> Response {
    let store = service.store.clone();
    let health = service.health.get_or_load(&(), || Health::of(store)).await;
    let Health {
        database,
        unsettled,
    } = health.unwrap_or(Health::SLOW);
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
