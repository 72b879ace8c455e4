//! The sentences of the bulkhead's documents, one test each.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    convert::Infallible,
    future::{Future, pending, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use resilience_core::{
    BoxError, Clock, Environment, Error, Event, Http, ManualClock, Measured, Outcome, Reason,
    Rejectable, Rejected, Results, Settle, Timestamp,
    concurrency::{Bulkhead, Bulkheads, Permit, Policy, Snapshot, Waiting},
    gate::Entry,
};
use tower::{Layer, Service, ServiceExt, service_fn};

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

/// A service that answers when it is told to.
fn never() -> impl Service<(), Response = (), Error = BoxError, Future: Send> + Clone {
    service_fn(|()| pending::<Result<(), BoxError>>())
}

#[test]
fn whoever_finds_no_place_is_refused_at_once_without_a_runtime() {
    let bulkhead = bulkhead(policy(2));
    let permits = [bulkhead.try_acquire(), bulkhead.try_acquire()];
    assert!(permits.iter().all(Result::is_ok));
    let refused = bulkhead.try_acquire().unwrap_err();
    assert_eq!(refused.reason(), Reason::ConcurrencyLimited);
    assert_eq!((refused.policy(), refused.retry_after()), ("test", None));
    assert!(matches!(bulkhead.enter(), Entry::Refused(_)));
    drop(permits);
    assert!(bulkhead.try_acquire().is_ok());
}

#[test]
fn a_full_queue_refuses_at_once() {
    let (bulkhead, _clock) = manual(queued(1, 1));
    let _running = bulkhead.try_acquire().unwrap();
    let _waiting = waiting(&bulkhead);
    let refused = poll(pin!(bulkhead.acquire()));
    let Poll::Ready(refused) = refused else {
        panic!("it waits");
    };
    assert_eq!(reason(refused), Some(Reason::ConcurrencyLimited));
}

#[test]
fn a_wait_of_zero_is_to_be_refused_at_once() {
    let (bulkhead, _clock) = manual(policy(1).queue(5).max_wait(Duration::ZERO));
    let _running = bulkhead.try_acquire().unwrap();
    assert!(matches!(bulkhead.enter(), Entry::Refused(_)));
}

#[test]
fn a_wait_without_end_never_ends() {
    let (bulkhead, clock) = manual(policy(1).queue(1).max_wait(Duration::MAX));
    let running = bulkhead.try_acquire().unwrap();
    let mut waiting = waiting(&bulkhead);
    clock.set(Timestamp::from_nanos(u64::MAX - 1));
    assert!(poll(waiting.as_mut()).is_pending());
    drop(running);
    assert!(is_admitted(&mut waiting));
}

#[test]
fn a_queue_without_a_longest_wait_is_refused_when_built() {
    let invalid = Bulkhead::new(policy(1).queue(1)).unwrap_err();
    assert_eq!(invalid.field(), "max_wait");
    let invalid = Bulkheads::<u8>::new(policy(1).capacity(0)).unwrap_err();
    assert_eq!(invalid.field(), "capacity");
    assert_eq!(
        Bulkhead::new(Policy::new("", 1)).unwrap_err().field(),
        "name"
    );
}

#[test]
fn every_number_works_or_is_refused_when_built() {
    for permits in [0, 1, u32::MAX] {
        for queue in [0, 1, usize::MAX] {
            for max_wait in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
                let (bulkhead, _clock) = manual(policy(permits).queue(queue).max_wait(max_wait));
                assert_eq!(bulkhead.try_acquire().is_ok(), permits > 0);
                bulkhead.set_permits(u32::MAX);
                let two = [bulkhead.try_acquire(), bulkhead.try_acquire()];
                assert!(two.iter().all(Result::is_ok));
                assert_eq!(bulkhead.snapshot().permits, (1 << 31) - 1);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_has_waited_max_wait_is_refused() {
    let environment = Environment::new().clock(Clock::tokio());
    let bulkhead = Bulkhead::new_in(queued(1, 2), &environment).unwrap();
    let _running = bulkhead.try_acquire().unwrap();
    let (clock, before) = started();
    let refused = bulkhead.acquire().await;
    assert_eq!(clock.now().saturating_since(before), SECOND);
    assert_eq!(reason(refused), Some(Reason::QueueTimeout));
    let snapshot = bulkhead.snapshot();
    assert_eq!((snapshot.timed_out, snapshot.queued), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_is_woken_by_the_one_that_leaves() {
    let environment = Environment::new().clock(Clock::tokio());
    let bulkhead = Bulkhead::new_in(queued(1, 1), &environment).unwrap();
    let running = bulkhead.try_acquire().unwrap();
    tokio::spawn(async move {
        tokio::time::sleep(SECOND / 4).await;
        drop(running);
    });
    let (clock, before) = started();
    assert!(bulkhead.acquire().await.is_ok());
    assert_eq!(clock.now().saturating_since(before), SECOND / 4);
}

/// Peers' waiters spin: millions of polls in a second.
#[tokio::test(start_paused = true)]
async fn a_timer_whose_clock_is_not_ours_makes_no_waiter_spin() {
    let (bulkhead, _stands_still) = manual(queued(1, 1));
    let _running = bulkhead.try_acquire().unwrap();
    let mut waiting = waiting(&bulkhead);
    let polls = AtomicU32::new(0);
    let counted = std::future::poll_fn(|cx| {
        polls.fetch_add(1, SeqCst);
        waiting.as_mut().poll(cx)
    });
    let ended = tokio::time::timeout(SECOND * 10, counted).await;
    assert!(ended.is_err());
    assert!(polls.load(SeqCst) <= 12, "{polls:?}");
}

#[test]
fn a_waiter_that_goes_away_gives_up_its_place() {
    let (bulkhead, _clock) = manual(queued(1, 2));
    let running = bulkhead.try_acquire().unwrap();
    let first = waiting(&bulkhead);
    let mut second = waiting(&bulkhead);
    drop(first);
    assert_eq!(bulkhead.snapshot().queued, 1);
    drop(running);
    assert!(is_admitted(&mut second));
    assert_eq!(bulkhead.snapshot().abandoned, 1);
}

#[test]
fn a_permit_just_given_to_a_waiter_that_goes_away_is_passed_on() {
    let (bulkhead, _clock) = manual(queued(1, 2));
    let running = bulkhead.try_acquire().unwrap();
    let (first, mut second) = (waiting(&bulkhead), waiting(&bulkhead));
    drop(running);
    assert_eq!(bulkhead.snapshot().running, 1);
    drop(first);
    assert!(is_admitted(&mut second));
    assert_eq!(bulkhead.snapshot().running, 0);
}

#[test]
fn nobody_passes_those_who_wait() {
    let (bulkhead, _clock) = manual(queued(1, 2));
    let running = bulkhead.try_acquire().unwrap();
    let mut first = waiting(&bulkhead);
    drop(running);
    assert!(bulkhead.try_acquire().is_err());
    let mut second = waiting(&bulkhead);
    assert!(poll(second.as_mut()).is_pending());
    assert!(is_admitted(&mut first));
    assert!(is_admitted(&mut second));
}

#[test]
fn fewer_permits_throw_nobody_out_and_nobody_enters_until_enough_have_left() {
    let bulkhead = bulkhead(policy(3));
    let mut permits: Vec<Permit> = (0..3).map(|_| bulkhead.try_acquire().unwrap()).collect();
    bulkhead.set_permits(1);
    for left in [2, 1] {
        permits.pop();
        assert_eq!(bulkhead.snapshot().running, left);
        assert!(bulkhead.try_acquire().is_err());
    }
    permits.pop();
    assert!(bulkhead.try_acquire().is_ok());
}

#[test]
fn more_permits_let_in_those_who_wait_in_order() {
    let (bulkhead, _clock) = manual(queued(0, 3));
    let mut callers: Vec<_> = (0..3).map(|_| waiting(&bulkhead)).collect();
    bulkhead.set_permits(2);
    let stands: Vec<_> = callers
        .iter_mut()
        .map(|caller| poll(caller.as_mut()))
        .collect();
    assert!(stands[0].is_ready() && stands[1].is_ready() && stands[2].is_pending());
}

#[test]
fn closed_nobody_gets_in_and_those_who_wait_are_refused() {
    let (bulkhead, _clock) = manual(queued(1, 1));
    let running = bulkhead.try_acquire().unwrap();
    let mut waiting = waiting(&bulkhead);
    bulkhead.close();
    let Poll::Ready(refused) = poll(waiting.as_mut()) else {
        panic!("it waits on");
    };
    assert_eq!(reason(refused), Some(Reason::Closed));
    drop(running);
    bulkhead.set_permits(5);
    assert_eq!(reason(bulkhead.try_acquire()), Some(Reason::Closed));
    assert_eq!(reason(poll_now(bulkhead.acquire())), Some(Reason::Closed));
    assert_eq!(bulkhead.snapshot().running, 0);
}

fn poll_now<T>(future: impl Future<Output = T>) -> T {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn a_clock_that_jumps_and_goes_back_leaves_nobody_behind() {
    let (bulkhead, clock) = manual(queued(1, 2));
    let running = bulkhead.try_acquire().unwrap();
    clock.set(Timestamp::from_nanos(u64::MAX / 2));
    let mut first = waiting(&bulkhead);
    clock.set(Timestamp::ZERO);
    let second = waiting(&bulkhead);
    assert!(poll(first.as_mut()).is_pending());
    clock.advance(SECOND);
    // It stands behind one whose wait is far from over.
    assert_eq!(reason(poll_now(second)), Some(Reason::QueueTimeout));
    drop(running);
    assert!(is_admitted(&mut first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_callers_never_more_than_ten_run_and_all_get_their_turn() {
    let bulkhead = bulkhead(policy(10).queue(1000).max_wait(SECOND * 60));
    let (now, peak) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let (bulkhead, now, peak) = (bulkhead.clone(), now.clone(), peak.clone());
        tasks.spawn(async move {
            let operation = || async {
                peak.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, SeqCst);
                Ok::<_, Infallible>(())
            };
            bulkhead.call(operation).await
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap().unwrap();
    }
    assert!(peak.load(SeqCst) <= 10);
    let snapshot = bulkhead.snapshot();
    assert_eq!((snapshot.admitted, snapshot.running), (1000, 0));
}

/// tower's `LoadShed` over `ConcurrencyLimit` parks a permit in each clone that was readied.
#[tokio::test]
async fn an_idle_clone_of_a_service_holds_no_permit() {
    let bulkhead = bulkhead(policy(1));
    let echo = service_fn(|number: u32| ready(Ok::<_, BoxError>(number)));
    let service = bulkhead.layer_with(Results).layer(echo);
    let mut idle: Vec<_> = (0..50).map(|_| service.clone()).collect();
    for clone in &mut idle {
        clone.ready().await.unwrap();
        clone.ready().await.unwrap();
    }
    assert_eq!(bulkhead.snapshot().running, 0);
    assert_eq!(service.clone().oneshot(7).await.unwrap(), 7);
}

/// A service whose readiness is a place, of which there is one among all clones.
struct OnePlace {
    places: Arc<AtomicU32>,
    held: bool,
}

impl Clone for OnePlace {
    fn clone(&self) -> Self {
        let places = self.places.clone();
        Self {
            places,
            held: false,
        }
    }
}

impl Drop for OnePlace {
    fn drop(&mut self) {
        self.places.fetch_sub(u32::from(self.held), SeqCst);
    }
}

impl Service<()> for OnePlace {
    type Response = ();
    type Error = BoxError;
    type Future = std::future::Ready<Result<(), BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if !self.held && self.places.fetch_add(1, SeqCst) > 0 {
            self.places.fetch_sub(1, SeqCst);
            return Poll::Pending;
        }
        self.held = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

#[test]
fn a_call_that_waits_gives_back_what_its_readiness_had_reserved() {
    let bulkhead = bulkhead(queued(1, 1));
    let running = bulkhead.try_acquire().unwrap();
    let places = Arc::new(AtomicU32::new(0));
    let inner = OnePlace {
        places: places.clone(),
        held: false,
    };
    let mut service = bulkhead.layer_with(Results).layer(inner);
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    assert_eq!(places.load(SeqCst), 1);
    let mut call = pin!(service.call(()));
    assert!(call.as_mut().poll(&mut context).is_pending());
    assert_eq!(places.load(SeqCst), 0);
    drop(running);
    assert!(call.as_mut().poll(&mut context).is_ready());
    assert_eq!(places.load(SeqCst), 0);
}

#[test]
fn a_call_on_an_instance_that_is_not_ready_is_refused_and_holds_nothing() {
    let bulkhead = bulkhead(policy(1));
    let mut service = bulkhead.layer_with(Results).layer(never());
    let error = poll_now(service.call(())).unwrap_err();
    let rejected = error.as_rejected().unwrap();
    assert_eq!(rejected.reason(), Reason::NotReady);
    assert_eq!(bulkhead.snapshot().running, 0);
}

#[test]
fn a_response_dropped_at_any_point_gives_back_what_it_held() {
    let (bulkhead, _clock) = manual(queued(1, 1));
    let layer = bulkhead.layer_with(Results);
    for polls in 0..3 {
        let mut service = layer.layer(never());
        assert!(poll_now(service.ready()).is_ok());
        let mut running = Box::pin(service.call(()));
        assert!(poll_now(service.ready()).is_ok());
        let mut waiting = Box::pin(service.call(()));
        for _ in 0..polls {
            assert!(poll(running.as_mut()).is_pending());
            assert!(poll(waiting.as_mut()).is_pending());
        }
        let full = bulkhead.snapshot();
        assert_eq!((full.running, full.queued), (1, 1));
        drop(running);
        let passed = bulkhead.snapshot();
        assert_eq!((passed.running, passed.queued), (1, 0));
        drop(waiting);
        assert_eq!(bulkhead.snapshot().running, 0);
    }
}

#[test]
fn a_call_that_panics_gives_its_permit_back() {
    let bulkhead = bulkhead(policy(1));
    let layer = bulkhead.layer_with(Results);
    let in_call = service_fn(|()| -> std::future::Ready<Result<(), BoxError>> { panic!("call") });
    let in_future = service_fn(|()| async { panic!("future") as Result<(), BoxError> });
    let called = AssertUnwindSafe(|| poll_now(layer.layer(in_call).oneshot(())));
    assert!(catch_unwind(called).is_err());
    let polled = AssertUnwindSafe(|| poll_now(layer.layer(in_future).oneshot(())));
    assert!(catch_unwind(polled).is_err());
    let snapshot = bulkhead.snapshot();
    assert_eq!((snapshot.running, snapshot.failed), (0, 2));
}

#[test]
fn an_outcome_gives_the_permit_back_and_failures_are_counted() {
    let bulkhead = bulkhead(policy(1));
    let settle = |outcome| bulkhead.try_acquire().unwrap().settle(outcome);
    settle(Outcome::Success);
    settle(Outcome::NotCalled);
    settle(Outcome::Failure);
    settle(Outcome::Overload { retry_after: None });
    settle(Outcome::Canceled);
    drop(bulkhead.try_acquire());
    let snapshot = bulkhead.snapshot();
    assert_eq!((snapshot.failed, snapshot.dropped), (2, 2));
    assert_eq!((snapshot.admitted, snapshot.running), (6, 0));
}

#[tokio::test]
async fn a_call_runs_until_the_end_of_the_body_or_until_the_head_by_choice() {
    let bulkhead = bulkhead(policy(1));
    let echo = service_fn(|_: Request<()>| {
        let body = Full::new(Bytes::from_static(b"soup"));
        ready(Ok::<_, BoxError>(Response::new(body)))
    });
    let at_end = bulkhead.layer().layer(echo);
    let response = at_end.oneshot(Request::new(())).await.unwrap();
    assert_eq!(bulkhead.snapshot().running, 1);
    response.into_body().collect().await.unwrap();
    assert_eq!(bulkhead.snapshot().running, 0);

    let at_head = bulkhead.layer_with(Http::at_headers()).layer(echo);
    let _response = at_head.oneshot(Request::new(())).await.unwrap();
    assert_eq!(bulkhead.snapshot().running, 0);
}

#[tokio::test]
async fn a_body_dropped_half_way_gives_the_permit_back() {
    let bulkhead = bulkhead(policy(1));
    let endless = service_fn(|_: Request<()>| {
        let frames = endless_body();
        ready(Ok::<_, BoxError>(Response::new(frames)))
    });
    let service = bulkhead.layer().layer(endless);
    let mut response = service.oneshot(Request::new(())).await.unwrap();
    assert!(poll(Pin::new(&mut response.body_mut().frame())).is_pending());
    assert_eq!(bulkhead.snapshot().running, 1);
    drop(response);
    let snapshot = bulkhead.snapshot();
    assert_eq!((snapshot.running, snapshot.dropped), (0, 1));
}

/// A body whose frames never come.
fn endless_body() -> impl http_body::Body<Data = Bytes, Error = BoxError> + Unpin {
    struct Never;
    impl http_body::Body for Never {
        type Data = Bytes;
        type Error = BoxError;
        fn poll_frame(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
            Poll::Pending
        }
    }
    Never
}

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
fn every_refusal_is_told_once() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = told.clone();
    let clock = ManualClock::new();
    let environment = Environment::new()
        .clock(clock.clone())
        .observer(move |event: &Event<'_>| {
            if let Event::Rejected(rejected) = event {
                listener.lock().unwrap().push(rejected.reason());
            }
        });
    let bulkhead = Bulkhead::new_in(queued(0, 1), &environment).unwrap();
    let waiting = waiting(&bulkhead);
    assert!(bulkhead.try_acquire().is_err());
    clock.advance(SECOND);
    assert!(poll_now(waiting).is_err());
    let told = told.lock().unwrap();
    assert_eq!(*told, [Reason::ConcurrencyLimited, Reason::QueueTimeout]);
}

#[tokio::test]
async fn call_runs_the_operation_under_a_permit() {
    let bulkhead = bulkhead(policy(1));
    let inside = bulkhead.clone();
    let operation = || async move {
        let refused = inside.call(|| ready(Ok::<_, Infallible>(()))).await;
        assert!(matches!(refused, Err(Error::Rejected(_))));
        Err::<(), _>("broken")
    };
    assert_eq!(bulkhead.call(operation).await, Err(Error::Inner("broken")));
    assert_eq!(bulkhead.snapshot().running, 0);
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

#[test]
fn each_key_has_permits_of_its_own() {
    let bulkheads = Bulkheads::<String>::new(policy(1)).unwrap();
    let _soup = bulkheads.bulkhead("soup").try_acquire().unwrap();
    assert!(bulkheads.bulkhead("soup").try_acquire().is_err());
    assert!(bulkheads.bulkhead("rice").try_acquire().is_ok());
    bulkheads.set_permits(2);
    assert!(bulkheads.bulkhead("soup").try_acquire().is_ok());
    assert!(bulkheads.bulkhead("fish").try_acquire().is_ok());
    let snapshot = bulkheads.snapshot();
    assert_eq!(
        (snapshot.permits, snapshot.running, snapshot.admitted),
        (2, 1, 4)
    );
}

#[test]
fn a_key_with_calls_under_way_is_never_forgotten_and_memory_is_bounded() {
    let bulkheads = Bulkheads::<u32>::new(policy(1).capacity(16)).unwrap();
    let _running = bulkheads.bulkhead(&0).try_acquire().unwrap();
    for stranger in 1..10_000 {
        assert!(bulkheads.bulkhead(&stranger).try_acquire().is_ok());
        assert!(bulkheads.len() <= 16);
    }
    assert!(bulkheads.bulkhead(&0).try_acquire().is_err());
}

#[test]
fn where_all_places_are_taken_new_keys_share_and_are_still_held() {
    let bulkheads = Bulkheads::<u32>::new(policy(1).capacity(8)).unwrap();
    let permits: Vec<_> = (0..1000)
        .map(|key| bulkheads.bulkhead(&key).try_acquire())
        .collect();
    let admitted = permits.iter().filter(|it| it.is_ok()).count();
    assert!((8..=16).contains(&admitted), "{admitted}");
    assert_eq!(bulkheads.len(), 8);
}

#[tokio::test]
async fn a_request_that_names_no_key_is_refused() {
    let bulkheads = Bulkheads::<u8>::new(policy(1)).unwrap();
    let extractor = |request: &Option<u8>| *request;
    let echo = service_fn(|request: Option<u8>| ready(Ok::<_, BoxError>(request)));
    let service = bulkheads.layer_with(extractor, Results).layer(echo);
    assert_eq!(service.clone().oneshot(Some(1)).await.unwrap(), Some(1));
    let error = service.oneshot(None).await.unwrap_err();
    let reason = error.as_rejected().map(Rejected::reason);
    assert_eq!(reason, Some(Reason::MissingKey));
}

#[test]
fn the_figures_of_a_bulkhead_carry_its_name_and_closed_labels() {
    let (bulkhead, _clock) = manual(queued(1, 1));
    let _running = bulkhead.try_acquire().unwrap();
    let _waiting = waiting(&bulkhead);
    let mut figures = Vec::new();
    bulkhead.measure(&mut |it| figures.push((it.instrument.name, it.label, it.value)));
    assert_eq!(bulkhead.policy(), "test");
    for expected in [
        ("resilience.concurrency.permits", None, 1),
        ("resilience.concurrency.running", None, 1),
        ("resilience.concurrency.queued", None, 1),
        ("resilience.concurrency.decisions", Some("admitted"), 1),
        ("resilience.concurrency.decisions", Some("refused"), 0),
    ] {
        assert!(figures.contains(&expected), "{expected:?} in {figures:?}");
    }
}

#[test]
fn sizes_and_threads() {
    fn anywhere<T: Send + Sync + 'static>() -> usize {
        size_of::<T>()
    }
    assert!(anywhere::<Permit>() <= 16);
    assert!(anywhere::<Waiting>() <= 160);
    assert!(anywhere::<Bulkhead>() <= 16);
    assert!(anywhere::<Bulkheads<String>>() <= 8);
    assert!(anywhere::<Snapshot>() <= 72);
}
