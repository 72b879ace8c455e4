//! Switches for trying what the layers do, and the figures that show it.

use std::net::IpAddr;

use axum::{
    Extension, Json,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{
    StatusCode,
    header::{HOST, ORIGIN},
    uri::Authority,
};
use resilience_core::key::PeerAddr;
use serde_json::{Value, json};

use super::{Problem, body::JsonObject};
use crate::{Service, payment_provider::Fault};

/// Lets through whoever connects from this machine, and no page of a stranger in a browser here.
///
/// The peer of the connection counts, whatever it says of itself. A browser on this machine is
/// such a peer too, and works for any page that it shows: it tells from which page it comes, and
/// by which name it was sent here, where a stranger's name that points to us gives itself away.
pub(super) async fn loopback_only(
    Extension(PeerAddr(peer)): Extension<PeerAddr>,
    request: Request,
    next: Next,
) -> Response {
    let (field, detail) = if !peer.ip().to_canonical().is_loopback() {
        ("peer", "only this machine itself may ask for that")
    } else if !names_this_machine(&request) {
        ("host", "must be a loopback address or localhost")
    } else if comes_from_elsewhere(&request) {
        ("origin", "pages of other origins may not ask for that")
    } else {
        return next.run(request).await;
    };
    let problem = Problem::new(StatusCode::FORBIDDEN, "loopback_only", detail);
    problem.field(field).into_response()
}

fn names_this_machine(request: &Request) -> bool {
    let Some(authority) = authority(request) else {
        return false;
    };
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Whom the request is for: HTTP/2 says it in place of the address, HTTP/1 in a field.
fn authority(request: &Request) -> Option<Authority> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.clone());
    }
    request.headers().get(HOST)?.to_str().ok()?.parse().ok()
}

/// What is no browser sends neither field.
fn comes_from_elsewhere(request: &Request) -> bool {
    let headers = request.headers();
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    let ours = authority(request).map(|authority| format!("http://{authority}"));
    headers
        .get(ORIGIN)
        .is_some_and(|origin| ours.is_none_or(|ours| *origin != ours))
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

/// What every layer counted, by its kind and its policy, and what came to the database.
pub(super) async fn stats(State(service): State<Service>) -> Json<Value> {
    let mut stats = json!({ "sql_statements": service.store.statements() });
    for engine in &*service.engines {
        engine.measure(&mut |sample| {
            // Such as `resilience.cache.lookups`; `resilience.panics` is a figure and a kind.
            let name = sample.instrument.name;
            let name = name.strip_prefix("resilience.").unwrap_or(name);
            let (kind, figure) = name.split_once('.').unwrap_or((name, ""));
            let mut place = &mut stats[kind][engine.policy()];
            for part in [figure, sample.label.unwrap_or_default()] {
                if !part.is_empty() {
                    place = &mut place[part];
                }
            }
            *place = sample.value.into();
        });
    }
    let guard = service.pages.known.snapshot();
    stats["bloom_guard"][service.pages.known.engine().policy()]["false_positive_rate"] = json!({
        "stated": guard.stated_false_positive_rate,
        "estimated": guard.estimated_false_positive_rate,
        "measured": guard.measured_false_positive_rate,
    });
    Json(stats)
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, middleware::from_fn, routing::get};
    use tower::ServiceExt;

    use super::*;

    async fn status(peer: &str, fields: &[(&str, &str)]) -> u16 {
        let app = Router::new()
            .route("/", get(async || "in"))
            .route_layer(from_fn(loopback_only));
        let mut request = Request::get("/").extension(PeerAddr(peer.parse().unwrap()));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        app.oneshot(request).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn only_this_machine_itself_gets_through() {
        let peers = [
            ("127.0.0.1:1", 200),
            ("127.8.8.8:1", 200),
            ("[::1]:1", 200),
            ("[::ffff:127.0.0.1]:1", 200),
            ("10.0.0.7:1", 403),
            ("[::ffff:10.0.0.7]:1", 403),
            ("[2001:db8::1]:1", 403),
        ];
        for (peer, expected) in peers {
            let fields = [("host", "localhost"), ("x-forwarded-for", "127.0.0.1")];
            assert_eq!(status(peer, &fields).await, expected, "{peer}");
        }
    }

    #[tokio::test]
    async fn a_name_that_a_stranger_made_point_here_does_not_get_through() {
        let hosts = [
            ("localhost:8080", 200),
            ("LocalHost", 200),
            ("127.0.0.1:8080", 200),
            ("[::1]:8080", 200),
            ("localhost.evil.example", 403),
            ("127.0.0.1.evil.example:8080", 403),
            ("evil.example@x", 403),
            ("0.0.0.0:8080", 403),
            ("", 403),
        ];
        for (host, expected) in hosts {
            let answer = status("127.0.0.1:1", &[("host", host)]).await;
            assert_eq!(answer, expected, "{host}");
        }
        assert_eq!(status("127.0.0.1:1", &[]).await, 403);
    }

    #[tokio::test]
    async fn a_page_of_another_origin_does_not_get_through() {
        let browsers = [
            ("sec-fetch-site", "same-origin", 200),
            ("sec-fetch-site", "none", 200),
            ("sec-fetch-site", "same-site", 403),
            ("sec-fetch-site", "cross-site", 403),
            ("origin", "http://localhost:8080", 200),
            ("origin", "http://localhost:3000", 403),
            ("origin", "https://evil.example", 403),
            ("origin", "null", 403),
        ];
        for (name, value, expected) in browsers {
            let fields = [("host", "localhost:8080"), (name, value)];
            let answer = status("127.0.0.1:1", &fields).await;
            assert_eq!(answer, expected, "{name}: {value}");
        }
    }
}
