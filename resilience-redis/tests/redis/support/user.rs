//! Runs scripts as the library does, at the edges of their arguments: 0, 1, the largest whole number
//! of a double and those of 64 bits, nothing, and long keys.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use redis::{Value, aio::MultiplexedConnection};

use super::RedisServer;

/// A script, behind what the scripts of its family have in common.
macro_rules! script {
    ($($file:literal),+) => {
        concat!($(
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lua/", $file, ".lua"))
        ),+)
    };
}

pub(crate) use script;

/// Whoever may do what the README says.
pub(crate) struct User {
    connection: MultiplexedConnection,
    server: RedisServer,
}

impl User {
    pub(crate) async fn new() -> Self {
        let server = RedisServer::start().await;
        let client = redis::Client::open(server.url()).unwrap();
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        Self { connection, server }
    }

    /// What a script answers, in a short form.
    pub(crate) async fn run(
        &mut self,
        script: &str,
        keys: &[String],
        arguments: &[&str],
    ) -> String {
        let mut eval = redis::cmd("EVAL");
        eval.arg(script).arg(keys.len()).arg(keys).arg(arguments);
        match eval.query_async(&mut self.connection).await {
            Ok(reply) => short(&reply),
            Err(error) => {
                let text = error.to_string();
                assert!(
                    !text.contains("NOPERM") && !text.contains("permission"),
                    "{text}"
                );
                assert!(!error.is_io_error(), "{text}");
                "error".to_owned()
            }
        }
    }

    /// What the server holds, past the library.
    pub(crate) async fn look(&self, command: &str) -> String {
        short(&self.server.ask::<Value>(command).await)
    }

    pub(crate) async fn knows_lag(&self) -> bool {
        self.server.knows_lag().await
    }

    /// Keys of one slot: short ones, and ones nearly as long as the library makes them.
    pub(crate) fn names(kinds: &[&str]) -> [Vec<String>; 2] {
        [1, 480].map(|length| {
            let tag = "k".repeat(length);
            let name = |kind: &&str| format!("res:{kind}:{{{tag}}}");
            kinds.iter().map(name).collect()
        })
    }
}

fn short(reply: &Value) -> String {
    match reply {
        Value::Nil => "nil".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(short).collect();
            format!("[{}]", items.join(" "))
        }
        other => format!("{other:?}"),
    }
}

pub(crate) const LARGEST: &str = "9007199254740991";
pub(crate) const BEYOND: &str = "9007199254740992";
pub(crate) const LEAST_I64: &str = "-9223372036854775808";
pub(crate) const MOST_I64: &str = "9223372036854775807";
