//! Who holds a lock, for how long, and with which number.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::{AsyncCommands as _, aio::MultiplexedConnection};
use resilience_core::{Clock, Error, Reason};
use resilience_redis::{
    RedisStore, StoreError,
    lock::{Fence, Guard, Locks, Loss, NotReleased, Policy},
};
use tokio::{task::JoinSet, time::sleep};

use crate::support::{PATIENCE, RedisServer, eventually, patient};

const SHORT: Duration = Duration::from_millis(100);
/// Renewed every half second: a loaded machine has a whole one to be late.
const RENEWED: Duration = Duration::from_millis(1500);
const MINUTE: Duration = Duration::from_secs(60);
const LOCK: &str = "resilience:lock:{test:key}";
const FENCE: &str = "resilience:lock:{test:key}:fence";
const ACQUIRE: &str = include_str!("../../src/lua/lock_acquire.lua");

impl RedisServer {
    async fn locks(&self, ttl: Duration) -> Locks {
        locks(&self.store().await, ttl)
    }
}

fn locks(store: &RedisStore, ttl: Duration) -> Locks {
    let policy = Policy::new("test").ttl(ttl);
    store.locks(&policy).expect("a valid policy")
}

async fn reason(locks: &Locks) -> Reason {
    match locks.try_lock("key").await {
        Err(Error::Rejected(rejected)) => rejected.reason(),
        other => panic!("not refused: {other:?}"),
    }
}

async fn take(locks: &Locks) -> Guard {
    locks.try_lock("key").await.expect("the lock is free")
}

async fn is_free(raw: &mut MultiplexedConnection) -> bool {
    !raw.exists::<_, bool>(LOCK).await.expect("an answer")
}

#[tokio::test]
async fn one_at_a_time_has_it_and_the_next_one_has_a_larger_number() {
    let server = RedisServer::start().await;
    let (one, other) = (server.locks(MINUTE).await, server.locks(MINUTE).await);
    let first = take(&one).await;
    assert_eq!(reason(&other).await, Reason::ConcurrencyLimited);
    assert_eq!(first.loss(), None);
    let fence = first.fence();
    assert_eq!(first.run(async { 7 }).await, Ok(7));
    first.release().await.expect("still ours");
    let second = take(&other).await;
    assert!(second.fence() > fence);
    // Another key is another lock.
    let another = one.try_lock("another").await.expect("free");
    assert_eq!(another.loss(), None);
}

#[tokio::test]
async fn a_dropped_guard_gives_the_lock_back() {
    let server = RedisServer::start().await;
    let mut raw = server.raw().await;
    drop(take(&server.locks(MINUTE).await).await);
    eventually(async || is_free(&mut raw).await.then_some(())).await;
}

#[tokio::test]
async fn a_lock_is_renewed_while_its_guard_lives() {
    let server = RedisServer::start().await;
    let mut raw = server.raw().await;
    let guard = take(&server.locks(RENEWED).await).await;
    let first = guard.valid_until();
    eventually(async || {
        let later = guard.valid_until().saturating_since(first) > RENEWED;
        assert_eq!(guard.loss(), None);
        assert!(!is_free(&mut raw).await);
        later.then_some(())
    })
    .await;
    guard.release().await.expect("still ours");
}

#[tokio::test]
async fn whoever_lost_it_to_another_hears_so_and_leaves_it_alone() {
    let server = RedisServer::start().await;
    let mut raw = server.raw().await;
    let guard = take(&server.locks(RENEWED).await).await;
    let () = raw.set(LOCK, "another").await.expect("set");
    assert_eq!(guard.lost().await, Loss::Taken);
    assert_eq!(
        guard.run(std::future::pending::<()>()).await,
        Err(Loss::Taken)
    );
    assert_eq!(guard.release().await, Err(NotReleased::NotOwner));
    let owner: String = raw.get(LOCK).await.expect("untouched");
    assert_eq!(owner, "another");
}

