//! What every layer owes to Tower, to its callers and to whoever goes away.
//!
//! Each law is given a way to make the layer's service around a probe. The engines behind are set
//! so tight that whatever a law lets leak makes the next call fail.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::atomic::Ordering,
    task::{Context, Poll, Waker},
};

use resilience_core::{Reason, Rejected};
use tower::Service;

use crate::probe::{Call, Probe, Readiness, broken};

/// A layer's service around a probe.
pub(crate) trait Subject: Service<Call, Response = u32, Error = Rejected> + Clone {}

impl<S> Subject for S where S: Service<Call, Response = u32, Error = Rejected> + Clone {}

/// Makes the layer's service around a probe; all that one maker makes share their engine.
pub(crate) trait Maker: Fn(Probe) -> Self::Service {
    type Service: Subject;
}

impl<F, S: Subject> Maker for F
where
    F: Fn(Probe) -> S,
{
    type Service = S;
}

const POLLS: usize = 8;

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn readied<S: Subject>(mut service: S) -> S {
    for _ in 0..POLLS {
        match service.poll_ready(&mut context()) {
            Poll::Ready(Ok(())) => return service,
            Poll::Ready(Err(error)) => panic!("not ready: {error}"),
            Poll::Pending => {}
        }
    }
    panic!("never ready")
}

fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    for _ in 0..POLLS {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context()) {
            return output;
        }
    }
    panic!("never over")
}

fn answers(make: &impl Maker) {
    let mut service = readied(make(Probe::new(Readiness::Ready)));
    assert_eq!(run(service.call(Call::Answers)), Ok(7));
}

/// An answer of the service passes unchanged, again and again.
pub(crate) fn an_answer_passes(make: impl Maker) {
    for _ in 0..20 {
        answers(&make);
    }
}

/// An error of the service passes unchanged.
pub(crate) fn an_error_passes(make: impl Maker) {
    let mut service = readied(make(Probe::new(Readiness::Ready)));
    assert_eq!(run(service.call(Call::Fails)), Err(broken()));
}

/// Without `poll_ready` the call is refused, and the inner service never hears of it.
pub(crate) fn an_unready_call_is_refused(make: impl Maker) {
    let probe = Probe::new(Readiness::Ready);
    let calls = probe.calls.clone();
    let mut service = make(probe);
    let rejected = run(service.call(Call::Answers)).unwrap_err();
    assert_eq!(rejected.reason(), Reason::NotReady);
    let mut clone = readied(service).clone();
    let rejected = run(clone.call(Call::Answers)).unwrap_err();
    assert_eq!(rejected.reason(), Reason::NotReady);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    answers(&make);
}

/// Asking twice reserves nothing twice, and a reservation that is never used holds nobody up.
pub(crate) fn readiness_is_never_parked(make: impl Maker) {
    let probe = Probe::new(Readiness::Ready);
    let service = make(probe);
    let idle: Vec<_> = (0..100)
        .map(|_| readied(readied(service.clone())))
        .collect();
    answers(&make);
    drop(idle);
}

/// Readiness that fails is passed on, and the engine goes on.
pub(crate) fn failed_readiness_passes(make: impl Maker) {
    let mut service = make(Probe::new(Readiness::Fails));
    let Poll::Ready(Err(error)) = service.poll_ready(&mut context()) else {
        panic!("an error was due");
    };
    assert_eq!(error, broken());
}

/// Pending readiness has registered the waker, and is asked again only after a wake.
pub(crate) fn pending_readiness_registers_the_waker(make: impl Maker) {
    let mut service = make(Probe::new(Readiness::Late));
    let mut task = tokio_test::task::spawn(());
    let first = task.enter(|cx, _| service.poll_ready(cx));
    assert!(first.is_pending());
    assert!(task.is_woken());
    let second = task.enter(|cx, _| service.poll_ready(cx));
    assert!(second.is_ready());
}

/// A future dropped after any number of polls, or before the first, leaves nothing behind.
pub(crate) fn a_dropped_call_leaves_nothing_behind(make: impl Maker) {
    for polls in 0..4 {
        let mut service = readied(make(Probe::new(Readiness::Ready)));
        {
            let mut future = pin!(service.call(Call::AnswersAfter(10)));
            for _ in 0..polls {
                assert!(future.as_mut().poll(&mut context()).is_pending());
            }
        }
        answers(&make);
    }
}

/// A panic in `call` or in the future leaves nothing behind, whether it is caught here or not.
pub(crate) fn a_panic_leaves_nothing_behind(make: impl Maker) {
    for call in [Call::Panics, Call::FuturePanics] {
        let mut service = readied(make(Probe::new(Readiness::Ready)));
        let outcome = catch_unwind(AssertUnwindSafe(|| run(service.call(call))));
        if let Ok(caught) = outcome {
            assert_eq!(caught.unwrap_err().reason(), Reason::Panicked);
        }
    }
}

/// Whatever the layer, its services can be shared out among threads.
pub(crate) fn services_are_send_and_sync<M>(make: M)
where
    M: Maker,
    M::Service: Send + Sync + 'static,
    <M::Service as Service<Call>>::Future: Send + 'static,
{
    fn send<T: Send + 'static>(_: &T) {}
    let mut service = readied(make(Probe::new(Readiness::Ready)));
    send(&service.call(Call::Answers));
}
