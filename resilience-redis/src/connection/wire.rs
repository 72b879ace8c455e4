//! What a request speaks over.

use redis::{
    Cmd, Pipeline, RedisFuture, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};

/// The shared connection to one server, lent to one request.
///
/// Commands of all requests go out together and are answered in order, so none may block or change
/// what the connection is (`SELECT`, `SUBSCRIBE`, `CLIENT TRACKING`): see
/// [`Blocking`](super::Blocking).
#[derive(Clone)]
pub(crate) struct Wire {
    connection: MultiplexedConnection,
}

impl Wire {
    pub(super) const fn new(connection: MultiplexedConnection) -> Self {
        Self { connection }
    }
}

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        self.connection.req_packed_command(command)
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.connection.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}
