//! Switches for trying what the layers do.

use axum::{
    Extension, Json,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use resilience_core::key::PeerAddr;
use serde_json::{Value, json};

use super::{Problem, body::JsonObject};
use crate::{Service, payment_provider::Fault};

/// Lets through whoever connects from this machine.
///
/// The peer of the connection counts and no header does. JSON in the body keeps pages of other
/// origins out: a browser asks before it sends that.
pub(super) async fn loopback_only(
    Extension(PeerAddr(peer)): Extension<PeerAddr>,
    request: Request,
    next: Next,
) -> Response {
    if peer.ip().to_canonical().is_loopback() {
        return next.run(request).await;
    }
    let detail = "only this machine itself may ask for that";
    Problem::new(StatusCode::FORBIDDEN, "loopback_only", detail).into_response()
}

pub(super) async fn fault(State(service): State<Service>) -> Json<Value> {
    Json(json!({ "mode": service.faults.fault() }))
}

pub(super) async fn switch_fault(
    State(service): State<Service>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, Problem> {
    let word = body.get("mode").and_then(Value::as_str);
    let fault = Fault::ALL
        .into_iter()
        .find(|fault| Some(fault.as_str()) == word);
    let Some(fault) = fault else {
        let words = Fault::ALL.map(Fault::as_str).join(", ");
        return Err(Problem::invalid("mode", format!("must be one of {words}")));
    };
    service.faults.set(fault);
    tracing::warn!(
        mode = fault.as_str(),
        "the payment provider's fault was switched"
    );
    Ok(Json(json!({ "mode": fault })))
}

/// Panics, to show what becomes of it.
pub(super) async fn panic() -> Response {
    panic!("asked for by POST /admin/panic");
}
