//! What others have abandoned: found by its ids, fetched in steps, and counted as delivered when it
//! has arrived.

use redis::{FromRedisValue, ParsingError, Value, from_redis_value};
use resilience_core::Timestamp;

use super::{Consumer, Message, MessageId, measure::add, message::Entry};
use crate::{StoreError, script::millis};

/// Where the search for abandoned messages goes on, and when.
#[derive(Debug)]
pub(super) struct Search {
    from: MessageId,
    pub(super) at: Timestamp,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            from: MessageId::FIRST,
            at: Timestamp::ZERO,
        }
    }
}

impl Consumer {
    /// Takes over what was abandoned, where it is time to look for that.
    ///
    /// What is lost on the way is abandoned once more, and was not given out by then.
    pub(super) async fn take_over(&mut self, most: usize) -> Result<Vec<Message>, StoreError> {
        let now = self.clock.now();
        if now < self.search.at {
            return Ok(Vec::new());
        }
        let shared = &self.queue.0;
        let policy = &shared.policy;
        let arguments = (
            self.group,
            &self.name,
            millis(policy.abandoned_after),
            self.search.from.to_string(),
            most.min(MOST_CLAIMED),
        );
        let script = &shared.scripts.claim;
        let claimed: Claimed = shared.call(script, &shared.keys, &arguments).await?;
        add(&shared.tally.lost, claimed.lost);
        self.search.from = claimed.next;
        if claimed.next == MessageId::FIRST {
            // Twice in the time: what was abandoned waits half as long again, at most.
            self.search.at = now.saturating_add(policy.abandoned_after / 2);
        }
        let (due, spent): (Vec<_>, Vec<_>) = claimed
            .messages
            .into_iter()
            .partition(|(_, deliveries)| *deliveries < policy.deliveries);
        let entries = self.fetch(&due).await?;
        add(&shared.tally.redelivered, entries.len() as u64);
        for (id, _) in spent {
            // One by one, as each may be long. Without an answer it comes up again.
            if self.bury(id, "deliveries").await.is_err() {
                break;
            }
        }
        Ok(self.messages(entries).await)
    }

    /// The messages that we have taken over, and how often each was given out, this time included.
    async fn fetch(&self, due: &[(MessageId, u32)]) -> Result<Vec<(Entry, u32)>, StoreError> {
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let shared = &self.queue.0;
        let [messages, _] = &shared.keys;
        let mut connection = shared.lend().await?;
        let mut fetched = Vec::with_capacity(due.len());
        for step in due.chunks(shared.policy.messages_a_step()) {
            let mut ranges = redis::pipe();
            for (id, _) in step {
                let id = id.to_string();
                ranges.cmd("XRANGE").arg(messages).arg(&id).arg(&id);
            }
            let found: Vec<Vec<Entry>> = match ranges.query_async(&mut connection).await {
                Ok(found) => found,
                // What has arrived is counted, and not held back.
                Err(_) if !fetched.is_empty() => break,
                Err(error) => return Err(StoreError::from(&error)),
            };
            let mut present = Vec::with_capacity(step.len());
            for (mut entry, &(id, before)) in found.into_iter().zip(step) {
                match entry.pop() {
                    Some(entry) => present.push((entry, before)),
                    // Done meanwhile, unless we are the ones to end it: then somebody deleted it.
                    // Without an answer it comes up again.
                    None => {
                        let lost = self.acknowledge(&[id]).await.unwrap_or(0);
                        add(&shared.tally.lost, lost);
                    }
                }
            }
            fetched.extend(self.count(present).await);
        }
        Ok(fetched)
    }

    /// Counts the deliveries of what has arrived, and leaves out what is not ours any more.
    async fn count(&self, mut present: Vec<(Entry, u32)>) -> Vec<(Entry, u32)> {
        let shared = &self.queue.0;
        let ids: Vec<_> = present
            .iter()
            .map(|(entry, _)| entry.id.to_string())
            .collect();
        let arguments = (self.group, &self.name, ids);
        let counted = shared.call(&shared.scripts.give, &shared.keys, &arguments);
        // Without an answer it is given out all the same: twice is better than never.
        let counted: Option<Vec<u32>> = counted.await.ok();
        for (place, (_, deliveries)) in present.iter_mut().enumerate() {
            let counted = counted.as_ref().and_then(|counted| counted.get(place));
            *deliveries = counted.copied().unwrap_or(*deliveries + 1);
        }
        present.retain(|(_, deliveries)| *deliveries > 0);
        present
    }
}

/// A reply to `queue_claim.lua`.
struct Claimed {
    next: MessageId,
    messages: Vec<(MessageId, u32)>,
    lost: u64,
}

impl FromRedisValue for Claimed {
    fn from_redis_value(reply: Value) -> Result<Self, ParsingError> {
        let (next, messages, lost) = from_redis_value(reply)?;
        Ok(Self {
            next,
            messages,
            lost,
        })
    }
}

/// About 0.3 ms of the server's time.
const MOST_CLAIMED: usize = 64;
