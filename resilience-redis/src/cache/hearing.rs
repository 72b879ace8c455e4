//! What a process hears of the others, and what it still has to tell them.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use redis::PushInfo;
use resilience_core::cache::Notice;

use super::{
    ear::{Ear, How},
    ears::Told,
    listening,
    message::{self, Heard},
    names::Meant,
    pulse,
    shared::Shared,
};
use crate::{StoreError, connection::Node};

/// Keeps an ear at every server, until the tier is gone.
#[allow(
    clippy::mutable_key_type,
    reason = "a node is known by where it is in memory"
)]
pub(super) async fn hear_all(tier: Weak<Shared>) {
    let mut keepers = HashMap::new();
    let Some(mut changes) = tier.upgrade().map(|tier| tier.store.connection().changes()) else {
        return;
    };
    loop {
        let Some(this) = tier.upgrade() else { return };
        let nodes = this.store.connection().nodes();
        keepers.retain(|node, keeper: &mut tokio::task::JoinHandle<()>| {
            let stays = nodes.contains(node);
            if !stays {
                keeper.abort();
                this.ears().at.remove(node);
            }
            stays
        });
        for node in nodes {
            keepers.entry(node.clone()).or_insert_with(|| {
                this.ears().at.entry(node.clone()).or_default();
                tokio::spawn(listening::keep(tier.clone(), node))
            });
        }
        this.settle();
        drop(this);
        if changes.changed().await.is_err() {
            return;
        }
    }
}

impl Shared {
    /// Hears what the server says by itself.
    pub(super) fn hear(&self, push: &PushInfo) {
        for heard in message::read(self, push) {
            match heard {
                Heard::Void(Meant::Key(part)) => {
                    let mark = part.mark();
                    self.tell(Notice::Changed(mark));
                    self.waiters.wake(mark);
                }
                Heard::Void(Meant::All) => {
                    self.tell(Notice::AllChanged);
                    self.waiters.wake_all();
                }
                Heard::Over(part) => self.waiters.wake(part.mark()),
                Heard::Nothing => {}
            }
        }
    }

    /// Sees whether the server behind `ear` is well, and tells it what it has not heard of.
    pub(super) async fn beat(self: &Arc<Self>, node: &Node, ear: &Ear) -> Result<(), StoreError> {
        let sent = self.millis();
        let pulse = pulse::feel(ear, self.patience()).await;
        // It may not be the one to ask any more.
        let pulse = pulse.inspect_err(|_| node.doubt_map())?;
        let local = sent.midpoint(self.millis());
        let told = self.ears().at.get_mut(node).map(|it| it.felt(pulse, local));
        if told == Some(Told::Nothing) {
            // It may have taken over from one that was told.
            let owns = |part: &_| self.owns(node, &self.names.value(part));
            self.unsent().tell_again(self.clock.now(), owns);
        }
        if let Some(server) = self.ears().at.get_mut(node) {
            server.ear = Some(ear.clone());
        }
        if ear.how == How::Publishing {
            self.look_for_flushes(node, ear).await;
        }
        if self.store.connection().is_cluster() {
            self.look_around(node, ear).await;
        }
        if self.owns(node, &self.names.void_all()) {
            self.tell_all_due().await;
        }
        self.tell_due(node).await;
        self.settle();
        Ok(())
    }

    /// Has the map of slots read anew where a server may have begun to own some: there others speak,
    /// and nobody here hears them.
    async fn look_around(&self, node: &Node, ear: &Ear) {
        // Who may not ask that finds out later: the map is read now and then.
        let Ok(view) = pulse::view(ear, self.patience()).await else {
            return;
        };
        let mut ears = self.ears();
        let known = ears
            .at
            .get_mut(node)
            .and_then(|server| server.view.replace(view.clone()));
        if known.is_some_and(|known| known != view) {
            node.doubt_map();
        }
    }

    /// Forgets what is held where the server was emptied: nobody publishes that.
    async fn look_for_flushes(&self, node: &Node, ear: &Ear) {
        let Ok(flushes) = pulse::flushes(ear, self.patience()).await else {
            return;
        };
        let mut ears = self.ears();
        let server = ears.at.get_mut(node);
        let known = server.and_then(|server| server.flushes.replace(flushes));
        drop(ears);
        if known.is_some_and(|known| known != flushes) {
            self.tell(Notice::AllChanged);
            self.waiters.wake_all();
        }
    }

    /// Nothing is heard of `node` any more.
    pub(super) fn deaf(&self, node: &Node) {
        if let Some(server) = self.ears().at.get_mut(node) {
            server.ear = None;
        }
        self.settle();
    }

    /// Has everything forgotten where that is due and nobody is doing so; if not now, then with the
    /// next beat.
    async fn tell_all_due(self: &Arc<Self>) {
        if self.unsent().everything().is_none() || self.clearing.available_permits() == 0 {
            return;
        }
        let ticket = self.unsent().void_all();
        if self.ears().in_touch {
            // It takes long, and what is held is believed only as long as beats follow one another.
            let this = Arc::clone(self);
            tokio::spawn(async move { this.clear(ticket).await });
        } else {
            let _ = self.clear(ticket).await;
        }
    }

    /// Tells `node` what it has not heard of, and goes on past what it does not take.
    async fn tell_due(&self, node: &Node) {
        let owns = |part: &_| self.owns(node, &self.names.value(part));
        let due = self.unsent().due(owns);
        let began = self.clock.now();
        for (part, ticket) in due {
            if self.remove(&part, ticket).await.is_ok() {
                continue;
            }
            self.unsent().postpone(&part, ticket);
            if self.clock.now().saturating_since(began) > TIME_FOR_FAILURES {
                return;
            }
        }
    }

    /// Lets the cache know where it has changed whether all servers are heard.
    fn settle(&self) {
        let mut ears = self.ears();
        let in_touch = !ears.at.is_empty() && ears.at.values().all(|server| server.ear.is_some());
        if in_touch == std::mem::replace(&mut ears.in_touch, in_touch) {
            return;
        }
        // Told under the lock, so that the last word is the last that was true.
        self.tell(if in_touch {
            Notice::InTouch
        } else {
            Notice::OutOfTouch
        });
        drop(ears);
        if !in_touch {
            self.waiters.wake_all();
        }
    }
}

/// For how long invalidations are tried of which some fail: the next beat must not be late.
const TIME_FOR_FAILURES: Duration = Duration::from_millis(100);
