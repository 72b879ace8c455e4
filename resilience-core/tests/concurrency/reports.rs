//! What is told of a bulkhead.

use std::sync::{Arc, Mutex};

use resilience_core::{
    Environment, Event, ManualClock, Measured as _, Reason, concurrency::Bulkhead,
};

use super::{SECOND, manual, poll_now, queued, waiting};

#[test]
fn every_refusal_is_told_once() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = told.clone();
    let clock = ManualClock::new();
    let environment = Environment::new()
        .clock(clock.clone())
        .observer(move |event: &Event<'_>| {
            if let Event::Rejected(rejected) = event {
                listener.lock().unwrap().push(rejected.reason());
            }
        });
    let bulkhead = Bulkhead::new_in(queued(0, 1), &environment).unwrap();
    let waiting = waiting(&bulkhead);
    assert!(bulkhead.try_acquire().is_err());
    clock.advance(SECOND);
    assert!(poll_now(waiting).is_err());
    let told = told.lock().unwrap();
    assert_eq!(*told, [Reason::ConcurrencyLimited, Reason::QueueTimeout]);
}

#[test]
fn the_figures_of_a_bulkhead_carry_its_name_and_closed_labels() {
    let (bulkhead, _clock) = manual(queued(1, 1));
    let _running = bulkhead.try_acquire().unwrap();
    let _waiting = waiting(&bulkhead);
    let mut figures = Vec::new();
    bulkhead.measure(&mut |it| figures.push((it.instrument.name, it.label, it.value)));
    assert_eq!(bulkhead.policy(), "test");
    for expected in [
        ("resilience.concurrency.permits", None, 1),
        ("resilience.concurrency.running", None, 1),
        ("resilience.concurrency.queued", None, 1),
        ("resilience.concurrency.decisions", Some("admitted"), 1),
        ("resilience.concurrency.decisions", Some("refused"), 0),
    ] {
        assert!(figures.contains(&expected), "{expected:?} in {figures:?}");
    }
}
