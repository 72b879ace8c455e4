//! What is said, and counted, of decisions without Redis.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use resilience_core::{Environment, Event, Measured as _, Reason, Rejected};
use resilience_redis::rate_limit::{
    Fallback, Mode, Options, Policy, Quota, RateLimiter, Snapshot, Source,
};

use super::{LIMIT, WINDOW, limiter};
use crate::support::{RedisServer, eventually};

#[tokio::test]
async fn decisions_are_counted_by_who_made_them() {
    let mut server = RedisServer::start().await;
    let limiter = limiter(&server.url(), Fallback::LocalShare).await;
    limiter.peek("key").await.expect("only a look");
    limiter.try_take_n("key", LIMIT).await.expect("all of it");
    for _ in 0..3 {
        limiter.try_take("key").await.expect_err("used up");
    }
    limiter
        .try_take_n("key", LIMIT + 1)
        .await
        .expect_err("never");
    server.kill();
    limiter.try_take("other").await.expect("its part");
    limiter
        .try_take_n("other", LIMIT)
        .await
        .expect_err("no room");

    let Snapshot {
        admitted, refused, ..
    } = limiter.snapshot();
    assert_eq!((admitted.redis, admitted.degraded), (1, 1));
    assert_eq!((admitted.lease, admitted.denied_locally), (0, 0));
    let known_here = refused.denied_locally;
    assert_eq!((refused.redis + known_here, refused.degraded), (4, 1));
    assert!((1..=4).contains(&known_here), "{refused:?}");
    let mut samples = HashMap::new();
    limiter.measure(&mut |sample| {
        samples.insert((sample.instrument.name, sample.label), sample.value);
    });
    let sample = |name, label| samples[&(name, label)];
    assert_eq!(
        sample("resilience.rate_limit.admitted", Some("degraded")),
        1
    );
    let label = Some("denied_locally");
    assert_eq!(sample("resilience.rate_limit.refused", label), known_here);
    assert_eq!(sample("resilience.rate_limit.nodes", None), 1);
}

#[tokio::test]
async fn a_shadow_policy_refuses_nothing_without_redis_and_says_what_it_would() {
    let mut server = RedisServer::start().await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let environment = Environment::new().observer(move |event: &Event<'_>| match event {
        Event::WouldReject(rejected) => hears.lock().expect("a list").push(rejected.reason()),
        other => panic!("{other:?}"),
    });
    let policy = Policy::new("test", Quota::new(LIMIT, WINDOW)).mode(Mode::Shadow);
    let options = Options::new()
        .environment(&environment)
        .fallback(Fallback::Deny);
    let limiter = server.store().await.rate_limiter_with(&policy, &options);
    let limiter = limiter.expect("a valid policy");
    for cost in [LIMIT, 1, 1, LIMIT + 1] {
        limiter.try_take_n("key", cost).await.expect("in shadow");
    }
    server.kill();
    for key in ["key", "other"] {
        limiter.try_take(key).await.expect("in shadow");
    }
    let heard = heard.lock().expect("a list").clone();
    let used_up = [Reason::RateLimited; 2];
    assert_eq!(heard[..2], used_up);
    assert_eq!(heard[2], Reason::CostExceedsQuota);
    assert_eq!(heard.last(), Some(&Reason::StoreUnavailable));
    assert_eq!(heard.len(), 5);
    let Snapshot {
        admitted,
        refused,
        would_refuse,
        ..
    } = limiter.snapshot();
    assert_eq!((admitted.redis, admitted.degraded), (1, 0));
    assert_eq!(refused, Default::default());
    let here = would_refuse.denied_locally;
    assert_eq!(would_refuse.redis + here + would_refuse.degraded, 5);
    assert!(would_refuse.degraded >= 1, "{would_refuse:?}");
    let mut told = 0;
    limiter.measure(&mut |sample| {
        assert!(limiter.instruments().contains(&sample.instrument));
        if sample.instrument.name == "resilience.rate_limit.would_refuse" {
            told += sample.value;
        }
    });
    assert_eq!(told, 5);
}

#[tokio::test]
async fn a_refusal_without_redis_says_why() {
    let mut server = RedisServer::start().await;
    let deny = limiter(&server.url(), Fallback::Deny).await;
    let share = limiter(&server.url(), Fallback::LocalShare).await;
    eventually(async || (share.nodes() == 2).then_some(())).await;
    server.kill();
    let refusal = async |limiter: &RateLimiter, cost| -> Rejected {
        let decision = limiter.decide("key", cost).await;
        assert_eq!(decision.source, Source::Degraded);
        assert!(decision.error.is_some());
        decision.outcome.expect_err("no room")
    };
    assert_eq!(refusal(&deny, 1).await.reason(), Reason::StoreUnavailable);
    // The quota has room for it, only the part has not.
    assert_eq!(
        refusal(&share, LIMIT).await.reason(),
        Reason::StoreUnavailable
    );
    share.try_take_n("key", LIMIT / 2).await.expect("its part");
    let used_up = refusal(&share, 1).await;
    assert_eq!(used_up.reason(), Reason::RateLimited);
    assert!(used_up.retry_after().is_some());
}
