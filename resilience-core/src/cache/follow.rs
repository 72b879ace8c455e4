use std::sync::Arc;

use super::{
    ancestry::Ancestry,
    entry::Entry,
    flight::{self, Flight, Landing, Own, Refusal},
    lead::Lead,
    shared::Shared,
};

/// One who waits for another's load. Dropped, it waits no more.
#[derive(Debug)]
pub(super) struct Follow<K: Eq, V> {
    shared: Arc<Shared<K, V>>,
    flight: Arc<Flight<K, V>>,
    /// What had been invalidated when it began to wait.
    epoch: u64,
    waits: bool,
}

/// What one who waits is told.
#[derive(Debug)]
pub(super) enum News<K: Eq, V> {
    /// The load is over, and brought this.
    Landed(Arc<Entry<V>>),
    /// The load is over, and brought nothing.
    Refused(Refusal),
    /// The leader is gone, and this one leads.
    Lead(Lead<K, V>),
    /// What was loaded has been invalidated since, and before this one began to wait.
    Outdated,
}

impl<K: Eq, V> Follow<K, V> {
    /// One more waits for `flight`, whose shard the caller has locked.
    pub(super) fn new(shared: Arc<Shared<K, V>>, flight: Arc<Flight<K, V>>) -> Self {
        flight.join();
        Self {
            epoch: shared.tags.epoch(),
            shared,
            flight,
            waits: true,
        }
    }

    /// Waits until there is something to tell, which is told once.
    pub(super) async fn news(&mut self) -> News<K, V> {
        let news = loop {
            // From here on a change is not missed, also before the first poll.
            let changed = self.flight.changed();
            if let Some(news) = self.flight.look(|| self.shared.environment.now()) {
                break news;
            }
            changed.await;
        };
        self.hear(news)
    }

    fn hear(&mut self, news: flight::News<V>) -> News<K, V> {
        match news {
            flight::News::Landed(Landing::Entry(entry))
                if self.shared.is_outdated(&entry, self.epoch) =>
            {
                News::Outdated
            }
            flight::News::Landed(Landing::Entry(entry)) => News::Landed(entry),
            flight::News::Landed(Landing::Refused(refusal)) => News::Refused(refusal),
            flight::News::Lead => {
                let lead = Lead::new(self.shared.clone(), self.flight.clone());
                // The leader counts no more as one who waits.
                self.waits = false;
                self.flight.quit();
                News::Lead(lead)
            }
        }
    }

    /// Whether it would wait for itself.
    pub(super) fn is_inside(&self, loads: &Ancestry) -> bool {
        loads.contains(&self.flight)
    }
}

impl<K: Eq, V> Drop for Follow<K, V> {
    fn drop(&mut self) {
        if !self.waits || !self.flight.quit() {
            return;
        }
        let mut shard = self.shared.flights.shard(self.flight.key.hash);
        // Looked at once more: with the shard locked nobody joins.
        let deserted = self.flight.is_deserted();
        let removed = deserted.then(|| shard.swap_take(&Own(&self.flight)));
        drop(shard);
        drop(removed);
    }
}
