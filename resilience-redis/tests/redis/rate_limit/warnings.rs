//! What the log says while Redis gives no decision.

use std::time::Duration;

use resilience_core::{Environment, ManualClock};
use resilience_redis::rate_limit::{Options, Policy, Quota};
use tracing::Level;

use crate::support::{Log, RedisServer};

#[tokio::test]
async fn that_redis_gives_no_decision_is_said_every_ten_seconds_and_not_with_every_call() {
    let (log, _listening) =
        Log::listen(|it| *it.level() == Level::WARN && it.target().contains("rate_limit"));
    let clock = ManualClock::new();
    let environment = Environment::new().clock(clock.clone());
    let mut server = RedisServer::start().await;
    let policy = Policy::new("orders", Quota::new(100, Duration::from_secs(600)));
    let options = Options::new().environment(&environment);
    let limiter = server.store().await.rate_limiter_with(&policy, &options);
    let limiter = limiter.expect("a valid policy");
    limiter.try_take("key").await.expect("room");
    assert_eq!(log.lines(), [""; 0]);
    server.kill();
    let calls = async |count: usize| {
        for _ in 0..count {
            let decision = limiter.decide("key", 1).await;
            assert!(decision.error.is_some(), "{decision:?}");
        }
        log.lines().len()
    };
    assert_eq!(calls(10).await, 1);
    clock.advance(Duration::from_millis(9_999));
    assert_eq!(calls(10).await, 1);
    clock.advance(Duration::from_millis(1));
    assert_eq!(calls(10).await, 2);
    for line in log.lines() {
        for says in [
            "redis gives no decision",
            "policy=\"orders\"",
            "fallback=LocalShare",
        ] {
            assert!(line.contains(says), "{line}");
        }
        assert!(line.contains("reason="), "{line}");
    }
}
