use std::{fmt, time::Duration};

use redis::{FromRedisValue, ParsingError, Value, from_redis_value};
use resilience_core::{
    Clock, Random, Timestamp,
    backoff::{Backoff, Jitter},
};
use tokio::time::sleep;

use super::{
    Buried, Message, MessageId, Queue,
    engine::millis,
    measure::add,
    message::{Entry, NotRead, unexpected},
};
use crate::{StoreError, identity};

/// One who reads a queue for a group.
///
/// It may be dropped at any time: what it was given and did not acknowledge is given to others.
pub struct Consumer {
    queue: Queue,
    group: &'static str,
    name: String,
    clock: Clock,
    /// Whether the server is known to have the group.
    open: bool,
    /// Where the search for abandoned messages goes on, and when.
    search_from: MessageId,
    search_at: Timestamp,
    /// How often in a row there was no answer.
    failures: u32,
    random: Random,
}

impl Consumer {
    pub(super) fn new(queue: Queue, group: &'static str) -> Self {
        Self {
            queue,
            group,
            name: identity::unique(),
            clock: Clock::system(),
            open: false,
            search_from: MessageId::FIRST,
            search_at: Timestamp::ZERO,
            failures: 0,
            random: Random::default(),
        }
    }

    /// The next messages for this group, up to `most` of them and 1000: those that others have
    /// abandoned, or else new ones, for which it waits up to `patience`. None where none came.
    ///
    /// What is no message of ours is made a dead letter on the way.
    ///
    /// # Errors
    ///
    /// Where Redis gave no answer; called again, it goes on. It is told after a pause within
    /// `patience` that grows with each failure in a row, up to a second, so that a loop may just call
    /// again.
    ///
    /// # Cancel safety
    ///
    /// Dropped while messages are on their way, they are given out again after
    /// [`Policy::abandoned_after`](super::Policy::abandoned_after).
    pub async fn next_batch(
        &mut self,
        most: usize,
        patience: Duration,
    ) -> Result<Vec<Message>, StoreError> {
        let most = most.clamp(1, MOST_MESSAGES);
        let end = self.clock.now().saturating_add(patience);
        loop {
            match self.step(most, end).await {
                Ok(batch) if batch.is_empty() && self.clock.now() < end => self.failures = 0,
                Ok(batch) => {
                    self.failures = 0;
                    return Ok(batch);
                }
                Err(error) => {
                    // Whatever went wrong: the server may have forgotten the group.
                    self.open = false;
                    self.pause(end).await;
                    return Err(error);
                }
            }
        }
    }

    /// Says that these messages are done. Answers how many of them were not known to be.
    ///
    /// # Errors
    ///
    /// Where Redis gave no answer; called again, it does no harm.
    pub async fn acknowledge(&self, messages: &[MessageId]) -> Result<u64, StoreError> {
        let shared = &self.queue.0;
        let groups = shared.policy.groups;
        let mut done = 0_u64;
        for messages in messages.chunks(MOST_MESSAGES) {
            let ids: Vec<String> = messages.iter().map(ToString::to_string).collect();
            let arguments = (self.group, groups.len(), groups, ids);
            let script = &shared.scripts.acknowledge;
            let now: u64 = shared.call(script, &shared.keys, &arguments).await?;
            add(&shared.tally.acknowledged, now);
            done = done.saturating_add(now);
        }
        Ok(done)
    }

    /// Makes a message a dead letter, because it cannot be done: `reason` says why.
    ///
    /// # Errors
    ///
    /// Where Redis gave no answer; called again, it does no harm.
    pub async fn bury(
        &self,
        message: MessageId,
        reason: &'static str,
    ) -> Result<Buried, StoreError> {
        let shared = &self.queue.0;
        let policy = &shared.policy;
        let arguments = (
            self.group,
            message.to_string(),
            reason,
            policy.dead_letters,
            millis(policy.keep_dead_letters),
        );
        let script = &shared.scripts.bury;
        let word: String = shared.call(script, &shared.keys, &arguments).await?;
        match word.as_str() {
            "now" => {
                add(&shared.tally.buried, 1);
                Ok(Buried::Now)
            }
            "before" => Ok(Buried::Before),
            "full" => {
                add(&shared.tally.stuck, 1);
                Ok(Buried::Full)
            }
            _ => Err(StoreError::Protocol),
        }
    }

    /// One look for abandoned messages where it is time for that, and one for new ones.
    async fn step(&mut self, most: usize, end: Timestamp) -> Result<Vec<Message>, StoreError> {
        let shared = &self.queue.0;
        if !self.open {
            let arguments = (self.group, millis(FORGOTTEN_AFTER));
            let script = &shared.scripts.open;
            let _: u64 = shared.call(script, &shared.keys, &arguments).await?;
            self.open = true;
        }
        let abandoned = self.take_over(most).await?;
        if !abandoned.is_empty() {
            return Ok(abandoned);
        }
        // Until the next look for abandoned messages, at most.
        let wait = end.min(self.search_at).saturating_since(self.clock.now());
        let entries = self.read(most, wait.min(LONGEST_BLOCK)).await?;
        let entries = entries.into_iter().map(|entry| (entry, 1));
        Ok(self.messages(entries.collect()).await)
    }

