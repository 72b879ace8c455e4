use tokio::sync::watch;

/// When the next order is due, of those that were placed or put off in this process; clones share
/// it.
///
/// The settlement need not ask the database after every order: hardly any is due before whoever
/// placed it has settled it.
#[derive(Clone, Debug)]
pub struct Agenda(watch::Sender<i64>);

impl Agenda {
    /// Notes that an order is due at `due_at`, in milliseconds since 1970.
    pub fn note(&self, due_at: i64) {
        self.0.send_if_modified(|earliest| {
            let is_sooner = due_at < *earliest;
            *earliest = due_at.min(*earliest);
            is_sooner
        });
    }

    /// When the first order is due that was noted since this was cleared; `i64::MAX` where none was.
    #[must_use]
    pub fn earliest(&self) -> i64 {
        *self.0.borrow()
    }

    /// Waits until an order is noted that is due before `due_at`.
    pub async fn sooner_than(&self, due_at: i64) {
        // We are the sender: it cannot be gone.
        let _ = self
            .0
            .subscribe()
            .wait_for(|earliest| *earliest < due_at)
            .await;
    }

    /// Forgets what was noted.
    pub fn clear(&self) {
        self.0.send_replace(i64::MAX);
    }
}

impl Default for Agenda {
    fn default() -> Self {
        Self(watch::Sender::new(i64::MAX))
    }
}
