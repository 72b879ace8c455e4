//! Single flights, by those who wait: a load from its beginning until all have its value, each of
//! them a task, and the time by their number.

use std::{
    convert::Infallible,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use benches::{HOUR, Row, Subject, VALID};
use criterion::Criterion;
use resilience_core::cache::{Cache, Policy};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{Notify, OnceCell},
    task::{JoinSet, yield_now},
};

use crate::decades;

pub(crate) fn bench(criterion: &mut Criterion) {
    for waiters in decades(0, 5) {
        let layer = format!("growth_waiters_{waiters}");
        Row::ours(&layer).bench_alone(criterion, || ours(waiters));
        // The simplest way to have a value made once.
        Row::of(&layer, "tokio").bench_alone(criterion, || tokio(waiters));
    }
}

fn ours(waiters: u64) -> impl Subject {
    let policy = Policy::new("flights", HOUR).capacity(1_000);
    let cache = Cache::<u64, u64>::new(policy).expect(VALID);
    let flights = AtomicU64::new(0);
    Flights::of(waiters, move |gate| {
        let key = flights.fetch_add(1, Relaxed) / (waiters + 1);
        let cache = cache.clone();
        async move {
            let load = async move || {
                gate.notified().await;
                Ok::<_, Infallible>(key)
            };
            cache.get_or_load(&key, load).await.is_ok()
        }
    })
}

fn tokio(waiters: u64) -> impl Subject {
    let flights = AtomicU64::new(0);
    let cell = std::sync::Mutex::new(Arc::default());
    Flights::of(waiters, move |gate| {
        let mut cell = cell.lock().expect("nobody panics here");
        if flights.fetch_add(1, Relaxed).is_multiple_of(waiters + 1) {
            *cell = Arc::new(OnceCell::new());
        }
        let cell: Arc<OnceCell<u64>> = cell.clone();
        async move {
            let load = async move || {
                gate.notified().await;
                7
            };
            *cell.get_or_init(load).await == 7
        }
    })
}

/// Loads with so many waiters each, one load after the other.
struct Flights<A> {
    runtime: Runtime,
    waiters: u64,
    ask: A,
}

impl<A, F> Flights<A>
where
    A: Fn(Arc<Notify>) -> F + Sync,
    F: Future<Output = bool> + Send + 'static,
{
    /// `ask` is called for the one who loads and for each who waits; the load ends with its
    /// argument.
    fn of(waiters: u64, ask: A) -> Self {
        let runtime = Builder::new_current_thread().enable_time().build();
        Self {
            runtime: runtime.expect("a runtime"),
            waiters,
            ask,
        }
    }

    async fn flight(&self) {
        let gate = Arc::new(Notify::new());
        let asking = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..=self.waiters {
            let (asked, asking) = ((self.ask)(gate.clone()), asking.clone());
            tasks.spawn(async move {
                asking.fetch_add(1, Relaxed);
                asked.await
            });
        }
        while asking.load(Relaxed) <= self.waiters {
            yield_now().await;
        }
        gate.notify_one();
        while let Some(answered) = tasks.join_next().await {
            assert!(answered.expect("no task panics"));
        }
    }
}

impl<A, F> Subject for Flights<A>
where
    A: Fn(Arc<Notify>) -> F + Sync,
    F: Future<Output = bool> + Send + 'static,
{
    fn calls(&self, _caller: u64, number: u64) {
        for _ in 0..number / self.waiters {
            self.runtime.block_on(self.flight());
        }
    }

    fn batch(&self) -> u64 {
        self.waiters
    }
}
