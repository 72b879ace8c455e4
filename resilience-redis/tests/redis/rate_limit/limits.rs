//! What a fleet may take together.

use std::time::Duration;

use resilience_core::{Reason, Rejected, rate_limit::Algorithm};
use resilience_redis::{
    RedisStore, StoreKey,
    rate_limit::{Policy, Quota, RateLimiter},
};
use tokio::task::JoinSet;

use crate::support::{Proxy, RedisServer, patient};

pub(super) const MINUTE: Duration = Duration::from_secs(60);
/// So long that no step of it ends while a test looks at what the step is counted in.
pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// 129 bytes when encoded.
const TOO_LONG: &str = ":::::::::::::::::::::::::::::::::::::::::::";

pub(super) async fn refusal<K: StoreKey + ?Sized>(
    limiter: &RateLimiter,
    key: &K,
    cost: u64,
) -> Rejected {
    let outcome = limiter.try_take_n(key, cost).await;
    outcome.expect_err("the call is refused")
}

async fn remaining(limiter: &RateLimiter, key: &str) -> u64 {
    limiter.try_take_n(key, 0).await.expect("a look").remaining
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limiters_of_one_name_share_their_counts() {
    let server = RedisServer::start().await;
    let mut calls = JoinSet::new();
    for _ in 0..2 {
        let limiter = server.limiter(50, MINUTE).await;
        for _ in 0..60 {
            let limiter = limiter.clone();
            calls.spawn(async move { limiter.try_take("key").await.is_ok() });
        }
    }
    let taken = calls.join_all().await.into_iter().filter(|ok| *ok).count();
    assert_eq!(taken, 50);
}

#[tokio::test]
async fn steps_that_are_shorter_than_the_road_is_even_are_met() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let window = Duration::from_millis(10);
    let store = RedisStore::connect(&proxy.url(), patient()).await;
    let store = store.expect("a server");
    let short = Policy::new("short", Quota::new(5, window));
    let other = Quota::new(1000, MINUTE).algorithm(Algorithm::Gcra);
    // One window has a script of its own.
    for policy in [short.clone(), short.and(other.named("other"))] {
        let limiter = store.rate_limiter(&policy).expect("a valid policy");
        proxy.delay_every_other_request(Duration::from_millis(20));
        let mut taken = Vec::new();
        for _ in 0..30 {
            let decision = limiter.decide("key", 1).await;
            assert_eq!(decision.error, None);
            if let (Ok(_), Some(time)) = (decision.outcome, decision.time) {
                taken.push(time);
            }
        }
        assert!(taken.len() > 5, "{taken:?}");
        for six in taken.windows(6) {
            assert!(six[5] - six[0] >= window, "{six:?}");
        }
        proxy.heal();
    }
}

#[tokio::test]
async fn a_server_that_forgot_the_script_is_sent_it_and_counts_once() {
    let server = RedisServer::start().await;
    let limiter = server.limiter(10, MINUTE).await;
    let mut raw = server.raw().await;
    for left in (0..10).rev() {
        let () = redis::cmd("SCRIPT")
            .arg("FLUSH")
            .query_async(&mut raw)
            .await
            .expect("flush");
        let quota = limiter.try_take("key").await.expect("within the limit");
        assert_eq!(quota.remaining, left);
    }
}

#[tokio::test]
async fn a_refused_call_consumes_nothing_and_names_its_wait() {
    let server = RedisServer::start().await;
    let limiter = server.limiter(10, MINUTE).await;
    limiter
        .try_take_n("key", 7)
        .await
        .expect("within the limit");
    for _ in 0..5 {
        let rejected = refusal(&limiter, "key", 4).await;
        assert_eq!(
            (rejected.reason(), rejected.policy()),
            (Reason::RateLimited, "test")
        );
        let quota = rejected.quota().expect("a quota");
        assert_eq!(
            (quota.limit, quota.window, quota.remaining),
            (10, MINUTE, 3)
        );
        let wait = rejected.retry_after().expect("a wait");
        assert!(
            wait > MINUTE.mul_f64(0.9) && wait <= MINUTE.mul_f64(1.1),
            "{wait:?}"
        );
    }
    assert_eq!(remaining(&limiter, "key").await, 3);
    limiter.try_take_n("key", 3).await.expect("what is left");
}

