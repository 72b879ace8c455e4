//! Lua scripts and how they are run.

use std::time::Duration;

use redis::{
    Cmd, ErrorKind, FromRedisValue, ParsingError, RedisResult, ServerErrorKind, ToRedisArgs, Value,
    from_redis_value,
};

use crate::{
    StoreError,
    connection::{Connection, Wire},
};

/// A script of ours and the name that the server gives it.
#[derive(Debug)]
pub(crate) struct Script {
    text: &'static str,
    sha1: String,
}

/// A script of `lua/`.
macro_rules! script {
    ($name:literal) => {
        $crate::script::Script::new($crate::script::text!($name))
    };
}
pub(crate) use script;

/// A script of `lua/`, behind what the scripts of its family have in common.
macro_rules! of_family {
    ($family:literal, $name:literal) => {
        $crate::script::Script::new(concat!(
            $crate::script::text!($family),
            $crate::script::text!($family, "_", $name)
        ))
    };
}
pub(crate) use of_family;

/// What a file of `lua/` holds, from wherever in this crate it is asked for.
macro_rules! text {
    ($($name:literal),+) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lua/", $($name,)+ ".lua"))
    };
}
pub(crate) use text;

impl Script {
    pub(crate) fn new(text: &'static str) -> Self {
        Self {
            text,
            sha1: redis::Script::new(text).get_hash().to_owned(),
        }
    }

    /// Runs the script on the server that owns `keys`, which are at least one, and reads its reply.
    pub(crate) async fn call<T: FromRedisValue>(
        &self,
        connection: &Connection,
        deadline: Duration,
        keys: &[String],
        arguments: impl ToRedisArgs + Copy,
    ) -> Result<T, StoreError> {
        let request = async |wire| {
            let reply = self.run(&wire, keys, arguments).await?;
            // A reply of another shape may be meant for somebody else: it ends the connection.
            Ok(from_redis_value(reply)?)
        };
        connection.run(&keys[0], deadline, request).await
    }

    /// Runs the script by its name, and by its text if the server does not know the name.
    ///
    /// A server forgets scripts when it restarts and when another takes its place. NOSCRIPT says
    /// that nothing ran, so this is the one error after which a call is made again.
    pub(crate) async fn run(
        &self,
        connection: &Wire,
        keys: &[String],
        arguments: impl ToRedisArgs + Copy,
    ) -> RedisResult<Value> {
        let write = |command: &mut Cmd| {
            command.arg(keys.len()).arg(keys).arg(arguments);
        };
        self.run_with(connection, (0, 0), write).await
    }

    /// Runs the script as [`run`](Self::run) does, with what `write` adds to the command: the number
    /// of keys, the keys and the arguments, which are about `words` of so many `bytes` together.
    pub(crate) async fn run_with(
        &self,
        connection: &Wire,
        (words, bytes): (usize, usize),
        write: impl Fn(&mut Cmd),
    ) -> RedisResult<Value> {
        let command = |verb: &str, script: &str| {
            let bytes = verb.len() + script.len() + bytes;
            let mut command = Cmd::with_capacity(2 + words, bytes);
            command.arg(verb).arg(script);
            write(&mut command);
            command
        };
        let by_name = command("EVALSHA", &self.sha1);
        match ask(connection, &by_name).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let by_text = command("EVAL", self.text);
                ask(connection, &by_text).await
            }
            answer => answer,
        }
    }
}

/// A time as scripts take it, in milliseconds.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A reply is none of those that the script gives.
pub(crate) fn unexpected() -> ParsingError {
    ParsingError::from("unexpected reply of a script")
}

async fn ask(connection: &Wire, command: &Cmd) -> RedisResult<Value> {
    connection.ask(command).await?.extract_error()
}
