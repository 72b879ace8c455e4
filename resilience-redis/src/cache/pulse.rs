//! What a server says of itself when it is asked whether it is well.

use std::time::Duration;

use tokio::time::timeout;

use super::{ear::Ear, frame::ServerTime};
use crate::StoreError;

/// What the server says of itself and its clock.
pub(super) struct Pulse {
    pub(super) now: ServerTime,
    /// Changes when another server answers, or another has the say.
    pub(super) identity: String,
}

/// Feels the pulse of the server behind `ear`; one that has become a replica has none.
pub(super) async fn feel(ear: &Ear, patience: Duration) -> Result<Pulse, StoreError> {
    let mut connection = ear.connection.clone();
    let mut ask = redis::pipe();
    ask.cmd("TIME").cmd("INFO").arg("server");
    ask.cmd("INFO").arg("replication");
    let answer = timeout(patience, ask.query_async(&mut connection)).await;
    let answer: ((u64, u64), String, String) = answer
        .map_err(|_| StoreError::Timeout(patience))?
        .map_err(|error| StoreError::from(&error))?;
    let ((seconds, micros), server, replication) = answer;
    if replication.lines().any(|line| line == REPLICA) {
        return Err(StoreError::Unavailable);
    }
    let identity = [(&server, "run_id:"), (&replication, "master_replid:")]
        .map(|(info, field)| info.lines().find_map(|line| line.strip_prefix(field)))
        .map(Option::unwrap_or_default)
        .join(" ");
    let millis = seconds.saturating_mul(1000).saturating_add(micros / 1000);
    Ok(Pulse {
        now: ServerTime(millis),
        identity,
    })
}

/// What the server behind `ear` has heard of its cluster: it changes when one begins to own slots.
pub(super) async fn view(ear: &Ear, patience: Duration) -> Result<String, StoreError> {
    let mut connection = ear.connection.clone();
    let mut ask = redis::cmd("CLUSTER");
    let answer = timeout(patience, ask.arg("INFO").query_async(&mut connection)).await;
    let answer: String = answer
        .map_err(|_| StoreError::Timeout(patience))?
        .map_err(|error| StoreError::from(&error))?;
    let facts = ["cluster_size:", "cluster_current_epoch:"];
    let tells = |line: &&str| facts.iter().any(|fact| line.starts_with(fact));
    Ok(answer.lines().filter(tells).collect())
}

/// How often the server behind `ear` was emptied, since it began or was last told to count anew.
pub(super) async fn flushes(ear: &Ear, patience: Duration) -> Result<u64, StoreError> {
    let mut connection = ear.connection.clone();
    let mut ask = redis::cmd("INFO");
    let answer = timeout(
        patience,
        ask.arg("commandstats").query_async(&mut connection),
    )
    .await;
    let answer: String = answer
        .map_err(|_| StoreError::Timeout(patience))?
        .map_err(|error| StoreError::from(&error))?;
    let calls = answer.lines().filter_map(|line| {
        let calls = FLUSHES.iter().find_map(|start| line.strip_prefix(start))?;
        calls.split(',').next()?.parse::<u64>().ok()
    });
    Ok(calls.sum())
}

/// How a server says how often it was emptied.
const FLUSHES: [&str; 2] = ["cmdstat_flushall:calls=", "cmdstat_flushdb:calls="];
/// How a replica says what it is.
const REPLICA: &str = "role:slave";
