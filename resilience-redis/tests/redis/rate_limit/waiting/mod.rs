//! Callers who wait for their units.

mod failover;
mod outages;
mod tiers;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use resilience_core::{Measured as _, Reason, Rejected};
use resilience_redis::rate_limit::{
    Algorithm, Decision, Mode, Options, Policy, Quota, RateLimiter,
};
use tokio::{
    task::{JoinHandle, JoinSet, yield_now},
    time::timeout,
};

use crate::support::{PATIENCE, RedisServer, eventually};

const MINUTE: Duration = Duration::from_secs(60);
/// Long beside what a busy machine may stand still.
const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(200);
const ALL: [Algorithm; 3] = [
    Algorithm::SlidingWindow,
    Algorithm::SlidingLog,
    Algorithm::Gcra,
];

fn policy(algorithm: Algorithm, limit: u64, per: Duration) -> Policy {
    let quota = Quota::new(limit, per).algorithm(algorithm);
    Policy::new("test", quota).max_wait(MINUTE)
}

async fn limiter(server: &RedisServer, policy: &Policy) -> RateLimiter {
    let store = server.store().await;
    store.rate_limiter(policy).expect("a valid policy")
}

/// Somebody who waits for `cost` units, and stands in line when this is over.
async fn waiter(limiter: &RateLimiter, cost: u64) -> JoinHandle<Decision> {
    let limiter = limiter.clone();
    let waiter = tokio::spawn(async move { limiter.decide_or_wait("key", cost).await });
    yield_now().await;
    waiter
}

/// Until somebody waits for `key`, and comes before whoever tries.
async fn stands_in_line(limiter: &RateLimiter) {
    eventually(async || {
        let rejected = limiter.try_take("key").await.expect_err("used up");
        (retry_after(&rejected) > MINUTE * 3 / 2).then_some(())
    })
    .await;
}

async fn decision(waiter: JoinHandle<Decision>) -> Decision {
    let decision = timeout(PATIENCE, waiter).await.expect("it never ended");
    decision.expect("no panics")
}

fn retry_after(rejected: &Rejected) -> Duration {
    assert_eq!(rejected.reason(), Reason::RateLimited);
    rejected.retry_after().expect("a wait")
}

/// When a call was granted by the server's clock.
fn time(decision: &Decision) -> Duration {
    decision.outcome.as_ref().expect("granted");
    decision.time.expect("the server decided")
}

#[tokio::test]
async fn a_call_over_its_quota_waits_and_first_comes_first() {
    let server = RedisServer::start().await;
    for algorithm in ALL {
        let limiter = limiter(&server, &policy(algorithm, 2, SHORT)).await;
        let mut waiters = Vec::new();
        for cost in [1, 1, 1, 2, 1, 1, 2] {
            waiters.push((cost, waiter(&limiter, cost).await));
        }
        let mut taken = Vec::new();
        for (cost, waiter) in waiters {
            let time = time(&decision(waiter).await);
            assert!(
                taken.last().is_none_or(|last| *last <= time),
                "{algorithm:?}"
            );
            taken.extend((0..cost).map(|_| time));
        }
        assert!(taken[2] > taken[0], "{algorithm:?}");
        if algorithm != Algorithm::Gcra {
            for three in taken.windows(3) {
                assert!(three[2] - three[0] >= SHORT, "{algorithm:?}: {taken:?}");
            }
        }
        limiter.clear("key").await.expect("redis is up");
    }
}

#[tokio::test]
async fn a_wait_known_to_be_too_long_is_refused_at_once_and_takes_nothing() {
    let server = RedisServer::start().await;
    for algorithm in ALL {
        let quota = policy(algorithm, 1, MINUTE).max_wait(MINUTE / 2);
        let limiter = limiter(&server, &quota).await;
        limiter.take("key").await.expect("a fresh key");
        for _ in 0..3 {
            let rejected = limiter.take("key").await.expect_err("used up");
            assert!(retry_after(&rejected) > MINUTE / 2, "{rejected:?}");
        }
        let rejected = limiter.take_n("key", 2).await.expect_err("too much");
        assert_eq!(rejected.reason(), Reason::CostExceedsQuota);
        limiter.refund("key", 1).await.expect("redis is up");
        assert_eq!(limiter.peek("key").await.expect("a look").remaining, 1);
    }
}

#[tokio::test]
async fn who_only_looks_and_who_tries_never_wait_nor_does_anybody_in_shadow() {
    let server = RedisServer::start().await;
    for algorithm in ALL {
        let quota = policy(algorithm, 1, MINUTE).max_wait(2 * MINUTE);
        let limiter = limiter(&server, &quota).await;
        limiter.take("key").await.expect("a fresh key");
        let waiting = waiter(&limiter, 1).await;
        stands_in_line(&limiter).await;
        assert_eq!(limiter.take_n("key", 0).await.expect("a look").remaining, 0);
        assert_eq!(limiter.peek("key").await.expect("a look").remaining, 0);
        limiter
            .reconfigure(quota.mode(Mode::Shadow))
            .expect("the mode can change");
        limiter.take("key").await.expect("a shadow refuses nothing");
        assert!(!waiting.is_finished());
        waiting.abort();
        limiter.clear("key").await.expect("redis is up");
    }
}

