//! The way of questions to the server, many at a time.
//!
//! Whoever comes for a key with nobody in line before puts the key into the queue. Flights take
//! what is there, up to a batch each, ask the server and tell the callers; a flight belongs to
//! nobody who waits, so that whoever goes away leaves nothing half done. There is no timer: a
//! flight departs as soon as it can, and what comes while all are under way fills the next one.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{ErrorKind, RedisError, RedisResult};
use resilience_core::{Environment, Timestamp};
use tokio::{runtime::Handle, task::yield_now};

use super::{
    batch::{Batch, Reply},
    line::Aftermath,
    refund::{self, Refund},
    rules::{Kind, Rule},
    server_clock::ServerClock,
    table::Entry,
};
use crate::{StoreError, connection::Connection, script::Script};

/// The questions of one limiter.
pub(super) struct Lane {
    connection: Connection,
    runtime: Handle,
    environment: Environment,
    patience: Duration,
    /// Questions under way at once, and keys in one of them.
    flights: usize,
    keys: usize,
    take: Script,
    refund: Script,
    rules: Arc<[Rule]>,
    time: Mutex<ServerClock>,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Arc<Entry>>,
    refunds: Vec<Refund>,
    /// Flights under way.
    flights: usize,
    /// Those of them that are about to look into the queue.
    boarding: usize,
    /// Whether somebody gives units back.
    refunding: bool,
}

impl Lane {
    pub(super) fn new(
        connection: Connection,
        runtime: Handle,
        rules: Arc<[Rule]>,
        environment: Environment,
    ) -> Self {
        let take = match &rules[..] {
            [
                Rule {
                    kind: Kind::Window { .. },
                    ..
                },
            ] => include_str!("../lua/take_window.lua"),
            _ => include_str!("../lua/take_quotas.lua"),
        };
        // In a cluster a script sees the keys of one slot.
        let (flights, keys) = if connection.is_cluster() {
            (CLUSTER_FLIGHTS, 1)
        } else {
            (FLIGHTS, KEYS)
        };
        Self {
            flights,
            keys,
            patience: connection.settings().time_to_decide(),
            connection,
            runtime,
            environment,
            take: Script::new(take),
            refund: Script::new(include_str!("../lua/refund.lua")),
            rules,
            time: Mutex::default(),
            queue: Mutex::default(),
        }
    }

    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub(super) const fn environment(&self) -> &Environment {
        &self.environment
    }

    pub(super) fn now(&self) -> Timestamp {
        self.environment.now()
    }

    /// Sends somebody to ask for those who wait for `entry`.
    pub(super) fn push(self: &Arc<Self>, entry: Arc<Entry>) {
        let departs = {
            let mut queue = self.queue();
            queue.entries.push_back(entry);
            queue.departs(self.flights)
        };
        if departs {
            self.depart();
        }
    }

    /// Gives units back as soon as the server can be heard; if it cannot, they stay taken.
    pub(super) fn give_back(self: &Arc<Self>, refunds: impl IntoIterator<Item = Refund>) {
        let begins = {
            let mut queue = self.queue();
            queue.refunds.extend(refunds);
            !queue.refunds.is_empty() && !std::mem::replace(&mut queue.refunding, true)
        };
        if begins {
            let refunds = Refunds {
                lane: Arc::clone(self),
                is_over: false,
            };
            self.runtime.spawn(refunds.run());
        }
    }

    /// Gives `units` back to `name`, the oldest.
    pub(super) async fn refund_oldest(&self, name: &str, units: u64) -> Result<(), StoreError> {
        let now = self.time().at(self.now());
        let refund = Refund::oldest(name, units, &self.rules, now);
        self.send_refunds(&[refund]).await
    }

    /// Deletes all counts of `name`.
    pub(super) async fn clear(&self, name: &str) -> Result<(), StoreError> {
        let now = self.time().at(self.now());
        let refund = Refund::oldest(name, 1, &self.rules, now);
        let mut command = redis::cmd("UNLINK");
        refund.keys().for_each(|key| {
            command.arg(key);
        });
        let request = async |mut wire| command.query_async(&mut wire).await;
        self.connection.run(name, self.patience, request).await
    }

    fn depart(self: &Arc<Self>) {
        let flight = Flight {
            lane: Arc::clone(self),
            batch: Batch::default(),
            state: State::Boarding,
        };
        self.runtime.spawn(flight.run());
    }

