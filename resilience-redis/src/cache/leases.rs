//! The right to load a key for the whole fleet.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use resilience_core::cache::{Claim, Lease, Unfilled};
use tokio::time::timeout;

use super::{frame, message::Message, names::Part, shared::Shared};
use crate::StoreError;

impl Shared {
    pub(super) async fn claim(
        self: &Arc<Self>,
        part: &Part,
        lease: Duration,
        patience: Duration,
    ) -> Result<Claim, StoreError> {
        let name = [self.names.lease(part)];
        if !self.believes(part) {
            return Err(StoreError::Unavailable);
        }
        // From here on no end is missed.
        let mut waiter = self.waiters.wait(part.mark());
        let number = self.claims.fetch_add(1, Ordering::Relaxed);
        let granted = Lease::new(number);
        let token = self.token(granted);
        let arguments = (&token, frame::millis(lease));
        let asked = Asked {
            shared: self,
            part,
            lease: Some(granted),
        };
        let call = self.store.call(&self.claim, &name, arguments);
        let left: i64 = asked.learn(call.await)?;
        let left = match u64::try_from(left) {
            Ok(0) => return Ok(Claim::Granted(granted)),
            Ok(left) => Duration::from_millis(left),
            Err(_) => return Ok(Claim::Refused),
        };
        match timeout(patience.min(left), waiter.over()).await {
            Ok(()) => Ok(Claim::Over),
            // Its holder is gone: the lease has ended by itself.
            Err(_) if left < patience => Ok(Claim::Over),
            Err(_) => Ok(Claim::Refused),
        }
    }

    /// Stores what was loaded; where that does not work, others need not wait for it.
    pub(super) async fn fill(
        &self,
        part: &Part,
        lease: Lease,
        entry: &[u8],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let filled = self.fill_under(part, lease, entry, ttl).await;
        if filled.is_err() {
            // If this does not work either, it ends by itself.
            let _ = self.release(part, lease, Unfilled::Failed).await;
        }
        filled
    }

    pub(super) async fn release(
        &self,
        part: &Part,
        lease: Lease,
        why: Unfilled,
    ) -> Result<(), StoreError> {
        let alone = match why {
            Unfilled::Failed => Duration::ZERO,
            Unfilled::Private => ALONE,
        };
        let over = Message::Over(part).write(&self.origin);
        let token = self.token(lease);
        let arguments = (&token, frame::millis(alone), &self.names.channel, &over);
        let name = [self.names.lease(part)];
        let _ended: u8 = self.store.call(&self.release, &name, arguments).await?;
        Ok(())
    }

    async fn fill_under(
        &self,
        part: &Part,
        lease: Lease,
        entry: &[u8],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let [value, lease_name, _] = self.names.keys(part);
        let framed = frame::wrap(entry, self.now_at(&value)?.after(ttl));
        let over = Message::Over(part).write(&self.origin);
        let token = self.token(lease);
        let arguments = (
            &token,
            &framed[..],
            frame::millis(ttl),
            &self.names.channel,
            &over,
        );
        let names = [value, lease_name];
        let _stored: u8 = self.store.call(&self.fill, &names, arguments).await?;
        Ok(())
    }
}

/// A lease that was asked for. Where nobody learns what became of that, it may have been granted, and
/// is given back: else others would wait for a load that nobody makes.
struct Asked<'a> {
    shared: &'a Arc<Shared>,
    part: &'a Part,
    lease: Option<Lease>,
}

impl Asked<'_> {
    fn learn<T>(mut self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        let is_known = |error: &StoreError| !error.may_have_run();
        if answer.as_ref().err().is_none_or(is_known) {
            self.lease = None;
        }
        answer
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        let (shared, part) = (Arc::clone(self.shared), self.part.clone());
        self.shared.store.runtime().spawn(async move {
            // If this does not work either, it ends by itself.
            let _ = shared.release(&part, lease, Unfilled::Failed).await;
        });
    }
}

/// For how long nobody waits for loads of what is not for all.
const ALONE: Duration = Duration::from_secs(1);
