//! The connection on which a process hears what the others change.

use std::{
    future::pending,
    sync::{Arc, Weak},
    time::Duration,
};

use redis::{
    Pipeline, PushInfo, PushKind, RedisResult, Value, aio::MultiplexedConnection,
    from_redis_value_ref,
};
use resilience_core::{
    Random,
    backoff::{Backoff, Jitter},
};
use tokio::{
    select,
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use super::{
    names::{Meant, Part},
    shared::Shared,
};
use crate::{
    StoreError,
    connection::{Address, Node},
};

/// A connection to one server over which we hear, and over which goes what others are to hear: it
/// does not tell us of ourselves.
#[derive(Clone)]
pub(super) struct Ear {
    pub(super) connection: MultiplexedConnection,
    /// Where the server was when this began.
    address: Address,
    pub(super) how: How,
    /// Tells the one who keeps it that it is of no use any more.
    broken: Arc<Notify>,
}

/// How processes hear of one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// The server tells of every key that is touched below a prefix.
    Tracking,
    /// Whoever changes something publishes it: the server has no tracking, or does not allow it.
    Publishing,
}

impl Ear {
    /// Runs `commands` all together, within `deadline`.
    pub(super) async fn run(
        &self,
        deadline: Duration,
        commands: &Pipeline,
    ) -> Result<(), StoreError> {
        let mut connection = self.connection.clone();
        let answer = timeout(deadline, commands.query_async::<Value>(&mut connection)).await;
        match answer {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                let reason = StoreError::from(&error);
                if is_of_no_use(&reason) {
                    self.broken.notify_one();
                }
                Err(reason)
            }
            Err(_) => Err(StoreError::Timeout(deadline)),
        }
    }

    /// Until `node` is elsewhere: the others speak there, though the server here may live on.
    async fn left_behind(&self, node: &Node, mut changes: watch::Receiver<u64>) {
        while !node.address().is_ok_and(|address| address != self.address) {
            if changes.changed().await.is_err() {
                pending::<()>().await;
            }
        }
    }
}

/// Keeps an ear at `node` for as long as there is somebody to hear.
pub(super) async fn keep(tier: Weak<Shared>, node: Node) {
    let random = Random::default();
    // Jitter, because a whole fleet lost the same server at the same moment.
    let pauses = Backoff::exponential(SHORTEST_PAUSE)
        .max(LONGEST_PAUSE)
        .jitter(Jitter::Equal);
    let mut attempt = 0;
    loop {
        let Some(broken) = listen(&tier, &node, &mut attempt).await else {
            return;
        };
        tracing::debug!(reason = %broken, "does not hear of changes in redis");
        sleep(pauses.delay(attempt, random.unit())).await;
        attempt = attempt.saturating_add(1);
    }
}

/// Hears until that ends, and says why; `None` where there is nobody to hear any more.
async fn listen(tier: &Weak<Shared>, node: &Node, attempt: &mut u32) -> Option<StoreError> {
    let broken = Arc::new(Notify::new());
    let ear = match open(&*tier.upgrade()?, node, tier, &broken).await {
        Ok(ear) => ear,
        Err(error) => return Some(error),
    };
    let changes = tier.upgrade()?.store.connection().changes();
    let outcome = select! {
        outcome = beats(tier, node, &ear, attempt) => outcome?,
        () = ear.left_behind(node, changes) => StoreError::Unavailable,
    };
    tier.upgrade()?.deaf(node);
    Some(outcome)
}

/// Sees now and then that the server is well; ends as [`listen`] does.
async fn beats(
    tier: &Weak<Shared>,
    node: &Node,
    ear: &Ear,
    attempt: &mut u32,
) -> Option<StoreError> {
    loop {
        let this = tier.upgrade()?;
        if let Err(error) = this.beat(node, ear).await {
            return Some(error);
        }
        *attempt = 0;
        drop(this);
        select! {
            () = sleep(BEAT) => {}
            () = ear.broken.notified() => return Some(StoreError::Disconnected),
        }
    }
}

async fn open(
    tier: &Shared,
    node: &Node,
    later: &Weak<Shared>,
    broken: &Arc<Notify>,
) -> Result<Ear, StoreError> {
    let (this, lost) = (later.clone(), broken.clone());
    let on_push = move |push: PushInfo| match this.upgrade() {
        Some(_) if push.kind == PushKind::Disconnection => lost.notify_one(),
        Some(tier) => tier.hear(&push),
        None => {}
    };
    let address = node.address()?;
    let store = tier.store.blocking();
    let mut connection = store.dedicated(node, on_push).await?;
    let patience = tier.patience();
    let how = timeout(patience, subscribe(tier, &mut connection))
        .await
        .map_err(|_| StoreError::Timeout(patience))?
        .map_err(|error| StoreError::from(&error))?;
    Ok(Ear {
        connection,
        address,
        how,
        broken: broken.clone(),
    })
}

async fn subscribe(tier: &Shared, connection: &mut MultiplexedConnection) -> RedisResult<How> {
    connection.subscribe(&tier.names.channel).await?;
    let mut track = redis::cmd("CLIENT");
    track.arg("TRACKING").arg("ON").arg("BCAST").arg("NOLOOP");
    track.arg("PREFIX").arg(tier.names.void_prefix());
    match track.query_async::<()>(connection).await {
        Ok(()) => Ok(How::Tracking),
        // No such command, or not for us.
        Err(error) if !error.is_io_error() && !error.is_unrecoverable_error() => {
            Ok(How::Publishing)
        }
        Err(error) => Err(error),
    }
}

/// Whether nothing can be told over the connection any more: it broke, or ends at a replica.
pub(super) fn is_of_no_use(reason: &StoreError) -> bool {
    match reason {
        StoreError::NotServing(code) => code.as_str() == "READONLY",
        reason => reason.may_have_run(),
    }
}

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

/// Reads one push; `own` is what our own messages begin with.
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

/// How often the server is asked whether it is still there. A connection whose packets vanish tells
/// of nothing; so long, and the patience with an answer, is what is held believed in vain.
const BEAT: Duration = Duration::from_millis(500);
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

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
