//! What becomes of those who wait when Redis is away.

use resilience_core::Reason;
use resilience_redis::{
    RedisStore, StoreError,
    rate_limit::{Algorithm, Fallback, Options, Source},
};
use tokio::time::timeout;

use super::{MINUTE, SECOND, SHORT, decision, policy, stands_in_line, waiter};
use crate::support::{Proxy, RedisServer, eventually, in_time, patient};

#[tokio::test]
async fn what_becomes_of_who_waits_while_redis_is_away_says_the_fallback() {
    for (fallback, expected) in [
        (Fallback::Allow, None),
        (Fallback::Deny, Some(Reason::StoreUnavailable)),
        (Fallback::LocalShare, None),
    ] {
        let mut server = RedisServer::start().await;
        let options = Options::new().fallback(fallback);
        let quota = policy(Algorithm::SlidingWindow, 2, 2 * SECOND);
        let limiter = server.store().await.rate_limiter_with(&quota, &options);
        let limiter = limiter.expect("a valid policy");
        limiter.take_n("key", 2).await.expect("a fresh key");
        let waiting = [waiter(&limiter, 1).await, waiter(&limiter, 1).await];
        // Asked for behind them.
        limiter.peek("key").await.expect("a look");
        server.kill();
        for waiting in waiting {
            let decision = decision(waiting).await;
            assert_eq!(decision.source, Source::Degraded, "{fallback:?}");
            assert!(decision.error.is_some());
            assert_eq!(decision.outcome.err().map(|it| it.reason()), expected);
        }
    }
}

#[tokio::test]
async fn who_may_wait_is_asked_for_once_more_where_redis_is_silent() {
    let server = RedisServer::start().await;
    let store = RedisStore::connect(&server.url(), patient().decision_timeout(SECOND)).await;
    let options = Options::new().fallback(Fallback::Deny);
    let quota = policy(Algorithm::SlidingWindow, 10, MINUTE);
    let limiter = store.expect("a server").rate_limiter_with(&quota, &options);
    let limiter = limiter.expect("a valid policy");
    limiter.take("key").await.expect("room");
    server.freeze();
    let waits = waiter(&limiter, 1).await;
    // Others hear by the deadline, also behind him.
    let tries = in_time(SECOND, limiter.decide("key", 1)).await;
    assert_eq!(tries.error, Some(StoreError::Timeout(SECOND)));
    assert!(!waits.is_finished());
    server.thaw();
    let waits = decision(waits).await;
    assert_eq!((waits.source, waits.error), (Source::Redis, None));
    waits.outcome.expect("room");
    // Not for ever.
    server.freeze();
    let ends = timeout(3 * SECOND, limiter.decide_or_wait("key", 1)).await;
    let error = ends.expect("after two deadlines").error;
    assert_eq!(error, Some(StoreError::Timeout(SECOND)));
}

#[tokio::test]
async fn a_server_that_does_not_answer_keeps_nobody_who_waits() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let settings = patient().decision_timeout(SHORT);
    let store = RedisStore::connect(&proxy.url(), settings).await;
    let options = Options::new().fallback(Fallback::Deny);
    let quota = policy(Algorithm::SlidingWindow, 1, 2 * SECOND);
    let limiter = store.expect("a server").rate_limiter_with(&quota, &options);
    let limiter = limiter.expect("a valid policy");
    eventually(async || limiter.take("key").await.ok()).await;
    let waiting = [waiter(&limiter, 1).await, waiter(&limiter, 1).await];
    eventually(async || limiter.peek("key").await.ok()).await;
    proxy.lose_everything();
    for waiting in waiting {
        let decision = decision(waiting).await;
        assert_eq!(decision.source, Source::Degraded);
        let rejected = decision.outcome.expect_err("denied");
        assert_eq!(rejected.reason(), Reason::StoreUnavailable);
    }
}

#[tokio::test]
async fn whoever_waits_hears_of_it_when_the_runtime_of_the_store_goes_down() {
    let server = RedisServer::start().await;
    let (url, quota) = (server.url(), policy(Algorithm::SlidingWindow, 1, MINUTE));
    let (runtime, limiter) = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let options = Options::new().fallback(Fallback::Deny);
        let store = runtime.block_on(RedisStore::connect(&url, patient()));
        let limiter = store
            .expect("a server")
            .rate_limiter_with(&quota.max_wait(2 * MINUTE), &options);
        (runtime, limiter.expect("a valid policy"))
    })
    .await
    .expect("no panics");
    limiter.take("key").await.expect("a fresh key");
    let waiting = waiter(&limiter, 1).await;
    stands_in_line(&limiter).await;
    runtime.shutdown_background();
    let rejected = decision(waiting).await.outcome.expect_err("denied");
    assert_eq!(rejected.reason(), Reason::StoreUnavailable);
}
