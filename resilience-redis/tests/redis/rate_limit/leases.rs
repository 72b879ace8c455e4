//! Units that a process takes ahead of its callers.

use std::time::Duration;

use resilience_redis::rate_limit::{
    Algorithm, Decision, Options, Policy, Quota, RateLimiter, Source,
};

use crate::support::{RedisServer, eventually};

const MINUTE: Duration = Duration::from_secs(60);
const LIMIT: u64 = 1000;
const CALLS: u64 = 100;

async fn limiter(server: &RedisServer, percent: u64) -> RateLimiter {
    let policy = Policy::new("test", Quota::new(LIMIT, MINUTE));
    let options = Options::new().lease_up_to(percent);
    let limiter = server.store().await.rate_limiter_with(&policy, &options);
    limiter.expect("a valid policy")
}

/// Makes so many calls, one after the other, and returns how many needed no question.
async fn call(limiter: &RateLimiter, calls: u64) -> u64 {
    let mut leased = 0;
    for _ in 0..calls {
        let Decision {
            outcome, source, ..
        } = limiter.decide("key", 1).await;
        outcome.expect("room");
        leased += u64::from(source == Source::Lease);
    }
    leased
}

/// Until `other` sees that so many are left.
async fn left(other: &RateLimiter, expected: u64) {
    eventually(async || {
        let left = other.peek("key").await.expect("redis is up").remaining;
        (left == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn calls_in_a_row_need_few_questions_and_what_they_do_not_use_goes_back() {
    let server = RedisServer::start().await;
    let (limiter, other) = (limiter(&server, 50).await, limiter(&server, 0).await);
    let leased = call(&limiter, CALLS).await;
    assert!(leased > CALLS / 2, "{leased} of {CALLS}");
    limiter.return_leases().await.expect("redis is up");
    left(&other, LIMIT - CALLS).await;
    let snapshot = limiter.snapshot();
    assert_eq!(
        (snapshot.leased - snapshot.returned, snapshot.lost),
        (leased, 0)
    );
    let admitted = snapshot.admitted;
    assert_eq!((admitted.lease, admitted.redis), (leased, CALLS - leased));
}

#[tokio::test]
async fn a_key_that_is_asked_for_once_takes_nothing_ahead() {
    let server = RedisServer::start().await;
    let limiter = limiter(&server, 50).await;
    for user in 0..50_u64 {
        let decision = limiter.decide(&user, 1).await;
        assert_eq!(decision.source, Source::Redis);
    }
    assert_eq!(limiter.snapshot().leased, 0);
}

#[tokio::test]
async fn what_a_step_leaves_goes_back_by_itself() {
    let server = RedisServer::start().await;
    let policy = Policy::new("test", Quota::new(LIMIT, Duration::from_secs(2)));
    let options = Options::new().lease_up_to(50);
    let limiter = server.store().await.rate_limiter_with(&policy, &options);
    let limiter = limiter.expect("a valid policy");
    eventually(async || {
        call(&limiter, 20).await;
        (limiter.snapshot().leased > 0).then_some(())
    })
    .await;
    // Somebody stops to call, and whatever is held is given back in time.
    eventually(async || {
        let snapshot = limiter.snapshot();
        let quota = limiter.peek("key").await.expect("redis is up");
        (snapshot.returned > 0 && quota.remaining == LIMIT).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_limiter_that_is_dropped_gives_back_what_it_holds() {
    let server = RedisServer::start().await;
    let (limiter, other) = (limiter(&server, 50).await, limiter(&server, 0).await);
    call(&limiter, CALLS).await;
    drop(limiter);
    left(&other, LIMIT - CALLS).await;
}

#[tokio::test]
async fn a_call_that_is_never_polled_takes_nothing_out_of_a_lease() {
    let server = RedisServer::start().await;
    let (limiter, other) = (limiter(&server, 50).await, limiter(&server, 0).await);
    let leased = call(&limiter, CALLS).await;
    for _ in 0..10 {
        drop(limiter.decide("key", 1));
    }
    limiter.return_leases().await.expect("redis is up");
    left(&other, LIMIT - CALLS).await;
    assert!(leased > 0);
}

#[tokio::test]
async fn units_that_are_cleared_are_used_no_more() {
    let server = RedisServer::start().await;
    let (limiter, other) = (limiter(&server, 50).await, limiter(&server, 0).await);
    call(&limiter, CALLS).await;
    limiter.clear("key").await.expect("redis is up");
    assert_eq!(limiter.decide("key", 1).await.source, Source::Redis);
    limiter.return_leases().await.expect("redis is up");
    left(&other, LIMIT - 1).await;
}

#[tokio::test]
async fn what_is_left_is_there_for_all_processes() {
    let server = RedisServer::start().await;
    let (one, other) = (limiter(&server, 100).await, limiter(&server, 100).await);
    eventually(async || (one.nodes() == 2 && other.nodes() == 2).then_some(())).await;
    let (mut taken, mut refused) = (0, 0);
    // One uses what it has taken ahead, so that the other hears of all that is left.
    while refused == 0 {
        taken += u64::from(one.decide("key", 1).await.outcome.is_ok());
        let decision = other.decide("key", 1).await;
        match decision.outcome {
            Ok(_) => taken += 1,
            Err(_) => refused += 1,
        }
    }
    one.return_leases().await.expect("redis is up");
    other.return_leases().await.expect("redis is up");
    assert!(
        taken > LIMIT * 9 / 10 && taken <= LIMIT,
        "{taken} of {LIMIT}"
    );
}

#[tokio::test]
async fn only_windows_have_steps_to_use_a_unit_in() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let options = |percent| Options::new().lease_up_to(percent);
    let window = Policy::new("test", Quota::new(LIMIT, MINUTE));
    let cells = Policy::new("test", Quota::new(9, MINUTE).algorithm(Algorithm::Gcra));
    for (policy, percent) in [(&window, 101), (&window, u64::MAX), (&cells, 10)] {
        let invalid = store.rate_limiter_with(policy, &options(percent));
        assert_eq!(invalid.expect_err("invalid").field(), "lease_up_to");
    }
    for (policy, percent) in [(&window, 100), (&cells, 0)] {
        let limiter = store.rate_limiter_with(policy, &options(percent));
        limiter.expect("an edge that works");
    }
}
