//! What others do: a command for each call, or a script.

use std::{future::Future, pin::Pin, rc::Rc};

use redis::{AsyncConnectionConfig, Client, aio::MultiplexedConnection, io::tcp::TcpSettings};

use crate::{
    Problem,
    crowd::{self, Asks, Errand, Keys},
};

/// A connection as the limiter has it.
pub(crate) async fn connect(url: &str) -> Result<MultiplexedConnection, Problem> {
    let info = redis::IntoConnectionInfo::into_connection_info(url)?;
    let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let client = Client::open(info)?;
    let config = AsyncConnectionConfig::new().set_pipeline_buffer_size(2048);
    // The server was started a moment ago.
    for _ in 0..500 {
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        if let Ok(connection) = connection.await {
            return Ok(connection);
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    Err("redis-server does not answer".into())
}

/// One `INCR` for each call.
pub(crate) struct Incr(MultiplexedConnection);

impl Incr {
    pub(crate) fn new(connection: &MultiplexedConnection) -> Self {
        Self(connection.clone())
    }
}

impl Asks for Incr {
    fn asker(&self, keys: &Keys, errand: Errand) -> Pin<Box<dyn Future<Output = u64>>> {
        let (mut connection, keys) = (self.0.clone(), keys.clone());
        Box::pin(crowd::again(keys, errand, async move |key| {
            let command = redis::cmd("INCR").arg(key).to_owned();
            let count: u64 = command.query_async(&mut connection).await.expect("a count");
            assert!(count > 0);
        }))
    }
}

/// One script for each call, with a hundred units a second for each key.
pub(crate) struct Script {
    connection: MultiplexedConnection,
    script: Rc<redis::Script>,
    prefix: &'static str,
}

impl Script {
    /// The time of each unit in a sorted set.
    pub(crate) fn zset_log(connection: &MultiplexedConnection) -> Self {
        Self::new(connection, "zset", ZSET_LOG)
    }

    /// The generic cell rate algorithm in seconds, as fractions.
    pub(crate) fn gcra_float(connection: &MultiplexedConnection) -> Self {
        Self::new(connection, "gcra", GCRA_FLOAT)
    }

    fn new(connection: &MultiplexedConnection, prefix: &'static str, text: &str) -> Self {
        Self {
            connection: connection.clone(),
            script: Rc::new(redis::Script::new(text)),
            prefix,
        }
    }
}

impl Asks for Script {
    fn asker(&self, keys: &Keys, errand: Errand) -> Pin<Box<dyn Future<Output = u64>>> {
        let (mut connection, keys) = (self.connection.clone(), keys.clone());
        let (script, prefix) = (Rc::clone(&self.script), self.prefix);
        let mut number = errand.first as u64 * 1_000_000;
        Box::pin(crowd::again(keys, errand, async move |key| {
            number += 1;
            let mut call = script.key(format!("{prefix}:{key}"));
            call.arg(100).arg(1).arg(number);
            let answer = call.invoke_async(&mut connection).await;
            let (_allowed, _remaining): (u64, i64) = answer.expect("a decision");
        }))
    }
}

const ZSET_LOG: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, now - ARGV[2] * 1000000)
local used = redis.call('ZCARD', KEYS[1])
if used >= tonumber(ARGV[1]) then
  return { 0, 0 }
end
redis.call('ZADD', KEYS[1], now, now .. ':' .. ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return { 1, ARGV[1] - used - 1 }
";

const GCRA_FLOAT: &str = "
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local interval = ARGV[2] / ARGV[1]
local arrival = tonumber(redis.call('GET', KEYS[1]) or now)
local next = math.max(arrival, now) + interval
local spare = now - (next - ARGV[2])
if spare < 0 then
  return { 0, 0 }
end
redis.call('SET', KEYS[1], tostring(next), 'EX', math.ceil(next - now))
return { 1, math.floor(spare / interval) }
";
