//! What a request speaks over.

use std::{slice, sync::Arc, time::Duration};

use redis::{Cmd, Pipeline, RedisFuture, RedisResult, Value, aio::ConnectionLike};

use super::{Node, flow::Flow};

/// The shared connection to one server, lent to one request.
///
/// Commands of all requests go out together and are answered in order, so none may block or change
/// what the connection is (`SELECT`, `SUBSCRIBE`, `CLIENT TRACKING`): see
/// [`Blocking`](super::Blocking).
///
/// In a cluster, a command that a server refuses because its key is elsewhere is sent on to there,
/// each of a pipeline by itself; a transaction is not.
pub(crate) struct Wire {
    pub(super) node: Node,
    pub(super) flow: Arc<Flow>,
    /// How long the request may take in all.
    pub(super) patience: Duration,
}

impl Wire {
    pub(super) const fn new(node: Node, flow: Arc<Flow>, patience: Duration) -> Self {
        Self {
            node,
            flow,
            patience,
        }
    }

    /// The reply to `command`, be it an error.
    ///
    /// What [`ConnectionLike`] does for it is put into a box first.
    pub(crate) async fn ask(&self, command: &Cmd) -> RedisResult<Value> {
        let mut connection = self.flow.connection.clone();
        let reply = connection.send_packed_command(command).await;
        let mut reply = reply.inspect_err(|error| self.node.doubt(&self.flow, error))?;
        if matches!(reply, Value::ServerError(_)) {
            self.node.hear(&self.flow, &reply);
            // Boxed, since it is rare and large.
            Box::pin(self.follow(&[command], slice::from_mut(&mut reply))).await?;
        }
        Ok(reply)
    }

    /// The replies to the commands of `pipeline`, `count` of them from `offset` on. What errors among
    /// them say of the server nobody has heard.
    pub(crate) async fn ask_all(
        &self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        let mut connection = self.flow.connection.clone();
        let replies = connection.send_packed_commands(pipeline, offset, count);
        let replies = replies.await;
        replies.inspect_err(|error| self.node.doubt(&self.flow, error))
    }
}

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.ask(command))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let mut replies = self.ask_all(pipeline, offset, count).await?;
            let refusals = replies
                .iter()
                .filter(|reply| matches!(reply, Value::ServerError(_)));
            let mut refused = false;
            for refusal in refusals {
                self.node.hear(&self.flow, refusal);
                refused = true;
            }
            // Of a transaction there is one reply, to no single command.
            if refused && !pipeline.is_transaction() {
                let commands: Vec<_> = pipeline.cmd_iter().collect();
                self.follow(&commands, &mut replies).await?;
            }
            Ok(replies)
        })
    }

    fn get_db(&self) -> i64 {
        self.flow.connection.get_db()
    }
}
