//! How units go back.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Refund, refunds::Run, write};
use crate::{StoreError, rate_limit::lane::Lane};

impl Lane {
    /// Gives units back as soon as the server can be heard; if it cannot, or is too slow for all that
    /// go back, they stay taken.
    pub(in crate::rate_limit) fn give_back(
        self: &Arc<Self>,
        refunds: impl IntoIterator<Item = Refund>,
    ) {
        let (batches, dropped) = self.refunds().add(refunds, (self.keys, self.flights));
        for batch in batches {
            let run = Run::new(Arc::clone(self), batch);
            self.runtime().spawn(run.run());
        }
        if !dropped.is_empty() {
            let leased = dropped.iter().map(Refund::leased).sum();
            self.leases.settle(leased, false);
        }
    }

    /// Gives `units` back to `name`, the oldest.
    pub(in crate::rate_limit) async fn refund_oldest(
        self: &Arc<Self>,
        name: &str,
        units: u64,
    ) -> Result<(), StoreError> {
        let now = self.ask_time(name).await?;
        let refund = Refund::oldest(name, units, &self.rules, now);
        self.send_refunds(&[refund]).await
    }

    /// Gives back all units that were taken ahead, whether anybody waits for it or not.
    pub(in crate::rate_limit) async fn return_leases(self: &Arc<Self>) -> Result<(), StoreError> {
        let refunds = self.leases.surrender(&self.rules);
        let returning = Arc::clone(self).send_all(refunds);
        let done = self.runtime().spawn(returning).await;
        done.unwrap_or(Err(StoreError::Unavailable))
    }

    /// Deletes all counts of `name`.
    pub(in crate::rate_limit) async fn clear(&self, name: &str) -> Result<(), StoreError> {
        let now = self.ask_time(name).await?;
        let refund = Refund::oldest(name, 1, &self.rules, now);
        // One command a key: while a slot of a cluster moves some are at one server and some at another.
        let mut unlink = redis::pipe();
        for key in refund.keys() {
            unlink.cmd("UNLINK").arg(key).ignore();
        }
        let request = async |mut wire| unlink.query_async(&mut wire).await;
        self.connection.run(name, self.patience, request).await
    }

    /// Sends `refunds`, as many questions at once as may be under way.
    async fn send_all(self: Arc<Self>, refunds: Vec<Refund>) -> Result<(), StoreError> {
        let mut refunds = refunds.into_iter();
        let (mut under_way, mut outcome) = (JoinSet::new(), Ok(()));
        loop {
            let batch: Vec<_> = refunds.by_ref().take(self.keys).collect();
            if batch.is_empty() || under_way.len() >= self.flights {
                let Some(sent) = under_way.join_next().await else {
                    return outcome;
                };
                let sent = sent.unwrap_or(Err(StoreError::Unavailable));
                outcome = outcome.and(sent);
            }
            if !batch.is_empty() {
                let lane = Arc::clone(&self);
                under_way.spawn(async move { lane.send_refunds(&batch).await });
            }
        }
    }

    /// Sends `refunds` in one question.
    pub(super) async fn send_refunds(
        self: &Arc<Self>,
        refunds: &[Refund],
    ) -> Result<(), StoreError> {
        let Some(first) = refunds.first() else {
            return Ok(());
        };
        let request = async |wire| {
            let write = |command: &mut _| write(&self.rules, refunds, command);
            self.refund.run_with(&wire, (0, 0), write).await
        };
        let name = first.name().to_owned();
        let reply = self.connection.run(&name, self.patience, request).await;
        let leased = refunds.iter().map(Refund::leased).sum();
        self.leases.settle(leased, reply.is_ok());
        self.doubt(refunds.iter().filter_map(Refund::entry));
        reply.map(|_| ())
    }

    /// What the clock shows of the server that has `name`, in microseconds since 1970.
    async fn ask_time(&self, name: &str) -> Result<u64, StoreError> {
        let request = async |mut wire| redis::cmd("TIME").query_async(&mut wire).await;
        let time = self.connection.run(name, self.patience, request).await;
        time.map(|(seconds, micros): (u64, u64)| seconds * 1_000_000 + micros)
    }
}
