//! Lines of several processes before a server, all in one clock that nobody waits for.

mod ahead;
mod costs;
mod fleet;
mod late;
mod memory;
mod server;
mod waiting;

use std::time::Duration;

use resilience_core::{Timestamp, rate_limit::Algorithm};

const SECOND: u64 = 1_000_000;
/// Microseconds to the server, and back.
const WAY: u64 = 200;
/// Late by this: a question, what it must be asked again for, and a timer's granularity.
const LATE: u64 = 10_000;
/// For so long callers wait for an answer.
const PATIENCE: u64 = 10_000;
const ALL: [Algorithm; 3] = [
    Algorithm::SlidingWindow,
    Algorithm::SlidingLog,
    Algorithm::Gcra,
];

fn at(micros: u64) -> Timestamp {
    Timestamp::from_nanos(micros * 1000)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("not long")
}
