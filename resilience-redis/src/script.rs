//! Lua scripts and how they are run.

use redis::{Cmd, ErrorKind, RedisResult, ServerErrorKind, Value};

use crate::connection::Wire;

/// A script of ours and the name that the server gives it.
#[derive(Debug)]
pub(crate) struct Script {
    text: &'static str,
    sha1: String,
}

impl Script {
    pub(crate) fn new(text: &'static str) -> Self {
        Self {
            text,
            sha1: redis::Script::new(text).get_hash().to_owned(),
        }
    }

    /// Runs the script by its name, and by its text if the server does not know the name.
    ///
    /// A server forgets scripts when it restarts and when another takes its place. NOSCRIPT says
    /// that nothing ran, so this is the one error after which a call is made again.
    pub(crate) async fn run(
        &self,
        connection: &mut Wire,
        keys: &[String],
        arguments: &[u64],
    ) -> RedisResult<Value> {
        let by_name = command("EVALSHA", &self.sha1, keys, arguments);
        match by_name.query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                command("EVAL", self.text, keys, arguments)
                    .query_async(connection)
                    .await
            }
            answer => answer,
        }
    }
}

fn command(verb: &str, script: &str, keys: &[String], arguments: &[u64]) -> Cmd {
    let mut command = redis::cmd(verb);
    command.arg(script).arg(keys.len()).arg(keys).arg(arguments);
    command
}