    /// Lets some time pass after a failure: whoever asks again at once would do nothing else.
    async fn pause(&mut self, end: Timestamp) {
        let pauses = Backoff::exponential(SHORTEST_PAUSE)
            .max(LONGEST_PAUSE)
            .jitter(Jitter::Equal);
        let pause = pauses.delay(self.failures, self.random.unit());
        self.failures = self.failures.saturating_add(1);
        sleep(pause.min(end.saturating_since(self.clock.now()))).await;
    }

    async fn take_over(&mut self, most: usize) -> Result<Vec<Message>, StoreError> {
        let now = self.clock.now();
        if now < self.search_at {
            return Ok(Vec::new());
        }
        let shared = &self.queue.0;
        let policy = &shared.policy;
        let arguments = (
            self.group,
            &self.name,
            millis(policy.abandoned_after),
            self.search_from.to_string(),
            most,
            policy.deliveries,
            policy.dead_letters,
            millis(policy.keep_dead_letters),
        );
        let script = &shared.scripts.claim;
        let claimed: Claimed = shared.call(script, &shared.keys, &arguments).await?;
        add(&shared.tally.buried, claimed.buried);
        add(&shared.tally.stuck, claimed.stuck);
        add(&shared.tally.lost, claimed.lost);
        add(&shared.tally.redelivered, claimed.messages.len() as u64);
        self.search_from = claimed.next;
        if claimed.next == MessageId::FIRST {
            // Twice in the time: what was abandoned waits half as long again, at most.
            self.search_at = now.saturating_add(policy.abandoned_after / 2);
        }
        Ok(self.messages(claimed.messages).await)
    }

    /// Reads new messages, and waits for the first of them up to `patience`.
    ///
    /// On a connection of its own: the shared one would stand still while it waits.
    async fn read(&self, most: usize, patience: Duration) -> Result<Vec<Entry>, StoreError> {
        let shared = &self.queue.0;
        let [messages, _] = &shared.keys;
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(self.group).arg(&self.name);
        read.arg("COUNT").arg(most);
        // To block for no time is to block for ever.
        if let wait @ 1.. = millis(patience) {
            read.arg("BLOCK").arg(wait);
        }
        read.arg("STREAMS").arg(messages).arg(">");
        let node = shared.store.connection().node_of(messages)?;
        let mut connection = shared.store.blocking().lend(&node).await?;
        let streams: Option<Streams> = read
            .query_async(&mut connection)
            .await
            .map_err(|error| StoreError::from(&error))?;
        Ok(streams.map_or_else(Vec::new, |streams| streams.0))
    }

    /// Gives out what is a message, and buries what is none.
    async fn messages(&self, entries: Vec<(Entry, u32)>) -> Vec<Message> {
        let longest = self.queue.0.policy.longest_payload;
        let mut messages = Vec::with_capacity(entries.len());
        for (entry, deliveries) in entries {
            match entry.read(deliveries, longest) {
                Ok(message) => messages.push(message),
                // Where there is no answer it comes up again, as all that was abandoned.
                Err(NotRead { id, reason }) => drop(self.bury(id, reason).await),
            }
        }
        add(&self.queue.0.tally.delivered, messages.len() as u64);
        messages
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("queue", &self.queue)
            .field("group", &self.group)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A reply to `queue_claim.lua`.
struct Claimed {
    next: MessageId,
    messages: Vec<(Entry, u32)>,
    buried: u64,
    stuck: u64,
    lost: u64,
}

impl FromRedisValue for Claimed {
    fn from_redis_value(reply: Value) -> Result<Self, ParsingError> {
        let (next, messages, buried, stuck, lost): (_, Vec<Given>, _, _, _) =
            from_redis_value(reply)?;
        Ok(Self {
            next,
            messages: messages.into_iter().map(|given| given.0).collect(),
            buried,
            stuck,
            lost,
        })
    }
}

/// An entry, its fields and how often it was given out, side by side.
struct Given((Entry, u32));

impl FromRedisValue for Given {
    fn from_redis_value(reply: Value) -> Result<Self, ParsingError> {
        let Value::Array(mut parts) = reply else {
            return Err(unexpected());
        };
        let deliveries = from_redis_value(parts.pop().ok_or_else(unexpected)?)?;
        Ok(Self((from_redis_value(Value::Array(parts))?, deliveries)))
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

/// About 3 ms of the server's time.
const MOST_MESSAGES: usize = 1000;
/// Well below the time after which a connection that says nothing is given up.
const LONGEST_BLOCK: Duration = Duration::from_secs(1);
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Consumers that did nothing for an hour and owe nothing are dead processes.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);
