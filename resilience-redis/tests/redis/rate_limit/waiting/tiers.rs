//! Callers who wait while their key moves to another tier.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use resilience_core::Reason;
use resilience_redis::rate_limit::{Options, Policy, Quota, Source};
use tokio::time::timeout;

use super::super::alike::why;
use crate::support::{PATIENCE, RedisServer, eventually};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn who_waits_stays_in_the_tier_that_his_key_was_in_when_he_came() {
    let server = RedisServer::start().await;
    let policy = Policy::new("soup", Quota::new(2, HOUR)).max_wait(4 * HOUR);
    let policy = policy.tier("gold", Quota::new(5, HOUR).named("gold-soup"));
    let is_gold = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_gold);
    let tier_of = move |_: &u64| {
        if seen.load(Ordering::Relaxed) {
            "gold"
        } else {
            ""
        }
    };
    let options = Options::new();
    let store = server.store().await;
    let limiter = store.rate_limiter_with_tiers(&policy, &options, tier_of);
    let limiter = limiter.expect("a valid policy");
    let come = || {
        let call = limiter.clone();
        tokio::spawn(async move { call.decide_or_wait(&7, 1).await })
    };
    let waiting = async |number| {
        eventually(async || (limiter.snapshot().waiting == number).then_some(())).await;
    };
    limiter.try_take_n(&7, 2).await.expect("room");
    let before = come();
    waiting(1).await;

    // There is room for him in gold, and what he used in the other is used in both.
    is_gold.store(true, Ordering::Relaxed);
    let standing = limiter.take_n(&7, 3).await.expect("room");
    assert_eq!((standing.limit, standing.remaining), (5, 0));
    let rejected = limiter.try_take(&7).await.expect_err("used up");
    assert_eq!(why(&rejected), (Reason::RateLimited, "gold-soup"));
    let gold = come();
    waiting(2).await;

    // What comes back to gold is not room for the other yet.
    limiter.refund(&7, 1).await.expect("redis is up");
    let decision = timeout(PATIENCE, gold).await.expect("it never ended");
    let decision = decision.expect("no panics");
    assert_eq!(decision.source, Source::Redis);
    assert_eq!(decision.outcome.expect("granted").limit, 5);
    assert_eq!(limiter.snapshot().waiting, 1);
    assert!(!before.is_finished());

    // Four of the five: of the two there is one left.
    limiter.refund(&7, 4).await.expect("redis is up");
    let decision = timeout(PATIENCE, before).await.expect("it never ended");
    let decision = decision.expect("no panics");
    assert_eq!(decision.source, Source::Redis);
    assert_eq!(decision.outcome.expect("granted").limit, 2);
    assert_eq!(limiter.snapshot().waiting, 0);
    assert_eq!(limiter.peek(&7).await.expect("a look").remaining, 3);
}
