//! Stores that begin without their servers.

use std::time::Duration;

use resilience_redis::{
    RedisStore, StoreError,
    rate_limit::{Policy, Quota, RateLimiter},
};

use super::{MINUTE, error_in_time, hasty, heals};
use crate::support::{RedisCluster, RedisSentinels, RedisServer, in_time, patient};

/// One over a store that begins without a server, and soon.
async fn degraded_limiter(url: &str) -> RateLimiter {
    let store = RedisStore::connect_or_keep_trying(url, hasty());
    // A first attempt may take a second to connect, and sentinels one to tell where to.
    let store = in_time(Duration::from_secs(2), store)
        .await
        .expect("a store");
    let policy = Policy::new("test", Quota::new(1000, MINUTE));
    store.rate_limiter(&policy).expect("a valid policy")
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
async fn a_store_that_begins_without_its_server_finds_it_when_it_comes() {
    let mut server = RedisServer::start().await;
    server.kill();
    let limiter = degraded_limiter(&server.url()).await;
    assert_eq!(error_in_time(&limiter).await, StoreError::Unavailable);
    assert!(limiter.try_take("key").await.is_ok(), "its part");
    server.start_again().await;
    heals(&limiter).await;
}

#[tokio::test]
async fn a_store_begins_although_its_server_hangs() {
    let server = RedisServer::start().await;
    server.freeze();
    let limiter = degraded_limiter(&server.url()).await;
    assert_eq!(error_in_time(&limiter).await, StoreError::Unavailable);
    server.thaw();
    heals(&limiter).await;
}

#[tokio::test]
async fn a_store_that_begins_without_its_cluster_finds_it_when_it_comes() {
    let mut cluster = RedisCluster::start().await;
    cluster.members.iter_mut().for_each(RedisServer::kill);
    let limiter = degraded_limiter(&cluster.url()).await;
    assert_eq!(error_in_time(&limiter).await, StoreError::Unavailable);
    let deleted = limiter.clear_all().await;
    assert_eq!(deleted, Err(StoreError::Unavailable), "nobody was asked");
    for member in &mut cluster.members {
        member.start_again().await;
    }
    heals(&limiter).await;
}

#[tokio::test]
async fn a_store_that_begins_without_its_sentinels_finds_them_when_they_come() {
    let mut redis = RedisSentinels::start().await;
    redis.sentinels.iter_mut().for_each(RedisServer::kill);
    let limiter = degraded_limiter(&redis.url()).await;
    assert_eq!(error_in_time(&limiter).await, StoreError::Unavailable);
    for sentinel in &mut redis.sentinels {
        sentinel.start_again().await;
    }
    heals(&limiter).await;
}

#[tokio::test]
async fn a_store_that_is_not_let_in_does_not_begin() {
    let server = RedisServer::start().await;
    let url = server.url().replace(":library@", ":wrong@");
    let refused = RedisStore::connect_or_keep_trying(&url, patient()).await;
    assert!(
        matches!(&refused, Err(StoreError::Unauthorized(_))),
        "{refused:?}"
    );
    let nowhere = RedisStore::connect_or_keep_trying("no url", patient()).await;
    assert!(matches!(nowhere, Err(StoreError::InvalidTarget(_))));
}

#[tokio::test]
async fn a_server_with_too_many_clients_is_one_that_is_away() {
    let server = RedisServer::start_with(&["--maxclients", "1"]).await;
    let _only = server.raw().await;
    let full = RedisStore::connect(&server.url(), patient()).await;
    let full = full.expect_err("no room");
    let passing = [StoreError::Unavailable];
    let serves_nobody = matches!(&full, StoreError::NotServing(_)) || passing.contains(&full);
    assert!(serves_nobody, "{full:?}");
    degraded_limiter(&server.url()).await;
}
