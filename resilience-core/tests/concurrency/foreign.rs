//! Wakers, listeners and runtimes, which are foreign code.

use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Wake, Waker},
};

use resilience_core::{
    Environment, Event,
    concurrency::{Bulkhead, Permit},
};

use super::{bulkhead, is_admitted, manual, policy, poll, queued, waiting};

/// A waker is foreign code: one that panics must not cost others their turn.
#[test]
fn a_waker_that_panics_keeps_nobody_else_asleep() {
    struct Broken;
    impl Wake for Broken {
        fn wake(self: Arc<Self>) {
            panic!("a broken waker");
        }
    }
    struct Woken(AtomicU32);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let bulkhead = bulkhead(queued(1, 2));
    let running = bulkhead.try_acquire().unwrap();
    let (mut first, mut second) = (waiting(&bulkhead), waiting(&bulkhead));
    let woken = Arc::new(Woken(AtomicU32::new(0)));
    let wakers = [Waker::from(Arc::new(Broken)), Waker::from(woken.clone())];
    for (waiting, waker) in [&mut first, &mut second].into_iter().zip(&wakers) {
        let mut context = Context::from_waker(waker);
        assert!(waiting.as_mut().poll(&mut context).is_pending());
    }
    bulkhead.set_permits(3);
    assert_eq!(woken.0.load(SeqCst), 1);
    drop(running);
}

/// A waker is foreign code: dropping one may end a task that holds a permit.
#[test]
fn a_waker_that_comes_back_when_dropped_or_woken_finds_no_lock() {
    struct Comes(Bulkhead, Mutex<Option<Permit>>);
    impl Wake for Comes {
        fn wake(self: Arc<Self>) {
            let _ = self.0.snapshot();
        }
    }
    impl Drop for Comes {
        fn drop(&mut self) {
            self.0.set_permits(1);
            drop(self.1.lock().unwrap().take());
        }
    }
    let (bulkhead, _clock) = manual(queued(2, 2));
    let running = bulkhead.try_acquire().unwrap();
    let held = Mutex::new(bulkhead.try_acquire().ok());
    let waker = Waker::from(Arc::new(Comes(bulkhead.clone(), held)));
    let mut waiting = waiting(&bulkhead);
    assert!(
        waiting
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(waker);
    // The last reference is the one in the queue: this poll replaces and drops it.
    assert!(poll(waiting.as_mut()).is_pending());
    drop(running);
    assert!(is_admitted(&mut waiting));
}

#[test]
fn a_listener_that_panics_reaches_no_caller() {
    let environment = Environment::new().observer(|_: &Event<'_>| panic!("listener"));
    let bulkhead = Bulkhead::new_in(policy(0), &environment).unwrap();
    assert!(bulkhead.try_acquire().is_err());
    assert_eq!(bulkhead.snapshot().refused, 1);
}

#[test]
fn a_runtime_that_shuts_down_gives_everything_back() {
    let (bulkhead, _clock) = manual(queued(1, 1));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    for _ in 0..2 {
        let bulkhead = bulkhead.clone();
        runtime.spawn(async move { bulkhead.call(pending::<Result<(), Infallible>>).await });
    }
    runtime.block_on(tokio::task::yield_now());
    let full = bulkhead.snapshot();
    assert_eq!((full.running, full.queued), (1, 1));
    drop(runtime);
    let empty = bulkhead.snapshot();
    assert_eq!((empty.running, empty.queued), (0, 0));
}
