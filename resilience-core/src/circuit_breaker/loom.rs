//! Two or three callers in every order that matters; `cargo xtask test` runs them.

use std::time::Duration;

use loom::{
    sync::{Arc, Mutex},
    thread,
};

use super::{CircuitBreaker, OpenWait, Phase, Policy, Window};
use crate::{Environment, Event, ManualClock, Outcome};

/// Runs `test` in every order that differs by at most three preemptions, which is where bugs of
/// this kind have been found.
fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

fn breaker(policy: Policy, clock: &ManualClock) -> CircuitBreaker {
    let environment = Environment::new()
        .clock(clock.clone())
        .observer(|_: &Event<'_>| {});
    CircuitBreaker::new_in(policy, &environment).unwrap()
}

fn call(breaker: &CircuitBreaker, outcome: Outcome) {
    if let Ok(permit) = breaker.try_acquire() {
        permit.settle(outcome);
    }
}

#[test]
fn no_success_is_lost_between_the_word_and_the_machine() {
    model(|| {
        let policy = Policy::new("loom").window(Window::count(10)).min_calls(10);
        let breaker = breaker(policy, &ManualClock::new());
        let other = breaker.clone();
        let successes = thread::spawn(move || {
            call(&other, Outcome::Success);
            call(&other, Outcome::Success);
        });
        call(&breaker, Outcome::Failure);
        let between = breaker.snapshot();
        assert_eq!(between.calls, between.totals.successes + 1);
        successes.join().unwrap();
        let snapshot = breaker.snapshot();
        assert_eq!((snapshot.calls, snapshot.failures), (3, 1));
        assert_eq!(snapshot.totals.successes, 2);
    });
}

#[test]
fn the_call_that_completes_min_calls_decides_whoever_it_is() {
    model(|| {
        let policy = Policy::new("loom")
            .window(Window::count(3))
            .min_calls(3)
            .failure_rate(0.3);
        let breaker = breaker(policy, &ManualClock::new());
        let other = breaker.clone();
        let successes = thread::spawn(move || {
            call(&other, Outcome::Success);
            call(&other, Outcome::Success);
        });
        call(&breaker, Outcome::Failure);
        successes.join().unwrap();
        let snapshot = breaker.snapshot();
        assert_eq!((snapshot.phase, snapshot.calls), (Phase::Open, 3));
    });
}

#[test]
fn a_success_from_before_a_transition_counts_in_no_later_window() {
    model(|| {
        let breaker = breaker(Policy::new("loom"), &ManualClock::new());
        let permit = breaker.try_acquire().unwrap();
        let late = thread::spawn(move || permit.settle(Outcome::Success));
        breaker.force_open().unwrap();
        breaker.resume();
        assert_eq!(breaker.snapshot().calls, 0);
        late.join().unwrap();
        let snapshot = breaker.snapshot();
        assert_eq!((snapshot.calls, snapshot.totals.successes), (0, 1));
    });
}

#[test]
fn callers_at_the_end_of_a_wait_share_one_half_open() {
    model(|| {
        let clock = ManualClock::new();
        let policy =
            Policy::tripping_after("loom", 1).open(OpenWait::fixed(Duration::from_secs(1)));
        let breaker = breaker(policy, &clock);
        call(&breaker, Outcome::Failure);
        clock.advance(Duration::from_secs(1));
        let threads = [(); 2].map(|()| {
            let other = breaker.clone();
            thread::spawn(move || other.try_acquire().ok())
        });
        let mine = breaker.try_acquire().ok();
        let theirs = threads.map(|thread| thread.join().unwrap());
        let admitted = theirs.iter().chain([&mine]).flatten().count();
        assert_eq!(admitted, 1);
        let snapshot = breaker.snapshot();
        assert_eq!(
            (snapshot.phase, snapshot.transitions_total),
            (Phase::HalfOpen, 2)
        );
        assert_eq!(snapshot.rejected, 2);
    });
}

#[test]
fn a_probe_that_comes_back_frees_its_permit_for_exactly_one() {
    model(|| {
        let clock = ManualClock::new();
        let policy =
            Policy::tripping_after("loom", 1).open(OpenWait::fixed(Duration::from_secs(1)));
        let breaker = breaker(policy, &clock);
        call(&breaker, Outcome::Failure);
        clock.advance(Duration::from_secs(1));
        let probe = breaker.try_acquire().unwrap();
        let dropped = thread::spawn(move || drop(probe));
        let other = breaker.clone();
        let asking = thread::spawn(move || other.try_acquire().ok());
        let mine = breaker.try_acquire().ok();
        dropped.join().unwrap();
        let theirs = asking.join().unwrap();
        let held = u32::from(mine.is_some()) + u32::from(theirs.is_some());
        assert!(held <= 1);
        assert_eq!(breaker.snapshot().permits_left, 1 - held);
    });
}

#[test]
fn transitions_are_announced_in_their_order() {
    model(|| {
        let heard = Arc::new(Mutex::new(vec![Phase::Closed]));
        let ear = heard.clone();
        let environment =
            Environment::new()
                .clock(ManualClock::new())
                .observer(move |event: &Event<'_>| {
                    if let Event::PhaseChanged { from, to, .. } = event {
                        let mut heard = ear.lock().unwrap();
                        assert_eq!(heard.last(), Some(from));
                        heard.push(*to);
                    }
                });
        let breaker = CircuitBreaker::new_in(Policy::new("loom"), &environment).unwrap();
        let other = breaker.clone();
        let opening = thread::spawn(move || other.force_open());
        let _ = breaker.open_for(Duration::from_secs(1));
        let _ = opening.join().unwrap();
        let heard = heard.lock().unwrap();
        assert_eq!(heard.len(), 3);
        assert_eq!(heard.last(), Some(&breaker.phase()));
    });
}
