//! Tasks that ask one thing after the other.

use std::{cell::Cell, future::Future, pin::Pin, rc::Rc, time::Duration};

use resilience_core::Clock;
use tokio::task::{LocalSet, yield_now};

/// Who is asked.
pub(crate) trait Asks {
    /// Somebody who asks about `keys` as `errand` says, and returns how often.
    fn asker(&self, keys: &Keys, errand: Errand) -> Pin<Box<dyn Future<Output = u64>>>;
}

/// What one task is to do.
pub(crate) struct Errand {
    /// The place of the first key.
    pub(crate) first: usize,
    /// Calls before it looks whether to go on.
    pub(crate) in_a_row: usize,
    pub(crate) goes_on: Rc<dyn Fn() -> bool>,
}

/// Keys in the order in which they are asked about, again and again.
#[derive(Clone)]
pub(crate) struct Keys(Rc<[String]>);

impl Keys {
    /// Ten thousand, each as often as any other.
    pub(crate) fn uniform() -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        Self::drawn(|| random.usize(..COUNT))
    }

    /// Ten thousand, each half as often as the one with half its number.
    pub(crate) fn zipf() -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        let weights = (1..=COUNT).map(|rank| 1.0 / rank as f64);
        let sums: Vec<f64> = weights
            .scan(0.0, |sum, weight| {
                *sum += weight;
                Some(*sum)
            })
            .collect();
        let all = sums[COUNT - 1];
        Self::drawn(|| {
            let drawn = random.f64() * all;
            sums.partition_point(|sum| *sum < drawn)
        })
    }

    /// A single one.
    pub(crate) fn one() -> Self {
        Self(Rc::new([name(0)]))
    }

    pub(crate) fn at(&self, place: usize) -> &str {
        &self.0[place % self.0.len()]
    }

    fn drawn(mut draw: impl FnMut() -> usize) -> Self {
        Self((0..LENGTH).map(|_| name(draw())).collect())
    }
}

fn name(number: usize) -> String {
    format!("user:{number:06}")
}

/// How many answers a second `tasks` get that ask for as long as `round`.
#[allow(clippy::cast_precision_loss, reason = "far less than 2^52")]
pub(crate) async fn crowd(asks: &dyn Asks, keys: &Keys, tasks: usize, round: Duration) -> f64 {
    let clock = Clock::system();
    let start = clock.now();
    let end = start.saturating_add(round);
    let until = clock.clone();
    let goes_on = Rc::new(move || until.now() < end);
    let calls = run(asks, keys, tasks, (IN_A_ROW, goes_on)).await;
    calls as f64 / clock.now().saturating_since(start).as_secs_f64()
}

/// A few calls of each of `tasks`; returns how many.
pub(crate) async fn some(asks: &dyn Asks, keys: &Keys, tasks: usize) -> u64 {
    let left = Cell::new(4 * tasks);
    let goes_on = move || {
        let before = left.get();
        left.set(before.saturating_sub(1));
        before > 0
    };
    run(asks, keys, tasks, (1, Rc::new(goes_on))).await
}

async fn run(
    asks: &dyn Asks,
    keys: &Keys,
    tasks: usize,
    (in_a_row, goes_on): (usize, Rc<dyn Fn() -> bool>),
) -> u64 {
    let local = LocalSet::new();
    let tasks: Vec<_> = (0..tasks)
        .map(|task| {
            let errand = Errand {
                first: task * LENGTH / tasks,
                in_a_row,
                goes_on: Rc::clone(&goes_on),
            };
            local.spawn_local(asks.asker(keys, errand))
        })
        .collect();
    local
        .run_until(async {
            let mut calls = 0;
            for task in tasks {
                calls += task.await.expect("no call panics");
            }
            calls
        })
        .await
}

/// Nanoseconds of each call where one task asks for as long as `round`.
#[allow(clippy::cast_precision_loss, reason = "far less than a year")]
pub(crate) async fn alone(asks: &dyn Asks, keys: &Keys, round: Duration) -> Vec<f64> {
    let clock = Clock::system();
    let end = clock.now().saturating_add(round);
    let mut times = Vec::new();
    let (mut last, mut first) = (clock.now(), 0);
    while last < end {
        let once = Cell::new(true);
        let goes_on = Rc::new(move || once.take());
        let errand = Errand {
            first,
            in_a_row: 1,
            goes_on,
        };
        asks.asker(keys, errand).await;
        let now = clock.now();
        times.push(now.saturating_since(last).as_nanos() as f64);
        (last, first) = (now, first + 1);
    }
    times
}

/// Asks with `ask` about one key after the other.
pub(crate) async fn again(keys: Keys, errand: Errand, mut ask: impl AsyncFnMut(&str)) -> u64 {
    let mut calls = 0;
    while (errand.goes_on)() {
        // What is answered at once must not keep the others from asking.
        if calls > 0 {
            yield_now().await;
        }
        for _ in 0..errand.in_a_row {
            ask(keys.at(errand.first + calls)).await;
            calls += 1;
        }
    }
    calls as u64
}

const COUNT: usize = 10_000;
/// Keys drawn ahead, since to draw one takes as long as some calls.
const LENGTH: usize = 1 << 17;
/// Calls of a task before it looks at the clock.
const IN_A_ROW: usize = 16;
