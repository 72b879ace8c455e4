//! What callers hear when the server is away, and how they get it back.

use std::time::Duration;

use resilience_core::{Clock, Error};
use resilience_redis::{
    RedisStore, StoreError,
    rate_limit::{Policy, Quota, RateLimiter},
};

use crate::support::{Proxy, RedisServer, eventually, patient};

const MINUTE: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_millis(50);
/// For a loaded machine to wake us: far from any other time in these tests.
const SLACK: Duration = Duration::from_millis(450);

async fn hasty_limiter(url: &str) -> RateLimiter {
    let settings = patient()
        .decision_timeout(DEADLINE)
        .dead_after(Duration::from_millis(200));
    let store = RedisStore::connect(url, settings).await.expect("a store");
    let policy = Policy::new("test", Quota::new(1000, MINUTE));
    let limiter = store.rate_limiter(&policy).expect("a valid policy");
    eventually(async || limiter.try_take("key").await.ok()).await;
    limiter
}

async fn error_in_time(limiter: &RateLimiter) -> StoreError {
    let clock = Clock::system();
    let start = clock.now();
    let answer = limiter.try_take("key").await;
    let elapsed = clock.now().saturating_since(start);
    assert!(elapsed < DEADLINE + SLACK, "{elapsed:?}");
    match answer {
        Err(Error::Inner(error)) => error,
        other => panic!("no error: {other:?}"),
    }
}

async fn heals(limiter: &RateLimiter) {
    eventually(async || limiter.try_take("key").await.ok()).await;
}

#[tokio::test]
async fn nobody_listening_is_a_typed_error() {
    let mut server = RedisServer::start().await;
    server.kill();
    let error = RedisStore::connect(&server.url(), patient()).await;
    assert_eq!(error.expect_err("no server"), StoreError::Unavailable);
    let error = RedisStore::connect("no url", patient()).await;
    assert!(matches!(error, Err(StoreError::InvalidTarget(_))));
    let error =
        RedisStore::connect(&server.url(), patient().decision_timeout(Duration::ZERO)).await;
    assert!(
        matches!(error, Err(StoreError::InvalidSettings(invalid)) if invalid.field() == "decision_timeout")
    );
}

#[tokio::test]
async fn a_server_that_died_fails_calls_at_once_and_is_found_again() {
    let mut server = RedisServer::start().await;
    let limiter = hasty_limiter(&server.url()).await;
    server.kill();
    for _ in 0..20 {
        let error = error_in_time(&limiter).await;
        let expected = [StoreError::Disconnected, StoreError::Unavailable];
        assert!(expected.contains(&error), "{error}");
    }
    server.start_again().await;
    heals(&limiter).await;
}

#[tokio::test]
async fn a_server_that_hangs_costs_a_caller_no_more_than_the_deadline() {
    let server = RedisServer::start().await;
    let limiter = hasty_limiter(&server.url()).await;
    server.freeze();
    let error = error_in_time(&limiter).await;
    assert_eq!(error, StoreError::Timeout(DEADLINE));
    assert!(error.may_have_run());
    // The silence goes on: the connection is given up, and calls fail without a wait.
    eventually(async || (error_in_time(&limiter).await == StoreError::Unavailable).then_some(()))
        .await;
    server.thaw();
    heals(&limiter).await;
}

#[tokio::test]
async fn a_connection_whose_packets_vanish_is_replaced() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let limiter = hasty_limiter(&proxy.url()).await;
    proxy.lose_connections();
    assert_eq!(error_in_time(&limiter).await, StoreError::Timeout(DEADLINE));
    heals(&limiter).await;
}

#[tokio::test]
async fn a_server_that_cannot_serve_says_so_and_is_used_again_when_it_can() {
    let server = RedisServer::start().await;
    let limiter = hasty_limiter(&server.url()).await;
    let mut raw = server.raw().await;
    for (ill, well, code) in [
        (
            ["CONFIG", "SET", "maxmemory", "1"],
            ["CONFIG", "SET", "maxmemory", "0"],
            "OOM",
        ),
        (
            ["REPLICAOF", "127.0.0.1", "1", ""],
            ["REPLICAOF", "NO", "ONE", ""],
            "READONLY",
        ),
    ] {
        let command = |words: [&str; 4]| {
            let mut command = redis::Cmd::new();
            command.arg(
                words
                    .into_iter()
                    .filter(|word| !word.is_empty())
                    .collect::<Vec<_>>(),
            );
            command
        };
        let () = command(ill).query_async(&mut raw).await.expect("done");
        match error_in_time(&limiter).await {
            StoreError::NotServing(found) => assert_eq!(found.as_str(), code),
            other => panic!("{other}"),
        }
        let () = command(well).query_async(&mut raw).await.expect("done");
        heals(&limiter).await;
    }
}

#[tokio::test]
async fn dropping_a_call_harms_nobody_else() {
    let server = RedisServer::start().await;
    let limiter = server.limiter(1000, MINUTE).await;
    for _ in 0..100 {
        let call = limiter.try_take("key");
        // Polled once, so that it is on its way, and dropped.
        let _ = tokio::time::timeout(Duration::ZERO, call).await;
    }
    let quota = limiter
        .try_take("key")
        .await
        .expect("the connection is whole");
    assert!(
        (899..=999).contains(&quota.remaining),
        "{}",
        quota.remaining
    );
}
