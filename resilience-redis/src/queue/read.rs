//! How new messages and dead letters are read: in steps, on connections apart from the shared one.

use std::time::Duration;

use redis::{FromRedisValue, ParsingError, Value, from_redis_value};
use tokio::time::timeout;

use super::{Consumer, MessageId, engine::Shared, message::Entry};
use crate::{
    StoreError,
    connection::{LONGEST_BLOCK, Lent},
    script::{millis, unexpected},
};

impl Consumer {
    /// Reads new messages, and waits for the first of them up to `patience`.
    pub(super) async fn read(
        &self,
        most: usize,
        patience: Duration,
    ) -> Result<Vec<Entry>, StoreError> {
        let shared = &self.queue.0;
        let end = self.clock.now().saturating_add(patience);
        let mut connection = shared.lend().await?;
        let found = self
            .read_over(&mut connection, most, Duration::ZERO)
            .await?;
        drop(connection);
        if !found.is_empty() || patience.is_zero() {
            return Ok(found);
        }
        // Whoever has the turn is given what comes, and the next one then waits.
        let Ok(Ok(_turn)) = timeout(patience, self.turn.acquire()).await else {
            return Ok(Vec::new());
        };
        let mut connection = shared.lend_to_wait().await?;
        let wait = end.saturating_since(self.clock.now()).min(LONGEST_BLOCK);
        self.read_over(&mut connection, most, wait).await
    }

    /// Reads in steps, and waits for the first of them up to `patience`.
    async fn read_over(
        &self,
        connection: &mut Lent,
        most: usize,
        mut patience: Duration,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        loop {
            let step = self.queue.0.policy.messages_a_step();
            let step = step.min(most - entries.len());
            let read = self.command(step, patience);
            let streams: Option<Streams> = match read.query_async(connection).await {
                Ok(streams) => streams,
                // What has arrived is not held back.
                Err(_) if !entries.is_empty() => return Ok(entries),
                Err(error) => return Err(StoreError::from(&error)),
            };
            let found = streams.map_or_else(Vec::new, |streams| streams.0);
            let is_last = found.len() < step;
            entries.extend(found);
            if is_last || entries.len() >= most {
                return Ok(entries);
            }
            patience = Duration::ZERO;
        }
    }

    fn command(&self, most: usize, patience: Duration) -> redis::Cmd {
        let [messages, _] = &self.queue.0.keys;
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(self.group).arg(&self.name);
        read.arg("COUNT").arg(most);
        // To block for no time is to block for ever.
        if let wait @ 1.. = millis(patience) {
            read.arg("BLOCK").arg(wait);
        }
        read.arg("STREAMS").arg(messages).arg(">");
        read
    }
}

impl Shared {
    /// Up to `most` entries of the dead letters, behind `after`.
    pub(super) async fn dead_letters(
        &self,
        after: Option<MessageId>,
        most: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let [_, dead] = &self.keys;
        let mut connection = self.lend().await?;
        let mut letters: Vec<Entry> = Vec::new();
        while letters.len() < most {
            let step = self.policy.messages_a_step().min(most - letters.len());
            let last = letters.last().map(|letter| letter.id).or(after);
            // The server takes it for no id to begin behind.
            if last == Some(MessageId::LAST) {
                break;
            }
            let start = last.map_or_else(|| "-".to_owned(), |id| format!("({id}"));
            let mut range = redis::cmd("XRANGE");
            range.arg(dead).arg(start).arg("+").arg("COUNT").arg(step);
            let found: Vec<Entry> = range
                .query_async(&mut connection)
                .await
                .map_err(|error| StoreError::from(&error))?;
            let is_last = found.len() < step;
            letters.extend(found);
            if is_last {
                break;
            }
        }
        Ok(letters)
    }

    /// A connection to the queue's server on which long answers hold up nobody's decisions.
    pub(super) async fn lend(&self) -> Result<Lent, StoreError> {
        let node = self.store.connection().node_of(&self.keys[0])?;
        self.store.blocking().lend(&node).await
    }

    /// One on which to wait holds up nobody.
    async fn lend_to_wait(&self) -> Result<Lent, StoreError> {
        let node = self.store.connection().node_of(&self.keys[0])?;
        self.store.blocking().lend_to_wait(&node).await
    }
}

/// A reply to `XREADGROUP` about one stream: an array of its name and its entries, or a map of one.
struct Streams(Vec<Entry>);

impl FromRedisValue for Streams {
    fn from_redis_value(reply: Value) -> Result<Self, ParsingError> {
        let entries = match reply {
            Value::Array(mut streams) if streams.len() == 1 => match streams.remove(0) {
                Value::Array(mut stream) if stream.len() == 2 => stream.remove(1),
                _ => return Err(unexpected()),
            },
            Value::Map(mut streams) if streams.len() == 1 => streams.remove(0).1,
            _ => return Err(unexpected()),
        };
        from_redis_value(entries).map(Self)
    }
}
