//! The sentences of the bulkhead's documents, one test each.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod foreign;
mod keyed;
mod layer;
mod model;
mod places;
mod queue;
mod reports;
mod settings;

use std::{
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use resilience_core::{
    Clock, Environment, ManualClock, Reason, Rejected, Timestamp,
    concurrency::{Bulkhead, Policy, Waiting},
    gate::Entry,
};

const SECOND: Duration = Duration::from_secs(1);

fn policy(permits: u32) -> Policy {
    Policy::new("test", permits)
}

fn queued(permits: u32, queue: usize) -> Policy {
    policy(permits).queue(queue).max_wait(SECOND)
}

fn bulkhead(policy: Policy) -> Bulkhead {
    Bulkhead::new(policy).unwrap()
}

fn manual(policy: Policy) -> (Bulkhead, ManualClock) {
    let clock = ManualClock::new();
    let environment = Environment::new().clock(clock.clone());
    (Bulkhead::new_in(policy, &environment).unwrap(), clock)
}

fn started() -> (Clock, Timestamp) {
    let clock = Clock::tokio();
    let now = clock.now();
    (clock, now)
}

fn waiting(bulkhead: &Bulkhead) -> Pin<Box<Waiting>> {
    match bulkhead.enter() {
        Entry::Wait(waiting) => Box::pin(waiting),
        other => panic!("no place in the queue: {other:?}"),
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn is_admitted(waiting: &mut Pin<Box<Waiting>>) -> bool {
    matches!(poll(waiting.as_mut()), Poll::Ready(Ok(_)))
}

fn reason<T>(result: Result<T, Rejected>) -> Option<Reason> {
    result.err().map(|rejected| rejected.reason())
}

fn poll_now<T>(future: impl Future<Output = T>) -> T {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}
