//! The sentences of `supervise`'s documents, one test each.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    fmt,
    future::{pending, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use resilience_core::{
    Clock, Environment, Event,
    backoff::{Backoff, Jitter},
    supervise::{Ended, Policy, Supervised, supervise, supervise_in},
};

const SECOND: Duration = Duration::from_secs(1);

/// What a listener heard, in words.
type Told = Arc<Mutex<Vec<String>>>;

fn listening() -> (Environment, Told) {
    let told = Told::default();
    let listener = told.clone();
    let environment =
        Environment::new()
            .clock(Clock::tokio())
            .observer(move |event: &Event<'_>| {
                let words = match *event {
                    Event::Panicked { message, .. } => format!("panic: {message}"),
                    Event::Restarting {
                        cause,
                        restarts,
                        delay,
                        ..
                    } => format!("{restarts} in {delay:?}: {cause}"),
                    Event::GaveUp {
                        cause, restarts, ..
                    } => format!("down after {restarts}: {cause}"),
                    _ => panic!("unexpected {event:?}"),
                };
                listener.lock().unwrap().push(words);
            });
    (environment, told)
}

fn policy() -> Policy {
    Policy::new("task").backoff(Backoff::exponential(SECOND))
}

#[tokio::test(start_paused = true)]
async fn every_end_is_told_and_the_task_starts_anew_after_a_wait_that_grows() {
    let (environment, told) = listening();
    let runs = AtomicU32::new(0);
    let task = move || {
        let run = runs.fetch_add(1, SeqCst);
        assert!(run != 3, "before the future");
        async move {
            match run {
                0 => Err("no menu"),
                1 => Ok(()),
                2 => panic!("boom"),
                _ => pending().await,
            }
        }
    };
    let task = supervise_in(policy(), &environment, task).unwrap();
    tokio::time::sleep(SECOND * 60).await;
    let told = told.lock().unwrap();
    assert_eq!(
        *told,
        [
            "1 in 1s: no menu",
            "2 in 2s: it returned",
            "panic: boom",
            "3 in 4s: it panicked",
            "panic: before the future",
            "4 in 8s: it panicked",
        ]
    );
    assert!(task.is_running());
    assert_eq!(task.restarts(), 4);
}

#[tokio::test(start_paused = true)]
async fn after_max_restarts_in_a_row_it_stays_down_and_says_so() {
    let (environment, told) = listening();
    let task = || ready(Err::<(), _>("no menu"));
    let policy = policy().max_restarts(1);
    let mut task = supervise_in(policy, &environment, task).unwrap();
    assert_eq!(task.ended().await, Ended::GaveUp);
    assert_eq!(task.ended().await, Ended::GaveUp);
    assert!(!task.is_running());
    let told = told.lock().unwrap();
    assert_eq!(*told, ["1 in 1s: no menu", "down after 1: no menu"]);
}

#[tokio::test(start_paused = true)]
async fn a_healthy_run_starts_the_row_over() {
    let (environment, told) = listening();
    let task = || async {
        tokio::time::sleep(SECOND * 60).await;
        Err::<(), _>("tired")
    };
    let policy = policy().healthy_after(SECOND * 60).max_restarts(1);
    let task = supervise_in(policy, &environment, task).unwrap();
    tokio::time::sleep(SECOND * 60 * 60).await;
    assert!(task.is_running());
    let told = told.lock().unwrap();
    assert!(told.len() > 50 && told.iter().all(|it| it.ends_with("in 1s: tired")));
}

/// Counts the runs that are alive.
struct Alive(Arc<AtomicU32>);

impl Alive {
    fn new(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn lasting(alive: &Arc<AtomicU32>) -> Supervised {
    let alive = alive.clone();
    let task = move || {
        let alive = Alive::new(&alive);
        async move {
            pending::<()>().await;
            drop(alive);
            Ok::<_, String>(())
        }
    };
    supervise(Policy::new("lasting"), task).unwrap()
}

#[tokio::test(start_paused = true)]
async fn stop_drops_the_future_and_no_other_follows() {
    let alive = Arc::default();
    let mut task = lasting(&alive);
    tokio::time::sleep(SECOND).await;
    assert_eq!(alive.load(SeqCst), 1);
    task.stop();
    assert_eq!(task.ended().await, Ended::Stopped);
    tokio::time::sleep(SECOND * 3600).await;
    assert_eq!((alive.load(SeqCst), task.restarts()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn stop_ends_the_wait_before_a_restart_too() {
    let (environment, told) = listening();
    let mut task = supervise_in(policy(), &environment, || ready(Err::<(), _>("no"))).unwrap();
    tokio::time::sleep(SECOND / 2).await;
    task.stop();
    assert_eq!(task.ended().await, Ended::Stopped);
    tokio::time::sleep(SECOND * 60).await;
    assert_eq!(told.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_handle_lets_the_task_run_on() {
    let alive = Arc::default();
    drop(lasting(&alive));
    tokio::time::sleep(SECOND).await;
    assert_eq!(alive.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn errors_are_told_escaped_even_those_that_cannot_be_shown() {
    struct Unshown;
    impl fmt::Display for Unshown {
        fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("in Display")
        }
    }
    let (environment, told) = listening();
    let policy = policy().max_restarts(0);
    let task = || ready(Err::<(), _>("\u{1b}[2J\n"));
    let mut escaped = supervise_in(policy, &environment, task).unwrap();
    escaped.ended().await;
    let task = || ready(Err::<(), _>(Unshown));
    let mut unshown = supervise_in(policy, &environment, task).unwrap();
    unshown.ended().await;
    let told = told.lock().unwrap();
    assert_eq!(
        *told,
        [
            r"down after 0: \u{1b}[2J\n",
            "panic: in Display",
            "down after 0: an error that cannot be shown",
        ]
    );
}

#[tokio::test]
async fn settings_that_would_spin_are_refused() {
    let refused = |policy: Policy| {
        let task = || ready(Ok::<_, String>(()));
        supervise(policy, task).unwrap_err().field()
    };
    let jitter = Backoff::constant(Duration::ZERO).jitter(Jitter::Full);
    assert_eq!(refused(policy().backoff(jitter)), "backoff");
    let never = Backoff::exponential(SECOND).max(Duration::ZERO);
    assert_eq!(refused(policy().backoff(never)), "backoff");
    let shrinks = Backoff::exponential(SECOND).factor(0.5);
    assert_eq!(refused(policy().backoff(shrinks)), "factor");
    assert_eq!(
        refused(policy().healthy_after(Duration::ZERO)),
        "healthy_after"
    );
    assert_eq!(refused(Policy::new("")), "name");
}

#[test]
fn a_runtime_that_shuts_down_stops_the_task() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let alive = Arc::default();
    let mut task = runtime.block_on(async { lasting(&alive) });
    drop(runtime);
    let another = tokio::runtime::Builder::new_current_thread().build();
    assert_eq!(another.unwrap().block_on(task.ended()), Ended::Stopped);
    assert_eq!(alive.load(SeqCst), 0);
}
