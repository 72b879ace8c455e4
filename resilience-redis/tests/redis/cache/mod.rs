//! Caches of several processes over one Redis.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod cluster;
mod edges;
mod invalidation;
mod leases;
mod loads;
mod outages;
mod script;
mod sentinel;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use resilience_core::{
    Cache, Environment,
    cache::{EarlyRefresh, Loaded, Policy, TierPolicy},
};
use resilience_redis::{RedisStore, RedisTier, Settings, cache::Text};
use tokio::{sync::Notify, time::sleep};

use crate::support::{PATIENCE, RedisServer, eventually, patient};

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
        let keys = keys(server, "res:cache:*").await;
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
    assert_eq!(keys(&server, "*").await, ["res:cache:{dishes:7}"]);
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
    let short = Loaded::new("soup".to_owned()).ttl(Duration::from_secs(2));
    one.cache.insert(7, short);
    stored(&server).await;
    assert_eq!(other.load(7, &Source::default()).await, "soup");
    eventually(async || keys(&server, "*").await.is_empty().then_some(())).await;
    assert_eq!(other.cache.get(&7), None);
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
