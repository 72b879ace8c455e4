//! Keeps an ear at a server: opened, felt now and then, and opened anew when it hears nothing more.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use redis::{PushInfo, PushKind, RedisResult, aio::MultiplexedConnection};
use resilience_core::{
    Random,
    backoff::{Backoff, Jitter},
};
use tokio::{
    select,
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    ear::{Ear, How},
    shared::Shared,
};
use crate::{StoreError, connection::Node};

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

/// How often the server is asked whether it is still there. A connection whose packets vanish tells
/// of nothing; so long, and the patience with an answer, is what is held believed in vain.
const BEAT: Duration = Duration::from_millis(500);
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
