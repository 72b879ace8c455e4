//! A server with a replica, and three sentinels that watch it.

use super::{RedisServer, eventually, server::USER};

/// A primary and its replica, watched by three sentinels under the name `dishes`.
pub(crate) struct RedisSentinels {
    pub(crate) primary: RedisServer,
    pub(crate) replica: RedisServer,
    pub(crate) sentinels: Vec<RedisServer>,
}

impl RedisSentinels {
    /// Sentinels that know each other and the replica, ready to fail over.
    pub(crate) async fn start() -> Self {
        let arguments = ["--repl-diskless-sync-delay", "0"];
        let primary = RedisServer::start_with(&arguments).await;
        let port = primary.port();
        let replica = RedisServer::start_with(&arguments).await;
        replica.tell(&format!("REPLICAOF 127.0.0.1 {port}")).await;
        eventually(async || {
            let info: String = replica.ask("INFO replication").await;
            info.contains("master_link_status:up").then_some(())
        })
        .await;
        // Sentinels whose votes are split vote again after twice the failover timeout.
        let watch = format!(
            "sentinel monitor dishes 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds dishes 1000\n\
             sentinel failover-timeout dishes 2000\n"
        );
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(RedisServer::start_as(&watch, &["--sentinel"]).await);
        }
        for sentinel in &sentinels {
            eventually(async || {
                let facts: Vec<String> = sentinel.ask("SENTINEL MASTER dishes").await;
                let fact = |name: &str| {
                    let at = facts.iter().position(|fact| fact == name)?;
                    facts.get(at + 1).cloned()
                };
                let others = fact("num-other-sentinels")? == "2";
                (others && fact("num-slaves")? == "1").then_some(())
            })
            .await;
        }
        Self {
            primary,
            replica,
            sentinels,
        }
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self
            .sentinels
            .iter()
            .map(|sentinel| format!("127.0.0.1:{}", sentinel.port()))
            .collect();
        format!(
            "redis-sentinel://{USER}:{USER}@{}?service=dishes",
            hosts.join(",")
        )
    }
}