    async fn send_refunds(&self, refunds: &[Refund]) -> Result<(), StoreError> {
        let Some(first) = refunds.first() else {
            return Ok(());
        };
        let request = async |mut wire| {
            let write = |command: &mut _| refund::write(&self.rules, refunds, command);
            self.refund.run_with(&mut wire, write).await
        };
        let name = first.name().to_owned();
        let reply = self.connection.run(&name, self.patience, request).await;
        reply.map(|_| ())
    }

    fn time(&self) -> MutexGuard<'_, ServerClock> {
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Whether one more flight is to depart, which then counts.
    fn departs(&mut self, most: usize) -> bool {
        let departs = self.boarding == 0 && self.flights < most && !self.entries.is_empty();
        if departs {
            self.flights += 1;
            self.boarding += 1;
        }
        departs
    }
}

/// One who asks, as long as there is something to ask.
struct Flight {
    lane: Arc<Lane>,
    batch: Batch,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// About to look into the queue.
    Boarding,
    /// Asking.
    Away,
    /// Nothing was left to ask.
    Over,
}

impl Flight {
    async fn run(mut self) {
        while let Some(entries) = self.board() {
            self.ask(entries).await;
            // Those who were told come back with their next questions meanwhile.
            yield_now().await;
        }
    }

    /// What to ask about now; `None` where there is nothing, and the flight is over.
    fn board(&mut self) -> Option<Vec<Arc<Entry>>> {
        let (entries, departs) = {
            let mut queue = self.lane.queue();
            queue.boarding -= 1;
            if queue.entries.is_empty() {
                queue.flights -= 1;
                self.state = State::Over;
                return None;
            }
            self.state = State::Away;
            let count = queue.entries.len().min(self.lane.keys);
            let entries = queue.entries.drain(..count).collect();
            (entries, queue.departs(self.lane.flights))
        };
        if departs {
            self.lane.depart();
        }
        Some(entries)
    }

    /// Back again, and about to look into the queue: what comes now need not send another.
    fn land(&mut self) {
        self.lane.queue().boarding += 1;
        self.state = State::Boarding;
    }

    /// Asks about `entries` until the server says something about them, or time is up.
    async fn ask(&mut self, mut entries: Vec<Arc<Entry>>) {
        for spare in SPARE_STEPS {
            let Some(deadline) = self.load(entries, spare) else {
                return self.land();
            };
            let sent = self.lane.now();
            // At most all of it, should the clock have been set back meanwhile.
            let patience = deadline.saturating_since(sent).min(self.lane.patience);
            let answer = self.send(patience).await;
            let reply = match answer {
                Ok(reply) => reply,
                // Of the time that callers have, part was over before the question was sent.
                Err(StoreError::Timeout(_)) => {
                    let late = StoreError::Timeout(self.lane.patience);
                    return self.fail(&late);
                }
                Err(error) => return self.fail(&error),
            };
            self.lane.time().hear(sent, reply.micros());
            if reply.is_decided() {
                return self.tell(sent, &reply);
            }
            // Its clock shows another step than we thought.
            entries = self.batch.unask();
        }
        // A clock that jumps with every question is none.
        self.load(entries, 0);
        self.fail(&StoreError::Protocol);
    }

    /// Asks those who wait for `entries` what they want, of the step that we think is the present one
    /// or, with `spare` steps to name, of the one in which the server was heard last and those after
    /// it. Gives the time by which the first of them must hear of it, `None` where nobody waits.
    fn load(&mut self, entries: Vec<Arc<Entry>>, spare: u64) -> Option<Timestamp> {
        let Self { lane, batch, .. } = self;
        let (now, mut aftermath) = (lane.now(), Aftermath::default());
        let too_long = Timestamp::from_nanos(now.as_nanos().saturating_sub(nanos(lane.patience)));
        let late = StoreError::Timeout(lane.patience);
        let clock = *lane.time();
        let micros = if spare == 0 {
            clock.at(now)
        } else {
            clock.last()
        };
        batch.begin(&lane.rules, micros, spare);
        let mut since = Timestamp::MAX;
        for entry in entries {
            let limit = (too_long, &late);
            if let Some(first) = batch.add(&lane.rules, entry, limit, &mut aftermath) {
                since = since.min(first);
            }
        }
        aftermath.wake();
        batch.sort(&lane.rules);
        (batch.len() > 0).then(|| since.saturating_add(lane.patience))
    }

