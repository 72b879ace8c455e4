//! A quota that all keys share.

mod alike;
mod books;
mod cluster;
mod outages;
mod waiting;

use std::{future::Future as _, pin::pin, task::Context, time::Duration};

use resilience_core::{Reason, Results};
use resilience_redis::rate_limit::{Algorithm, Options, Policy, Quota, RateLimiter, Source};
use tokio::task::JoinSet;
use tower::{BoxError, Layer as _, ServiceExt as _, service_fn};

use self::books::Books;
use super::alike::{Ask as _, sum, used_up, why};
use crate::support::{RedisServer, eventually};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(200);

/// Ten an hour for each key, and so many for all of them.
fn of_all(limit: u64) -> Policy {
    let all = Quota::new(limit, HOUR).named("all");
    Policy::new("test", Quota::new(10, HOUR)).global(all)
}

#[tokio::test]
async fn quotas_of_all_keys_that_cannot_work_are_refused() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let own = Quota::new(9, MINUTE);
    for (quota, percent, field) in [
        (Quota::new(0, MINUTE), 0, "limit"),
        (Quota::new(9, Duration::from_millis(1)), 0, "per"),
        (own.algorithm(Algorithm::Gcra), 10, "lease_up_to"),
    ] {
        let options = Options::new().lease_up_to(percent);
        let limiter = store.rate_limiter_with(&Policy::new("edge", own).global(quota), &options);
        assert_eq!(limiter.expect_err("invalid").field(), field);
    }
    // It counts apart from the keys, so that it may have their window.
    let both = Policy::new("edge", own).global(own);
    store.rate_limiter(&both).expect("a valid policy");
}

#[tokio::test]
async fn whatever_processes_ask_together_neither_limit_is_passed_and_no_unit_is_lost() {
    const KEYS: usize = 20;
    for percent in [0, 40] {
        let server = RedisServer::start().await;
        let books = Books::open(&server.url(), 100).await;
        let (mut fleet, mut calls) = (Vec::new(), JoinSet::new());
        for _ in 0..3 {
            let options = Options::new().lease_up_to(percent);
            let limiter = server
                .store()
                .await
                .rate_limiter_with(&of_all(100), &options);
            fleet.push(limiter.expect("a valid policy"));
        }
        for call in 0..3 * KEYS * 12 {
            let limiter = fleet[call % 3].clone();
            calls.spawn(async move {
                let key = call % KEYS;
                // Some come when others are gone.
                for _ in 0..call / 100 {
                    tokio::task::yield_now().await;
                }
                let decision = limiter.decide(format!("{key}").as_str(), 1).await;
                assert_eq!(decision.error, None);
                (key, decision.outcome.is_ok())
            });
        }
        let mut granted = [0; KEYS];
        for (key, ok) in calls.join_all().await {
            granted[key] += u64::from(ok);
        }
        let total: u64 = granted.iter().sum();
        assert!(granted.iter().all(|units| *units <= 10), "{granted:?}");
        assert!(total <= 100 && total > 30, "{total}");
        if percent == 0 {
            assert_eq!(total, 100);
        }
        for limiter in &fleet {
            limiter.return_leases().await.expect("redis is up");
        }
        for (key, taken) in granted.into_iter().enumerate() {
            books.show(&key.to_string(), taken, 100 - total).await;
        }
        // Each call was counted once, whoever decided.
        let counts = fleet.iter().map(|limiter| {
            let snapshot = limiter.snapshot();
            (sum(snapshot.admitted), sum(snapshot.refused))
        });
        let counts = counts.fold((0, 0), |all, it| (all.0 + it.0, all.1 + it.1));
        assert_eq!(counts, (total, (3 * KEYS * 12) as u64 - total));
    }
}

