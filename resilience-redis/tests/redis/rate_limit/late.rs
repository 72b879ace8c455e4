//! Who waits in our own queue for so long that an answer would come too late.

use std::time::Duration;

use resilience_core::{Environment, ManualClock};
use resilience_redis::{
    StoreError,
    rate_limit::{Options, Policy, Quota},
};
use tokio::task::{JoinHandle, yield_now};

use crate::support::{PATIENCE, RedisServer};

#[tokio::test]
async fn who_has_next_to_no_time_left_is_not_asked_for() {
    let server = RedisServer::start().await;
    let clock = ManualClock::new();
    let environment = Environment::new().clock(clock.clone());
    let options = Options::new().environment(&environment);
    let policy = Policy::new("test", Quota::new(1000, Duration::from_secs(600)));
    let limiter = server.store().await.rate_limiter_with(&policy, &options);
    let limiter = limiter.expect("a valid policy");
    let ask = |key: &'static str| {
        let limiter = limiter.clone();
        tokio::spawn(async move { limiter.decide(key, 1).await.error })
    };
    assert_eq!(limiter.decide("known", 1).await.error, None);
    server.freeze();
    // So many questions are under way where few wait.
    let asked = [begun(ask("one")).await, begun(ask("two")).await];
    let late = begun(ask("late")).await;
    clock.advance(PATIENCE * 15 / 16);
    server.thaw();
    for Begun(asked) in asked {
        assert_eq!(asked.await.expect("no panic"), None);
    }
    let late = late.0.await.expect("no panic");
    assert_eq!(late, Some(StoreError::Timeout(PATIENCE)));
    let counts: Vec<String> = server.ask("KEYS *late*").await;
    assert!(counts.is_empty(), "taken in vain: {counts:?}");
    assert_eq!(limiter.decide("late", 1).await.error, None);
}

/// A call whose question is under way, or waits until another one is back.
struct Begun<T>(JoinHandle<T>);

async fn begun<T>(call: JoinHandle<T>) -> Begun<T> {
    for _ in 0..TURNS {
        yield_now().await;
    }
    Begun(call)
}

/// Enough for a call to begin, and for a question to go out.
const TURNS: u32 = 16;