    async fn send(&self, patience: Duration) -> Result<Reply, StoreError> {
        let Self { lane, batch, .. } = self;
        let name = batch.name().unwrap_or_default();
        let request = async |mut wire| -> RedisResult<Reply> {
            let write = |command: &mut _| batch.write(&lane.rules, command);
            let reply = lane.take.run_with(&mut wire, write).await?;
            // A reply of another shape may be meant for somebody else: it ends the connection.
            let shape = || RedisError::from((ErrorKind::Parse, "unexpected reply of a script"));
            batch.read(&lane.rules, &reply).ok_or_else(shape)
        };
        lane.connection.run(&name, patience, request).await
    }

    fn tell(&mut self, sent: Timestamp, reply: &Reply) {
        self.land();
        let Self { lane, batch, .. } = self;
        let mut aftermath = Aftermath::default();
        let (mut again, mut refunds) = (Vec::new(), Vec::new());
        let rules = &lane.rules;
        batch.hear(
            rules,
            sent,
            reply,
            &mut aftermath,
            |entry, goes_on, after| {
                let orphans = after.orphans.drain(..);
                let taken = reply.micros();
                refunds.extend(orphans.map(|units| Refund::exact(&entry, units, rules, taken)));
                if goes_on {
                    again.push(entry);
                }
            },
        );
        aftermath.wake();
        again.into_iter().for_each(|entry| lane.push(entry));
        lane.give_back(refunds);
    }

    fn fail(&mut self, error: &StoreError) {
        self.land();
        let Self { lane, batch, .. } = self;
        let (mut aftermath, mut again) = (Aftermath::default(), Vec::new());
        batch.fail(error, &mut aftermath, |entry, goes_on| {
            if goes_on {
                again.push(entry);
            }
        });
        aftermath.wake();
        again.into_iter().for_each(|entry| lane.push(entry));
    }
}

impl Drop for Flight {
    /// Where the flight is not over the runtime goes down, and nobody will ask any more.
    fn drop(&mut self) {
        if self.state == State::Over {
            return;
        }
        let entries = {
            let mut queue = self.lane.queue();
            queue.flights -= 1;
            queue.boarding -= usize::from(self.state == State::Boarding);
            if queue.flights == 0 {
                std::mem::take(&mut queue.entries)
            } else {
                VecDeque::new()
            }
        };
        let mut aftermath = Aftermath::default();
        let asked = self.batch.unask().into_iter();
        for entry in asked.chain(entries) {
            entry
                .line()
                .abandon(&StoreError::Unavailable, &mut aftermath);
        }
        aftermath.wake();
    }
}

/// One who gives units back, as long as there are any.
struct Refunds {
    lane: Arc<Lane>,
    is_over: bool,
}

impl Refunds {
    async fn run(mut self) {
        while let Some(refunds) = self.next() {
            // Units that cannot be given back stay taken: never too much is allowed.
            let _ = self.lane.send_refunds(&refunds).await;
        }
    }

    fn next(&mut self) -> Option<Vec<Refund>> {
        let mut queue = self.lane.queue();
        let count = queue.refunds.len().min(self.lane.keys);
        self.is_over = count == 0;
        queue.refunding = !self.is_over;
        (!self.is_over).then(|| queue.refunds.drain(..count).collect())
    }
}

impl Drop for Refunds {
    fn drop(&mut self) {
        if !self.is_over {
            self.lane.queue().refunding = false;
        }
    }
}

impl Aftermath {
    fn wake(self) {
        for waker in self.wakers {
            waker.wake();
        }
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Questions under way at once in a cluster, each about one key.
const CLUSTER_FLIGHTS: usize = 128;
/// Questions under way at once: while one is answered the next is written.
const FLIGHTS: usize = 4;
/// Keys in one question: the server is at it for some 100 microseconds.
const KEYS: usize = 128;
/// How many steps more than one each question names until the server finds the present one among
/// them. The first may come before the server was ever heard, the second meet the end of a step;
/// where steps are shorter than the time that it takes to get there changes, no guess is good.
const SPARE_STEPS: [u64; 8] = [0, 0, 16, 32, 64, 128, 128, 128];
