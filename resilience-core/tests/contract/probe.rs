//! A service that watches how it is treated.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use resilience_core::{Reason, Rejected};
use tower::Service;

/// What the service does when it is asked whether it is ready.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Readiness {
    Ready,
    /// Not at the first question of each instance; wakes the task at once.
    Late,
    Fails,
}

/// What a call does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    Answers,
    /// After this many polls that were pending.
    AnswersAfter(usize),
    Fails,
    Panics,
    FuturePanics,
}

/// Answers a number with the same number; panics when it is called without being ready, or when
/// its future is polled after its end.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) readiness: Readiness,
    ready: bool,
    asked: bool,
    /// Calls that arrived, over all clones.
    pub(crate) calls: Arc<AtomicUsize>,
}

/// The error of the service itself, in the one error type that carries refusals as well.
pub(crate) fn broken() -> Rejected {
    Rejected::new(Reason::Panicked, "the probe")
}

impl Probe {
    pub(crate) fn new(readiness: Readiness) -> Self {
        Self {
            readiness,
            ready: false,
            asked: false,
            calls: Arc::default(),
        }
    }
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        Self {
            readiness: self.readiness,
            ready: false,
            asked: false,
            calls: Arc::clone(&self.calls),
        }
    }
}

impl Service<Call> for Probe {
    type Response = u32;
    type Error = Rejected;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Rejected>> {
        match self.readiness {
            Readiness::Fails => return Poll::Ready(Err(broken())),
            Readiness::Late if !mem::replace(&mut self.asked, true) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Readiness::Late | Readiness::Ready => {}
        }
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Answer {
        assert!(mem::take(&mut self.ready), "called without being ready");
        self.calls.fetch_add(1, Ordering::Relaxed);
        if matches!(call, Call::Panics) {
            panic!("in call");
        }
        Answer {
            call,
            polls: 0,
            over: false,
        }
    }
}

/// The future of a [`Probe`].
#[derive(Debug)]
pub(crate) struct Answer {
    call: Call,
    polls: usize,
    over: bool,
}

impl Future for Answer {
    type Output = Result<u32, Rejected>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.over, "polled after its end");
        self.polls += 1;
        match self.call {
            Call::AnswersAfter(polls) if self.polls <= polls => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Call::FuturePanics => {
                self.over = true;
                panic!("in the future");
            }
            Call::Answers | Call::AnswersAfter(_) | Call::Fails | Call::Panics => {}
        }
        self.over = true;
        Poll::Ready(match self.call {
            Call::Fails => Err(broken()),
            _ => Ok(7),
        })
    }
}
