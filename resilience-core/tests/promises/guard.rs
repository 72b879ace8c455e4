//! A guard over real connections: what does not exist is answered as the service would.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::Path, routing::get};
use http::{Request, StatusCode, header};
use resilience_core::{
    BloomGuard, Respond,
    bloom_guard::{Policy, Presence},
};
use serde_json::Value;
use tonic::{Code, transport::Endpoint};
use tower::Layer as _;

use crate::{
    grpc,
    support::{self, Connection},
};

fn dishes() -> BloomGuard<u64> {
    let policy = Policy::new("dishes")
        .expected_keys(1000)
        .remember(1000, Duration::from_secs(60));
    let guard = BloomGuard::new(policy).unwrap();
    guard.rebuild_from(|| 0..1000_u64).unwrap();
    guard
}

fn ghost(guard: &BloomGuard<u64>) -> u64 {
    (10_000..)
        .find(|key| guard.check(key) == Presence::Maybe)
        .unwrap()
}

#[tokio::test]
async fn what_does_not_exist_is_answered_404_over_all_connections_and_the_service_never_asked() {
    let guard = dishes();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let dish = move |Path(id): Path<u64>| async move {
        counted.fetch_add(1, Ordering::Relaxed);
        if id < 1000 {
            Ok("soup")
        } else {
            Err(StatusCode::NOT_FOUND)
        }
    };
    let id = |request: &Request<_>| request.uri().path().rsplit('/').next()?.parse::<u64>().ok();
    let app = Router::new()
        .route("/dishes/{id}", get(dish))
        .layer(Respond::with((guard.layer_by(id),)));
    let address = support::serve(app).await;
    let ghost = ghost(&guard);
    let absent = (10_000..)
        .find(|key| guard.check(key) == Presence::Absent)
        .unwrap();
    for _ in 0..3 {
        let connection = Connection::to(address);
        assert_eq!(connection.get("/dishes/7").await.status(), StatusCode::OK);
        let answer = connection.get(&format!("/dishes/{ghost}")).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        let answer = connection.get(&format!("/dishes/{absent}")).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        let headers = answer.headers();
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
        assert!(!headers.contains_key(header::RETRY_AFTER));
        let problem: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(
            (&problem["status"], &problem["title"]),
            (&404.into(), &"Not Found".into())
        );
        assert_eq!(problem["reason"], "absent");
    }
    assert_eq!(
        calls.load(Ordering::Relaxed),
        4,
        "three times soup, and the ghost once"
    );
    let no_key = Connection::to(address).get("/dishes/soup").await;
    assert_eq!(
        no_key.status(),
        StatusCode::BAD_REQUEST,
        "without a key it passes"
    );
}

#[tokio::test]
async fn a_grpc_not_found_in_head_or_trailers_is_remembered_and_answered_for() {
    let (listener, address) = support::listen().await;
    let server = tonic::transport::Server::builder().add_service(grpc::Echo);
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(server.serve_with_incoming(incoming));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    for streams in [false, true] {
        let guard = dishes();
        let ghost = ghost(&guard);
        let channel = Respond::with((guard.layer_by(move |_: &Request<_>| Some(ghost)),))
            .layer(endpoint.connect_lazy());
        let call = async |text| match streams {
            true => grpc::stream(channel.clone(), text).await.map(|_| ()),
            false => grpc::say(channel.clone(), text).await.map(|_| ()),
        };
        call("soup").await.unwrap();
        assert_eq!(call("13").await.unwrap_err().code(), Code::Internal);
        assert_eq!(guard.snapshot().remembered, 0, "an error says nothing");
        assert_eq!(call("5").await.unwrap_err().code(), Code::NotFound);
        assert_eq!(guard.snapshot().remembered, 1);
        // The server would say something else now, but is not asked.
        assert_eq!(call("soup").await.unwrap_err().code(), Code::NotFound);
        assert_eq!(guard.snapshot().remembered_absent, 1);
    }
}
