use std::{fmt, str::FromStr};

use redis::{FromRedisValue, ParsingError, Value, from_redis_value};

use crate::script::unexpected;

/// Where a message stands in its queue: later ones are larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    millis: u64,
    sequence: u64,
}

/// A message, given to one consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    id: MessageId,
    payload: Vec<u8>,
    deliveries: u32,
}

/// A message that nobody could do anything with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its place among the dead letters.
    pub id: MessageId,
    /// Its place in the queue, before.
    pub message: MessageId,
    /// The group that gave it up.
    pub group: String,
    /// How often it was given out there.
    pub deliveries: u32,
    /// `deliveries`, `malformed`, `too long`, or what the consumer said.
    pub reason: String,
    /// What it says; `None` where it had no payload.
    pub payload: Option<Vec<u8>>,
}

impl Message {
    /// Its place in the queue.
    #[must_use]
    pub const fn id(&self) -> MessageId {
        self.id
    }

    /// What was pushed.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// What was pushed.
    #[must_use]
    pub fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    /// How often it was given out in this group, this time included. More than once, somebody may
    /// have done it already.
    #[must_use]
    pub const fn deliveries(&self) -> u32 {
        self.deliveries
    }
}

impl MessageId {
    /// Smaller than the id of any message.
    pub(super) const FIRST: Self = Self {
        millis: 0,
        sequence: 0,
    };
    /// Behind it there is none.
    pub(super) const LAST: Self = Self {
        millis: u64::MAX,
        sequence: u64::MAX,
    };
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.sequence)
    }
}

/// The text is not that of a [`MessageId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMessageId;

impl fmt::Display for NoMessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message's id is two numbers with a `-` between them")
    }
}

impl std::error::Error for NoMessageId {}

/// As [`Display`](fmt::Display) writes it.
impl FromStr for MessageId {
    type Err = NoMessageId;

    fn from_str(text: &str) -> Result<Self, NoMessageId> {
        let (millis, sequence) = text.split_once('-').ok_or(NoMessageId)?;
        let number = |digits: &str| match digits.parse() {
            Ok(number) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
            _ => Err(NoMessageId),
        };
        Ok(Self {
            millis: number(millis)?,
            sequence: number(sequence)?,
        })
    }
}

impl FromRedisValue for MessageId {
    fn from_redis_value(reply: Value) -> Result<Self, ParsingError> {
        let text: String = from_redis_value(reply)?;
        text.parse().map_err(|_| unexpected())
    }
}

/// A message as it stands in a stream, with whatever fields somebody gave it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) id: MessageId,
    fields: Vec<Vec<u8>>,
}

impl Entry {
    pub(super) fn field(&mut self, name: &[u8]) -> Option<Vec<u8>> {
        let mut pairs = self.fields.chunks_exact_mut(2);
        let pair = pairs.find(|pair| pair[0] == name)?;
        Some(std::mem::take(&mut pair[1]))
    }

    /// The message, or why it is none.
    pub(super) fn read(mut self, deliveries: u32, longest: usize) -> Result<Message, NotRead> {
        let id = self.id;
        match self.field(PAYLOAD) {
            None => Err(NotRead {
                id,
                reason: "malformed",
            }),
            Some(payload) if payload.len() > longest => Err(NotRead {
                id,
                reason: "too long",
            }),
            Some(payload) => Ok(Message {
                id,
                payload,
                deliveries,
            }),
        }
    }

    pub(super) fn letter(mut self) -> Option<DeadLetter> {
        let mut text = |name: &[u8]| String::from_utf8(self.field(name)?).ok();
        Some(DeadLetter {
            group: text(b"group")?,
            message: text(b"id")?.parse().ok()?,
            deliveries: text(b"deliveries")?.parse().ok()?,
            reason: text(b"reason")?,
            id: self.id,
            payload: self.field(PAYLOAD),
        })
    }
}

impl FromRedisValue for Entry {
    fn from_redis_value(reply: Value) -> Result<Self, ParsingError> {
        let (id, fields) = from_redis_value(reply)?;
        Ok(Self { id, fields })
    }
}

/// What was in the queue and is no message of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotRead {
    pub(super) id: MessageId,
    pub(super) reason: &'static str,
}

const PAYLOAD: &[u8] = b"d";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        for text in [
            "0-0",
            "1763800000000-7",
            "18446744073709551615-18446744073709551615",
        ] {
            assert_eq!(
                text.parse::<MessageId>().map(|id| id.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "+1-1",
            "1-1-1",
            " 1-1",
            "18446744073709551616-0",
        ] {
            assert_eq!(text.parse::<MessageId>(), Err(NoMessageId), "{text}");
        }
    }
}
