//! The ways in: by TLS and by a local socket, with the logins that each server asks for.

use std::time::Duration;

use resilience_redis::{
    RedisStore, StoreError, Target,
    rate_limit::{Policy, Quota},
};

use crate::support::{Certificates, Port, RedisServer, eventually, patient};

async fn serves(target: impl Into<Target>) -> Result<(), StoreError> {
    let store = RedisStore::connect(target.into(), patient()).await?;
    let policy = Policy::new("test", Quota::new(5, Duration::from_secs(60)));
    let limiter = store.rate_limiter(&policy).expect("a valid policy");
    limiter.decide("key", 1).await.error.map_or(Ok(()), Err)
}

fn target(url: &str) -> Target {
    Target::parse(url).expect("a valid URL")
}

#[tokio::test]
async fn over_tls_both_sides_prove_who_they_are() {
    let certificates = Certificates::make();
    let port = Port::free();
    let Some(_server) = RedisServer::start_with_tls(&certificates, &port, &[]).await else {
        return;
    };

    let stranger = target(&format!("rediss://localhost:{}", port.number()));
    let known = stranger.clone().root_certificate(certificates.authority);
    let (certificate, key) = certificates.client;
    let ours = known.clone().client_certificate(certificate, key);
    serves(ours.clone()).await.expect("both are known");
    assert_eq!(serves(known).await, Err(StoreError::Untrusted));
    assert_eq!(serves(stranger).await, Err(StoreError::Untrusted));
    let broken = ours.root_certificate("-----BEGIN CERTIFICATE-----");
    let error = serves(broken).await;
    assert!(
        matches!(error, Err(StoreError::InvalidTarget(_))),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_believed() {
    let certificates = Certificates::make();
    let port = Port::free();
    let anybody = ["--tls-auth-clients", "no"];
    let Some(_server) = RedisServer::start_with_tls(&certificates, &port, &anybody).await else {
        return;
    };

    for (host, expected) in [
        ("127.0.0.1", Ok(())),
        ("localhost", Ok(())),
        ("127.0.0.2", Err(StoreError::Unavailable)),
        ("[::ffff:127.0.0.1]", Err(StoreError::Untrusted)),
    ] {
        let target = target(&format!("rediss://{host}:{}", port.number()));
        let target = target.root_certificate(certificates.authority.as_str());
        assert_eq!(serves(target).await, expected, "{host}");
    }
}

#[tokio::test]
async fn a_local_socket_is_a_way_in() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let socket = folder.path().join("redis.sock");
    let socket = socket.to_str().expect("a plain path");
    let server = RedisServer::start_with(&["--unixsocket", socket]).await;
    serves(target(&format!("unix://{socket}?db=2")))
        .await
        .expect("the socket is there");
    let keyspace: String = server.ask("INFO keyspace").await;
    // What was counted, and that this process is there.
    let databases: Vec<_> = keyspace.lines().filter(|it| it.starts_with("db")).collect();
    assert_eq!(databases.len(), 1, "{keyspace}");
    assert!(databases[0].starts_with("db2:keys="), "{keyspace}");
    assert_eq!(
        serves(target(&format!("unix://{socket}x"))).await,
        Err(StoreError::Unavailable)
    );
}

#[tokio::test]
async fn another_database_is_a_way_in_for_whoever_may_do_what_the_readme_says() {
    let server = RedisServer::start().await;
    serves(target(&format!("{}/2", server.url())))
        .await
        .expect("it may be selected");
    let keyspace: String = server.ask("INFO keyspace").await;
    assert!(keyspace.contains("db2:keys="), "{keyspace}");
}

#[tokio::test]
async fn a_server_without_resp3_is_spoken_to_in_resp2() {
    let server = RedisServer::start_with(&["--rename-command", "HELLO", ""]).await;
    assert!(serves(target(&server.url())).await.is_err());
    serves(target(&format!("{}?protocol=resp2", server.url())))
        .await
        .expect("it is understood");
}

#[tokio::test]
async fn a_cluster_is_reached_over_tls() {
    let certificates = Certificates::make();
    let port = Port::free();
    let options = "--tls-auth-clients no --cluster-enabled yes --tls-cluster yes";
    let options: Vec<_> = options.split(' ').collect();
    let Some(server) = RedisServer::start_with_tls(&certificates, &port, &options).await else {
        return;
    };
    let slots: Vec<_> = (0..16384).map(|slot| slot.to_string()).collect();
    server
        .tell(&format!("CLUSTER ADDSLOTS {}", slots.join(" ")))
        .await;
    let target = target(&format!("rediss-cluster://localhost:{}", port.number()));
    let target = target.root_certificate(certificates.authority);
    eventually(async || serves(target.clone()).await.ok()).await;
}

#[tokio::test]
async fn sentinels_and_servers_have_logins_of_their_own() {
    let server = RedisServer::start_with(&["--requirepass", "for-servers"]).await;
    let watch = format!(
        "requirepass for-sentinels\n\
         sentinel monitor dishes 127.0.0.1 {} 1\n\
         sentinel auth-pass dishes for-servers\n",
        server.port()
    );
    let sentinel = RedisServer::start_as(&watch, &["--sentinel"]).await;
    let host = format!("127.0.0.1:{}", sentinel.port());
    for (login, service, ours, expected) in [
        (":for-servers@", "dishes", "for-sentinels", Ok(())),
        (":for-servers@", "dishes", "wrong", Err("WRONGPASS")),
        (":wrong@", "dishes", "for-sentinels", Err("WRONGPASS")),
        (":for-servers@", "unknown", "for-sentinels", Err("ERR")),
    ] {
        let url =
            format!("redis-sentinel://{login}{host}?service={service}&sentinel_password={ours}");
        match (serves(target(&url)).await, expected) {
            (Ok(()), Ok(())) => {}
            (Err(StoreError::Unauthorized(code) | StoreError::Server(code)), Err(expected)) => {
                assert_eq!(code.as_str(), expected, "{url}");
            }
            (answer, expected) => panic!("{url}: {answer:?}, not {expected:?}"),
        }
    }
}
