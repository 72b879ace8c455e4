//! What the log says while Redis gives no decision.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
    time::Duration,
};

use resilience_core::{Environment, ManualClock};
use resilience_redis::rate_limit::{Options, Policy, Quota};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use crate::support::RedisServer;

/// Keeps the warnings of limiters, each as its fields.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("nobody panicked").clone()
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target().contains("rate_limit")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.0.lock().expect("nobody panicked").push(line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}

#[tokio::test]
async fn that_redis_gives_no_decision_is_said_every_ten_seconds_and_not_with_every_call() {
    let log = Log::default();
    let _listening = tracing::subscriber::set_default(log.clone());
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
