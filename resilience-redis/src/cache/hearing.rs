//! What a process hears of the others, and what it still has to tell them.

use std::{
    collections::HashMap,
    sync::{Weak, atomic::Ordering},
};

use redis::PushInfo;
use resilience_core::cache::Notice;

use super::{
    ear::{self, Ear, Heard},
    names::Meant,
    shared::Shared,
    unsent::Due,
};
use crate::{StoreError, connection::Node};

/// Where a process hears.
#[derive(Default)]
#[allow(
    clippy::mutable_key_type,
    reason = "a node is known by where it is in memory"
)]
pub(super) struct Ears {
    pub(super) at: HashMap<Node, Option<Ear>>,
    /// What the servers said of themselves when they were last asked.
    pub(super) identities: HashMap<Node, String>,
    pub(super) in_touch: bool,
}

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
                let mut ears = this.ears();
                ears.at.remove(node);
                ears.identities.remove(node);
            }
            stays
        });
        for node in nodes {
            keepers.entry(node.clone()).or_insert_with(|| {
                this.ears().at.entry(node.clone()).or_insert(None);
                tokio::spawn(ear::keep(tier.clone(), node))
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
        for heard in ear::read(self, push) {
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
    pub(super) async fn beat(&self, node: &Node, ear: &Ear) -> Result<(), StoreError> {
        let sent = self.clock.now();
        let pulse = ear::feel(ear, self.patience()).await?;
        let now = self.clock.now();
        let half = now.saturating_since(sent) / 2;
        let local = sent.saturating_add(half).as_nanos() / 1_000_000;
        self.ahead
            .store(pulse.now.ahead_of(local), Ordering::Relaxed);
        let known = self
            .ears()
            .identities
            .insert(node.clone(), pulse.identity.clone());
        if known.is_some_and(|known| known != pulse.identity) {
            self.unsent().tell_again(now);
        }
        self.ears().at.insert(node.clone(), Some(ear.clone()));
        self.tell_due().await;
        self.settle();
        Ok(())
    }

    /// Nothing is heard of `node` any more.
    pub(super) fn deaf(&self, node: &Node) {
        if let Some(ear) = self.ears().at.get_mut(node) {
            *ear = None;
        }
        self.settle();
    }

    /// Tells Redis what it has not heard of, for as long as that works.
    async fn tell_due(&self) {
        loop {
            let Some(due) = self.unsent().due() else {
                return;
            };
            let told = match &due {
                Due::Key(part, ticket) => self.remove(part, *ticket).await,
                Due::Everything(ticket) => self.clear(*ticket).await,
            };
            if told.is_err() {
                return;
            }
        }
    }

    /// Lets the cache know where it has changed whether all servers are heard.
    fn settle(&self) {
        let mut ears = self.ears();
        let in_touch = !ears.at.is_empty() && ears.at.values().all(Option::is_some);
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
