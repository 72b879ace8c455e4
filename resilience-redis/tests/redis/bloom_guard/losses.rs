//! What is not known passes: lost, old, out of touch, or of another seed.

use resilience_redis::{
    RedisStore, StoreError,
    bloom_guard::{Policy, Presence},
};
use tokio::time::{sleep, timeout};

use super::{BOUND, UNKNOWN, answers, hasty, is_out_of_touch, knows, passes, policy, process};
use crate::support::{
    PATIENCE, Proxy, RedisCluster, RedisSentinels, RedisServer, eventually, patient,
};

#[tokio::test]
async fn what_redis_has_lost_passes_until_it_is_rebuilt() {
    let server = RedisServer::start().await;
    let one = process(&server.url(), patient()).await;
    let other = process(&server.url(), patient()).await;
    let mut lost = vec!["FLUSHALL".to_owned(), "DEL res:filter:{dishes}".to_owned()];
    for _ in 0..3 {
        one.rebuild_from(|| [1]).await.unwrap();
        answers(&one).await;
        answers(&other).await;
        server.tell("SCRIPT FLUSH").await;
        other.insert(&2).await.unwrap();
        let Some(command) = lost.pop() else {
            // A partition that was evicted is found out by whoever inserts a key into it.
            let names: Vec<String> = server.ask("KEYS res:filter_bits:*").await;
            server.tell(&format!("DEL {}", names.join(" "))).await;
            one.insert(&3).await.unwrap();
            break;
        };
        server.tell(&command).await;
        passes(&one).await;
        passes(&other).await;
        one.rebuild_is_wanted().await.unwrap();
    }
    passes(&one).await;
    passes(&other).await;
    // Or by whoever loads it.
    one.rebuild_from(|| [1]).await.unwrap();
    let names: Vec<String> = server.ask("KEYS res:filter_bits:*").await;
    server.tell(&format!("DEL {}", names.join(" "))).await;
    let late = process(&server.url(), patient()).await;
    late.rebuild_is_wanted().await.unwrap();
    passes(&late).await;
}

#[tokio::test]
async fn what_is_no_filter_of_ours_is_none_and_costs_nobody_a_connection() {
    let server = RedisServer::start().await;
    let one = process(&server.url(), patient()).await;
    for (field, text) in [
        ("log", None),
        ("seed", None),
        ("last", None),
        ("last", Some("soup")),
        ("last", Some("-5")),
        ("last", Some("1.5")),
        ("last", Some("9223372036854775807")),
    ] {
        one.rebuild_from(|| [1]).await.unwrap();
        answers(&one).await;
        let before = server.connections().await;
        let filter = "res:filter:{dishes}";
        server
            .tell(&match text {
                Some(text) => format!("HSET {filter} {field} {text}"),
                None => format!("HDEL {filter} {field}"),
            })
            .await;
        let wanted = timeout(PATIENCE, one.rebuild_is_wanted()).await;
        wanted.expect("it is found out").unwrap();
        one.insert(&2).await.unwrap();
        assert_eq!(server.connections().await, before + 2, "{field} {text:?}");
    }
}

#[tokio::test]
async fn what_was_inserted_before_redis_lost_it_is_in_the_next_generation() {
    let server = RedisServer::start().await;
    let one = process(&server.url(), patient()).await;
    let other = process(&server.url(), patient()).await;
    one.rebuild_from(|| [1]).await.unwrap();
    one.insert(&2).await.unwrap();
    answers(&other).await;
    server.tell("FLUSHALL").await;
    // The source does not have it yet, and whoever reads it never heard of it.
    let late = process(&server.url(), patient()).await;
    late.rebuild_from(|| [1]).await.unwrap();
    let later = process(&server.url(), patient()).await;
    for guard in [&one, &other, &late, &later] {
        knows(guard, [1, 2]).await;
    }
}

#[tokio::test]
async fn a_server_that_restarts_empty_or_with_an_older_state_is_not_believed() {
    let mut server = RedisServer::start().await;
    let one = process(&server.url(), hasty()).await;
    let other = process(&server.url(), hasty()).await;
    for saved in [false, true] {
        eventually(async || one.rebuild_from(|| [1]).await.ok()).await;
        answers(&other).await;
        if saved {
            server.tell("SAVE").await;
        }
        one.insert(&2).await.unwrap();
        server.kill();
        server.start_again().await;
        let kept: u64 = server.ask("EXISTS res:filter:{dishes}").await;
        let dump: u64 = server.ask("DBSIZE").await;
        assert!(saved || dump <= 2 && kept <= 1, "{dump}");
        for guard in [&one, &other] {
            guard.rebuild_is_wanted().await.unwrap();
            passes(guard).await;
        }
    }
    eventually(async || other.rebuild_from(|| [1]).await.ok()).await;
    for guard in [&one, &other] {
        // Which the saved state did not have, nor the source.
        knows(guard, [1, 2]).await;
    }
}

