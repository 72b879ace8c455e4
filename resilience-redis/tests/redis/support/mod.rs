//! Starts real `redis-server` processes, each for one test, and breaks what is between.

mod certificates;
mod cluster;
mod history;
mod member;
mod process;
mod proxy;
mod reaper;
mod sentinels;
mod server;

use std::{env, time::Duration};

use resilience_redis::Settings;
use tokio::time::{sleep, timeout};

pub(crate) use self::{
    certificates::Certificates,
    cluster::RedisCluster,
    history::{History, Sequential},
    member::{Member, obey, role},
    process::Process,
    proxy::Proxy,
    sentinels::RedisSentinels,
    server::{RedisServer, permissions},
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

/// `bar` where the machine is ours alone, as `STRICT_TIMES` says; else far above it, since a loaded
/// machine wakes us, and the servers, when it likes.
pub(crate) fn within(bar: Duration) -> Duration {
    if is_strict() { bar } else { bar * 3 }
}

/// How much later than its deadline a call may end.
pub(crate) fn slack() -> Duration {
    Duration::from_millis(if is_strict() { 5 } else { 450 })
}

fn is_strict() -> bool {
    env::var_os("STRICT_TIMES").is_some()
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const POLL: Duration = Duration::from_millis(5);
