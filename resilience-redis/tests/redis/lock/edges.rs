//! Arguments, names and times at their edges.

use std::time::Duration;

use redis::AsyncCommands as _;
use resilience_core::Reason;
use resilience_redis::{
    RedisStore, StoreError,
    lock::{Fence, Loss, NotReleased, Policy},
};

use super::{ACQUIRE, FENCE, LOCK, MINUTE, RENEWED, SHORT, is_free, locks, reason, take};
use crate::support::{RedisServer, eventually, patient, permissions_for};

#[test]
fn a_guard_that_outlives_its_runtime_expires_without_a_panic() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let outer = runtime();
    let server = outer.block_on(RedisServer::start());
    let inner = runtime();
    let (kept, dropped) = inner.block_on(async {
        let locks = server.locks(SHORT).await;
        let other = locks.try_lock("another").await.expect("free");
        (take(&locks).await, other)
    });
    drop(inner);
    drop(dropped);
    outer.block_on(async {
        assert_eq!(kept.lost().await, Loss::Expired);
        let mut raw = server.raw().await;
        eventually(async || is_free(&mut raw).await.then_some(())).await;
        let released = kept.release().await;
        assert_eq!(released, Err(NotReleased::Store(StoreError::Unavailable)));
    });
}

#[tokio::test]
async fn what_was_set_by_hand_is_respected_and_what_is_no_lock_is_named() {
    let server = RedisServer::start().await;
    let locks = server.locks(MINUTE).await;
    let mut raw = server.raw().await;
    // Without an end: an operator's way to keep everybody out.
    let () = raw.set(LOCK, "operator").await.expect("set");
    assert_eq!(reason(&locks).await, Reason::ConcurrencyLimited);
    for (key, value) in [
        (LOCK, None),
        (FENCE, None),
        (FENCE, Some("0x10")),
        (FENCE, Some("-1")),
    ] {
        let () = raw.del(&[LOCK, FENCE]).await.expect("deleted");
        let () = match value {
            None => raw.rpush(key, "a list").await.expect("pushed"),
            Some(value) => raw.set(key, value).await.expect("set"),
        };
        let error = locks.try_lock("key").await.expect_err("no lock");
        assert_eq!(error.into_inner(), Some(StoreError::ForeignValue));
        assert!(key == LOCK || is_free(&mut raw).await, "nothing half done");
    }
}

#[tokio::test]
async fn the_script_bears_the_edges_of_its_arguments() {
    let server = RedisServer::start().await;
    let mut raw = server.raw().await;
    let long = format!("{{{}}}", "k".repeat(510));
    let fence = format!("{}f", &long[..511]);
    let mut acquire = async |owner: &str, ttl: u64, above: u64| {
        let mut call = redis::cmd("EVAL");
        call.arg(ACQUIRE).arg(2).arg(&long).arg(&fence);
        call.arg(owner).arg(ttl).arg(above);
        call.query_async::<(u64, u64)>(&mut raw).await
    };
    let owner = "o".repeat(64);
    let day = 86_400_000;
    let (first, _) = acquire(&owner, day, 0).await.expect("taken");
    let (again, _) = acquire(&owner, day, 0).await.expect("the same owner");
    assert!(again > first);
    let (held, left) = acquire("another", 1, 0).await.expect("held");
    assert!(held == 0 && (day - 60_000..=day).contains(&left), "{left}");
    let (largest, _) = acquire(&owner, 1, (1 << 53) - 2).await.expect("one left");
    assert_eq!(largest, (1 << 53) - 1);
    let error = acquire(&owner, 1, 0).await.expect_err("none left");
    assert_eq!(error.code(), Some("WRONGTYPE"));
    assert!(Fence::from_u64((1 << 53) - 2).is_ok());
    for number in [(1 << 53) - 1, 1 << 53, u64::MAX] {
        assert!(Fence::from_u64(number).is_err());
    }
}

#[tokio::test]
async fn keys_of_any_length_are_locks_of_their_own_and_all_of_them_expire() {
    let server = RedisServer::start().await;
    let locks = server.locks(MINUTE).await;
    let (empty, long) = (String::new(), "k".repeat(512));
    let mut held = Vec::new();
    for key in [&empty, &long, &format!("{long}k"), &"{}:".to_owned()] {
        held.push(locks.try_lock(key).await.expect("free"));
    }
    let mut raw = server.raw().await;
    let keys: Vec<String> = raw.keys("*").await.expect("keys");
    assert_eq!(keys.len(), 8);
    for key in keys {
        assert!(key.len() <= 512, "{key}");
        assert!(raw.pttl::<_, i64>(&key).await.expect("a life") > 0, "{key}");
    }
}

#[tokio::test]
async fn lives_that_cannot_work_are_named() {
    let store = RedisServer::start().await.store().await;
    for ttl in [Duration::ZERO, Duration::from_millis(1), Duration::MAX] {
        let invalid = store.locks(&Policy::new("test").ttl(ttl)).expect_err("no");
        assert_eq!(invalid.field(), "ttl");
    }
}

#[tokio::test]
async fn the_documented_permissions_are_enough() {
    let server = RedisServer::start().await;
    let url = server.user(&permissions_for("lock")).await;
    let store = RedisStore::connect(&url, patient()).await.expect("allowed");
    let locks = locks(&store, RENEWED);
    let guard = take(&locks).await;
    assert_eq!(reason(&locks).await, Reason::ConcurrencyLimited);
    let first = guard.valid_until();
    eventually(async || (guard.valid_until() > first).then_some(())).await;
    guard.release().await.expect("allowed");
}
