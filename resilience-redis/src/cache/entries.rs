//! What stands in Redis under the keys of a cache.

use std::time::Duration;

use redis::{Cmd, Pipeline, Value};
use resilience_core::cache::Remembered;

use super::{
    ear::{Ear, How, is_of_no_use},
    frame,
    message::Message,
    names::{Meant, Part},
    shared::Shared,
    unsent::Ticket,
};
use crate::StoreError;

impl Shared {
    pub(super) async fn get(&self, part: &Part) -> Result<Option<Remembered>, StoreError> {
        if !self.believes(part) {
            return Err(StoreError::Unavailable);
        }
        let name = self.names.value(part);
        let mut get = redis::cmd("GET");
        get.arg(&name);
        let found: Option<Vec<u8>> = self.store.ask(&name, &get).await?;
        let Some(framed) = found else {
            return Ok(None);
        };
        let Some((entry, end)) = frame::unwrap(&framed) else {
            // The cache finds that it cannot read this, and has it removed.
            return Ok(Some(Remembered {
                entry: framed,
                left: None,
            }));
        };
        let left = end.since(self.now_at(&name)?);
        Ok((!left.is_zero()).then(|| Remembered {
            entry: entry.to_vec(),
            left: Some(left),
        }))
    }

    pub(super) async fn put(
        &self,
        part: &Part,
        entry: &[u8],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        // Where it cannot be put, what is there is not to be believed any more.
        let ticket = self.unsent().void(part);
        let value = self.names.value(part);
        let end = self.now_at(&value)?.after(ttl);
        let mut set = redis::cmd("SET");
        set.arg(value).arg(frame::wrap(entry, end));
        set.arg("PX").arg(frame::millis(ttl));
        self.change(part, ticket, Some(&set)).await
    }

    pub(super) async fn remove(&self, part: &Part, ticket: Ticket) -> Result<(), StoreError> {
        self.change(part, ticket, None).await
    }

    /// Forgets everything. Whoever asks for that while it is done waits; when it is done once more,
    /// that is for all who waited.
    pub(super) async fn clear(&self, ticket: Ticket) -> Result<(), StoreError> {
        // Nobody closes it.
        let _turn = self.clearing.acquire().await;
        if let Some((newest, outcome)) = &*self.cleared()
            && *newest >= ticket
        {
            return outcome.clone();
        }
        let newest = self.unsent().everything().unwrap_or(ticket);
        let outcome = self.clear_now().await;
        if outcome.is_ok() {
            self.unsent().done_all(newest, self.clock.now());
        }
        *self.cleared() = Some((newest, outcome.clone()));
        outcome
    }

    /// Leases first, so that no load from before fills what is cleared after.
    async fn clear_now(&self) -> Result<(), StoreError> {
        for pattern in self.names.patterns() {
            self.store.blocking().delete_all(&pattern).await?;
        }
        let name = self.names.void_all();
        let ear = self.ear_of(&name)?;
        let news = |how| self.news(how, &name, &Meant::All);
        let mut outcome = ear.run(self.patience(), &news(ear.how)).await;
        if is_refused(&outcome) {
            outcome = ear.run(self.patience(), &news(How::Publishing)).await;
        }
        outcome
    }

    /// Puts another entry or none in the place of what there is, ends the lease, and lets the
    /// others hear of it.
    async fn change(
        &self,
        part: &Part,
        ticket: Ticket,
        set: Option<&Cmd>,
    ) -> Result<(), StoreError> {
        let ear = self.ear_of(&self.names.value(part))?;
        let mut outcome = self.change_together(&ear, part, set).await;
        if set.is_some() && is_refused(&outcome) {
            outcome = self.change_apart(&ear, part, set).await;
        }
        if is_refused(&outcome) {
            // A server that has no memory left can still forget, and tell.
            outcome = self.change_apart(&ear, part, None).await;
        }
        outcome?;
        self.unsent().done(part, ticket, self.clock.now());
        Ok(())
    }

    /// In one round trip.
    async fn change_together(
        &self,
        ear: &Ear,
        part: &Part,
        set: Option<&Cmd>,
    ) -> Result<(), StoreError> {
        let [value, lease, void] = self.names.keys(part);
        let mut change = redis::pipe();
        // Nobody is to find nothing in between. A removal does without: a server that has no memory
        // left takes no transaction. Not the client's own: where `EXEC` itself is refused, it does
        // not say with what.
        set.map(|_| change.cmd("MULTI"));
        change.cmd("UNLINK").arg(&value).arg(&lease);
        set.map(|set| change.add_command(set.clone()));
        self.void(&mut change, ear.how, &void, &Meant::Key(part.clone()));
        set.map(|_| change.cmd("EXEC"));
        ear.run(self.deadline(), &change).await
    }

    /// Each key by itself, wherever it is, and then the news: while a slot moves from one server to
    /// another, keys of one hash tag need not be together, and none can be touched where the others
    /// hear of it.
    async fn change_apart(
        &self,
        ear: &Ear,
        part: &Part,
        set: Option<&Cmd>,
    ) -> Result<(), StoreError> {
        let [value, lease, void] = self.names.keys(part);
        let mut change = redis::pipe();
        change.cmd("UNLINK").arg(&lease);
        match set {
            Some(set) => change.add_command(set.clone()),
            None => change.cmd("UNLINK").arg(&value),
        };
        let request = async |mut wire| change.query_async::<Value>(&mut wire).await;
        let connection = self.store.connection();
        connection.run(&value, self.deadline(), request).await?;
        let news = self.news(How::Publishing, &void, &Meant::Key(part.clone()));
        ear.run(self.deadline(), &news).await
    }

    /// What lets the others hear that `meant` is void.
    fn news(&self, how: How, name: &str, meant: &Meant) -> Pipeline {
        let mut news = redis::pipe();
        self.void(&mut news, how, name, meant);
        news
    }

    /// Adds what lets the others hear that `meant` is void.
    fn void(&self, commands: &mut Pipeline, how: How, name: &str, meant: &Meant) {
        match how {
            // That it was touched is what tells; nothing of it stays, also where the server fails
            // in between.
            How::Tracking => {
                commands.cmd("SET").arg(name).arg("");
                commands.arg("PX").arg(frame::millis(MOMENT));
                commands.cmd("UNLINK").arg(name);
            }
            How::Publishing => {
                let message = Message::Void(meant).write(&self.origin);
                commands
                    .cmd("PUBLISH")
                    .arg(&self.names.channel)
                    .arg(message);
            }
        }
    }
}

/// Whether nothing came of it, so that it can be tried in another way over the same ear.
fn is_refused(outcome: &Result<(), StoreError>) -> bool {
    outcome.as_ref().is_err_and(|error| !is_of_no_use(error))
}

/// How long what is touched stays where nobody removes it.
const MOMENT: Duration = Duration::from_secs(1);
