//! Keeps one lock, in a task of its own, until its guard is gone.

use std::{future::pending, sync::Arc};

use resilience_core::Timestamp;
use tokio::{
    select,
    sync::{oneshot, watch},
    time::sleep,
};

use super::{
    claim::Claim,
    lease::{Lease, Renewal, Standing},
};
use crate::StoreError;

/// What the server said to a release: whether the lock was still ours.
pub(super) type Released = Result<bool, StoreError>;

/// Where a guard asks for the release and waits for the answer; dropped, it asks and does not wait.
pub(super) type Door = oneshot::Sender<oneshot::Sender<Released>>;

/// Starts to keep the lock that `claim` took by a request which was sent at `sent`.
///
/// One task renews and releases, so no renewal comes after the release.
pub(super) fn keep(claim: Arc<Claim>, sent: Timestamp) -> (Door, watch::Receiver<Standing>) {
    let lease = Lease::taken(claim.ttl(), sent);
    let (standing, watched) = watch::channel(lease.standing());
    let (door, asked) = oneshot::channel::<oneshot::Sender<Released>>();
    tokio::spawn(async move {
        let answer_to = select! {
            answer_to = asked => answer_to.ok(),
            () = renew(&claim, lease, standing) => None,
        };
        let released = claim.release().await;
        if let Some(answer_to) = answer_to {
            // Whoever asked may have stopped waiting.
            let _ = answer_to.send(released);
        }
    });
    (door, watched)
}

/// Renews again and again, and tells how the lease stands; never ends.
async fn renew(claim: &Claim, mut lease: Lease, standing: watch::Sender<Standing>) {
    let clock = claim.clock();
    let held = claim.tally().hold();
    while let Some(wake_at) = lease.wake_at() {
        sleep(wake_at.saturating_since(clock.now())).await;
        let sent = clock.now();
        let answer = match claim.renew().await {
            Ok(true) => Renewal::Renewed,
            Ok(false) => Renewal::NotOwner,
            Err(_) => Renewal::NoAnswer,
        };
        lease.answered(clock.now(), sent, answer);
        standing.send_replace(lease.standing());
    }
    drop(held);
    if let Standing::Lost(loss) = lease.standing() {
        claim.tally().lost(loss);
    }
    pending().await
}
