//! What callers hear when the server is away, and how they get it back.

mod crowds;
mod start;

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use resilience_core::Clock;
use resilience_redis::{
    RedisStore, Settings, StoreError,
    rate_limit::{Policy, Quota, RateLimiter},
};
use tokio::{runtime::Handle, time::timeout};

use crate::support::{PATIENCE, Proxy, RedisServer, eventually, in_time, patient, within};

const MINUTE: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_millis(50);

async fn hasty_limiter(url: &str) -> RateLimiter {
    limiter(url, hasty()).await
}

fn hasty() -> Settings {
    patient()
        .decision_timeout(DEADLINE)
        .connect_timeout(Duration::from_secs(1))
        .dead_after(Duration::from_millis(200))
}

async fn limiter(url: &str, settings: Settings) -> RateLimiter {
    let store = RedisStore::connect(url, settings).await.expect("a store");
    let policy = Policy::new("test", Quota::new(1000, MINUTE));
    let limiter = store.rate_limiter(&policy).expect("a valid policy");
    heals(&limiter).await;
    limiter
}

/// By the server's own word.
async fn remaining(limiter: &RateLimiter) -> u64 {
    let stands = eventually(async || {
        let decision = limiter.decide("key", 0).await;
        (decision.error.is_none()).then_some(decision.outcome)
    });
    stands.await.expect("only a look").remaining
}

async fn error_in_time(limiter: &RateLimiter) -> StoreError {
    let decision = in_time(DEADLINE, limiter.decide("key", 1)).await;
    decision.error.expect("redis is away")
}

/// Waits until the server has decided again; without it there is a part of the quota.
/// How many connections the server of `raw` was ever asked for.
async fn connections(raw: &mut MultiplexedConnection) -> u64 {
    let mut ask = redis::cmd("INFO");
    let info: String = ask.arg("stats").query_async(raw).await.expect("stats");
    let count = info
        .lines()
        .find_map(|line| line.strip_prefix("total_connections_received:"));
    count.expect("a line").parse().expect("a number")
}

async fn heals(limiter: &RateLimiter) {
    eventually(async || {
        let decision = limiter.decide("key", 1).await;
        (decision.error.is_none() && decision.outcome.is_ok()).then_some(())
    })
    .await;
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
async fn a_flow_that_the_network_forgot_is_left_soon_after() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let settings = Settings::new().decision_timeout(DEADLINE);
    let limiter = limiter(&proxy.url(), settings).await;
    let clock = Clock::system();
    proxy.lose_connections();
    let start = clock.now();
    heals(&limiter).await;
    let outage = clock.now().saturating_since(start);
    assert!(outage < within(Duration::from_secs(3)), "{outage:?}");
}

#[test]
fn a_connection_is_looked_after_although_the_runtime_of_a_caller_ends() {
    let runtime = || tokio::runtime::Runtime::new().expect("a runtime");
    let home = runtime();
    let server = home.block_on(RedisServer::start());
    let proxy = home.block_on(Proxy::before(server.port()));
    let limiter = home.block_on(hasty_limiter(&proxy.url()));
    proxy.lose_connections();
    let elsewhere = runtime();
    let cleared = elsewhere.block_on(limiter.clear("key"));
    assert_eq!(cleared, Err(StoreError::Timeout(DEADLINE)));
    drop(elsewhere);
    home.block_on(heals(&limiter));
}

#[test]
fn who_asks_when_the_runtime_of_the_store_has_ended_is_told_so() {
    let runtime = || tokio::runtime::Runtime::new().expect("a runtime");
    let (home, elsewhere) = (runtime(), runtime());
    let server = elsewhere.block_on(RedisServer::start());
    let limiter = home.block_on(limiter(&server.url(), patient()));
    drop(home);
    for _ in 0..2 {
        let decision = elsewhere.block_on(in_time(DEADLINE, limiter.decide("key", 1)));
        assert_eq!(decision.error, Some(StoreError::Unavailable));
    }
}

#[tokio::test]
async fn of_a_limiter_that_is_dropped_no_task_stays() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for _ in 0..3 {
        let policy = Policy::new("test", Quota::new(1000, MINUTE));
        let limiter = store.rate_limiter(&policy).expect("a valid policy");
        for _ in 0..3 {
            heals(&limiter).await;
        }
        drop(limiter);
        eventually(async || (tasks() <= before).then_some(())).await;
    }
}

#[tokio::test]
async fn a_lost_reply_is_no_refusal_and_the_call_is_not_made_again() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let limiter = hasty_limiter(&proxy.url()).await;
    let before = remaining(&limiter).await;
    proxy.lose_replies();
    let error = error_in_time(&limiter).await;
    assert_eq!(error, StoreError::Timeout(DEADLINE));
    assert!(error.may_have_run());
    proxy.heal();
    // All requests arrive, so each call has run for which that is possible.
    let mut run = 1;
    eventually(async || match limiter.decide("key", 1).await.error {
        None => {
            run += 1;
            Some(())
        }
        Some(error) => {
            run += u64::from(error.may_have_run());
            None
        }
    })
    .await;
    assert_eq!(before - remaining(&limiter).await, run);
}