#[tokio::test]
async fn a_server_without_answers_ends_the_work_before_another_can_begin() {
    let server = RedisServer::start().await;
    let settings = patient().decision_timeout(Duration::from_millis(20));
    let store = RedisStore::connect(&server.url(), settings).await;
    let locks = locks(&store.expect("a store"), SHORT * 5);
    let guard = eventually(async || locks.try_lock("key").await.ok()).await;
    server.freeze();
    let loss = guard.run(std::future::pending::<()>()).await;
    assert_eq!(loss, Err(Loss::Expired));
    let released = guard.release().await;
    assert!(
        matches!(released, Err(NotReleased::Store(_))),
        "{released:?}"
    );
    server.thaw();
    let next = locks.lock("key", PATIENCE).await;
    assert_eq!(next.expect("it has ended").loss(), None);
}

#[tokio::test]
async fn a_process_that_stood_still_takes_no_further_step() {
    let server = RedisServer::start().await;
    let guard = take(&server.locks(SHORT).await).await;
    let mut raw = redis::Client::open(server.open_url())
        .expect("a valid URL")
        .get_connection()
        .expect("the server is up");
    let steps = AtomicUsize::new(0);
    let work = async {
        loop {
            steps.fetch_add(1, Ordering::Relaxed);
            // The one thread of this runtime stands still until another could have the lock.
            while redis::cmd("EXISTS").arg(LOCK).query(&mut raw) == Ok(true) {}
            tokio::task::yield_now().await;
        }
    };
    let stopped: Result<(), Loss> = guard.run(work).await;
    assert_eq!(stopped, Err(Loss::Expired));
    assert!(steps.load(Ordering::Relaxed) <= 1);
}

