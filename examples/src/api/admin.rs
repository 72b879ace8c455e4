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

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, middleware::from_fn, routing::get};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn only_this_machine_itself_gets_through() {
        let app = Router::new()
            .route("/", get(async || "in"))
            .route_layer(from_fn(loopback_only));
        let peers = [
            ("127.0.0.1:1", 200),
            ("127.8.8.8:1", 200),
            ("[::1]:1", 200),
            ("[::ffff:127.0.0.1]:1", 200),
            ("10.0.0.7:1", 403),
            ("[::ffff:10.0.0.7]:1", 403),
            ("[2001:db8::1]:1", 403),
        ];
        for (peer, status) in peers {
            let request = Request::get("/").header("x-forwarded-for", "127.0.0.1");
            let request = request.extension(PeerAddr(peer.parse().unwrap()));
            let request = request.body(Body::empty()).unwrap();
            let answer = app.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), status, "{peer}");
        }
    }
}
