//! What processes tell one another, and what a server tells of by itself.

use redis::{PushInfo, PushKind, Value, from_redis_value_ref};

use super::{
    names::{Meant, Part},
    shared::Shared,
};

/// What a push says.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    /// This became void.
    Void(Meant),
    /// A load for all is over.
    Over(Part),
    /// Nothing of ours, or what we said ourselves.
    Nothing,
}

/// Reads what one push says to `tier`.
pub(super) fn read(tier: &Shared, push: &PushInfo) -> Vec<Heard> {
    match (&push.kind, &push.data[..]) {
        // After a FLUSHALL the server names no keys.
        (PushKind::Invalidate, [Value::Nil]) => vec![Heard::Void(Meant::All)],
        (PushKind::Invalidate, [Value::Array(names)]) => names
            .iter()
            .filter_map(|name| match name {
                Value::BulkString(name) => tier.names.meant(name).map(Heard::Void),
                _ => None,
            })
            .collect(),
        (PushKind::Message, [_, message]) => {
            let message = from_redis_value_ref::<String>(message).unwrap_or_default();
            vec![Message::read(&message, &tier.origin)]
        }
        _ => Vec::new(),
    }
}

/// What processes tell one another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Message<'a> {
    Void(&'a Meant),
    Over(&'a Part),
}

impl Message<'_> {
    /// As it is published by `origin`.
    pub(super) fn write(self, origin: &str) -> String {
        match self {
            Self::Void(meant) => format!("{VOID} {origin} {}", meant.as_str()),
            Self::Over(part) => format!("{OVER} {origin} {}", part.as_str()),
        }
    }

    fn read(message: &str, own: &str) -> Heard {
        let mut words = message.splitn(3, ' ');
        let (Some(kind), Some(origin), Some(rest)) = (words.next(), words.next(), words.next())
        else {
            return Heard::Nothing;
        };
        match (kind, Meant::read(rest)) {
            _ if origin == own => Heard::Nothing,
            (VOID, Some(meant)) => Heard::Void(meant),
            (OVER, Some(Meant::Key(part))) => Heard::Over(part),
            _ => Heard::Nothing,
        }
    }
}

const VOID: &str = "void";
const OVER: &str = "over";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_heard_and_nobody_hears_himself() {
        let part = Part::of(b"a b");
        let meant = Meant::Key(part.clone());
        let void = Message::Void(&meant).write("one");
        assert_eq!(Message::read(&void, "other"), Heard::Void(meant));
        assert_eq!(Message::read(&void, "one"), Heard::Nothing);
        let all = Message::Void(&Meant::All).write("one");
        assert_eq!(Message::read(&all, "other"), Heard::Void(Meant::All));
        let over = Message::Over(&part).write("one");
        assert_eq!(Message::read(&over, "other"), Heard::Over(part));
    }

    #[test]
    fn what_makes_no_sense_is_nothing() {
        for message in [
            "",
            "void",
            "void one",
            "void one 7",
            "over one :*",
            "what one :7",
        ] {
            assert_eq!(Message::read(message, "other"), Heard::Nothing, "{message}");
        }
    }
}
