use std::{
    cell::{Cell, OnceCell},
    env,
    sync::Barrier,
    thread,
    time::Duration,
};

use criterion::Criterion;
use resilience_core::Clock;

use crate::{RUNTIME, Subject, report};

/// One thing that one library does, timed on each number of threads.
#[derive(Debug)]
pub struct Row {
    layer: String,
    who: &'static str,
}

impl Row {
    /// What our layer does.
    ///
    /// Runs outside of any runtime, where a timer would panic: that none is needed is seen as well.
    pub fn ours(layer: impl Into<String>) -> Self {
        Self::of(layer, "ours")
    }

    /// What the crate `peer` does in its place.
    pub fn of(layer: impl Into<String>, peer: &'static str) -> Self {
        Self {
            layer: layer.into(),
            who: peer,
        }
    }

    /// Times calls of what `make` builds: once, and only where one of its figures is asked for.
    pub fn bench<S: Subject>(&self, criterion: &mut Criterion, make: impl Fn() -> S) {
        self.bench_on(criterion, &THREADS, make);
    }

    /// As [`bench`](Self::bench), for what threads cannot share.
    pub fn bench_alone<S: Subject>(&self, criterion: &mut Criterion, make: impl Fn() -> S) {
        self.bench_on(criterion, &[1], make);
    }

    fn bench_on<S: Subject>(
        &self,
        criterion: &mut Criterion,
        threads: &[u64],
        make: impl Fn() -> S,
    ) {
        let (built, allocations) = (OnceCell::new(), OnceCell::new());
        let mut group = criterion.benchmark_group(&self.layer);
        for &threads in threads {
            let asked = Cell::new(false);
            let name = format!("{}/{threads}", self.who);
            group.bench_function(&name, |bencher| {
                asked.set(true);
                let subject = built.get_or_init(|| self.within(&make));
                bencher.iter_custom(|calls| self.elapsed(subject, threads, calls));
            });
            if let (true, Some(subject)) = (asked.get(), built.get()) {
                // One thread's calls allocate as much as another's.
                let allocations = *allocations.get_or_init(|| self.allocations(subject));
                report::write(&format!("{}/{name}", self.layer), |row| {
                    row.insert("allocs".to_owned(), allocations.into());
                });
            }
        }
        group.finish();
    }

    /// How long the slowest of `threads` takes for `calls`, side by side with the others.
    fn elapsed(&self, subject: &impl Subject, threads: u64, calls: u64) -> Duration {
        let start = Barrier::new(usize::try_from(threads).unwrap_or(1));
        let time = |caller| self.within(|| time(subject, caller, calls, &start));
        if threads == 1 {
            return time(0);
        }
        thread::scope(|scope| {
            let callers: Vec<_> = (0..threads)
                .map(|it| scope.spawn(move || time(it)))
                .collect();
            let times = callers.into_iter().map(|caller| caller.join());
            times.map(|time| time.expect("a benchmark failed")).max()
        })
        .unwrap_or_default()
    }

    /// Of one call.
    fn allocations(&self, subject: &impl Subject) -> f64 {
        let made = COUNTED.next_multiple_of(subject.batch());
        let calls = || self.within(|| subject.calls(0, made));
        calls();
        ratio(allocation_counter::measure(calls).count_total, made)
    }

    fn within<T>(&self, act: impl FnOnce() -> T) -> T {
        if self.who == "ours" {
            return act();
        }
        let _context = RUNTIME.enter();
        act()
    }
}

/// Whether this run is to show only that everything still works.
#[must_use]
pub fn smoke() -> bool {
    env::args().any(|argument| argument == "--test")
}

/// How long `calls` take, which are made in whole batches.
fn time(subject: &impl Subject, caller: u64, calls: u64, start: &Barrier) -> Duration {
    let clock = Clock::system();
    let made = calls.next_multiple_of(subject.batch());
    start.wait();
    let mut taken = Duration::ZERO;
    // Whoever allocates must not pay for being counted.
    allocation_counter::opt_out(|| {
        let begun = clock.now();
        subject.calls(caller, made);
        taken = clock.now().saturating_since(begun);
    });
    taken.mul_f64(ratio(calls, made))
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
fn ratio(some: u64, all: u64) -> f64 {
    some as f64 / all as f64
}

/// Two cores are usual where this runs: more than two show what waiting for a place costs.
const THREADS: [u64; 4] = [1, 2, 4, 8];

const COUNTED: u64 = 1_000;