#[tokio::test]
async fn no_more_wait_than_get_their_units_in_time() {
    const LIMIT: usize = 5;
    let server = RedisServer::start().await;
    for algorithm in ALL {
        // Longer than one window takes to come back, and shorter than two.
        let quota = policy(algorithm, LIMIT as u64, MINUTE).max_wait(MINUTE * 5 / 4);
        let limiter = limiter(&server, &quota).await;
        let (refused, granted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut calls = JoinSet::new();
        for call in 0..4000 {
            let (limiter, refused, granted) = (limiter.clone(), refused.clone(), granted.clone());
            calls.spawn(async move {
                match limiter.take("key").await {
                    Ok(_) => granted.fetch_add(1, Ordering::Relaxed),
                    Err(rejected) => {
                        assert!(retry_after(&rejected) > MINUTE, "{rejected:?}");
                        refused.fetch_add(1, Ordering::Relaxed)
                    }
                }
            });
            if call % 1000 == 999 {
                yield_now().await;
            }
        }
        let wait = if algorithm == Algorithm::Gcra {
            6
        } else {
            LIMIT
        };
        let expected = (LIMIT, 4000 - LIMIT - wait);
        eventually(async || {
            let counts = (
                granted.load(Ordering::Relaxed),
                refused.load(Ordering::Relaxed),
            );
            (counts == expected).then_some(())
        })
        .await;
        calls.abort_all();
        while calls.join_next().await.is_some() {}
        // Of those who went away nobody took anything, nor holds anybody up.
        limiter.refund("key", 1).await.expect("redis is up");
        limiter.take("key").await.expect("what came back");
        limiter.clear("key").await.expect("redis is up");
    }
}

#[tokio::test]
async fn a_caller_dropped_while_it_waits_takes_nothing_and_holds_up_nobody() {
    let server = RedisServer::start().await;
    for algorithm in ALL {
        let limiter = limiter(&server, &policy(algorithm, 3, MINUTE).max_wait(3 * MINUTE)).await;
        limiter.take_n("key", 3).await.expect("a fresh key");
        let first = waiter(&limiter, 3).await;
        let second = waiter(&limiter, 2).await;
        let third = waiter(&limiter, 1).await;
        stands_in_line(&limiter).await;
        // There is room for the last, who does not overtake.
        limiter.refund("key", 1).await.expect("redis is up");
        limiter.peek("key").await.expect("a look");
        assert!(!third.is_finished(), "{algorithm:?}");
        first.abort();
        second.abort();
        time(&decision(third).await);
        assert_eq!(limiter.peek("key").await.expect("a look").remaining, 0);
        limiter.clear("key").await.expect("redis is up");
    }
}

#[tokio::test]
async fn who_waits_is_counted() {
    let server = RedisServer::start().await;
    let quota = policy(Algorithm::SlidingWindow, 1, MINUTE).max_wait(3 * MINUTE);
    let limiter = limiter(&server, &quota).await;
    let waits = async |many: u64| {
        eventually(async || (limiter.snapshot().waiting == many).then_some(())).await;
        let mut told = None;
        limiter.measure(&mut |sample| {
            if sample.instrument.name == "resilience.rate_limit.waiting" {
                told = Some(sample.value);
            }
        });
        assert_eq!(told, Some(many));
    };
    limiter.take("key").await.expect("a fresh key");
    waits(0).await;
    let (first, second) = (waiter(&limiter, 1).await, waiter(&limiter, 1).await);
    waits(2).await;
    first.abort();
    waits(1).await;
    // Also where nobody may wait who comes now.
    let nobody = quota.max_wait(Duration::ZERO);
    limiter.reconfigure(nobody).expect("a wait can change");
    waits(1).await;
    limiter.refund("key", 1).await.expect("redis is up");
    time(&decision(second).await);
    waits(0).await;
}

#[tokio::test]
async fn units_that_come_back_are_for_who_waits() {
    let server = RedisServer::start().await;
    let quota = policy(Algorithm::SlidingWindow, 1, MINUTE).max_wait(2 * MINUTE);
    let (limiter, other) = (
        limiter(&server, &quota).await,
        limiter(&server, &quota).await,
    );
    for gives in [&limiter, &other] {
        limiter.try_take("key").await.expect("a fresh key");
        let waiting = waiter(&limiter, 1).await;
        // What another process gives back is found by a look, once in a while.
        gives.refund("key", 1).await.expect("redis is up");
        time(&decision(waiting).await);
        limiter.clear("key").await.expect("redis is up");
    }
}

#[tokio::test]
async fn processes_that_compete_stay_within_the_limit_and_serve_all_who_wait() {
    let server = RedisServer::start().await;
    let quota = policy(Algorithm::SlidingWindow, 5, SHORT);
    let limiters = [
        limiter(&server, &quota).await,
        limiter(&server, &quota).await,
    ];
    let mut waiters = Vec::new();
    for index in 0..40 {
        waiters.push(waiter(&limiters[index % 2], 1).await);
    }
    let (mut taken, mut last) = (Vec::new(), [Duration::ZERO; 2]);
    for (index, waiter) in waiters.into_iter().enumerate() {
        let time = time(&decision(waiter).await);
        assert!(last[index % 2] <= time);
        last[index % 2] = time;
        taken.push(time);
    }
    taken.sort_unstable();
    for six in taken.windows(6) {
        assert!(six[5] - six[0] >= SHORT, "{six:?}");
    }
}

#[tokio::test]
async fn who_waits_in_vain_since_others_take_his_units_is_refused_in_the_end() {
    let server = RedisServer::start().await;
    let quota = policy(Algorithm::Gcra, 10, SECOND).max_wait(2 * SECOND);
    let (limiter, other) = (
        limiter(&server, &quota).await,
        limiter(&server, &quota).await,
    );
    limiter.take_n("key", 10).await.expect("a fresh key");
    let waiting = waiter(&limiter, 10).await;
    // Whoever takes single units is served before there are ten.
    let takes = async {
        loop {
            let _ = other.try_take("key").await;
            yield_now().await;
        }
    };
    let decision = tokio::select! {
        decision = decision(waiting) => decision,
        () = takes => unreachable!("it never ends"),
    };
    retry_after(&decision.outcome.expect_err("others took it"));
    assert_eq!(decision.error, None);
}

#[tokio::test]
async fn limits_that_change_hold_for_who_waits() {
    let server = RedisServer::start().await;
    for algorithm in ALL {
        let quota = |limit| policy(algorithm, limit, MINUTE).max_wait(3 * MINUTE);
        let limiter = limiter(&server, &quota(4)).await;
        let change = |policy: Policy| limiter.reconfigure(policy).expect("limits can change");
        limiter.take_n("key", 4).await.expect("a fresh key");
        let (one, many) = (waiter(&limiter, 1).await, waiter(&limiter, 4).await);
        change(quota(5));
        time(&decision(one).await);
        assert!(!many.is_finished());
        // There will never be room for as many.
        change(quota(3));
        let rejected = decision(many).await.outcome.expect_err("too much");
        assert_eq!(rejected.reason(), Reason::CostExceedsQuota, "{algorithm:?}");
        // Who waits already goes on, and who comes now has less time.
        let waiting = waiter(&limiter, 1).await;
        change(quota(3).max_wait(SHORT));
        let rejected = limiter.take("key").await.expect_err("used up");
        assert!(retry_after(&rejected) > SHORT);
        assert!(!waiting.is_finished());
        change(quota(7));
        time(&decision(waiting).await);
        limiter.clear("key").await.expect("redis is up");
    }
}

#[tokio::test]
async fn units_that_were_taken_ahead_are_for_who_waits_first() {
    let server = RedisServer::start().await;
    let quota = policy(Algorithm::SlidingWindow, 20, SHORT);
    let options = Options::new().lease_up_to(50);
    let limiter = server.store().await.rate_limiter_with(&quota, &options);
    let limiter = limiter.expect("a valid policy");
    let mut waiters = Vec::new();
    for index in 0..150 {
        waiters.push(waiter(&limiter, 1).await);
        if index % 10 == 9 {
            // Some come one after the other.
            let _ = limiter.peek("key").await;
        }
    }
    for waiter in waiters {
        decision(waiter).await.outcome.expect("granted");
    }
    let snapshot = limiter.snapshot();
    assert_eq!(snapshot.admitted.redis + snapshot.admitted.lease, 150);
    limiter.return_leases().await.expect("redis is up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_come_and_go_on_all_threads_lose_no_unit() {
    const LIMIT: u64 = 40;
    let server = RedisServer::start().await;
    let quota = policy(Algorithm::SlidingWindow, LIMIT, SHORT);
    let options = Options::new().lease_up_to(20);
    let leases = server.store().await.rate_limiter_with(&quota, &options);
    let limiters = [
        limiter(&server, &quota).await,
        leases.expect("a valid policy"),
    ];
    let mut calls = JoinSet::new();
    for index in 0..600 {
        let limiter = limiters[index % 2].clone();
        let patience = Duration::from_millis(fastrand::u64(0..600));
        calls.spawn(async move {
            let decision = limiter.decide_or_wait("key", fastrand::u64(1..4));
            timeout(patience, decision).await.ok()
        });
        if index % 50 == 49 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let mut granted = 0;
    while let Some(call) = calls.join_next().await {
        if let Some(decision) = call.expect("no panics") {
            decision.outcome.expect("there is time");
            granted += 1;
        }
    }
    assert!(granted > LIMIT / 3, "{granted}");
    // Whoever went away left nobody waiting, and took nothing for good.
    for limiter in &limiters {
        limiter.return_leases().await.expect("redis is up");
        time(&decision(waiter(limiter, LIMIT).await).await);
    }
}
