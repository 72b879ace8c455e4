//! Caches of several processes over one Redis.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use resilience_core::{
    Cache, Environment,
    cache::{Claim, EarlyRefresh, Loaded, Policy, Tier as _, TierPolicy},
};
use resilience_redis::{RedisStore, RedisTier, Settings, cache::Text};
use tokio::{sync::Notify, time::sleep};

use crate::support::{
    PATIENCE, Proxy, RedisCluster, RedisSentinels, RedisServer, eventually, patient,
};

const MINUTE: Duration = Duration::from_secs(60);

/// One process of a fleet.
struct Process {
    cache: Cache<u64, String>,
    tier: RedisTier,
}

impl Process {
    /// One that hears the others.
    async fn at(url: &str) -> Self {
        // No silence of a loaded machine is taken for the end of a connection.
        Self::with(url, patient().dead_after(PATIENCE), policy()).await
    }

    async fn with(url: &str, settings: Settings, policy: Policy) -> Self {
        let process = Self::deaf(url, settings, policy).await;
        process.hears().await;
        process
    }

    async fn deaf(url: &str, settings: Settings, policy: Policy) -> Self {
        let store = RedisStore::connect(url, settings).await.unwrap();
        let tier = store.cache_tier(policy.name()).unwrap();
        let second = (tier_policy(), tier.clone(), Text);
        let cache = Cache::new_over(policy, second, &Environment::new()).unwrap();
        Self { cache, tier }
    }

    async fn hears(&self) {
        eventually(async || self.tier.is_in_touch().then_some(())).await;
    }

    async fn load(&self, key: u64, source: &Source) -> String {
        let source = source.clone();
        let load = self
            .cache
            .get_or_load(&key, || async move { source.load().await });
        load.await.unwrap()
    }

    /// Waits until it is given `value` by Redis alone.
    async fn is_given(&self, key: u64, value: &str) {
        eventually(async || {
            self.cache.invalidate(&key);
            let fails = async || Err::<String, _>("down");
            let found = self.cache.get_or_load(&key, fails).await;
            (found.as_deref() == Ok(value)).then_some(())
        })
        .await;
    }

    /// What another process may have of the key once it has heard of a change.
    async fn eventually_without(&self, key: u64) {
        eventually(async || self.cache.get(&key).is_none().then_some(())).await;
    }
}

fn policy() -> Policy {
    Policy::new("dishes", MINUTE).early_refresh(EarlyRefresh::Never)
}

/// With time enough for a loaded machine; only tests of deadlines use less.
fn tier_policy() -> TierPolicy {
    TierPolicy::new("tier").timeout(PATIENCE).patience(PATIENCE)
}

/// For servers that go away, or that cannot answer for a while.
fn hasty() -> Settings {
    patient()
        .decision_timeout(Duration::from_millis(200))
        .connect_timeout(Duration::from_secs(1))
}

/// Gives a number of its own to each load.
#[derive(Clone, Default)]
struct Source {
    loads: Arc<AtomicU64>,
    takes: Duration,
    held: Option<Arc<Notify>>,
}

impl Source {
    fn slow() -> Self {
        Self {
            takes: Duration::from_millis(100),
            ..Self::default()
        }
    }

    /// One that gives nothing until it is let.
    fn held() -> (Self, Arc<Notify>) {
        let gate = Arc::new(Notify::new());
        let source = Self {
            held: Some(gate.clone()),
            ..Self::default()
        };
        (source, gate)
    }

    /// One whose first load has the number after `last`.
    fn numbered(last: u64) -> Self {
        let source = Self::default();
        source.loads.store(last, Ordering::Relaxed);
        source
    }

    async fn load(&self) -> Result<String, &'static str> {
        let number = self.loads.fetch_add(1, Ordering::Relaxed) + 1;
        sleep(self.takes).await;
        if let Some(gate) = &self.held {
            gate.notified().await;
        }
        Ok(format!("load {number}"))
    }

    fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }
}

async fn keys(server: &RedisServer, pattern: &str) -> Vec<String> {
    let mut raw = server.raw().await;
    let mut keys = redis::cmd("KEYS");
    keys.arg(pattern).query_async(&mut raw).await.unwrap()
}

async fn fleet_of_two() -> (RedisServer, Process, Process) {
    let server = RedisServer::start().await;
    let (one, other) = (
        Process::at(&server.url()).await,
        Process::at(&server.url()).await,
    );
    (server, one, other)
}

/// One process loads the value of 7, and the other takes it over.
async fn both_hold(server: &RedisServer, one: &Process, other: &Process, source: &Source) {
    one.load(7, source).await;
    stored(server).await;
    other.load(7, source).await;
}

