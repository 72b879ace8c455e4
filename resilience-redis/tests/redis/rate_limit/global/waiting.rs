//! Calls that wait for room for their key and among all keys.

use std::{
    future::Future as _,
    task::{Context, Waker},
    time::Duration,
};

use resilience_core::{Clock, Reason};
use resilience_redis::{
    RedisStore,
    rate_limit::{Algorithm, Decision, Policy, Quota, RateLimiter, Source},
};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use super::{super::alike::why, HOUR, MINUTE, SHORT, books::Books, of_all};
use crate::support::{PATIENCE, Proxy, RedisServer, eventually, patient};

/// Somebody who waits for one unit of `key`, as the limiter says of so many by now.
async fn waiter(limiter: &RateLimiter, key: &'static str, waiting: u64) -> JoinHandle<Decision> {
    let call = limiter.clone();
    let waiter = tokio::spawn(async move { call.decide_or_wait(key, 1).await });
    eventually(async || (limiter.snapshot().waiting == waiting).then_some(())).await;
    waiter
}

async fn decided(waiter: JoinHandle<Decision>) -> Decision {
    let decision = timeout(PATIENCE, waiter).await.expect("it never ended");
    decision.expect("no panics")
}

#[tokio::test]
async fn who_waited_for_room_for_his_key_is_refused_where_all_keys_have_none_in_time() {
    let server = RedisServer::start().await;
    let quota = Quota::new(1, Duration::from_millis(200));
    let policy = Policy::new("test", quota).max_wait(MINUTE);
    let policy = policy.global(Quota::new(3, HOUR).named("all"));
    let limiter = server.store().await.rate_limiter(&policy);
    let limiter = limiter.expect("a valid policy");
    let start = limiter.decide("key", 0).await.time.expect("asked");
    for waits in 0..3 {
        let decision = limiter.decide_or_wait("key", 1).await;
        assert_eq!((decision.source, decision.error), (Source::Redis, None));
        decision.outcome.expect("room in the end");
        // Of when the key gave its unit it is known that it was before this.
        let time = decision.time.expect("the server decided");
        assert!(time >= start + waits * Duration::from_millis(200));
    }
    let rejected = limiter.take("key").await.expect_err("used up");
    assert_eq!(why(&rejected), (Reason::RateLimited, "all"));
    assert!(rejected.retry_after() > Some(MINUTE));
}

/// A limit of three among all keys, which alice has, and hours to wait for more.
async fn used_up_among_all() -> (RedisServer, RateLimiter, Books) {
    let server = RedisServer::start().await;
    let policy = of_all(3).max_wait(4 * HOUR);
    let limiter = server.store().await.rate_limiter(&policy);
    let limiter = limiter.expect("a valid policy");
    let books = Books::open(&server.url(), 3).await;
    limiter.try_take_n("alice", 3).await.expect("room");
    (server, limiter, books)
}

#[tokio::test]
async fn who_waits_for_room_among_all_keys_holds_nothing_meanwhile() {
    let (_server, limiter, books) = used_up_among_all().await;
    let bob = waiter(&limiter, "bob", 1).await;
    books.show("bob", 0, 0).await;
    let carol = waiter(&limiter, "carol", 2).await;
    // Who goes away holds up nobody.
    bob.abort();
    limiter.refund("alice", 1).await.expect("redis is up");
    let decision = decided(carol).await;
    assert_eq!(
        (decision.source, decision.outcome.is_ok()),
        (Source::Redis, true)
    );
    books.show("bob", 0, 0).await;
    books.show("carol", 1, 0).await;

    // While he waits others take all that his key has.
    let bob = waiter(&limiter, "bob", 1).await;
    books.keys.try_take_n("bob", 10).await.expect("room");
    limiter.refund("alice", 1).await.expect("redis is up");
    books.show("bob", 10, 1).await;
    assert_eq!(limiter.snapshot().waiting, 1);
    books.keys.refund("bob", 10).await.expect("redis is up");
    decided(bob).await.outcome.expect("room for both");
    books.show("bob", 1, 0).await;
    assert_eq!(limiter.snapshot().waiting, 0);
}

#[tokio::test]
async fn no_key_fills_the_line_of_those_who_wait_for_room_among_all() {
    let server = RedisServer::start().await;
    let policy = Policy::new("test", Quota::new(2, HOUR)).max_wait(10 * MINUTE);
    let policy = policy.global(Quota::new(4, MINUTE).named("all"));
    let limiter = server.store().await.rate_limiter(&policy);
    let limiter = limiter.expect("a valid policy");
    for user in ["alice", "bob"] {
        limiter.try_take_n(user, 2).await.expect("room");
    }
    // No more of one key than it has room for in time.
    let carol = [
        waiter(&limiter, "carol", 1).await,
        waiter(&limiter, "carol", 2).await,
    ];
    for _ in 0..3 {
        let rejected = limiter.take("carol").await.expect_err("no room for her");
        assert_eq!(why(&rejected), (Reason::RateLimited, "all"));
    }
    let dave = waiter(&limiter, "dave", 3).await;
    // Whoever came first is served first.
    for (waiter, waiting) in carol.into_iter().chain([dave]).zip([2, 1, 0]) {
        let user = if waiting == 2 { "alice" } else { "bob" };
        limiter.refund(user, 1).await.expect("redis is up");
        decided(waiter).await.outcome.expect("room");
        assert_eq!(limiter.snapshot().waiting, waiting);
    }
}