#[tokio::test]
async fn while_redis_is_away_everything_passes_and_what_was_inserted_is_told_later() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let one = process(&proxy.url(), hasty()).await;
    let other = process(&server.url(), hasty()).await;
    other.rebuild_from(|| [1]).await.unwrap();
    answers(&one).await;
    proxy.lose_everything();
    is_out_of_touch(&one).await;
    assert_eq!(one.check(&UNKNOWN), Presence::Maybe);
    assert!(one.insert(&2).await.is_err());
    other.insert(&3).await.unwrap();
    proxy.heal();
    answers(&one).await;
    assert_eq!(one.check(&3), Presence::Maybe);
    eventually(async || (other.check(&2) == Presence::Maybe).then_some(())).await;
    // By one who was told, and not by one who passes everything.
    knows(&other, [2]).await;
}

#[tokio::test]
async fn whoever_was_silent_for_longer_than_the_log_loads_it_all() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let one = process(&proxy.url(), hasty()).await;
    let other = process(&server.url(), hasty()).await;
    other.rebuild_from(|| [0]).await.unwrap();
    answers(&one).await;
    proxy.lose_everything();
    is_out_of_touch(&one).await;
    other.insert(&1).await.unwrap();
    // As if ten thousand others had been inserted since.
    server.tell("XTRIM res:filter_log:{dishes} MAXLEN 0").await;
    other.insert(&2).await.unwrap();
    proxy.heal();
    knows(&one, [0, 1, 2]).await;
}

#[tokio::test]
async fn a_process_with_another_seed_is_told_and_lets_everything_pass() {
    let server = RedisServer::start().await;
    let one = process(&server.url(), patient()).await;
    one.rebuild_from(|| [1]).await.unwrap();
    let store = server.store().await;
    let strange = policy().seed(*b"32 bytes of some other processes");
    let strange = store.bloom_guard::<u64>(strange).unwrap();
    assert!(strange.rebuild().await.is_err());
    passes(&strange).await;
    knows(&one, [1]).await;
    let StoreError::Server(code) = strange.insert(&2).await.unwrap_err() else {
        panic!("another error")
    };
    assert_eq!(code.as_str(), "SEED");
    passes(&strange).await;
    // What it inserted the other cannot know, until it is listed.
    one.rebuild_is_wanted().await.unwrap();
    passes(&one).await;
    one.rebuild_from(|| [1, 2]).await.unwrap();
    knows(&one, [1, 2]).await;
    passes(&strange).await;
    let without = Policy::new("dishes");
    let refused = store.bloom_guard::<u64>(without).unwrap_err();
    assert!(refused.to_string().contains("seed"), "{refused}");
}

#[tokio::test]
async fn after_a_failover_everything_passes_until_it_is_rebuilt() {
    let mut sentinels = RedisSentinels::start().await;
    let one = process(&sentinels.url(), hasty()).await;
    let other = process(&sentinels.url(), hasty()).await;
    one.rebuild_from(|| [1]).await.unwrap();
    answers(&other).await;
    one.insert(&2).await.unwrap();
    sentinels.primary.kill();
    other.rebuild_is_wanted().await.unwrap();
    passes(&other).await;
    eventually(async || other.rebuild_from(|| [1]).await.ok()).await;
    for guard in [&one, &other] {
        knows(guard, [1, 2]).await;
    }
}

#[tokio::test]
async fn a_server_that_gets_its_first_replica_is_asked_for_another_filter() {
    let server = RedisServer::start().await;
    let one = process(&server.url(), patient()).await;
    one.rebuild_from(|| 0..1000).await.unwrap();
    answers(&one).await;
    let replica = RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]).await;
    let port = server.port();
    replica.tell(&format!("REPLICAOF 127.0.0.1 {port}")).await;
    passes(&one).await;
    one.rebuild_from(|| 0..1000).await.unwrap();
    knows(&one, 0..1000).await;
}

#[tokio::test]
async fn in_a_cluster_all_parts_of_a_filter_are_on_one_server() {
    let cluster = RedisCluster::start().await;
    let large = policy().expected_keys(60_000);
    let mut guards = Vec::new();
    for _ in 0..2 {
        let store = RedisStore::connect(&cluster.url(), patient())
            .await
            .unwrap();
        guards.push(store.bloom_guard::<u64>(large).unwrap());
    }
    guards[0].rebuild_from(|| 0..10_000).await.unwrap();
    guards[1].insert(&20_000).await.unwrap();
    for guard in &guards {
        sleep(BOUND).await;
        knows(guard, (0..10_000).chain([20_000])).await;
    }
}
