//! What a server that hangs costs those who come together, or one after the other.

use std::time::Duration;

use resilience_core::{Clock, Environment};
use resilience_redis::{
    RedisStore, Settings, StoreError,
    rate_limit::{Options, Policy, Quota},
    stock::{self, Stock},
};
use tokio::task::JoinSet;

use super::{DEADLINE, MINUTE, error_in_time, hasty, heals, limiter};
use crate::support::{RedisServer, eventually, patient};

/// Calls that are made together.
const CROWD: usize = 20;

async fn dishes(server: &RedisServer) -> Stock {
    let settings = patient().decision_timeout(DEADLINE);
    let store = RedisStore::connect(&server.url(), settings).await;
    let stocks = store
        .expect("a store")
        .stocks(&stock::Policy::new("dishes"))
        .expect("a valid policy");
    let dishes = stocks.stock("kitchen");
    eventually(async || dishes.left("soup").await.ok()).await;
    dishes
}

/// What many hear who ask at once.
async fn crowd(dishes: &Stock) -> Vec<stock::Error> {
    let mut calls = JoinSet::new();
    for _ in 0..CROWD {
        let dishes = dishes.clone();
        calls.spawn(async move { dishes.left("soup").await.expect_err("it hangs") });
    }
    calls.join_all().await
}

#[tokio::test]
async fn a_server_that_hangs_costs_a_few_callers_their_deadline_and_then_nobody() {
    let server = RedisServer::start().await;
    let limiter = limiter(&server.url(), patient().decision_timeout(DEADLINE)).await;
    server.freeze();
    let mut waited = 0;
    for _ in 0..200 {
        match error_in_time(&limiter).await {
            StoreError::Timeout(_) => waited += 1,
            StoreError::Unavailable => {}
            other => panic!("{other}"),
        }
    }
    // Five until the circuit opens, and one probe or another if this took long.
    assert!((5..=8).contains(&waited), "{waited}");
    server.thaw();
    heals(&limiter).await;
}

#[tokio::test]
async fn calls_that_time_out_together_are_one_failure() {
    let server = RedisServer::start().await;
    let dishes = dishes(&server).await;
    server.freeze();
    let stalled = crowd(&dishes).await;
    assert_eq!(stalled, vec![StoreError::Timeout(DEADLINE).into(); CROWD]);
    // One moment has not shut the server out.
    let asked = dishes.left("soup").await;
    assert_eq!(asked, Err(StoreError::Timeout(DEADLINE).into()));
    server.thaw();
    eventually(async || dishes.left("soup").await.ok()).await;
}

#[tokio::test]
async fn a_server_that_hangs_costs_a_crowd_a_few_deadlines_and_then_nothing() {
    let server = RedisServer::start().await;
    let dishes = dishes(&server).await;
    server.freeze();
    for _ in 0..5 {
        let stalled = crowd(&dishes).await;
        assert_eq!(stalled, vec![StoreError::Timeout(DEADLINE).into(); CROWD]);
    }
    let shut_out = crowd(&dishes).await;
    let unavailable = |error: &&stock::Error| **error == StoreError::Unavailable.into();
    let shut_out = shut_out.iter().filter(unavailable).count();
    // One may be sent to look.
    assert!(shut_out >= CROWD - 1, "{shut_out} of {CROWD}");
}

#[tokio::test]
async fn a_crowd_of_new_keys_hears_in_time_of_a_server_that_hangs() {
    let server = RedisServer::start().await;
    let store = RedisStore::connect(&server.url(), hasty()).await;
    let clock = Clock::tokio();
    let environment = Environment::new().clock(clock.clone());
    let options = Options::new().environment(&environment);
    let policy = Policy::new("test", Quota::new(1000, MINUTE));
    let limiter = store.expect("a store").rate_limiter_with(&policy, &options);
    let limiter = limiter.expect("a valid policy");
    heals(&limiter).await;
    server.freeze();
    // From here on time passes where nobody has anything to do, and nowhere else.
    tokio::time::pause();
    let start = clock.now();
    let mut crowd = JoinSet::new();
    for key in 0..2000_u64 {
        let (limiter, clock) = (limiter.clone(), clock.clone());
        crowd.spawn(async move { (limiter.decide(&key, 1).await.error, clock.now()) });
    }
    for (error, heard) in crowd.join_all().await {
        assert_eq!(error, Some(StoreError::Timeout(DEADLINE)));
        let took = heard.saturating_since(start);
        assert!(took <= DEADLINE + Duration::from_millis(5), "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_crowds_of_new_keys_a_healthy_server_decides_again() {
    const KEYS: u64 = 2000;
    let server = RedisServer::start().await;
    let limiter = limiter(&server.url(), Settings::new()).await;
    for round in 0..5 {
        let mut crowd = JoinSet::new();
        for key in round * KEYS..(round + 1) * KEYS {
            let limiter = limiter.clone();
            crowd.spawn(async move { limiter.decide(&key, 1).await.error });
        }
        // There is no time for all of them, and whether that looks like a server that hangs is up to
        // whoever has a turn.
        crowd.join_all().await;
        heals(&limiter).await;
    }
}
