//! Each value is loaded once for everybody, and served for as long as it is good.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod edges;
mod fleet;
mod flights;
#[cfg(feature = "http")]
mod http;
mod invalidation;
mod layer;
mod lives;
mod model;
mod tier;

use std::{
    convert::Infallible,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use resilience_core::{
    Cache, Clock, Environment, Error, Random, Reason,
    cache::{EarlyRefresh, Loaded, OnLeaderGone, Origin, Policy},
};
use tokio::{
    task::JoinHandle,
    time::{advance, sleep},
};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Ten seconds to the nanosecond, and nothing by chance.
fn policy() -> Policy {
    Policy::new("dishes", 10 * SECOND)
        .jitter(0.0)
        .negative_jitter(0.0)
        .early_refresh(EarlyRefresh::Never)
}

/// A cache on Tokio's clock, which the test holds.
fn cache(policy: Policy) -> Cache<u32, u64> {
    Cache::new_in(policy, &Environment::new().clock(Clock::tokio())).unwrap()
}

/// A source whose every load takes a while and gives the number of loads so far.
#[derive(Clone, Debug, Default)]
struct Source(Arc<AtomicU64>);

impl Source {
    fn loads(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn takes(
        &self,
        time: Duration,
    ) -> impl FnOnce() -> Later<Result<u64, &'static str>> + Send + 'static {
        let source = self.clone();
        move || {
            let number = source.0.fetch_add(1, Ordering::Relaxed) + 1;
            Box::pin(async move {
                sleep(time).await;
                Ok(number)
            })
        }
    }

    fn gives(&self) -> impl FnOnce() -> Later<Result<u64, &'static str>> + Send + 'static {
        self.takes(Duration::ZERO)
    }

    fn fails(&self) -> impl FnOnce() -> Later<Result<u64, &'static str>> + Send + 'static {
        let load = self.takes(Duration::ZERO);
        || Box::pin(async { load().await.and(Err("down")) })
    }
}

/// One who asks, in a task of its own.
fn ask<F, Fut, L>(
    cache: &Cache<u32, u64>,
    loader: F,
) -> JoinHandle<Result<u64, Error<&'static str>>>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<L, &'static str>> + Send + 'static,
    L: Into<Loaded<u64>>,
{
    let cache = cache.clone();
    tokio::spawn(async move { cache.get_or_load(&7, loader).await })
}

/// So many who ask at the same time.
fn crowd<F, Fut>(
    callers: usize,
    cache: &Cache<u32, u64>,
    loader: impl Fn() -> F,
) -> Vec<JoinHandle<Result<u64, Error<&'static str>>>>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<u64, &'static str>> + Send + 'static,
{
    (0..callers).map(|_| ask(cache, loader())).collect()
}

type Later<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send>>;

/// Lets everything that can run do so.
async fn settle() {
    sleep(Duration::ZERO).await;
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// How long `future` takes on Tokio's clock.
async fn timed<F: Future>(future: F) -> (F::Output, Duration) {
    let clock = Clock::tokio();
    let began = clock.now();
    let output = future.await;
    (output, clock.now().saturating_since(began))
}

fn reason<T, E>(result: Result<T, Error<E>>) -> Option<Reason> {
    match result {
        Err(Error::Rejected(rejected)) => Some(rejected.reason()),
        Ok(_) | Err(Error::Inner(_)) => None,
    }
}