#[tokio::test]
async fn of_one_key_as_many_wait_as_come_back_to_it_in_time() {
    let server = RedisServer::start().await;
    let quota = Quota::new(10, MINUTE).algorithm(Algorithm::Gcra).burst(1);
    let policy = Policy::new("test", quota).max_wait(Duration::from_secs(33));
    let policy = policy.global(Quota::new(8, MINUTE / 4).named("all"));
    let limiter = server.store().await.rate_limiter(&policy);
    let limiter = limiter.expect("a valid policy");
    for user in 0..8_u64 {
        limiter.try_take(&user).await.expect("room");
    }
    // One at once, and one more every six seconds; some of his time a caller waits for his key.
    for waiting in 1..=6 {
        waiter(&limiter, "carol", waiting).await;
    }
    let rejected = limiter.take("carol").await.expect_err("no room for her");
    assert_eq!(why(&rejected), (Reason::RateLimited, "all"));
}

#[tokio::test]
async fn who_is_long_in_line_among_all_keys_holds_nothing_meanwhile() {
    // Long beside what a busy machine takes for a question.
    const DEADLINE: Duration = Duration::from_millis(500);
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let settings = patient().decision_timeout(DEADLINE);
    let store = RedisStore::connect(&proxy.url(), settings).await;
    let all = Quota::new(10_000, HOUR).algorithm(Algorithm::Gcra);
    let policy = Policy::new("test", Quota::new(10_000, HOUR)).max_wait(MINUTE);
    let limiter = store.expect("a server").rate_limiter(&policy.global(all));
    let limiter = limiter.expect("a valid policy");
    let books = Books::open(&server.url(), 1).await;
    limiter.take("crowd").await.expect("room for both");
    proxy.delay_replies(DEADLINE / 10);
    let mut crowd = JoinSet::new();
    // The key is asked for all of them at once, and all keys for some tens at a time.
    for call in 0..1500 {
        let limiter = limiter.clone();
        crowd.spawn(async move { limiter.take_n("crowd", 1 + call % 2).await });
    }
    let call = limiter.clone();
    let last = tokio::spawn(async move { call.decide_or_wait("last", 1).await });
    for taken in [1, 0, 1] {
        eventually(async || (books.of_key("last").await == taken).then_some(())).await;
    }
    let decision = decided(last).await;
    assert_eq!((decision.source, decision.error), (Source::Redis, None));
    decision.outcome.expect("room for both");
    for outcome in crowd.join_all().await {
        outcome.expect("room for both");
    }
    assert_eq!(limiter.snapshot().waiting, 0);
}

#[tokio::test]
async fn processes_that_compete_for_both_serve_all_who_wait() {
    const CALLS: u64 = 60;
    let server = RedisServer::start().await;
    let policy = Policy::new("test", Quota::new(3, SHORT)).max_wait(MINUTE);
    let policy = policy.global(Quota::new(5, SHORT).named("all"));
    let mut fleet = Vec::new();
    for _ in 0..2 {
        let limiter = server.store().await.rate_limiter(&policy);
        fleet.push(limiter.expect("a valid policy"));
    }
    let (clock, mut calls) = (Clock::system(), JoinSet::new());
    let start = clock.now();
    for call in 0..CALLS {
        let limiter = fleet[usize::from(call % 2 == 0)].clone();
        calls.spawn(async move { limiter.decide_or_wait(&(call % 5), 1).await });
    }
    for decision in calls.join_all().await {
        assert_eq!((decision.source, decision.error), (Source::Redis, None));
        decision.outcome.expect("room in the end");
    }
    // Five at a time.
    let waited = clock.now().saturating_since(start);
    assert!(waited >= 11 * SHORT, "{waited:?}");
    for limiter in fleet {
        let snapshot = limiter.snapshot();
        assert_eq!((snapshot.admitted.redis, snapshot.waiting), (30, 0));
    }
}

#[tokio::test]
async fn whoever_goes_away_at_any_point_of_waiting_takes_nothing_of_either() {
    let (_server, limiter, books) = used_up_among_all().await;
    for polls in 0..200 {
        let mut context = Context::from_waker(Waker::noop());
        let mut call = Box::pin(limiter.take_n("key", 3));
        for poll in 0..polls % 40 {
            let answer = call.as_mut().poll(&mut context);
            assert!(answer.is_pending(), "{answer:?}");
            // What he waits for comes, and is gone again.
            match poll {
                30 => limiter.refund("alice", 3).await.expect("redis is up"),
                _ => tokio::task::yield_now().await,
            }
            if poll >= 30 {
                break;
            }
        }
        drop(call);
        if polls % 40 > 30 {
            books.show("key", 0, 3).await;
            limiter.try_take_n("alice", 3).await.expect("room");
        }
        books.show("key", 0, 0).await;
    }
    assert_eq!(limiter.snapshot().waiting, 0);
}
