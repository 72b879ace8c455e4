//! Who holds a lock, for how long, and with which number.

mod crowd;
mod edges;
mod script;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use redis::{AsyncCommands as _, aio::MultiplexedConnection};
use resilience_core::{Clock, Error, Measured as _, Reason};
use resilience_redis::{
    RedisStore, StoreError,
    lock::{self, Fence, Guard, Locks, Loss, NotReleased, Policy},
};
use tokio::time::{sleep, timeout};

use crate::support::{PATIENCE, Proxy, RedisServer, eventually, patient, script};

const SHORT: Duration = Duration::from_millis(100);
/// Renewed every half second: a loaded machine has a whole one to be late.
const RENEWED: Duration = Duration::from_millis(1500);
const MINUTE: Duration = Duration::from_secs(60);
const LOCK: &str = "res:lock:{test:key}";
const FENCE: &str = "res:lock:{test:key}:fence";
const ACQUIRE: &str = script!("lock_acquire");

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
async fn a_server_that_forgot_a_lock_gives_it_away_and_its_holder_hears_with_the_next_renewal() {
    let server = RedisServer::start().await;
    let locks = server.locks(RENEWED).await;
    let held = take(&locks).await;
    let () = redis::cmd("FLUSHALL")
        .query_async(&mut server.raw().await)
        .await
        .expect("flushed");
    let other = take(&locks).await;
    assert!(other.fence() > held.fence());
    // Not `Expired`, as at the end of its time.
    assert_eq!(held.lost().await, Loss::Taken);
    assert_eq!(other.loss(), None);
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

#[tokio::test]
async fn an_attempt_whose_caller_went_away_holds_nobody_up() {
    let server = RedisServer::start().await;
    let locks = server.locks(MINUTE).await;
    let mut raw = server.raw().await;
    // Once for the server to know the scripts.
    take(&locks).await.release().await.expect("still ours");
    let before: u64 = raw.get(FENCE).await.expect("a fence");
    server.freeze();
    let leaving = timeout(SHORT, locks.try_lock("key")).await;
    assert!(leaving.is_err(), "nobody answers");
    server.thaw();
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
async fn nobody_waits_for_what_waiting_does_not_heal() {
    let server = RedisServer::start().await;
    let locks = server.locks(MINUTE).await;
    let mut raw = server.raw().await;
    let () = raw.rpush(LOCK, "a list").await.expect("pushed");
    let waiting = timeout(PATIENCE, locks.lock("key", 2 * PATIENCE)).await;
    let error = waiting.expect("told at once").expect_err("no lock");
    assert_eq!(error.into_inner(), Some(StoreError::ForeignValue));
}

/// The server counts from when it runs the request, of which nobody knows but that it was sent before.
#[tokio::test]
async fn a_lock_is_surely_held_from_when_it_was_asked_for() {
    const TTL: Duration = Duration::from_secs(10);
    const DELAY: Duration = Duration::from_millis(300);
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let store = RedisStore::connect(&proxy.url(), patient()).await;
    let locks = locks(&store.expect("a store"), TTL);
    proxy.delay_replies(DELAY);
    let guard = take(&locks).await;
    let left = guard.valid_until().saturating_since(Clock::system().now());
    assert!(left <= TTL - DELAY, "{left:?}");
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

#[tokio::test]
async fn what_became_of_calls_and_locks_is_counted() {
    let server = RedisServer::start().await;
    let (one, other) = (server.locks(RENEWED).await, server.locks(MINUTE).await);
    assert_eq!(one.snapshot(), lock::Snapshot::default());
    let guard = take(&other).await;
    reason(&one).await;
    let waits = timeout(SHORT, one.lock("key", MINUTE));
    assert!(waits.await.is_err(), "its caller goes away");
    assert_eq!(other.snapshot().holding, 1);
    guard.release().await.expect("still ours");
    assert_eq!(other.snapshot().holding, 0);

    let guard = take(&one).await;
    let () = server.raw().await.set(LOCK, "another").await.expect("set");
    assert_eq!(guard.lost().await, Loss::Taken);
    server.raw().await.del::<_, ()>(LOCK).await.expect("gone");
    let guard = take(&one).await;
    server.freeze();
    assert_eq!(guard.lost().await, Loss::Expired);
    let hasty = patient().decision_timeout(SHORT);
    server.thaw();
    let hasty = locks(
        &RedisStore::connect(&server.url(), hasty).await.expect("up"),
        MINUTE,
    );
    server.freeze();
    assert!(matches!(hasty.try_lock("key").await, Err(Error::Inner(_))));
    server.thaw();
    assert_eq!(hasty.snapshot().failed, 1);

    // The task that keeps a lock tells of the loss, and then counts it.
    eventually(async || (one.snapshot().expired == 1).then_some(())).await;
    let figures = one.snapshot();
    assert_eq!((figures.taken, figures.held, figures.canceled), (2, 1, 1));
    assert_eq!((figures.usurped, figures.holding), (1, 0));
    let mut samples = Vec::new();
    one.measure(&mut |sample| {
        assert!(one.instruments().contains(&sample.instrument));
        samples.push((sample.label, sample.value));
    });
    assert_eq!(one.policy(), "test");
    assert_eq!(samples.len(), 7);
    assert!(samples.contains(&(Some("taken"), 2)));
}