#[tokio::test]
async fn where_all_is_known_to_be_used_up_no_key_is_asked() {
    let server = RedisServer::start().await;
    let limiter = server.store().await.rate_limiter(&of_all(3));
    let limiter = limiter.expect("a valid policy");
    let books = Books::open(&server.url(), 3).await;
    limiter.try_take_n("alice", 3).await.expect("room");
    let refused = limiter.decide("bob", 1).await;
    assert_eq!(refused.source, Source::Redis);
    assert!(refused.time.is_some());
    assert_eq!(
        why(&refused.outcome.expect_err("used up")),
        used_up::<()>("all").unwrap_err()
    );
    // From time to time somebody asks all the same.
    eventually(async || {
        let before = server.ask::<u64>("DBSIZE").await;
        let refused = limiter.decide("carol", 1).await;
        let rejected = refused.outcome.expect_err("used up");
        assert_eq!(why(&rejected), (Reason::RateLimited, "all"));
        assert!(rejected.retry_after() > Some(MINUTE));
        let is_known = refused.source == Source::DeniedLocally;
        (is_known && before == server.ask::<u64>("DBSIZE").await).then_some(())
    })
    .await;
    books.show("bob", 0, 0).await;
    books.show("carol", 0, 0).await;
    // Who takes nothing is not held back.
    let look = limiter.peek("dave").await.expect("a look");
    assert_eq!((look.limit, look.remaining), (3, 0));
}

#[tokio::test]
async fn an_operator_clears_one_key_or_all_of_them() {
    let server = RedisServer::start().await;
    let limiter = server.store().await.rate_limiter(&of_all(12));
    let limiter = limiter.expect("a valid policy");
    for user in ["alice", "bob"] {
        limiter.try_take_n(user, 6).await.expect("room");
    }
    let other = Policy::new("test-2", Quota::new(5, HOUR)).global(Quota::new(9, HOUR));
    let other = server.store().await.rate_limiter(&other);
    let other = other.expect("a valid policy");
    other.try_take_n("alice", 5).await.expect("room");
    limiter.clear("alice").await.expect("redis is up");
    let books = Books::open(&server.url(), 12).await;
    books.show("alice", 0, 0).await;
    // Those of bob and of all.
    assert_eq!(limiter.clear_all().await.expect("redis is up"), 2);
    limiter.try_take_n("carol", 10).await.expect("room");
    books.show("bob", 0, 2).await;
    assert_eq!(other.left("alice", 0).await, Ok(0));
}

#[tokio::test]
async fn whoever_takes_ahead_of_keys_and_of_all_needs_no_question() {
    let server = RedisServer::start().await;
    let all = Quota::new(2100, HOUR).named("all");
    let policy = Policy::new("test", Quota::new(2000, HOUR)).global(all);
    let ahead = Options::new().lease_up_to(50);
    let store = server.store().await;
    let limiter = store.rate_limiter_with(&policy, &ahead);
    let limiter = limiter.expect("a valid policy");
    let other = store.rate_limiter(&policy).expect("a valid policy");
    let service = limiter.layer_with(|_: &()| Some("alice"), Results);
    let service = service.layer(service_fn(async |()| Ok::<_, BoxError>(())));
    let mut leased = 0;
    for _ in 0..200 {
        let decision = limiter.decide("alice", 1).await;
        decision.outcome.expect("room");
        leased += u64::from(decision.source == Source::Lease);
        service.clone().oneshot(()).await.expect("room");
    }
    assert!(leased > 100, "{leased} of 200");
    let snapshot = limiter.snapshot();
    assert_eq!(sum(snapshot.admitted), 400);
    assert!(snapshot.admitted.lease > 200, "{snapshot:?}");
    limiter.return_leases().await.expect("redis is up");
    for (user, limit, remaining) in [("alice", 2000, 1600), ("bob", 2100, 1700)] {
        let standing = other.peek(user).await.expect("redis is up");
        assert_eq!((standing.limit, standing.remaining), (limit, remaining));
    }
}

/// Asks for three units and goes away after so many polls; says whether the answer came first.
async fn leaves_after(polls: usize, limiter: &RateLimiter) -> bool {
    let mut context = Context::from_waker(std::task::Waker::noop());
    let mut call = pin!(limiter.try_take_n("key", 3));
    for _ in 0..polls {
        if let std::task::Poll::Ready(outcome) = call.as_mut().poll(&mut context) {
            outcome.expect("room");
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

#[tokio::test]
async fn whoever_goes_away_at_any_point_takes_nothing_of_either() {
    let server = RedisServer::start().await;
    let limiter = server.store().await.rate_limiter(&of_all(20));
    let limiter = limiter.expect("a valid policy");
    let books = Books::open(&server.url(), 20).await;
    let mut answers = 0;
    for polls in 0..400 {
        if leaves_after(polls % 40, &limiter).await {
            limiter.refund("key", 3).await.expect("redis is up");
            answers += 1;
        }
        books.show("key", 0, 20).await;
    }
    assert!(answers < 400, "nobody went away");
}