#[tokio::test]
async fn several_quotas_are_taken_from_together_or_not_at_all() {
    let server = RedisServer::start().await;
    let policy =
        Policy::new("both", Quota::new(5, MINUTE)).and(Quota::new(7, 60 * MINUTE).named("hour"));
    let limiter = server
        .store()
        .await
        .rate_limiter(&policy)
        .expect("a valid policy");
    let quota = limiter.try_take_n("key", 5).await.expect("within both");
    assert_eq!((quota.limit, quota.remaining), (5, 0));
    // Neither quota has room for three: the one with the longer wait answers.
    let rejected = refusal(&limiter, "key", 3).await;
    assert_eq!(rejected.policy(), "hour");
    assert_eq!(rejected.quota().expect("quota").window, 60 * MINUTE);
    assert_eq!(rejected.quota().expect("quota").remaining, 2);
    let refused = refusal(&limiter, "key", 2).await;
    assert_eq!(refused.policy(), "both");
    assert_eq!(refused.quota().expect("quota").window, MINUTE);
    // What is known of two is told to whoever wants more, and is no longer than he has to wait.
    let told = refusal(&limiter, "key", 3).await;
    assert_eq!(told.policy(), "both");
    assert!(told.retry_after() <= refused.retry_after() && told.retry_after() > Some(MINUTE / 2));
}

#[tokio::test]
async fn costs_at_every_edge_are_decided_or_refused() {
    let server = RedisServer::start().await;
    let limiter = server.limiter(1 << 52, MINUTE).await;
    for cost in [(1 << 52) + 1, i64::MAX as u64, 1 << 63, u64::MAX] {
        let rejected = refusal(&limiter, "key", cost).await;
        assert_eq!(rejected.reason(), Reason::CostExceedsQuota);
        assert_eq!(rejected.retry_after(), None);
    }
    assert_eq!(remaining(&limiter, "key").await, 1 << 52);
    let quota = limiter
        .try_take_n("key", 1 << 52)
        .await
        .expect("the whole quota");
    assert_eq!(quota.remaining, 0);
    assert_eq!(
        refusal(&limiter, "key", 1).await.reason(),
        Reason::RateLimited
    );
}

#[tokio::test]
async fn policies_that_cannot_work_are_refused() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let (short, long) = (
        Duration::from_millis(10),
        Duration::from_secs(100 * 31_557_600),
    );
    for (limit, per) in [(1, short), (1 << 52, long)] {
        let policy = Policy::new("edge", Quota::new(limit, per));
        let limiter = store.rate_limiter(&policy).expect("an edge that works");
        limiter.try_take("key").await.expect("a fresh key");
    }
    for (limit, per, field) in [
        (0, MINUTE, "limit"),
        ((1 << 52) + 1, MINUTE, "limit"),
        (u64::MAX, MINUTE, "limit"),
        (1, Duration::ZERO, "per"),
        (1, short - Duration::from_nanos(1), "per"),
        (1, long + Duration::from_micros(1), "per"),
        (1, Duration::MAX, "per"),
    ] {
        let invalid = store.rate_limiter(&Policy::new("edge", Quota::new(limit, per)));
        assert_eq!(
            invalid.expect_err("invalid").field(),
            field,
            "{limit} {per:?}"
        );
    }
    let twice = Policy::new("edge", Quota::new(1, MINUTE)).and(Quota::new(2, MINUTE));
    assert_eq!(
        store.rate_limiter(&twice).expect_err("twice").field(),
        "and"
    );
    let shortest = Quota::new(1, Duration::from_nanos(1));
    for algorithm in [Algorithm::SlidingLog, Algorithm::Gcra] {
        let policy = Policy::new("edge", shortest.algorithm(algorithm));
        let limiter = store.rate_limiter(&policy).expect("an edge that works");
        limiter.try_take("key").await.expect("a fresh key");
    }
    for (policy, field) in [
        (Policy::new("", Quota::new(1, MINUTE)), "name"),
        (Policy::new(TOO_LONG, Quota::new(1, MINUTE)), "name"),
        (
            Policy::new(
                "a",
                Quota::new(1001, MINUTE).algorithm(Algorithm::SlidingLog),
            ),
            "limit",
        ),
        (
            Policy::new("a", Quota::new(1 << 50, MINUTE).algorithm(Algorithm::Gcra)),
            "burst",
        ),
    ] {
        assert_eq!(
            store
                .rate_limiter(&policy)
                .expect_err("unsupported")
                .field(),
            field
        );
    }
}
