//! The filter that a fleet shares: no key that exists is ever taken for absent, whatever happens.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use resilience_core::{Clock, Timestamp};
use resilience_redis::{
    RedisStore, Settings, StoreError,
    bloom_guard::{BloomGuard, Policy, Presence, RebuildError, Standing},
};
use tokio::time::sleep;

use crate::support::{Proxy, RedisCluster, RedisSentinels, RedisServer, eventually, patient};

/// A guard of one process of the fleet, over connections of its own.
async fn process(url: &str, settings: Settings) -> BloomGuard<u64> {
    let store = RedisStore::connect(url, settings).await.unwrap();
    store.bloom_guard(policy()).unwrap()
}

/// So few false positives that no test meets one.
fn policy() -> Policy {
    Policy::new("dishes")
        .expected_keys(2000)
        .false_positive_rate(1e-9)
        .seed(*b"thirty-two bytes that are secret")
}

/// Calls that find no server end soon enough for a test.
fn hasty() -> Settings {
    patient()
        .decision_timeout(Duration::from_millis(500))
        .connect_timeout(Duration::from_secs(1))
}

/// Waits until `guard` knows which keys are absent.
async fn answers(guard: &BloomGuard<u64>) {
    eventually(async || (guard.check(&UNKNOWN) == Presence::Absent).then_some(())).await;
}

/// Waits until everything passes `guard`, and sees that it stays so.
async fn passes(guard: &BloomGuard<u64>) {
    eventually(async || (guard.snapshot().standing == Standing::Empty).then_some(())).await;
    for _ in 0..20 {
        assert_eq!(guard.check(&UNKNOWN), Presence::Maybe);
        sleep(Duration::from_millis(10)).await;
    }
}

async fn is_out_of_touch(guard: &BloomGuard<u64>) {
    let is_so = || guard.snapshot().standing == Standing::OutOfTouch;
    eventually(async || is_so().then_some(())).await;
}

async fn knows(guard: &BloomGuard<u64>, keys: impl IntoIterator<Item = u64>) {
    answers(guard).await;
    for key in keys {
        assert_eq!(guard.check(&key), Presence::Maybe, "{key}");
    }
}

#[tokio::test]
async fn what_one_process_builds_all_processes_know() {
    let server = RedisServer::start().await;
    let one = process(&server.url(), patient()).await;
    passes(&one).await;
    one.rebuild_from(|| 0..1000).await.unwrap();
    let other = process(&server.url(), patient()).await;
    for guard in [&one, &other] {
        knows(guard, 0..1000).await;
        assert!((1001..3000).all(|key| guard.check(&key) == Presence::Absent));
    }
}

#[tokio::test]
async fn an_insert_is_seen_here_at_once_and_elsewhere_within_200_ms() {
    let server = RedisServer::start().await;
    let one = process(&server.url(), patient()).await;
    let other = process(&server.url(), patient()).await;
    one.rebuild_from(|| [0]).await.unwrap();
    answers(&one).await;
    answers(&other).await;
    let mut first = true;
    for key in 1..40 {
        one.insert(&key).await.unwrap();
        assert_eq!(one.check(&key), Presence::Maybe);
        let told = now();
        eventually(async || {
            let asked = now();
            let presence = other.check(&key);
            assert!(presence == Presence::Maybe || asked < told.saturating_add(BOUND));
            first &= presence == Presence::Maybe;
            (presence == Presence::Maybe).then_some(())
        })
        .await;
    }
    assert!(!first, "the other process was told by nobody but Redis");
    answers(&other).await;
    let many: Vec<u64> = (1000..1900).collect();
    one.insert_all(&many).await.unwrap();
    sleep(BOUND).await;
    knows(&other, many).await;
}

#[tokio::test]
async fn a_filter_of_many_partitions_is_whole_everywhere() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let large = policy().expected_keys(60_000);
    let one = store.bloom_guard::<u64>(large).unwrap();
    let keys = || (0..50_000).map(|key| key * 7);
    one.rebuild_from(keys).await.unwrap();
    let other = server.store().await.bloom_guard::<u64>(large).unwrap();
    for key in (0..200).map(|key| 1_000_000 + key) {
        one.insert(&key).await.unwrap();
    }
    let late = server.store().await.bloom_guard::<u64>(large).unwrap();
    for guard in [&one, &other, &late] {
        knows(guard, keys()).await;
        sleep(BOUND).await;
        knows(guard, 1_000_000..1_000_200).await;
        assert_eq!(guard.snapshot().capacity, 60_000);
    }
    let names: Vec<String> = server.ask("KEYS resilience:filter_bits:*").await;
    assert_eq!(names.len(), 5, "{names:?}");
    for name in names {
        let length: usize = server.ask(&format!("STRLEN {name}")).await;
        assert!(length <= 64 << 10, "{name}: {length}");
    }
    for name in server.ask::<Vec<String>>("KEYS *").await {
        let left: i64 = server.ask(&format!("PTTL {name}")).await;
        assert!(left > 0, "{name} never expires");
    }
}