#[tokio::test]
async fn an_answer_that_was_lost_holds_nobody_up() {
    let server = RedisServer::start().await;
    let settings = patient().decision_timeout(Duration::from_millis(50));
    let store = RedisStore::connect(&server.url(), settings).await;
    let locks = locks(&store.expect("a store"), MINUTE);
    let mut raw = server.raw().await;
    // Once for the server to know the scripts: of one that it does not know it does nothing.
    eventually(async || locks.try_lock("key").await.ok()?.release().await.ok()).await;
    let before: u64 = raw.get(FENCE).await.expect("a fence");
    server.freeze();
    let error = locks.try_lock("key").await.expect_err("no answer");
    assert_eq!(
        error.into_inner(),
        Some(StoreError::Timeout(Duration::from_millis(50)))
    );
    server.thaw();
    // The server does what it was asked, and nobody hears of it.
    eventually(async || {
        let fence: u64 = raw.get(FENCE).await.ok()?;
        (fence > before).then_some(())
    })
    .await;
    eventually(async || is_free(&mut raw).await.then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_takes_what_an_unheard_answer_gave() {
    let server = RedisServer::start().await;
    let settings = patient().decision_timeout(Duration::from_millis(50));
    let store = RedisStore::connect(&server.url(), settings).await;
    let locks = locks(&store.expect("a store"), MINUTE);
    server.freeze();
    let waiting = tokio::spawn(async move { locks.lock("key", PATIENCE).await });
    // So that some questions go unanswered.
    sleep(SHORT * 2).await;
    server.thaw();
    let guard = waiting.await.expect("no panic").expect("the same owner");
    assert_eq!(guard.loss(), None);
}

#[tokio::test]
async fn a_wait_has_an_end() {
    let server = RedisServer::start().await;
    let locks = server.locks(MINUTE).await;
    let held = take(&locks).await;
    match locks.lock("key", SHORT).await {
        Err(Error::Rejected(no)) => assert_eq!(no.reason(), Reason::QueueTimeout),
        other => panic!("not refused: {other:?}"),
    }
    let waiting = locks.lock("key", PATIENCE);
    let giving = async {
        held.release().await.expect("ours");
    };
    let (next, ()) = tokio::join!(waiting, giving);
    assert_eq!(next.expect("it was given back").loss(), None);
}

#[tokio::test]
async fn the_fence_never_goes_back() {
    let mut server = RedisServer::start().await;
    let locks = server.locks(MINUTE).await;
    let mut fences = Vec::new();
    let next = async |fences: &mut Vec<Fence>| {
        let guard = eventually(async || locks.try_lock("key").await.ok()).await;
        fences.push(guard.fence());
        let _ = guard.release().await;
    };
    next(&mut fences).await;
    let () = redis::cmd("FLUSHALL")
        .query_async(&mut server.raw().await)
        .await
        .expect("flushed");
    next(&mut fences).await;
    server.kill();
    server.start_again().await;
    next(&mut fences).await;
    // As after a clock that was set back, or on a server whose clock is behind.
    let ahead = fences[2].as_u64() + 1_000_000_000;
    let mut raw = server.raw().await;
    let () = raw.set(FENCE, ahead).await.expect("set");
    next(&mut fences).await;
    assert_eq!(fences[3].as_u64(), ahead + 1);
    next(&mut fences).await;
    assert!(fences.is_sorted_by(|one, next| one < next), "{fences:?}");
    // What the resource has seen counts as well.
    let seen = Fence::from_u64(ahead + 1_000_000_000).expect("below 2^53");
    let above = locks.try_lock_above("key", seen).await.expect("free");
    assert!(above.fence() > seen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_want_it_have_it_one_after_the_other() {
    let server = RedisServer::start().await;
    let inside = Arc::new(AtomicUsize::new(0));
    let last = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..8 {
        let locks = server.locks(MINUTE).await;
        let (inside, last) = (inside.clone(), last.clone());
        workers.spawn(async move {
            for _ in 0..10 {
                let guard = locks.lock("key", MINUTE).await.expect("in time");
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                let fence = guard.fence().as_u64();
                assert!(last.swap(fence, Ordering::SeqCst) < fence);
                tokio::task::yield_now().await;
                assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                guard.release().await.expect("still ours");
            }
        });
    }
    workers.join_all().await;
}

/// Linearizability of what a resource relies on: whoever took the lock later has a larger number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_follow_the_order_of_holders_whatever_happens_to_the_server() {
    let mut server = RedisServer::start().await;
    let clock = Clock::system();
    let mut workers = JoinSet::new();
    for _ in 0..4 {
        let settings = patient().decision_timeout(Duration::from_millis(100));
        let store = RedisStore::connect(&server.url(), settings).await;
        let locks = locks(&store.expect("a store"), SHORT);
        let clock = clock.clone();
        workers.spawn(async move {
            let mut taken = Vec::new();
            while taken.len() < 25 {
                let asked = clock.now();
                if let Ok(guard) = locks.lock("key", SHORT).await {
                    taken.push((asked, clock.now(), guard.fence()));
                    if taken.len() % 3 > 0 {
                        let _ = guard.release().await;
                    }
                }
            }
            taken
        });
    }
    let mut raw = server.raw().await;
    for round in 0..3 {
        eventually(async || raw.exists::<_, bool>(FENCE).await.ok()?.then_some(())).await;
        match round {
            0 => {
                let () = redis::cmd("FLUSHALL")
                    .query_async(&mut raw)
                    .await
                    .expect("ok");
            }
            1 => {
                server.freeze();
                // Longer than the lock lives.
                sleep(SHORT * 2).await;
                server.thaw();
            }
            _ => {
                server.kill();
                server.start_again().await;
            }
        }
    }
    let mut taken = workers.join_all().await.concat();
    assert_eq!(taken.len(), 100);
    taken.sort_unstable_by_key(|(.., fence)| *fence);
    for (index, (_, heard, fence)) in taken.iter().enumerate() {
        let smaller = &taken[..index];
        assert!(
            smaller.iter().all(|(.., other)| other != fence),
            "given twice"
        );
        let later = smaller.iter().find(|(asked, ..)| asked > heard);
        assert_eq!(later, None, "asked after {fence} was given");
    }
}

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
    let url = server
        .user("+eval +evalsha +get +pexpire +pttl +set +time +unlink")
        .await;
    let store = RedisStore::connect(&url, patient()).await.expect("allowed");
    let locks = locks(&store, RENEWED);
    let guard = take(&locks).await;
    assert_eq!(reason(&locks).await, Reason::ConcurrencyLimited);
    let first = guard.valid_until();
    eventually(async || (guard.valid_until() > first).then_some(())).await;
    guard.release().await.expect("allowed");
}
