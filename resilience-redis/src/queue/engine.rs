use std::{fmt, sync::Arc};

use redis::{FromRedisValue, ToRedisArgs, from_redis_value};
use resilience_core::{Error, InvalidPolicy, Reason, Rejected};
use tokio::sync::Semaphore;

use super::{
    Consumer, DeadLetter, Depth, Dropped, MessageId, Policy, Pushed, Revived, Snapshot,
    measure::{Tally, add},
    message::Entry,
    reply::Appended,
    scripts::Scripts,
    watch::{self, Seen},
};
use crate::{
    RedisStore, StoreError, StoreKey, key,
    script::{Script, millis},
};

/// A queue in a [`RedisStore`]. Clones are the same queue.
#[derive(Clone)]
pub struct Queue(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) policy: Policy,
    pub(super) store: RedisStore,
    pub(super) scripts: Scripts,
    pub(super) tally: Tally,
    pub(super) seen: Seen,
    /// For each group, the right to wait for what comes: of many consumers one blocks for all.
    turns: Vec<Arc<Semaphore>>,
    /// Messages, and dead letters.
    pub(super) keys: [String; 2],
}

impl Queue {
    pub(crate) fn new(policy: &Policy, store: &RedisStore) -> Result<Self, InvalidPolicy> {
        policy.check()?;
        let prefix = store.connection().settings().key_prefix();
        let messages = key::start(prefix, "queue", policy.name)? + "}";
        let dead = format!("{messages}:dead");
        let turns = policy.groups.iter().map(|_| Arc::new(Semaphore::new(1)));
        let shared = Arc::new(Shared {
            policy: *policy,
            store: store.clone(),
            scripts: Scripts::new(),
            tally: Tally::default(),
            seen: Seen::default(),
            turns: turns.collect(),
            keys: [messages, dead],
        });
        watch::keep(&shared);
        Ok(Self(shared))
    }

    /// Appends a message.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] for [`Reason::ConcurrencyLimited`] where the queue is full, and for
    /// [`Reason::CostExceedsQuota`] where the message is longer than any may be; [`Error::Inner`]
    /// where Redis gave no answer. Pushed again after that it may be there twice: see
    /// [`push_once`](Self::push_once).
    pub async fn push(&self, payload: &[u8]) -> Result<MessageId, Error<StoreError>> {
        match self.append(payload, &self.0.keys).await? {
            Pushed::Now(id) | Pushed::Before(id) => Ok(id),
        }
    }

    /// Appends a message, unless one with the same `id` was appended before.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push); pushed again, it is there once.
    pub async fn push_once<K>(&self, id: &K, payload: &[u8]) -> Result<Pushed, Error<StoreError>>
    where
        K: StoreKey + ?Sized,
    {
        let [messages, dead] = &self.0.keys;
        let mut known = format!("{messages}:once");
        key::push_parts(&mut known, id);
        let keys = [messages.clone(), dead.clone(), known];
        self.append(payload, &keys).await
    }

    /// One who reads for `group`, under a name that nobody else has.
    ///
    /// # Errors
    ///
    /// Where the policy does not name the group.
    pub fn consumer(&self, group: &'static str) -> Result<Consumer, InvalidPolicy> {
        let mut groups = self.0.policy.groups.iter().zip(&self.0.turns);
        let Some((group, turn)) = groups.find(|(named, _)| **named == group) else {
            let problem = "must be one of those that the policy names";
            return Err(InvalidPolicy::new("group", problem));
        };
        Ok(Consumer::new(self.clone(), group, Arc::clone(turn)))
    }

    /// Drops a group that no policy names any more, with all that only this group still needed.
    ///
    /// Not before the last process that names it is gone: that one opens it again, and is given all
    /// that is there.
    ///
    /// # Errors
    ///
    /// Where Redis gave no answer; called again, it does no harm.
    pub async fn drop_group(&self, group: &str) -> Result<Dropped, StoreError> {
        let groups = self.0.policy.groups;
        if groups.contains(&group) {
            return Ok(Dropped::Named);
        }
        let arguments = (group, groups);
        let script = &self.0.scripts.drop_group;
        let dropped: bool = self.0.call(script, &self.0.keys, &arguments).await?;
        Ok(if dropped { Dropped::Now } else { Dropped::Gone })
    }

