//! Starts real `redis-server` processes, each for one test, and breaks what is between.

mod certificates;
mod cluster;
mod history;
mod log;
mod member;
mod port;
mod process;
mod proxy;
mod reaper;
mod sentinels;
mod server;
mod user;

use std::{env, future::Future, time::Duration};

use resilience_redis::Settings;
use tokio::{
    task::yield_now,
    time::{sleep, timeout},
};

pub(crate) use self::{
    certificates::Certificates,
    cluster::RedisCluster,
    history::{History, Sequential},
    log::Log,
    member::{Member, obey, role},
    port::Port,
    process::Process,
    proxy::Proxy,
    sentinels::RedisSentinels,
    server::{RedisServer, permissions, permissions_for},
    user::{BEYOND, LARGEST, LEAST_I64, MOST_I64, User, script},
};

pub(crate) fn patient() -> Settings {
    Settings::new()
        .decision_timeout(PATIENCE)
        .connect_timeout(PATIENCE)
}

/// Asks again until the answer is `Some`.
pub(crate) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            sleep(POLL).await;
        }
    };
    timeout(PATIENCE, asking).await.expect("it never happened")
}

/// Whether the machine is ours alone, as `STRICT_TIMES` says and the step `bars of a fleet` of
/// `cargo xtask test` sees to.
pub(crate) fn is_alone() -> bool {
    env::var_os("STRICT_TIMES").is_some()
}

/// `bar` where the machine is ours alone; else far above it, since a loaded machine wakes the servers
/// when it likes.
pub(crate) fn within(bar: Duration) -> Duration {
    if is_alone() { bar } else { bar * 3 }
}

/// What comes of `call`, which ends 5 ms after `deadline` or sooner.
///
/// By a timer of the same runtime: where the machine stood still, both are late, and whoever was
/// woken first goes first.
pub(crate) async fn in_time<T>(deadline: Duration, call: impl Future<Output = T>) -> T {
    let late = async {
        sleep(deadline + Duration::from_millis(5)).await;
        for _ in 0..TURNS {
            yield_now().await;
        }
    };
    tokio::select! {
        biased;
        outcome = call => outcome,
        () = late => panic!("a call that should have ended after {deadline:?} goes on"),
    }
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const POLL: Duration = Duration::from_millis(5);
/// Enough for what a timer woke to pass it on from task to task.
const TURNS: u32 = 16;
