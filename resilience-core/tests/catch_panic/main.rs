//! The sentences of `catch_panic`'s documents, one test each.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod bodies;
mod calls;
mod reports;

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use resilience_core::{
    Environment, Event, ManualClock, Reason, Rejectable, Rejected, catch_panic::CatchPanic,
};

const SECRET: &str = "password=hunter2";

type Told = Arc<Mutex<Vec<(String, u64)>>>;

fn engine() -> CatchPanic {
    CatchPanic::new("test").unwrap()
}

fn listening() -> (CatchPanic, Told, ManualClock) {
    let (told, clock) = (Told::default(), ManualClock::new());
    let listener = told.clone();
    let environment = Environment::new()
        .clock(clock.clone())
        .observer(move |event: &Event<'_>| {
            if let Event::Panicked {
                message,
                suppressed,
                ..
            } = *event
            {
                let event = (message.to_owned(), suppressed);
                listener.lock().unwrap().push(event);
            }
        });
    let engine = CatchPanic::new_in("test", &environment).unwrap();
    (engine, told, clock)
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

fn reason(error: &impl Rejectable) -> Option<Reason> {
    error.as_rejected().map(Rejected::reason)
}
