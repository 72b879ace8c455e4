//! What one process changes, all who hold it hear of.

use std::sync::Arc;

use redis::AsyncCommands as _;
use resilience_core::cache::Loaded;

use super::{Process, Source, both_hold, fleet_of_two, keys, stored};
use crate::support::{RedisServer, eventually};

#[tokio::test]
async fn what_one_process_forgets_or_inserts_no_other_serves_any_more() {
    let (server, one, other) = fleet_of_two().await;
    let source = Source::default();
    both_hold(&server, &one, &other, &source).await;
    one.cache.forget(&7).await.unwrap();
    other.eventually_without(7).await;
    assert_eq!(other.load(7, &source).await, "load 2");

    one.cache.insert(7, "stew".to_owned());
    other.eventually_without(7).await;
    assert_eq!(other.load(7, &source).await, "stew");
    assert_eq!(
        one.cache.get(&7).as_deref(),
        Some("stew"),
        "nobody hears of himself"
    );

    one.cache.forget_all().await.unwrap();
    other.eventually_without(7).await;
    assert_eq!(keys(&server, "*").await, [""; 0]);
    assert_eq!(other.load(7, &source).await, "load 3");
}

#[tokio::test]
async fn what_many_want_to_have_forgotten_at_once_is_looked_for_once() {
    let (server, one, _) = fleet_of_two().await;
    one.cache.insert(7, "soup".to_owned());
    stored(&server).await;
    let one = Arc::new(one);
    let all: Vec<_> = (0..20)
        .map(|_| {
            let one = one.clone();
            tokio::spawn(async move { one.cache.forget_all().await.unwrap() })
        })
        .collect();
    for done in all {
        done.await.unwrap();
    }
    assert!(keys(&server, "*").await.is_empty());
    let calls: String = server.ask("INFO commandstats").await;
    // One for the leases, one for the entries.
    assert!(calls.contains("cmdstat_scan:calls=2,"), "{calls}");
}

#[tokio::test]
async fn what_is_in_no_tier_is_forgotten_by_all_who_hold_it() {
    let (server, one, other) = fleet_of_two().await;
    let tagged = Loaded::new("soup".to_owned()).tag("menu");
    other.cache.insert(7, tagged);
    assert!(keys(&server, "*").await.is_empty());
    one.cache.forget(&7).await.unwrap();
    other.eventually_without(7).await;
}

#[tokio::test]
async fn a_flushall_is_heard() {
    let server = RedisServer::start().await;
    let process = Process::at(&server.url()).await;
    process.cache.insert(7, "soup".to_owned());
    let mut raw = server.raw().await;
    let () = redis::cmd("FLUSHALL").query_async(&mut raw).await.unwrap();
    process.eventually_without(7).await;
}

#[tokio::test]
async fn without_client_tracking_a_flushall_is_found_out() {
    let server = RedisServer::start().await;
    let process = Process::at(&server.user(WITHOUT_TRACKING).await).await;
    process.cache.insert(7, "soup".to_owned());
    stored(&server).await;
    server.tell("FLUSHALL").await;
    process.eventually_without(7).await;
    // Once, and not for ever after.
    process.cache.insert(7, "soup".to_owned());
    let asked = beats(&server).await;
    eventually(async || (beats(&server).await > asked + 2).then_some(())).await;
    assert_eq!(process.cache.get(&7).as_deref(), Some("soup"));
}

#[tokio::test]
async fn without_client_tracking_processes_hear_one_another_all_the_same() {
    let server = RedisServer::start().await;
    let url = server.user(WITHOUT_TRACKING).await;
    let (one, other) = (Process::at(&url).await, Process::at(&url).await);
    let source = Source::default();
    both_hold(&server, &one, &other, &source).await;
    one.cache.forget(&7).await.unwrap();
    other.eventually_without(7).await;
    one.cache.insert(7, "stew".to_owned());
    eventually(async || (other.load(7, &source).await == "stew").then_some(())).await;
    assert_eq!(
        one.cache.get(&7).as_deref(),
        Some("stew"),
        "nobody hears of himself"
    );
    one.cache.forget_all().await.unwrap();
    other.eventually_without(7).await;

    let (one, source) = (Arc::new(one), Source::slow());
    let callers = [Arc::new(other), one].map(|process| {
        let source = source.clone();
        tokio::spawn(async move { process.load(9, &source).await })
    });
    for caller in callers {
        assert_eq!(caller.await.unwrap(), "load 1");
    }
}

#[tokio::test]
async fn a_redis_without_memory_still_forgets_and_tells() {
    let (server, one, other) = fleet_of_two().await;
    let source = Source::default();
    both_hold(&server, &one, &other, &source).await;
    let mut raw = server.raw().await;
    let mut full = redis::cmd("CONFIG");
    full.arg("SET").arg("maxmemory").arg("1");
    let () = full.query_async(&mut raw).await.unwrap();
    one.cache.forget(&7).await.unwrap();
    other.eventually_without(7).await;
    assert!(keys(&server, "*").await.is_empty());
    assert_eq!(one.load(7, &source).await, "load 2");
}

#[tokio::test]
async fn what_is_touched_to_tell_others_ends_though_nobody_removes_it() {
    let server = RedisServer::start().await;
    let rules = "on >secret ~res:* resetchannels &res:* +@all -unlink";
    let process = Process::at(&server.user(rules).await).await;
    process.cache.forget(&7).await.unwrap_err();
    let mut raw = server.raw().await;
    eventually(async || {
        let left = raw.pttl("res:cache_void:{dishes:7}").await;
        // Gone already, or not there yet.
        left.ok().filter(|left: &i64| *left != -2)
    })
    .await;
    for name in keys(&server, "*").await {
        let left: i64 = raw.pttl(name).await.unwrap();
        assert_ne!(left, -1);
    }
}

#[tokio::test]
async fn an_insert_whose_transaction_is_refused_as_a_whole_is_made_in_parts() {
    let server = RedisServer::start().await;
    let rules = "on >secret ~res:* resetchannels &res:* +@all -exec";
    let url = server.user(rules).await;
    let (one, other) = (Process::at(&url).await, Process::at(&url).await);
    let source = Source::default();
    both_hold(&server, &one, &other, &source).await;
    one.cache.insert(7, "stew".to_owned());
    other.eventually_without(7).await;
    assert_eq!(other.load(7, &source).await, "stew");
    assert!(
        one.tier.is_in_touch(),
        "nothing was wrong with the connection"
    );
}

/// How often the server was asked whether it is well.
async fn beats(server: &RedisServer) -> u64 {
    let told: String = server.ask("INFO commandstats").await;
    let times = told
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_time:calls="));
    times
        .and_then(|it| it.split(',').next())
        .map_or(0, |calls| calls.parse().unwrap())
}

/// May do all but what begins with `CLIENT`.
const WITHOUT_TRACKING: &str = "resetchannels &res:* +@all -client";
