use std::sync::{Arc, Mutex};

use resilience_core::{
    Environment, Event, Measured, Reason, Rejected,
    rate_limit::{Mode, Quota, RateLimiter},
};

use crate::{ALL, MINUTE, NANO, SECOND, count, log, manual, policy, unkeyed};

#[test]
fn a_shadow_policy_counts_and_reports_and_refuses_nothing() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let environment = Environment::new().observer(move |event: &Event<'_>| {
        if let Event::WouldReject(rejected) = event {
            seen.lock().unwrap().push((*rejected).clone());
        }
    });
    let shadow = policy(log(1, MINUTE)).mode(Mode::Shadow).max_wait(MINUTE);
    let limiter = RateLimiter::<()>::new_in(shadow, &environment).unwrap();
    for _ in 0..5 {
        limiter.try_take(&()).unwrap();
    }
    limiter.try_take_n(&(), 9).unwrap();
    assert!(limiter.reserve(&(), 1).unwrap().wait().is_zero());
    let reasons: Vec<_> = events
        .lock()
        .unwrap()
        .iter()
        .map(Rejected::reason)
        .collect();
    assert_eq!(reasons.len(), 6);
    assert_eq!(reasons[4], Reason::CostExceedsQuota);
    assert_eq!(limiter.snapshot().would_deny, 6);
    assert_eq!(limiter.snapshot().allowed, 1);
}

#[test]
fn whoever_asked_is_counted_once() {
    let (limiter, _) = manual::<u8>(policy(log(1, SECOND)).max_wait(SECOND));
    limiter.try_take(&1).unwrap();
    let _booked = limiter.reserve(&1, 1).unwrap();
    assert!(limiter.try_take(&1).is_err());
    let mut samples = Vec::new();
    limiter.measure(&mut |it| samples.push((it.instrument.name, it.label, it.value)));
    let decisions = "resilience.rate_limit.decisions";
    assert_eq!(
        samples,
        [
            (decisions, Some("allowed"), 1),
            (decisions, Some("waited"), 1),
            (decisions, Some("denied"), 1),
            (decisions, Some("would_deny"), 0),
            ("resilience.rate_limit.keys", None, 1),
        ]
    );
    assert_eq!(limiter.instruments().len(), 2);
    assert_eq!(limiter.policy(), "test");
}

#[test]
fn calls_are_counted_one_by_one_however_many_there_are() {
    for algorithm in ALL {
        let (limiter, clock) = unkeyed(policy(Quota::per_second(500).algorithm(algorithm)));
        for number in 1..=400 {
            limiter.try_take(&()).unwrap();
            clock.advance(NANO);
            assert!(number % 50 != 0 || limiter.snapshot().allowed == number);
        }
        for _ in 0..100 {
            limiter.try_take_n(&(), 1).unwrap();
        }
        assert_eq!(limiter.snapshot().allowed, 500);
    }
}

#[test]
fn an_observer_may_ask_the_limiter_that_reports_to_it() {
    let cell = Arc::new(Mutex::new(None::<RateLimiter>));
    let inside = Arc::clone(&cell);
    let environment = Environment::new().observer(move |_: &Event<'_>| {
        let limiter = inside.lock().unwrap().take();
        assert!(limiter.is_none_or(|it| it.peek(&()).remaining == 0));
        panic!("an observer breaks");
    });
    let limiter = RateLimiter::new_in(policy(log(1, MINUTE)), &environment).unwrap();
    *cell.lock().unwrap() = Some(limiter.clone());
    assert_eq!(count(&limiter, 3), 1);
}

#[test]
fn everything_may_cross_threads_and_debug_shows_no_key() {
    fn crosses<T: Send + Sync + 'static>(_: &T) {}
    let (limiter, _) = manual::<String>(policy(log(10, MINUTE)));
    crosses(&limiter);
    crosses(&limiter.layer_by(|_: &()| Some(String::new())));
    let reservation = limiter.reserve("secret", 1).unwrap();
    crosses(&reservation);
    let shown = format!("{limiter:?} {reservation:?}");
    assert!(!shown.contains("secret"), "{shown}");
}
