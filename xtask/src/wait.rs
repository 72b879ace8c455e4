//! The one place of this program that reads a clock or sleeps: it waits for other processes, and
//! has no runtime to do it for it.
#![allow(
    clippy::disallowed_methods,
    reason = "no layer, and no machine: a program that waits for others"
)]

use std::{
    process::{Child, ExitStatus},
    thread,
    time::{Duration, Instant},
};

const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn read(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What `probe` finds, asked again and again until `limit` has passed.
pub(crate) fn until<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let stopwatch = Stopwatch::start();
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if stopwatch.read() >= limit {
            return None;
        }
        thread::sleep(PAUSE);
    }
}

/// How `child` ended, if it did within `limit`.
pub(crate) fn for_exit(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    until(limit, || child.try_wait().ok().flatten())
}
