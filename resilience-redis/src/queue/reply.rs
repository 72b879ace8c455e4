//! What the scripts say, in types.

use redis::{FromRedisValue, ParsingError, Value, from_redis_value};

use super::MessageId;
use crate::script::unexpected;

/// Whether a message was appended, or was there before; with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pushed {
    /// It was appended.
    Now(MessageId),
    /// It is known by its id, and was appended then. It may be done by now.
    Before(MessageId),
}

/// Whether a message became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Buried {
    /// It did.
    Now,
    /// The group was done with it before.
    Before,
    /// There is no room for dead letters: the message stays, and is given out again.
    Full,
}

/// Whether a dead letter was appended to the queue again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Revived {
    /// It was, and has this place now.
    Now(MessageId),
    /// There is no such dead letter.
    Gone,
}

/// Whether a group was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// It was.
    Now,
    /// There is no such group.
    Gone,
    /// The queue's own policy names it: it stays.
    Named,
}

/// What waits in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Depth {
    /// Messages in the queue: what some group still needs, what lies behind that, and what is not
    /// cleared away yet.
    pub messages: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// What waits for each group that was ever opened.
    pub groups: Vec<GroupDepth>,
}

/// What waits for one group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupDepth {
    /// The group.
    pub name: String,
    /// Its consumers that are known to the server.
    pub consumers: u64,
    /// Messages that were given out and not acknowledged.
    pub pending: u64,
    /// Messages that were not given out yet; `None` where the server cannot tell (before 7.0, or
    /// after somebody deleted messages).
    pub lag: Option<u64>,
}

/// A reply to `queue_push.lua` or `queue_revive.lua`.
pub(super) enum Appended {
    Now(MessageId),
    Before(MessageId),
    Full,
    Gone,
    /// What should say where the message is was written by somebody else.
    Foreign,
}

impl FromRedisValue for Appended {
    fn from_redis_value(reply: Value) -> Result<Self, ParsingError> {
        let (word, id): (String, Vec<u8>) = from_redis_value(reply)?;
        let id = String::from_utf8_lossy(&id);
        match word.as_str() {
            "now" => id.parse().map(Self::Now).map_err(|_| unexpected()),
            "before" => Ok(id.parse().map_or(Self::Foreign, Self::Before)),
            "full" => Ok(Self::Full),
            "gone" => Ok(Self::Gone),
            _ => Err(unexpected()),
        }
    }
}

impl FromRedisValue for Depth {
    fn from_redis_value(reply: Value) -> Result<Self, ParsingError> {
        let (messages, dead_letters, groups) = from_redis_value(reply)?;
        Ok(Self {
            messages,
            dead_letters,
            groups,
        })
    }
}

impl FromRedisValue for GroupDepth {
    fn from_redis_value(reply: Value) -> Result<Self, ParsingError> {
        let (name, consumers, pending, lag): (Vec<u8>, _, _, i64) = from_redis_value(reply)?;
        Ok(Self {
            name: String::from_utf8_lossy(&name).into_owned(),
            consumers,
            pending,
            lag: u64::try_from(lag).ok(),
        })
    }
}