    /// What waits.
    ///
    /// # Errors
    ///
    /// Where Redis gave no answer.
    pub async fn depth(&self) -> Result<Depth, StoreError> {
        let depth = self
            .0
            .call(&self.0.scripts.depth, &self.0.keys, &&NOTHING)
            .await;
        self.0.seen.note(&depth);
        depth
    }

    /// Up to `letters` dead letters and 1000, behind `after`, from the oldest on; from the first on where that
    /// is `None`.
    ///
    /// # Errors
    ///
    /// Where Redis gave no answer.
    pub async fn dead_letters(
        &self,
        after: Option<MessageId>,
        letters: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let entries = self
            .0
            .dead_letters(after, letters.min(MOST_LETTERS))
            .await?;
        Ok(entries.into_iter().filter_map(Entry::letter).collect())
    }

    /// Appends a dead letter to the queue again, for all groups.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push); it stays a dead letter then, or is there twice where the answer was
    /// lost.
    pub async fn revive(&self, letter: MessageId) -> Result<Revived, Error<StoreError>> {
        let policy = &self.0.policy;
        let arguments = (policy.capacity, letter.to_string(), policy.groups);
        let reply = self
            .0
            .call(&self.0.scripts.revive, &self.0.keys, &arguments);
        match reply.await.map_err(Error::Inner)? {
            Appended::Now(id) => {
                add(&self.0.tally.accepted, 1);
                Ok(Revived::Now(id))
            }
            Appended::Gone => Ok(Revived::Gone),
            Appended::Full => Err(self.full()),
            Appended::Before(_) | Appended::Foreign => Err(Error::Inner(StoreError::Protocol)),
        }
    }

    /// Deletes a dead letter.
    ///
    /// # Errors
    ///
    /// Where Redis did not confirm it.
    pub async fn discard(&self, letter: MessageId) -> Result<(), StoreError> {
        let [_, dead] = &self.0.keys;
        let mut delete = redis::cmd("XDEL");
        delete.arg(dead).arg(letter.to_string());
        self.0.store.ask(dead, &delete).await
    }

    /// What this process did to the queue since it was made here; clones count together.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.0.tally.snapshot()
    }

    pub(super) fn name(&self) -> &'static str {
        self.0.policy.name
    }

    async fn append(&self, payload: &[u8], keys: &[String]) -> Result<Pushed, Error<StoreError>> {
        let policy = &self.0.policy;
        if payload.len() > policy.longest_payload {
            return Err(Rejected::new(Reason::CostExceedsQuota, policy.name).into());
        }
        let remember = millis(policy.remember);
        let arguments = (policy.capacity, payload, remember, policy.groups);
        let reply = self.0.call(&self.0.scripts.push, keys, &arguments);
        match reply.await.map_err(Error::Inner)? {
            Appended::Now(id) => {
                add(&self.0.tally.accepted, 1);
                Ok(Pushed::Now(id))
            }
            Appended::Before(id) => {
                add(&self.0.tally.known, 1);
                Ok(Pushed::Before(id))
            }
            Appended::Full => Err(self.full()),
            Appended::Foreign => Err(Error::Inner(StoreError::ForeignValue)),
            Appended::Gone => Err(Error::Inner(StoreError::Protocol)),
        }
    }

    fn full(&self) -> Error<StoreError> {
        add(&self.0.tally.full, 1);
        Rejected::new(Reason::ConcurrencyLimited, self.0.policy.name).into()
    }
}

impl Shared {
    pub(super) async fn call<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &impl ToRedisArgs,
    ) -> Result<T, StoreError> {
        self.store.call(script, keys, arguments).await
    }

    /// What waits, counted for nobody who waits for it.
    pub(super) async fn count_aside(&self) -> Result<Depth, StoreError> {
        let request = async |wire| {
            let script = &self.scripts.depth;
            let reply = script.run(&wire, &self.keys, &NOTHING).await?;
            Ok(from_redis_value(reply)?)
        };
        let connection = self.store.connection();
        let patience = connection.settings().time_to_connect();
        connection.run_aside(&self.keys[0], patience, request).await
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("policy", &self.0.policy)
            .field("store", &self.0.store)
            .finish_non_exhaustive()
    }
}

/// A script that needs no arguments gets none.
const NOTHING: [u64; 0] = [];
/// What one caller may have at once in its memory.
const MOST_LETTERS: usize = 1000;