/// Waits until there is an entry in Redis: it is put there in the background.
async fn stored(server: &RedisServer) {
    eventually(async || {
        let keys = keys(server, "resilience:cache:*").await;
        (!keys.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_one_process_has_loaded_no_other_need_load() {
    let (server, one, other) = fleet_of_two().await;
    let source = Source::default();
    assert_eq!(one.load(7, &source).await, "load 1");
    stored(&server).await;
    assert_eq!(other.load(7, &source).await, "load 1");
    assert_eq!(source.loads(), 1);
    assert_eq!(other.cache.snapshot().tier_hits, 1);
    assert_eq!(keys(&server, "*").await, ["resilience:cache:{dishes:7}"]);
}

#[tokio::test]
async fn every_entry_ends_moved_by_the_jitter_of_the_policy() {
    let server = RedisServer::start().await;
    let one = Process::at(&server.url()).await;
    for key in 0..50 {
        one.cache.insert(key, "soup".to_owned());
    }
    eventually(async || (keys(&server, "*").await.len() == 50).then_some(())).await;
    let mut raw = server.raw().await;
    let mut ends = Vec::new();
    for key in keys(&server, "*").await {
        let end: i64 = redis::cmd("PTTL")
            .arg(key)
            .query_async(&mut raw)
            .await
            .unwrap();
        ends.push(end);
    }
    assert!(
        ends.iter().all(|end| (1..=66_000).contains(end)),
        "{ends:?}"
    );
    let (least, most) = (ends.iter().min().unwrap(), ends.iter().max().unwrap());
    assert!(most - least > 4_000, "{ends:?}");
}

#[tokio::test]
async fn an_entry_lives_no_longer_in_a_process_than_in_redis() {
    let (server, one, other) = fleet_of_two().await;
    let short = Loaded::new("soup".to_owned()).ttl(Duration::from_millis(300));
    one.cache.insert(7, short);
    stored(&server).await;
    assert_eq!(other.load(7, &Source::default()).await, "soup");
    eventually(async || keys(&server, "*").await.is_empty().then_some(())).await;
    assert_eq!(other.cache.get(&7), None);
}

#[tokio::test]
async fn a_fleet_loads_a_key_once() {
    let server = RedisServer::start().await;
    let mut fleet = Vec::new();
    for _ in 0..6 {
        fleet.push(Arc::new(Process::at(&server.url()).await));
    }
    let source = Source::slow();
    for key in 0..10 {
        let callers: Vec<_> = fleet
            .iter()
            .flat_map(|process| (0..5).map(move |_| process.clone()))
            .map(|process| {
                let source = source.clone();
                tokio::spawn(async move { process.load(key, &source).await })
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap(), format!("load {}", key + 1));
        }
    }
    assert_eq!(source.loads(), 10);
}

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
async fn nothing_is_stored_that_another_process_changed_while_it_was_loaded() {
    let (server, one, other) = fleet_of_two().await;
    let (one, (source, gate)) = (Arc::new(one), Source::held());
    for (key, after) in [(7, "load 2"), (8, "stew")] {
        let loading = tokio::spawn({
            let (one, source) = (one.clone(), source.clone());
            async move { one.load(key, &source).await }
        });
        eventually(async || {
            let leases = keys(&server, "resilience:cache_lease:*").await;
            (!leases.is_empty()).then_some(())
        })
        .await;
        if after == "stew" {
            other.cache.insert(key, after.to_owned());
            stored(&server).await;
        } else {
            other.cache.forget(&key).await.unwrap();
        }
        gate.notify_one();
        assert!(loading.await.unwrap().starts_with("load"));
        one.eventually_without(key).await;
        // What is on its way to Redis arrives before the answer to this does.
        one.cache.forget(&99).await.unwrap();
        assert_eq!(other.load(key, &Source::numbered(1)).await, after);
        other.cache.forget(&key).await.unwrap();
    }
}

#[tokio::test]
async fn whoever_waits_for_a_load_that_is_lost_with_its_process_goes_on_when_the_lease_ends() {
    let (_server, one, other) = fleet_of_two().await;
    let claim = one.tier.claim(b"7", Duration::from_millis(300), PATIENCE);
    assert!(matches!(claim.await, Ok(Claim::Granted(_))));
    drop(one);
    assert_eq!(other.load(7, &Source::default()).await, "load 1");
}

#[tokio::test]
async fn whoever_never_learned_that_it_may_load_holds_nobody_up() {
    let (server, _, other) = fleet_of_two().await;
    let short = patient().decision_timeout(Duration::from_millis(50));
    let one = Process::with(&server.url(), short, policy()).await;
    server.freeze();
    assert!(one.tier.claim(b"7", MINUTE, PATIENCE).await.is_err());
    server.thaw();
    // It is answered after all that was asked before.
    eventually(async || one.tier.get(b"8").await.ok()).await;
    assert!(keys(&server, "*").await.is_empty());
    assert_eq!(other.load(7, &Source::default()).await, "load 1");
}

#[tokio::test]
async fn that_a_key_has_no_value_is_known_to_all() {
    let (server, one, other) = fleet_of_two().await;
    let absent = async || Ok::<Option<String>, &str>(None);
    assert_eq!(one.cache.get_or_find(&7, absent).await, Ok(None));
    stored(&server).await;
    let never = async || -> Result<Option<String>, &str> { panic!("nobody need look") };
    assert_eq!(other.cache.get_or_find(&7, never).await, Ok(None));
    one.cache.insert(7, "soup".to_owned());
    eventually(async || {
        let found = other.cache.get_or_find(&7, absent).await.unwrap();
        found.filter(|found| found == "soup")
    })
    .await;
}

#[tokio::test]
async fn corrupt_bytes_are_dropped_and_the_value_loaded_again() {
    let server = RedisServer::start().await;
    let mut raw = server.raw().await;
    let name = "resilience:cache:{dishes:7}";
    let process = Process::at(&server.url()).await;
    process.cache.insert(7, "soup".to_owned());
    stored(&server).await;
    let good: Vec<u8> = redis::cmd("GET")
        .arg(name)
        .query_async(&mut raw)
        .await
        .unwrap();
    let mut spoiled: Vec<Vec<u8>> = (0..good.len())
        .map(|length| good[..length].to_vec())
        .collect();
    spoiled.extend(
        (0..good.len())
            .filter(|at| !(4..12).contains(at))
            .map(|at| {
                let mut changed = good.clone();
                changed[at] ^= 0x20;
                changed
            }),
    );
    spoiled.push(b"{\"foreign\": true}".to_vec());
    spoiled.push(vec![0; 2 * 1024 * 1024]);
    for bytes in spoiled {
        let () = redis::cmd("SET")
            .arg(name)
            .arg(&bytes)
            .query_async(&mut raw)
            .await
            .unwrap();
        process.cache.invalidate(&7);
        let source = Source::default();
        assert_eq!(process.load(7, &source).await, "load 1", "{bytes:?}");
    }
    // A key of another type is nothing that could be read either.
    let () = redis::cmd("DEL")
        .arg(name)
        .query_async(&mut raw)
        .await
        .unwrap();
    let () = redis::cmd("LPUSH")
        .arg(name)
        .arg("x")
        .query_async(&mut raw)
        .await
        .unwrap();
    process.cache.invalidate(&7);
    assert_eq!(process.load(7, &Source::default()).await, "load 1");
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
async fn without_client_tracking_processes_hear_one_another_all_the_same() {
    let server = RedisServer::start().await;
    let rules = "on >secret ~resilience:* resetchannels &resilience:* +@all -client";
    let url = server.user(rules).await;
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
async fn while_redis_is_away_caches_go_on_alone_and_what_was_invalidated_is_not_served_after() {
    let mut server = RedisServer::start().await;
    let hasty = patient().decision_timeout(Duration::from_millis(50));
    let stale = policy().stale_if_error(MINUTE);
    let one = Process::with(&server.url(), hasty.clone(), stale).await;
    let other = Process::with(&server.url(), hasty, stale).await;
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
    let hasty = patient()
        .decision_timeout(Duration::from_millis(50))
        .dead_after(Duration::from_millis(200));
    let one = Process::with(&proxy.url(), hasty, policy()).await;
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
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let settings = hasty().dead_after(Duration::from_millis(200));
    let one = Process::with(&proxy.url(), settings, policy()).await;
    let other = Process::at(&server.url()).await;
    one.load(7, &Source::default()).await;
    other.is_given(7, "load 1").await;

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
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let settings = hasty().dead_after(Duration::from_millis(200));
    let one = Process::with(&proxy.url(), settings, policy()).await;
    let other = Process::at(&server.url()).await;
    one.load(7, &Source::default()).await;
    other.is_given(7, "load 1").await;

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
async fn a_frozen_redis_costs_a_miss_its_deadlines_and_a_hit_nothing() {
    let server = RedisServer::start().await;
    let deadline = Duration::from_millis(100);
    let settings = patient().decision_timeout(deadline);
    let process = Process::with(&server.url(), settings, policy()).await;
    process.cache.insert(7, "soup".to_owned());
    server.freeze();
    assert_eq!(process.cache.get(&7).as_deref(), Some("soup"));
    let clock = resilience_core::Clock::system();
    for key in 10..40 {
        let start = clock.now();
        process.load(key, &Source::default()).await;
        let took = clock.now().saturating_since(start);
        assert!(took < deadline + Duration::from_millis(450), "{took:?}");
    }
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
async fn keys_of_any_bytes_and_length_have_entries_of_their_own() {
    let server = RedisServer::start().await;
    let process = async || {
        let store = server.store().await;
        let tier = store.cache_tier("dishes").unwrap();
        let second = (tier_policy(), tier.clone(), Text);
        let cache: Cache<String, String> =
            Cache::new_over(policy(), second, &Environment::new()).unwrap();
        eventually(async || tier.is_in_touch().then_some(())).await;
        cache
    };
    let (one, other) = (process().await, process().await);
    let keys: Vec<String> = ["", " ", "a:b", "{a}b", "*", "\r\n", "%3A", "ü"]
        .into_iter()
        .map(str::to_owned)
        .chain([300, 512, 100_000].map(|length| "x".repeat(length)))
        .collect();
    let value = |key: &String| format!("of {} bytes: {key:.9}", key.len());
    for key in &keys {
        one.insert(key.clone(), value(key));
    }
    eventually(async || {
        let stored = crate::cache::keys(&server, "*").await;
        (stored.len() == keys.len()).then_some(())
    })
    .await;
    for key in &keys {
        let fails = async || Err::<String, _>("down");
        assert_eq!(other.get_or_load(key, fails).await, Ok(value(key)));
    }
}

#[tokio::test]
async fn a_cache_on_redis_is_made_by_one_line() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let cache: Cache<u64, String> = store.cache(policy(), Text).unwrap();
    let soup = cache.get_or_load(&7, async || Ok::<_, &str>("soup".to_owned()));
    assert_eq!(soup.await.as_deref(), Ok("soup"));
    let long = Box::leak("x".repeat(129).into_boxed_str());
    let refused = store.cache::<u64, String>(Policy::new(long, MINUTE), Text);
    assert!(refused.is_err_and(|invalid| invalid.field() == "name"));
}

#[tokio::test]
async fn a_tier_that_is_gone_leaves_no_connection_behind() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let clients = async || {
        let mut raw = server.raw().await;
        let list: String = redis::cmd("CLIENT")
            .arg("LIST")
            .query_async(&mut raw)
            .await
            .unwrap();
        list.lines()
            .filter(|line| line.contains("flags=") && line.contains("sub=1"))
            .count()
    };
    let cache: Cache<u64, String> = store.cache(policy(), Text).unwrap();
    eventually(async || (clients().await == 1).then_some(())).await;
    drop(cache);
    eventually(async || (clients().await == 0).then_some(())).await;
}

#[tokio::test]
async fn in_a_cluster_processes_hear_of_the_keys_of_every_owner() {
    let cluster = RedisCluster::start().await;
    let (one, other) = (
        Process::at(&cluster.url()).await,
        Process::at(&cluster.url()).await,
    );
    let source = Source::default();
    for key in 0..24 {
        let loaded = one.load(key, &source).await;
        other.is_given(key, &loaded).await;
    }
    for key in 0..24 {
        one.cache.forget(&key).await.unwrap();
        other.eventually_without(key).await;
    }
    one.cache.insert(7, "stew".to_owned());
    one.cache.forget_all().await.unwrap();
    other.eventually_without(7).await;
}

#[tokio::test]
async fn in_a_cluster_a_removal_that_no_replica_knew_of_is_told_again() {
    let mut cluster = RedisCluster::start().await;
    let one = Process::with(&cluster.url(), hasty(), policy()).await;
    let (key, owner) = (7, cluster.owner_of("{dishes:7}").await);
    one.load(key, &Source::default()).await;
    let replica = cluster.replica_of(owner);
    let holds = async |server: &RedisServer| server.ask::<u64>("DBSIZE").await == 1;
    eventually(async || holds(replica).await.then_some(())).await;

    replica.freeze();
    cluster.members[owner]
        .tell("CLIENT KILL TYPE replica")
        .await;
    one.cache.forget(&key).await.unwrap();
    assert!(!holds(&cluster.members[owner]).await);
    cluster.members[owner].kill();
    let replica = cluster.replica_of(owner);
    replica.thaw();
    eventually(async || (!holds(replica).await).then_some(())).await;
}

#[tokio::test]
async fn in_a_cluster_a_slot_that_moves_costs_no_invalidation() {
    let cluster = RedisCluster::start().await;
    let one = Process::with(&cluster.url(), hasty(), policy()).await;
    let other = Process::with(&cluster.url(), hasty(), policy()).await;
    let (key, name) = (7, "resilience:cache:{dishes:7}");
    let from = cluster.owner_of(name).await;
    let to = (from + 1) % cluster.owners().len();
    let is_forgotten = async |value: &str| {
        other.is_given(key, value).await;
        one.cache.forget(&key).await.unwrap();
        other.eventually_without(key).await;
    };
    one.cache.insert(key, "soup".to_owned());
    other.is_given(key, "soup").await;

    // The key is still where it was, and what is touched for it is not there any more.
    cluster.begin_to_move(name, from, to).await;
    is_forgotten("soup").await;
    // Keys that are made while their slot moves are at the other server.
    one.cache.insert(key, "stew".to_owned());
    is_forgotten("stew").await;
    one.cache.insert(key, "rice".to_owned());
    other.is_given(key, "rice").await;
    one.cache.forget_all().await.unwrap();
    other.eventually_without(key).await;
    // What one has loaded cannot be stored now: nobody waits for that.
    let source = Source::default();
    assert_eq!(one.load(key, &source).await, "load 1");
    assert_eq!(other.load(key, &source).await, "load 2");

    one.cache.insert(key, "cake".to_owned());
    cluster.end_move(name, from, to).await;
    is_forgotten("cake").await;
}

#[tokio::test]
async fn whoever_asks_nothing_hears_of_keys_that_moved_to_a_server_that_is_new() {
    let mut cluster = RedisCluster::start().await;
    let idle = Process::with(&cluster.url(), hasty(), policy()).await;
    let name = "resilience:cache:{dishes:7}";
    let (from, to) = (cluster.owner_of(name).await, cluster.grow().await);
    idle.cache.insert(7, "soup".to_owned());
    eventually(async || {
        let there: u64 = cluster.members[from].ask(&format!("EXISTS {name}")).await;
        (there == 1).then_some(())
    })
    .await;
    cluster.begin_to_move(name, from, to).await;
    cluster.move_key(name, from, to).await;
    cluster.end_move(name, from, to).await;
    // Nobody who came before speaks to the new one.
    let one = Process::with(&cluster.url(), hasty(), policy()).await;
    one.cache.forget(&7).await.unwrap();
    let soon = Duration::from_secs(10);
    let heard = tokio::time::timeout(soon, idle.eventually_without(7)).await;
    assert!(heard.is_ok(), "it looked for itself, after 15 seconds");
}

#[tokio::test]
async fn after_a_failover_processes_hear_one_another_again_and_what_was_removed_stays_so() {
    let mut sentinels = RedisSentinels::start().await;
    let one = Process::with(&sentinels.url(), hasty(), policy()).await;
    let other = Process::with(&sentinels.url(), hasty(), policy()).await;
    let source = Source::default();
    one.load(7, &source).await;
    other.is_given(7, "load 1").await;
    sentinels.primary.kill();
    eventually(async || (!one.tier.is_in_touch()).then_some(())).await;
    assert!(one.cache.forget(&7).await.is_err());
    one.hears().await;
    other.hears().await;
    eventually(async || {
        let found = other.load(7, &Source::numbered(20)).await;
        (found != "load 1").then_some(())
    })
    .await;
    one.cache.insert(8, "stew".to_owned());
    other.is_given(8, "stew").await;
}

#[tokio::test]
async fn whoever_was_led_to_another_primary_hears_there_though_the_old_one_is_back() {
    let mut servers = RedisSentinels::start().await;
    let settings = hasty().dead_after(PATIENCE);
    let one = Process::with(&servers.url(), settings.clone(), policy()).await;
    let other = Process::with(&servers.url(), settings, policy()).await;
    servers.primary.freeze();
    for process in [&one, &other] {
        eventually(async || process.tier.get(b"8").await.ok()).await;
    }
    // Nobody tells the old one that it is not the primary any more.
    for sentinel in &mut servers.sentinels {
        sentinel.kill();
    }
    servers.primary.thaw();
    one.cache.insert(7, "soup".to_owned());
    other.is_given(7, "soup").await;
    one.hears().await;
    one.cache.forget(&7).await.unwrap();
    other.eventually_without(7).await;
    assert_eq!(other.load(7, &Source::default()).await, "load 1");
}
