//! What the default observer writes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use resilience_core::{
    Event, Observer as _, Reason, Rejected,
    circuit_breaker::{Phase, Threshold},
    observe::Tracing,
};
use serde_json::Value;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line that `event` becomes in a log of JSON lines.
fn line(event: &Event<'_>) -> String {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || Tracing.on_event(event));
    let bytes = buffer.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn all() -> [(Event<'static>, &'static str); 7] {
    let rejected = Rejected::new(Reason::RateLimited, "limit");
    let rejected: &'static Rejected = Box::leak(Box::new(rejected));
    let policy = "payment";
    let changed = |from, to| Event::PhaseChanged { policy, from, to };
    let (threshold, delay) = (Threshold::FailureRate, Duration::from_secs(1));
    [
        (Event::Rejected(rejected), "DEBUG"),
        (Event::WouldReject(rejected), "DEBUG"),
        (changed(Phase::Closed, Phase::Open), "WARN"),
        (changed(Phase::HalfOpen, Phase::Closed), "INFO"),
        (Event::ThresholdReached { policy, threshold }, "WARN"),
        (
            Event::Panicked {
                policy,
                message: "in the handler",
                suppressed: 3,
            },
            "ERROR",
        ),
        (
            Event::Restarting {
                task: "settlement",
                cause: "returned",
                restarts: 1,
                delay,
            },
            "WARN",
        ),
    ]
}

#[test]
fn each_event_is_one_line_at_its_level_with_no_field_twice() {
    for (event, level) in all() {
        let line = line(&event);
        assert_eq!(line.lines().count(), 1);
        let fields: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(fields["level"], level, "{line}");
        assert_eq!(fields["target"], "resilience");
        for name in fields.as_object().unwrap().keys() {
            let quoted = format!("\"{name}\":");
            assert_eq!(line.matches(&quoted).count(), 1, "{name} in {line}");
        }
    }
}
