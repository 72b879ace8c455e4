//! What a request speaks over.

use std::sync::Arc;

use redis::{Cmd, Pipeline, RedisFuture, Value, aio::ConnectionLike};

use super::{Node, flow::Flow};

/// The shared connection to one server, lent to one request.
///
/// Commands of all requests go out together and are answered in order, so none may block or change
/// what the connection is (`SELECT`, `SUBSCRIBE`, `CLIENT TRACKING`): see
/// [`Blocking`](super::Blocking).
pub(crate) struct Wire {
    node: Node,
    flow: Arc<Flow>,
}

impl Wire {
    pub(super) const fn new(node: Node, flow: Arc<Flow>) -> Self {
        Self { node, flow }
    }
}

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let mut connection = self.flow.connection.clone();
            let reply = connection.send_packed_command(command).await?;
            self.node.hear(&self.flow, &reply);
            Ok(reply)
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let mut connection = self.flow.connection.clone();
            let replies = connection
                .send_packed_commands(pipeline, offset, count)
                .await?;
            for reply in &replies {
                self.node.hear(&self.flow, reply);
            }
            Ok(replies)
        })
    }

    fn get_db(&self) -> i64 {
        self.flow.connection.get_db()
    }
}
