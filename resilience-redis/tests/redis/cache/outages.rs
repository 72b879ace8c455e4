//! A Redis that is away, does not answer, or cannot be reached.

use std::time::Duration;

use resilience_core::Clock;

use super::{MINUTE, Process, Source, both_hold, hasty, keys, policy, stored};
use crate::support::{Proxy, RedisServer, eventually, patient};

/// A process whose packets can be lost, and one whose cannot; Redis has the first load of 7.
async fn one_behind_a_proxy() -> (RedisServer, Proxy, Process, Process) {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let one = Process::with(&proxy.url(), hasty(), policy()).await;
    let other = Process::at(&server.url()).await;
    one.load(7, &Source::default()).await;
    other.is_given(7, "load 1").await;
    (server, proxy, one, other)
}

#[tokio::test]
async fn while_redis_is_away_caches_go_on_alone_and_what_was_invalidated_is_not_served_after() {
    let mut server = RedisServer::start().await;
    let stale = policy().stale_if_error(MINUTE);
    let one = Process::with(&server.url(), patient(), stale).await;
    let other = Process::with(&server.url(), patient(), stale).await;
    let source = Source::default();
    both_hold(&server, &one, &other, &source).await;

    server.kill();
    eventually(async || (!other.tier.is_in_touch()).then_some(())).await;
    assert_eq!(
        other.cache.get(&7),
        None,
        "nobody would tell it of a change"
    );
    let fails = async || Err::<String, _>("down");
    let found = other.cache.get_or_load(&7, fails).await;
    assert_eq!(
        found.as_deref(),
        Ok("load 1"),
        "stale, and better than nothing"
    );
    assert_eq!(one.load(8, &source).await, "load 2");
    assert!(one.cache.forget(&7).await.is_err());
    assert_eq!(one.load(7, &source).await, "load 3");

    server.start_again().await;
    one.hears().await;
    other.hears().await;
    assert_eq!(
        one.cache.get(&8),
        None,
        "loaded while nobody told it of changes"
    );
    one.cache.insert(7, "stew".to_owned());
    stored(&server).await;
    assert_eq!(other.load(7, &source).await, "stew");
}

#[tokio::test]
async fn invalidations_reach_a_redis_that_kept_its_entries_while_it_was_away() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let one = Process::with(&proxy.url(), hasty(), policy()).await;
    let other = Process::at(&server.url()).await;
    let source = Source::default();
    one.load(7, &source).await;
    one.load(8, &source).await;
    eventually(async || (keys(&server, "*").await.len() == 2).then_some(())).await;
    assert_eq!(other.load(7, &source).await, "load 1");

    proxy.lose_connections();
    assert!(one.cache.forget(&7).await.is_err());
    assert_ne!(
        one.load(7, &source).await,
        "load 1",
        "what redis has is not believed"
    );
    // Its connections are found out and replaced, and what was kept is told.
    other.eventually_without(7).await;
    one.hears().await;
    let again = other.load(7, &source).await;
    assert_ne!(again, "load 1");
    let kept = other.load(8, &source).await;
    assert_eq!(kept, "load 2", "another key is still there");
}

#[tokio::test]
async fn what_is_to_be_forgotten_behind_an_open_circuit_is_kept_in_mind() {
    let (_server, proxy, one, other) = one_behind_a_proxy().await;
    proxy.lose_everything();
    // After five failures nobody waits for Redis any more.
    for key in (10..20).chain([7]) {
        assert!(one.cache.forget(&key).await.is_err());
    }
    proxy.heal();
    other.eventually_without(7).await;
    assert_eq!(other.load(7, &Source::numbered(20)).await, "load 21");
}

#[tokio::test]
async fn what_is_inserted_behind_an_open_circuit_replaces_what_redis_kept() {
    let (_server, proxy, one, other) = one_behind_a_proxy().await;
    proxy.lose_everything();
    for key in 10..20 {
        assert!(one.cache.forget(&key).await.is_err());
    }
    one.cache.insert(7, "stew".to_owned());
    proxy.heal();
    other.eventually_without(7).await;
    assert_eq!(other.load(7, &Source::numbered(20)).await, "load 21");
}

#[tokio::test]
async fn after_more_was_missed_than_can_be_kept_everything_is_forgotten_once() {
    let (server, proxy, one, _other) = one_behind_a_proxy().await;
    proxy.lose_everything();
    for key in 10..=10_010 {
        assert!(one.cache.forget(&key).await.is_err());
    }
    proxy.heal();
    let looks = async || {
        let stats: String = server.ask("INFO commandstats").await;
        let scans = stats.lines().find_map(|line| {
            let calls = line.strip_prefix("cmdstat_scan:calls=")?;
            calls.split(',').next()?.parse::<u64>().ok()
        });
        scans.unwrap_or(0)
    };
    // One for entries, and one for leases.
    eventually(async || (looks().await == 2).then_some(())).await;
    one.hears().await;
    // What is loaded from here on stays.
    eventually(async || {
        one.cache.invalidate(&7);
        one.load(7, &Source::default()).await;
        let kept = keys(&server, "res:cache:*").await;
        (!kept.is_empty()).then_some(())
    })
    .await;
    assert_eq!(looks().await, 2);
}

#[tokio::test]
async fn a_frozen_redis_costs_a_miss_its_deadlines_and_a_hit_nothing() {
    let server = RedisServer::start().await;
    let deadline = Duration::from_millis(100);
    let settings = patient().decision_timeout(deadline);
    let process = Process::with(&server.url(), settings, policy()).await;
    process.cache.insert(7, "soup".to_owned());
    server.freeze();
    assert_eq!(process.cache.get(&7).as_deref(), Some("soup"));
    // From here on time passes where nobody has anything to do, and nowhere else.
    tokio::time::pause();
    let clock = Clock::tokio();
    for key in 10..40 {
        let start = clock.now();
        process.load(key, &Source::default()).await;
        let took = clock.now().saturating_since(start);
        assert!(took <= deadline + Duration::from_millis(5), "{took:?}");
    }
    tokio::time::resume();
    server.thaw();
    process.hears().await;
    process.cache.forget(&7).await.unwrap();
}

#[tokio::test]
async fn a_connection_whose_packets_vanish_is_found_out_without_any_call() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let settings = patient().dead_after(Duration::from_millis(200));
    let process = Process::with(&proxy.url(), settings, policy()).await;
    process.cache.insert(7, "soup".to_owned());
    proxy.lose_connections();
    process.eventually_without(7).await;
    process.hears().await;
}
