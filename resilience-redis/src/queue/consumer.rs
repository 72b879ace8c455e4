use std::{fmt, sync::Arc, time::Duration};

use resilience_core::{
    Clock, Random, Timestamp,
    backoff::{Backoff, Jitter},
};
use tokio::{sync::Semaphore, time::sleep};

use super::{
    Buried, Message, MessageId, Queue,
    measure::add,
    message::{Entry, NotRead},
    redelivery::Search,
};
use crate::{StoreError, identity, script::millis};

/// One who reads a queue for a group.
///
/// It may be dropped at any time: what it was given and did not acknowledge is given to others.
pub struct Consumer {
    pub(super) queue: Queue,
    pub(super) group: &'static str,
    pub(super) name: String,
    pub(super) clock: Clock,
    pub(super) turn: Arc<Semaphore>,
    /// Whether the server is known to have the group.
    open: bool,
    pub(super) search: Search,
    /// How often in a row there was no answer.
    failures: u32,
    random: Random,
}

impl Consumer {
    pub(super) fn new(queue: Queue, group: &'static str, turn: Arc<Semaphore>) -> Self {
        Self {
            turn,
            queue,
            group,
            name: identity::unique(),
            clock: Clock::system(),
            open: false,
            search: Search::default(),
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
    /// again. Of a server that hangs it is told later than `patience` says: 2 s after it was asked,
    /// and before that it may wait 5 s for a connection.
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
        let wait = end.min(self.search.at).saturating_since(self.clock.now());
        let entries = self.read(most, wait).await?;
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

    /// Gives out what is a message, and buries what is none.
    pub(super) async fn messages(&self, entries: Vec<(Entry, u32)>) -> Vec<Message> {
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

/// About 3 ms of the server's time.
const MOST_MESSAGES: usize = 1000;
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Consumers that did nothing for an hour and owe nothing are dead processes.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);
