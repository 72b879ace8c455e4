//! What is told of panics, and to whom.

use std::{
    convert::Infallible,
    panic::panic_any,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    time::Duration,
};

use resilience_core::{Environment, Error, Event, Reason, catch_panic::CatchPanic};

use super::{SECRET, engine, listening, now, reason};

#[test]
fn the_message_goes_to_the_log_in_at_most_200_characters() {
    let (engine, told, _clock) = listening();
    let long = "\u{1b}[31m\n".to_owned() + &SECRET.repeat(100);
    let result: Result<(), Error<Infallible>> = now(engine.call(|| async { panic_any(long) }));
    assert!(!format!("{result:?}").contains("password"));
    let told = told.lock().unwrap();
    assert!(told[0].0.contains("password") && told[0].0.chars().count() <= 200);
    assert!(!told[0].0.chars().any(char::is_control));
}

#[test]
fn ten_events_a_second_and_what_goes_over_is_told_with_the_next() {
    let (engine, told, clock) = listening();
    let boom = || {
        let result: Result<(), Error<Infallible>> = now(engine.call(|| async { panic!("boom") }));
        assert!(result.is_err());
    };
    (0..1000).for_each(|_| boom());
    assert_eq!(told.lock().unwrap().len(), 10);
    clock.advance(Duration::from_secs(1));
    boom();
    assert_eq!(told.lock().unwrap().last().unwrap().1, 990);
    assert_eq!(engine.snapshot().total(), 1001);
}

#[test]
fn the_panic_hook_stays_the_applications() {
    static HOOKED: AtomicU32 = AtomicU32::new(0);
    std::panic::set_hook(Box::new(|info| {
        if info.payload().downcast_ref() == Some(&"for the hook") {
            HOOKED.fetch_add(1, SeqCst);
        }
    }));
    let call = engine();
    let result: Result<(), Error<Infallible>> = now(call.call(|| async { panic!("for the hook") }));
    assert!(result.is_err());
    assert_eq!(HOOKED.load(SeqCst), 1);
}

#[test]
fn a_listener_that_panics_reaches_no_caller() {
    let environment = Environment::new().observer(|_: &Event<'_>| panic!("listener"));
    let engine = CatchPanic::new_in("test", &environment).unwrap();
    let result: Result<(), Error<Infallible>> = now(engine.call(|| async { panic!("boom") }));
    assert_eq!(reason(&result.unwrap_err()), Some(Reason::Panicked));
}
