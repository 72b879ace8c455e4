//! Starts real `redis-server` processes, each for one test, and breaks what is between.

mod certificates;
mod cluster;
mod history;
mod process;
mod proxy;
mod sentinels;
mod server;

use std::time::Duration;

use resilience_redis::Settings;
use tokio::time::{sleep, timeout};

pub(crate) use self::{
    certificates::Certificates,
    cluster::RedisCluster,
    history::{History, Sequential},
    process::Process,
    proxy::Proxy,
    sentinels::RedisSentinels,
    server::RedisServer,
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

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const POLL: Duration = Duration::from_millis(5);
