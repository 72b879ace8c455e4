//! How many processes have a limiter.
//!
//! Each says so once a second, whether it is used or not: what is left to one when Redis goes away
//! must not grow because the others have nothing to do.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use redis::from_redis_value;
use resilience_core::Environment;
use tokio::time::sleep;

use super::share::Share;
use crate::{
    RedisStore, StoreError,
    connection::Connection,
    identity,
    script::{Script, script},
};

/// Lets this process stand in the register under `key` as long as there is `share`, and tells that
/// how many do.
pub(in crate::rate_limit) fn keep(
    store: &RedisStore,
    key: String,
    share: &Arc<Share>,
    environment: &Environment,
) {
    let register = Register {
        connection: store.connection().clone(),
        greet: script!("fleet_greet"),
        key,
        node: identity::unique(),
        environment: environment.clone(),
    };
    store.runtime().spawn(register.run(Arc::downgrade(share)));
}

struct Register {
    connection: Connection,
    greet: Script,
    key: String,
    /// What this process is called there.
    node: String,
    environment: Environment,
}

impl Register {
    async fn run(self, share: Weak<Share>) {
        loop {
            let nodes = self.greet().await;
            let Some(share) = share.upgrade() else { break };
            if let Ok(nodes) = nodes {
                share.saw(nodes, self.environment.now());
            }
            drop(share);
            sleep(GREETING).await;
        }
        // Those who are not told forget it by themselves.
        let _ = self.leave().await;
    }

    /// Says that this process is there, and counts who is.
    async fn greet(&self) -> Result<u64, StoreError> {
        let silent = SILENCE.as_micros().to_string();
        let request = async |wire| {
            let words = &[&self.node, &silent];
            let keys = std::slice::from_ref(&self.key);
            let reply = self.greet.run(&wire, keys, words).await?;
            Ok(from_redis_value(reply)?)
        };
        let patience = self.connection.settings().time_to_connect();
        self.connection
            .run_aside(&self.key, patience, request)
            .await
    }

    async fn leave(&self) -> Result<(), StoreError> {
        let mut command = redis::cmd("ZREM");
        command.arg(&self.key).arg(&self.node);
        let request = async |mut wire| command.query_async(&mut wire).await;
        let patience = self.connection.settings().time_to_connect();
        self.connection
            .run_aside(&self.key, patience, request)
            .await
    }
}

/// How often a process says that it is there.
const GREETING: Duration = Duration::from_secs(1);
/// For how long one counts that does not.
const SILENCE: Duration = Duration::from_secs(5);
