//! Every interleaving of a few callers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use loom::{future::block_on, thread};

use super::{Bulkhead, Permit, Policy, Waiting};
use crate::{Environment, ManualClock, gate::Entry};

fn check(test: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

fn bulkhead(permits: u32, queue: usize) -> Bulkhead {
    let policy = Policy::new("loom", permits)
        .queue(queue)
        .max_wait(Duration::MAX);
    let environment = Environment::new().clock(ManualClock::new());
    Bulkhead::new_in(policy, &environment).unwrap()
}

fn waiting(bulkhead: &Bulkhead) -> Pin<Box<Waiting>> {
    match bulkhead.enter() {
        Entry::Wait(waiting) => Box::pin(waiting),
        other => panic!("no place in the queue: {other:?}"),
    }
}

fn poll(waiting: &mut Pin<Box<Waiting>>) -> Option<Permit> {
    match waiting
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(result) => Some(result.unwrap()),
        Poll::Pending => None,
    }
}

#[test]
fn a_permit_that_comes_back_while_a_caller_joins_the_queue_is_not_lost() {
    check(|| {
        let bulkhead = bulkhead(1, 1);
        let permit = bulkhead.try_acquire().unwrap();
        let other = bulkhead.clone();
        let caller = thread::spawn(move || drop(block_on(other.acquire()).unwrap()));
        drop(permit);
        caller.join().unwrap();
        assert_eq!(bulkhead.snapshot().running, 0);
    });
}

#[test]
fn never_more_than_the_permits_run_and_all_of_them_come_back() {
    check(|| {
        let bulkhead = bulkhead(1, 0);
        let threads = [0, 1].map(|_| {
            let bulkhead = bulkhead.clone();
            thread::spawn(move || {
                let permit = bulkhead.try_acquire();
                assert!(bulkhead.snapshot().running <= 1);
                permit.is_ok()
            })
        });
        let admitted = threads.map(|it| it.join().unwrap());
        assert!(admitted.contains(&true));
        assert_eq!(bulkhead.snapshot().running, 0);
        assert!(bulkhead.try_acquire().is_ok());
    });
}

#[test]
fn a_permit_just_given_to_a_caller_that_goes_away_is_passed_on() {
    check(|| {
        let bulkhead = bulkhead(1, 2);
        let permit = bulkhead.try_acquire().unwrap();
        let first = waiting(&bulkhead);
        let mut second = waiting(&bulkhead);
        let gone = thread::spawn(move || drop(first));
        drop(permit);
        gone.join().unwrap();
        assert!(poll(&mut second).is_some());
        assert_eq!(bulkhead.snapshot().running, 0);
    });
}

#[test]
fn a_newcomer_never_passes_one_who_waits() {
    check(|| {
        let bulkhead = bulkhead(1, 1);
        let permit = bulkhead.try_acquire().unwrap();
        let mut first = waiting(&bulkhead);
        let other = bulkhead.clone();
        let newcomer = thread::spawn(move || other.try_acquire().is_ok());
        drop(permit);
        assert!(!newcomer.join().unwrap());
        assert!(poll(&mut first).is_some());
    });
}

#[test]
fn permits_changed_while_calls_come_and_go_are_all_there_in_the_end() {
    check(|| {
        let bulkhead = bulkhead(1, 1);
        let caller = bulkhead.clone();
        let caller = thread::spawn(move || drop(caller.try_acquire()));
        bulkhead.set_permits(2);
        caller.join().unwrap();
        let both = [bulkhead.try_acquire(), bulkhead.try_acquire()];
        assert!(both.iter().all(Result::is_ok));
        assert!(bulkhead.try_acquire().is_err());
    });
}
