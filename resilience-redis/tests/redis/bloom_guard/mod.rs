//! The filter that a fleet shares: no key that exists is ever taken for absent, whatever happens.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod faults;
mod fleet;
mod losses;
mod script;

use std::time::Duration;

use resilience_core::{Clock, Environment, ManualClock, Timestamp};
use resilience_redis::{
    RedisStore, Settings,
    bloom_guard::{BloomGuard, Policy, Presence, RebuildError, Standing},
};
use tokio::time::{sleep, timeout};

use crate::support::{PATIENCE, RedisServer, eventually, patient};

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
async fn a_generation_takes_a_quarter_of_a_second_and_is_wanted_until_then() {
    let server = RedisServer::start().await;
    let one = process(&server.url(), patient()).await;
    one.rebuild_is_wanted().await.unwrap();
    let begun = now();
    one.rebuild_from(|| 0..1000).await.unwrap();
    assert!(now().saturating_since(begun) >= Duration::from_millis(250));
    let wanted = timeout(Duration::ZERO, one.rebuild_is_wanted()).await;
    assert!(wanted.is_err(), "{wanted:?}");
    // So many that all would pass one day.
    one.insert_all(1000..30_000).await.unwrap();
    let wanted = timeout(PATIENCE, one.rebuild_is_wanted()).await;
    assert_eq!(wanted, Ok(Ok(())));
}

#[tokio::test]
async fn who_builds_gives_signs_of_life_and_keeps_the_others_away() {
    let server = RedisServer::start().await;
    let one = process(&server.url(), patient()).await;
    let other = process(&server.url(), patient()).await;
    let rebuild = one.rebuild().await.unwrap();
    let seen = async || server.ask::<u64>("HGET res:filter:{dishes} seen").await;
    let first = seen().await;
    eventually(async || (seen().await > first).then_some(())).await;
    let second = other.rebuild().await;
    assert_eq!(second.unwrap_err(), RebuildError::UnderWay);
    rebuild.finish().await.unwrap();
}

#[tokio::test]
async fn a_filter_that_somebody_asks_for_is_given_another_life() {
    let server = RedisServer::start().await;
    let clock = ManualClock::new();
    let environment = Environment::new().clock(clock.clone());
    let store = server.store().await;
    let one = store.bloom_guard_in::<u64>(policy(), &environment).unwrap();
    one.rebuild_from(|| 0..1000).await.unwrap();
    let names: Vec<String> = server.ask("KEYS res:filter_bits:*").await;
    let [name] = &names[..] else {
        panic!("{names:?}");
    };
    for _ in 0..2 {
        server.tell(&format!("PEXPIRE {name} 600000")).await;
        clock.advance(Duration::from_secs(3600));
        eventually(async || {
            let left: u64 = server.ask(&format!("PTTL {name}")).await;
            (left > 23 * 3_600_000).then_some(())
        })
        .await;
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
    let names: Vec<String> = server.ask("KEYS res:filter_bits:*").await;
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
        let names: Vec<String> = server.ask("KEYS res:filter_bits:*").await;
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
        let names: Vec<String> = server.ask("KEYS res:filter_bits:*").await;
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

fn now() -> Timestamp {
    Clock::system().now()
}

const UNKNOWN: u64 = u64::MAX;
/// After which an insert is seen everywhere.
const BOUND: Duration = Duration::from_millis(200);
