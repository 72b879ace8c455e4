//! Callers at the words in front of a limit, and at the machine behind them, in every order.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{hash::Hash, time::Duration};

use loom::thread;

use super::{Algorithm, Policy, Quota, RateLimiter};
use crate::{Environment, Event, ManualClock};

/// Runs `test` in every order that differs by at most two preemptions.
fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(test);
}

/// Whose words lend units, and whose words lend a line.
const BOTH: [Algorithm; 2] = [Algorithm::SlidingWindow, Algorithm::Gcra];

fn policy(algorithm: Algorithm, limit: u64) -> Policy {
    let quota = Quota::new(limit, Duration::from_secs(100)).algorithm(algorithm);
    Policy::new("loom", quota).capacity(1)
}

fn limiter<K: Hash + Eq + Clone + Send + 'static>(
    policy: Policy,
    clock: &ManualClock,
) -> RateLimiter<K> {
    let environment = Environment::new()
        .clock(clock.clone())
        .observer(|_: &Event<'_>| {});
    RateLimiter::new_in(policy, &environment).unwrap()
}

/// A limiter whose words have been lent something.
fn asked(policy: Policy) -> RateLimiter {
    let limiter = limiter(policy, &ManualClock::new());
    limiter.peek(&());
    limiter
}

fn took(limiter: &RateLimiter, units: u64) -> u64 {
    match limiter.try_take_n(&(), units) {
        Ok(_) => units,
        Err(_) => 0,
    }
}

#[test]
fn callers_at_once_get_the_limit_and_not_one_unit_more() {
    for algorithm in BOTH {
        model(move || {
            let limiter = asked(policy(algorithm, 3));
            let other = limiter.clone();
            let other = thread::spawn(move || took(&other, 1) + took(&other, 1));
            let mine = took(&limiter, 1) + took(&limiter, 1);
            assert_eq!(mine + other.join().unwrap(), 3);
            let snapshot = limiter.snapshot();
            assert_eq!((snapshot.allowed, snapshot.denied), (3, 1));
        });
    }
}

#[test]
fn no_unit_is_lost_or_found_while_the_machine_takes_back_what_it_lent() {
    for algorithm in BOTH {
        model(move || {
            let limiter = asked(policy(algorithm, 9));
            let other = limiter.clone();
            let other = thread::spawn(move || took(&other, 1));
            let between = limiter.peek(&()).remaining;
            assert_eq!(other.join().unwrap(), 1);
            assert!([9, 8].contains(&between));
            assert_eq!(took(&limiter, 2), 2);
            assert_eq!(limiter.peek(&()).remaining, 6);
            assert_eq!(limiter.snapshot().allowed, 2);
        });
    }
}

#[test]
fn a_limit_changed_under_way_holds_for_whoever_comes_later() {
    for algorithm in BOTH {
        model(move || {
            let limiter = asked(policy(algorithm, 3));
            let other = limiter.clone();
            let other = thread::spawn(move || took(&other, 2));
            limiter.reconfigure(policy(algorithm, 1)).unwrap();
            let theirs = other.join().unwrap();
            assert_eq!(took(&limiter, 1), u64::from(theirs == 0));
            limiter.reconfigure(policy(algorithm, 9)).unwrap();
            assert_eq!(limiter.peek(&()).remaining, 9 - theirs.max(1));
        });
    }
}

#[test]
fn no_window_holds_more_than_the_limit_while_time_goes_on() {
    for algorithm in BOTH {
        model(move || {
            let clock = ManualClock::new();
            let limiter = limiter(policy(algorithm, 1), &clock);
            let other = limiter.clone();
            let other = thread::spawn(move || took(&other, 1));
            // Into another part of the window, in which nothing has come back.
            clock.advance(Duration::from_secs(50));
            let mine = took(&limiter, 1);
            assert_eq!(mine + other.join().unwrap(), 1);
            assert_eq!(took(&limiter, 1), 0);
        });
    }
}

#[test]
fn callers_of_one_key_get_its_limit_whatever_else_is_asked() {
    for algorithm in BOTH {
        model(move || {
            let clock = ManualClock::new();
            let limiter: RateLimiter<u64> = limiter(policy(algorithm, 1), &clock);
            let other = limiter.clone();
            let other = thread::spawn(move || other.try_take(&7).is_ok());
            limiter.reconfigure(policy(algorithm, 2)).unwrap();
            let mine = limiter.try_take(&7).is_ok();
            assert!(mine && other.join().unwrap());
            assert!(limiter.try_take(&7).is_err());
            let snapshot = limiter.snapshot();
            assert_eq!((snapshot.allowed, snapshot.denied), (2, 1));
        });
    }
}