#[tokio::test]
async fn a_network_that_swallows_everything_is_left_when_it_heals() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let limiter = hasty_limiter(&proxy.url()).await;
    proxy.lose_everything();
    eventually(async || (error_in_time(&limiter).await == StoreError::Unavailable).then_some(()))
        .await;
    proxy.heal();
    heals(&limiter).await;
}

#[tokio::test]
async fn a_server_that_is_slower_than_the_deadline_is_not_burdened_with_new_connections() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let settings = patient().decision_timeout(DEADLINE).dead_after(PATIENCE);
    let limiter = limiter(&proxy.url(), settings).await;
    let mut raw = server.raw().await;
    let before = connections(&mut raw).await;
    proxy.delay_replies(2 * DEADLINE);
    for _ in 0..20 {
        error_in_time(&limiter).await;
    }
    proxy.heal();
    heals(&limiter).await;
    assert_eq!(connections(&mut raw).await, before);
}

#[tokio::test]
async fn a_connection_that_is_reset_is_made_anew() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    // Over RESP2 nothing but a call that fails tells of it.
    for url in [proxy.url(), proxy.url() + "/?protocol=resp2"] {
        let limiter = hasty_limiter(&url).await;
        for _ in 0..3 {
            proxy.reset_connections();
            eventually(async || {
                let error = limiter.decide("key", 1).await.error?;
                let expected = [StoreError::Disconnected, StoreError::Unavailable];
                assert!(expected.contains(&error), "{error}");
                Some(())
            })
            .await;
            heals(&limiter).await;
        }
    }
}

#[tokio::test]
async fn a_server_that_forgot_our_login_is_logged_in_to_again() {
    let server = RedisServer::start().await;
    let limiter = hasty_limiter(&server.open_url()).await;
    server.tell("CONFIG SET requirepass another").await;
    let mut raw = redis::Client::open(format!("redis://:another@127.0.0.1:{}", server.port()))
        .expect("a valid URL")
        .get_multiplexed_async_connection()
        .await
        .expect("the right password");
    let _: u64 = redis::cmd("CLIENT")
        .arg(&["KILL", "TYPE", "normal"])
        .query_async(&mut raw)
        .await
        .expect("done");
    eventually(async || match error_in_time(&limiter).await {
        StoreError::Unauthorized(code) => (code.as_str() == "NOAUTH").then_some(()),
        _ => None,
    })
    .await;
    let () = redis::cmd("CONFIG")
        .arg(&["SET", "requirepass", ""])
        .query_async(&mut raw)
        .await
        .expect("done");
    heals(&limiter).await;
}

#[tokio::test]
async fn a_pause_of_the_server_is_waited_for_by_nobody() {
    let server = RedisServer::start().await;
    let limiter = hasty_limiter(&server.url()).await;
    // Long before this it is told that it is over.
    server.tell("CLIENT PAUSE 600000 WRITE").await;
    assert_eq!(error_in_time(&limiter).await, StoreError::Timeout(DEADLINE));
    server.tell("CLIENT UNPAUSE").await;
    heals(&limiter).await;
}

#[tokio::test]
async fn a_server_that_forgets_its_scripts_costs_no_error() {
    let server = RedisServer::start().await;
    let limiter = server.limiter(1000, MINUTE).await;
    for taken in 1..=50 {
        server.tell("SCRIPT FLUSH").await;
        let quota = limiter.try_take("key").await.expect("no error");
        assert_eq!(quota.remaining, 1000 - taken);
    }
}

#[tokio::test]
async fn a_server_that_became_a_replica_says_so_and_is_used_again_when_it_is_none() {
    let server = RedisServer::start().await;
    let limiter = hasty_limiter(&server.url()).await;
    server.tell("REPLICAOF 127.0.0.1 1").await;
    match error_in_time(&limiter).await {
        StoreError::NotServing(found) => assert_eq!(found.as_str(), "READONLY"),
        other => panic!("{other}"),
    }
    server.tell("REPLICAOF NO ONE").await;
    heals(&limiter).await;
}

#[tokio::test]
async fn a_server_that_lets_us_in_and_serves_nobody_is_not_called_without_end() {
    let server = RedisServer::start().await;
    let limiter = hasty_limiter(&server.url()).await;
    let mut raw = server.raw().await;
    server.tell("REPLICAOF 127.0.0.1 1").await;
    let before = connections(&mut raw).await;
    let (clock, mut calls) = (Clock::system(), 0);
    let start = clock.now();
    // Each connection is given up as soon as it is used.
    while calls < 100 || clock.now().saturating_since(start) < Duration::from_secs(1) {
        limiter.decide("key", 1).await.error.expect("a replica");
        calls += 1;
        tokio::task::yield_now().await;
    }
    let made = connections(&mut raw).await - before;
    assert!(made < 20, "{made} for {calls} calls");
}

#[tokio::test]
async fn dropping_a_call_harms_nobody_else_and_takes_nothing() {
    let server = RedisServer::start().await;
    let limiter = server.limiter(1000, MINUTE).await;
    let mut kept = 0;
    for _ in 0..100 {
        let call = limiter.try_take("key");
        // Polled once, so that it is on its way, and dropped, if it was not faster.
        kept += u64::from(timeout(Duration::ZERO, call).await.is_ok());
    }
    let all_are_back = async || {
        let quota = limiter.peek("key").await.expect("the connection is whole");
        (quota.remaining == 1000 - kept).then_some(())
    };
    eventually(all_are_back).await;
}
