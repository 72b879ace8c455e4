//! What the benchmarks share: services that cost nothing, our layers around them, and how calls
//! through anything are counted off and timed.
//!
//! A figure has a name of three parts, `LAYER/WHO/THREADS`: what is done, who does it (`ours`, or
//! the peer's crate), and how many threads do it at once to the same thing.

mod bare;
#[cfg(feature = "redis")]
pub mod cores;
pub mod filters;
pub mod governor;
pub mod keys;
pub mod ours;
mod pages;
pub mod report;
mod rounds;
mod row;
mod subject;
pub mod tower_resilience;

pub use self::{
    bare::{Answer, Bare, BareHttp, HttpAnswer},
    keys::KEYS,
    pages::{Http, http},
    rounds::{Rounds, median},
    row::{Row, smoke},
    subject::{Expect, Keyed, Plain, Subject, While, call, holding, keyed, layered, now, walk},
};

use std::{sync::LazyLock, time::Duration};

use tokio::runtime::{Builder, Runtime};

/// For peers: some panic where there is none, and some sleep before they refuse. Its one thread
/// has nothing else to do.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build();
    runtime.expect("a runtime")
});

/// Settings in benchmarks are.
pub const VALID: &str = "valid settings";

/// More than any number of threads asks for: one a nanosecond.
pub const MOST: u32 = 1_000_000_000;

/// What a log of calls holds at most: one in ten nanoseconds, and two threads that ask faster than
/// that need a faster machine than any.
pub const LOG_LIMIT: u64 = 10_000;

/// How long it does.
pub const LOG_WINDOW: Duration = Duration::from_micros(100);

/// Calls in a window of time before anybody looks how long the next one takes.
pub const FILL: u64 = 100_000;

/// A usual window.
pub const TEN_SECONDS: Duration = Duration::from_secs(10);

/// Longer than any benchmark.
pub const HOUR: Duration = Duration::from_secs(3600);
