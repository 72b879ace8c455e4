//! What the benchmarks share: a service that costs nothing, and how calls through it are timed.

use std::{
    convert::Infallible,
    future::Future,
    hint::black_box,
    pin::{Pin, pin},
    sync::{Barrier, LazyLock},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use criterion::{BenchmarkGroup, measurement::WallTime};
use resilience_core::{Clock, Error};
use tokio::runtime::{Builder, Runtime};
use tower::Service;

/// Answers at once, with what it was asked.
#[derive(Clone, Copy, Debug)]
pub struct Bare;

/// The future of [`Bare`]: named, as small as its answer.
#[derive(Debug)]
pub struct Answer(u64);

impl Service<u64> for Bare {
    type Response = u64;
    type Error = Error<Infallible>;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Answer {
        Answer(black_box(request))
    }
}

impl Future for Answer {
    type Output = Result<u64, Error<Infallible>>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(self.0))
    }
}

/// What every call of a benchmark must come to, so that it measures what its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The call goes through.
    Admitted,
    /// The layer refuses it.
    Refused,
}

/// Times calls through clones of `service`, on one thread and on two.
pub fn service<S>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, expect: Expect, service: &S)
where
    S: Service<u64> + Clone + Sync,
{
    calls(group, name, expect, || {
        let mut service = service.clone();
        move |request| call(&mut service, request).is_ok()
    });
}

/// Times calls of what `worker` makes for each thread, on one thread and on two.
pub fn calls<W, C>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, expect: Expect, worker: W)
where
    W: Fn() -> C + Sync,
    C: FnMut(u64) -> bool,
{
    for threads in [1, 2] {
        group.bench_function(format!("{name}/{threads}"), |bencher| {
            bencher.iter_custom(|iterations| {
                elapsed(threads, &|start| time(iterations, expect, worker(), start))
            });
        });
    }
}

/// One call from readiness to answer, without a runtime.
///
/// What is pending is polled again: a peer that waits for its own lock gets it, and pays for that.
pub fn call<S: Service<u64>>(service: &mut S, request: u64) -> Result<S::Response, S::Error> {
    let mut context = Context::from_waker(Waker::noop());
    while service.poll_ready(&mut context)?.is_pending() {
        thread::yield_now();
    }
    now(service.call(request))
}

/// Polls `future` to its end.
pub fn now<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::yield_now();
    }
}

/// The slowest of `threads` that run `work` side by side.
fn elapsed(threads: usize, work: &(impl Fn(&Barrier) -> Duration + Sync)) -> Duration {
    let start = Barrier::new(threads);
    if threads == 1 {
        return work(&start);
    }
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(&start))).collect();
        let times = workers.into_iter().map(|worker| worker.join());
        times.map(|time| time.expect("a benchmark failed")).max()
    })
    .unwrap_or_default()
}

fn time(
    iterations: u64,
    expect: Expect,
    mut call: impl FnMut(u64) -> bool,
    start: &Barrier,
) -> Duration {
    let _context = RUNTIME.enter();
    let clock = Clock::system();
    let mut key = 0_u64;
    start.wait();
    let begun = clock.now();
    for _ in 0..iterations {
        // A walk through all keys in an order that no cache line follows: the step is coprime.
        key = (key + STEP) % KEYS;
        assert_eq!(call(black_box(key)), expect == Expect::Admitted);
    }
    clock.now().saturating_since(begun)
}

/// Nobody drives it: some peers panic where there is none.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime")
});

/// The requests are the numbers below this one, for layers that look at a key.
pub const KEYS: u64 = 10_000;
const STEP: u64 = 7_919;