#[tokio::test]
async fn a_rebuild_forgets_what_is_gone_and_keeps_what_is_inserted_meanwhile() {
    let server = RedisServer::start().await;
    let one = process(&server.url(), patient()).await;
    let other = process(&server.url(), patient()).await;
    // More than are taken along anyway.
    one.rebuild_from(|| 0..2000).await.unwrap();
    answers(&other).await;
    one.insert(&5000).await.unwrap();
    let rebuild = other.rebuild().await.unwrap();
    one.insert(&6000).await.unwrap();
    other.insert(&7000).await.unwrap();
    for guard in [&one, &other] {
        knows(guard, [5, 5000]).await;
        let second = guard.rebuild().await;
        assert_eq!(second.unwrap_err(), RebuildError::UnderWay);
    }
    rebuild.finish().await.unwrap();
    one.insert(&8000).await.unwrap();
    let late = process(&server.url(), patient()).await;
    for guard in [&one, &other, &late] {
        eventually(async || (guard.check(&5) == Presence::Absent).then_some(())).await;
        sleep(BOUND).await;
        knows(guard, [5000, 6000, 7000, 8000]).await;
    }
    // The one before is cleared away.
    eventually(async || {
        let names: Vec<String> = server.ask("KEYS resilience:filter_bits:*").await;
        (names.len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_rebuild_that_is_dropped_changes_nothing_and_stands_in_nobodys_way() {
    let server = RedisServer::start().await;
    let one = process(&server.url(), patient()).await;
    let other = process(&server.url(), patient()).await;
    one.rebuild_from(|| [1]).await.unwrap();
    let mut rebuild = one.rebuild().await.unwrap();
    rebuild.insert(&2);
    drop(rebuild);
    let rebuild = eventually(async || other.rebuild().await.ok()).await;
    knows(&one, [1]).await;
    assert_eq!(one.check(&2), Presence::Absent);
    rebuild.finish().await.unwrap();
    let failed = one.rebuild_from_stream::<_, u64, _>(|| Broken).await;
    assert_eq!(failed, Err(RebuildError::Source("database away")));
    eventually(async || one.rebuild_from(|| [3]).await.ok()).await;
    eventually(async || {
        let names: Vec<String> = server.ask("KEYS resilience:filter_bits:*").await;
        (names.len() == 1).then_some(())
    })
    .await;
}

/// A source of keys that fails.
struct Broken;

impl futures_core::Stream for Broken {
    type Item = Result<u64, &'static str>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(Some(Err("database away")))
    }
}

#[tokio::test]
async fn what_redis_has_lost_passes_until_it_is_rebuilt() {
    let server = RedisServer::start().await;
    let one = process(&server.url(), patient()).await;
    let other = process(&server.url(), patient()).await;
    let mut lost = vec![
        "FLUSHALL".to_owned(),
        "DEL resilience:filter:{dishes}".to_owned(),
    ];
    for _ in 0..3 {
        one.rebuild_from(|| [1]).await.unwrap();
        answers(&one).await;
        answers(&other).await;
        server.tell("SCRIPT FLUSH").await;
        other.insert(&2).await.unwrap();
        let Some(command) = lost.pop() else {
            // A partition that was evicted is found out by whoever inserts a key into it.
            let names: Vec<String> = server.ask("KEYS resilience:filter_bits:*").await;
            server.tell(&format!("DEL {}", names.join(" "))).await;
            one.insert(&3).await.unwrap();
            break;
        };
        server.tell(&command).await;
        passes(&one).await;
        passes(&other).await;
        one.rebuild_is_wanted().await;
    }
    passes(&one).await;
    passes(&other).await;
    // Or by whoever loads it.
    one.rebuild_from(|| [1]).await.unwrap();
    let names: Vec<String> = server.ask("KEYS resilience:filter_bits:*").await;
    server.tell(&format!("DEL {}", names.join(" "))).await;
    let late = process(&server.url(), patient()).await;
    late.rebuild_is_wanted().await;
    passes(&late).await;
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
        let kept: u64 = server.ask("EXISTS resilience:filter:{dishes}").await;
        let dump: u64 = server.ask("DBSIZE").await;
        assert!(saved || dump <= 2 && kept <= 1, "{dump}");
        for guard in [&one, &other] {
            guard.rebuild_is_wanted().await;
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
    server
        .tell("XTRIM resilience:filter_log:{dishes} MAXLEN 0")
        .await;
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
    let StoreError::Server(code) = strange.insert(&2).await.unwrap_err() else {
        panic!("another error")
    };
    assert_eq!(code.as_str(), "SEED");
    assert!(strange.rebuild().await.is_err());
    passes(&strange).await;
    knows(&one, [1]).await;
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
    other.rebuild_is_wanted().await;
    passes(&other).await;
    eventually(async || other.rebuild_from(|| [1]).await.ok()).await;
    for guard in [&one, &other] {
        knows(guard, [1, 2]).await;
    }
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

/// A fleet beside the exact set of what it was told.
struct Fleet {
    processes: Vec<BloomGuard<u64>>,
    /// When each key was known to be inserted, and by which process.
    keys: Arc<Mutex<BTreeMap<u64, (Timestamp, usize)>>>,
    absent: u64,
}

impl Fleet {
    /// What a source has of the keys: the last are still to be committed.
    fn committed(&self) -> Vec<u64> {
        let keys = self.keys.lock().unwrap();
        let committed = keys
            .iter()
            .filter(|(_, (since, _))| now().saturating_since(*since) > COMMIT);
        committed.map(|(key, _)| *key).collect()
    }

    /// Nobody takes a key that exists for absent, as soon as he could have heard of it.
    fn check(&mut self) {
        let keys = self.keys.lock().unwrap();
        for (index, process) in self.processes.iter().enumerate() {
            for (key, (since, inserter)) in keys.iter() {
                let asked = now();
                if process.check(key) == Presence::Absent {
                    let excuse = *inserter != index && asked < since.saturating_add(BOUND);
                    assert!(
                        excuse,
                        "{key}, inserted {:?} ago",
                        asked.saturating_since(*since)
                    );
                }
            }
            self.absent += u64::from(process.check(&UNKNOWN) == Presence::Absent);
        }
    }

    async fn insert(&self, key: u64, index: usize) {
        if self.processes[index].insert(&key).await.is_ok() {
            let mut keys = self.keys.lock().unwrap();
            keys.insert(key, (now(), index));
        }
    }
}

#[tokio::test]
async fn whatever_happens_no_key_that_exists_is_taken_for_absent() {
    let seed = 7;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut server = RedisServer::start().await;
    let mut fleet = Fleet {
        processes: Vec::new(),
        keys: Arc::default(),
        absent: 0,
    };
    for _ in 0..3 {
        fleet.processes.push(process(&server.url(), hasty()).await);
    }
    let mut next = 0;
    for round in 0..ROUNDS {
        let builder = random.usize(..fleet.processes.len());
        let rebuild = fleet.processes[builder].rebuild().await;
        let committed = fleet.committed();
        for _ in 0..random.usize(5..30) {
            fleet
                .insert(next, random.usize(..fleet.processes.len()))
                .await;
            next += 1;
            fleet.check();
            sleep(Duration::from_millis(random.u64(..20))).await;
        }
        if let Ok(mut rebuild) = rebuild {
            committed.iter().for_each(|key| rebuild.insert(key));
            // Where it is lost on the way, the next one is not.
            let _ = rebuild.finish().await;
        }
        fleet.check();
        let pause = now().saturating_add(Duration::from_millis(random.u64(..400)));
        while now() < pause {
            fleet.check();
            sleep(Duration::from_millis(7)).await;
        }
        match round % 7 {
            1 => server.tell("FLUSHALL").await,
            2 => server.tell("SCRIPT FLUSH").await,
            3 => server.tell("SAVE").await,
            5 => {
                server.kill();
                server.start_again().await;
            }
            6 => {
                let late = process(&server.url(), hasty()).await;
                fleet.processes[random.usize(..3)] = late;
            }
            _ => {}
        }
    }
    assert!(
        fleet.absent > 20,
        "hardly anything was absent: {}",
        fleet.absent
    );
    let committed = fleet.committed();
    eventually(async || fleet.processes[0].rebuild_from(|| &committed).await.ok()).await;
    for process in &fleet.processes {
        answers(process).await;
    }
    fleet.check();
}

fn now() -> Timestamp {
    Clock::system().now()
}

const UNKNOWN: u64 = u64::MAX;
/// After which an insert is seen everywhere.
const BOUND: Duration = Duration::from_millis(200);
/// Between an insert and the commit of what it stands for.
const COMMIT: Duration = Duration::from_millis(100);
const ROUNDS: usize = 21;
