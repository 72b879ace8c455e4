//! A quota of all keys where Redis is late or away.

use std::time::Duration;

use resilience_core::Reason;
use resilience_redis::{
    RedisStore, StoreError,
    rate_limit::{Fallback, Options, Source},
};

use super::{super::alike::why, books::Books, of_all};
use crate::support::{Proxy, RedisServer, eventually, in_time, patient};

#[tokio::test]
async fn one_deadline_holds_for_both_questions() {
    // Long beside what a busy machine takes for two questions.
    const DEADLINE: Duration = Duration::from_secs(2);
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let settings = patient().decision_timeout(DEADLINE);
    let store = RedisStore::connect(&proxy.url(), settings).await;
    let deny = Options::new().fallback(Fallback::Deny);
    let limiter = store
        .expect("a server")
        .rate_limiter_with(&of_all(20), &deny);
    let limiter = limiter.expect("a valid policy");
    let books = Books::open(&server.url(), 20).await;
    limiter.try_take("key").await.expect("room");
    // Each of the two would come in time.
    proxy.delay_replies(DEADLINE * 2 / 3);
    let late = in_time(DEADLINE, limiter.decide("key", 1)).await;
    assert_eq!(late.error, Some(StoreError::Timeout(DEADLINE)));
    assert_eq!(late.source, Source::Degraded);
    let rejected = late.outcome.expect_err("nobody decides");
    assert_eq!(rejected.reason(), Reason::StoreUnavailable);
    proxy.heal();
    books.show("key", 1, 19).await;
}

#[tokio::test]
async fn without_redis_each_process_allows_its_part_of_both_and_no_burst_follows() {
    let mut server = RedisServer::start().await;
    let settings = patient().decision_timeout(Duration::from_millis(500));
    let mut fleet = Vec::new();
    for _ in 0..2 {
        let store = RedisStore::connect(&server.url(), settings.clone()).await;
        let limiter = store.expect("a server").rate_limiter(&of_all(16));
        fleet.push(limiter.expect("a valid policy"));
    }
    for limiter in &fleet {
        eventually(async || (limiter.nodes() == 2).then_some(())).await;
    }
    server.kill();
    for limiter in &fleet {
        for (user, quota) in [("alice", "test"), ("bob", "all")] {
            let mut taken = 0;
            let rejected = loop {
                let decision = limiter.decide(user, 1).await;
                assert_eq!(decision.source, Source::Degraded);
                match decision.outcome {
                    Ok(_) => taken += 1,
                    Err(rejected) => break rejected,
                }
            };
            assert_eq!(taken, if user == "alice" { 5 } else { 3 });
            assert_eq!(why(&rejected), (Reason::RateLimited, quota));
        }
    }
    server.start_again().await;
    for limiter in &fleet {
        eventually(async || {
            limiter
                .decide("alice", 0)
                .await
                .error
                .is_none()
                .then_some(())
        })
        .await;
        for user in ["alice", "carol"] {
            let refused = limiter.decide(user, 1).await;
            assert_eq!((refused.source, refused.error), (Source::Degraded, None));
            refused.outcome.expect_err("a burst when redis is back");
        }
    }
    let books = Books::open(&server.url(), 16).await;
    books.show("alice", 0, 16).await;
    books.show("carol", 0, 16).await;
}
