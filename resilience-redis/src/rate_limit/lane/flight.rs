//! One question after the other, each about many keys.

use std::{
    future::poll_fn,
    mem::take,
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::Poll,
    time::Duration,
};

use redis::{ErrorKind, RedisError, RedisResult};
use resilience_core::Timestamp;
use tokio::task::yield_now;

use super::{Lane, stand::Stand};
use crate::{
    StoreError,
    connection::{Timer, WeakNode},
    rate_limit::{
        batch::{Batch, Reply},
        line::{Aftermath, Entry},
        quota::Rule,
        refund::Refund,
    },
};

/// One who asks, as long as there is something to ask.
pub(super) struct Flight {
    /// Kept by those who wait for an answer.
    lane: Weak<Lane>,
    stand: Arc<Stand>,
    /// What the question is asked by.
    rules: Arc<[Rule]>,
    /// What to ask about, before it is part of the batch.
    entries: Vec<Arc<Entry>>,
    batch: Batch,
    /// Whose clock counts for the question.
    owner: Option<WeakNode>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// About to look into the queue.
    Boarding,
    /// Asking.
    Away,
    /// Nothing was left to ask, and that was all if nobody calls it.
    Over,
    /// Waits to be called.
    Parked,
}

impl Flight {
    pub(super) fn new(lane: &Arc<Lane>) -> Self {
        Self {
            lane: Arc::downgrade(lane),
            stand: Arc::clone(lane.stand()),
            rules: Arc::clone(&lane.asked_by()),
            entries: Vec::new(),
            batch: Batch::default(),
            owner: None,
            state: State::Boarding,
        }
    }

    pub(super) async fn run(mut self) {
        let mut timer = pin!(Timer::default());
        while let Some(lane) = self.lane.upgrade() {
            while self.board(&lane) {
                if self.ask(&lane, timer.as_mut()).await > 0 {
                    // Those who were told go first, and come back with their next questions meanwhile.
                    yield_now().await;
                }
            }
            drop(lane);
            if !self.is_called().await {
                return;
            }
        }
    }

    /// Waits to be called. Says whether that came to be.
    async fn is_called(&mut self) -> bool {
        let Self { stand, state, .. } = self;
        poll_fn(|context| {
            let polled = stand.poll_called(*state == State::Parked, context);
            *state = match polled {
                Poll::Pending => State::Parked,
                Poll::Ready(true) => State::Boarding,
                Poll::Ready(false) => State::Over,
            };
            polled
        })
        .await
    }

    /// Finds what to ask about now. Says whether there is something.
    fn board(&mut self, lane: &Arc<Lane>) -> bool {
        let entries = &mut self.entries;
        let boarded = lane.departures().board(entries, lane.keys, lane.flights);
        let Some(departs) = boarded else {
            self.state = State::Over;
            return false;
        };
        self.state = State::Away;
        if departs {
            lane.depart();
        }
        true
    }

    /// Back again, and about to look into the queue: what comes now need not send another.
    fn land(&mut self, lane: &Lane) {
        lane.departures().land();
        self.state = State::Boarding;
    }

    /// Asks about the entries until the server says something about them, or time is up; says how
    /// many callers were told.
    async fn ask(&mut self, lane: &Arc<Lane>, mut timer: Pin<&mut Timer>) -> usize {
        for spare in SPARE_STEPS {
            let Some(deadline) = self.load(lane, spare) else {
                self.land(lane);
                return 0;
            };
            let sent = lane.now();
            // At most all of it, should the clock have been set back meanwhile.
            let patience = deadline.saturating_since(sent).min(lane.patience);
            let answer = self.send(lane, timer.as_mut(), patience).await;
            let reply = match answer {
                Ok(reply) => reply,
                // Of the time that callers have, part was over before the question was sent.
                Err(StoreError::Timeout(_)) => {
                    let late = StoreError::Timeout(lane.patience);
                    return self.fail(lane, &late);
                }
                Err(error) => return self.fail(lane, &error),
            };
            let owner = self.owner.as_ref();
            lane.clocks().hear(owner, sent, reply.micros());
            if reply.is_decided() {
                return self.tell(lane, sent, &reply);
            }
            // Its clock shows another step than we thought.
            self.batch.unask(&mut self.entries);
        }
        // A clock that jumps with every question is none.
        self.load(lane, 0);
        self.fail(lane, &StoreError::Protocol)
    }

    /// Asks those who wait for the entries what they want, of the step that we think is the present one
    /// or, with `spare` steps to name, of the one in which the server was heard last and those after
    /// it. Gives the time by which the first of them must hear of it, `None` where nobody waits.
    fn load(&mut self, lane: &Arc<Lane>, spare: u64) -> Option<Timestamp> {
        self.rules.clone_from(&lane.asked_by());
        let first = self.entries.first();
        self.owner = first.and_then(|entry| lane.owner_of(entry.name_bytes()));
        let Self {
            rules,
            entries,
            batch,
            owner,
            ..
        } = self;
        let (now, mut aftermath) = (lane.now(), Aftermath::default());
        // Who has next to no time left would hear nothing in time, and what is taken is taken in vain.
        let longest = nanos(lane.patience * 7 / 8);
        let too_long = Timestamp::from_nanos(now.as_nanos().saturating_sub(longest));
        let late = StoreError::Timeout(lane.patience);
        let clock = lane.clocks().of(owner.as_ref());
        let micros = if spare == 0 {
            clock.at(now)
        } else {
            clock.last()
        };
        batch.begin(rules, micros, spare);
        let leasing = lane.leasing(now);
        let mut since = Timestamp::MAX;
        // Who is left here, should something panic, is known still.
        while let Some(entry) = entries.pop() {
            let limit = (now, too_long, &late);
            let first = batch.add(rules, entry, leasing, limit, &mut aftermath);
            if let Some(first) = first {
                since = since.min(first);
            }
        }
        aftermath.wake();
        lane.set_alarms(&mut batch.alarms);
        batch.sort();
        (batch.len() > 0).then(|| since.saturating_add(lane.patience))
    }

    async fn send(
        &self,
        lane: &Arc<Lane>,
        timer: Pin<&mut Timer>,
        patience: Duration,
    ) -> Result<Reply, StoreError> {
        let Self { rules, batch, .. } = self;
        let first = batch.first();
        let name = first.as_ref().map_or(&[][..], |entry| entry.name_bytes());
        let size = batch.size(rules);
        let plain = batch.plain(rules).filter(|_| lane.asks_plainly);
        let request = async |wire| -> RedisResult<Reply> {
            if let Some(plain) = plain
                && let Some(reply) = plain.take(lane, &wire).await?
            {
                return Ok(reply);
            }
            let write = |command: &mut _| batch.write(rules, command);
            let reply = lane.take.run_with(&wire, size, write).await?;
            // A reply of another shape may be meant for somebody else: it ends the connection.
            let shape = || RedisError::from((ErrorKind::Parse, "unexpected reply of a script"));
            batch.read(rules, &reply).ok_or_else(shape)
        };
        let answer = lane.connection.run_by(timer, name, patience, request).await;
        if let (Some(plain), Err(error)) = (plain, &answer)
            && error.may_have_run()
        {
            lane.send_aside(name, plain.end());
        }
        answer
    }

    fn tell(&mut self, lane: &Arc<Lane>, sent: Timestamp, reply: &Reply) -> usize {
        self.land(lane);
        let Self { rules, batch, .. } = self;
        let mut aftermath = Aftermath::default();
        let (mut again, mut refunds, mut begun) = (Vec::new(), Vec::new(), Vec::new());
        batch.hear(
            rules,
            (sent, lane.now()),
            reply,
            &mut aftermath,
            |entry, goes_on, after| {
                let orphans = after.orphans.drain(..);
                let orphan = |(units, taken)| Refund::exact(&entry, units, rules, taken);
                refunds.extend(orphans.map(orphan));
                let unused = after.ahead.unused.drain(..);
                refunds.extend(unused.map(|unused| Refund::unused(&entry, unused, rules)));
                if take(&mut after.ahead.begun) {
                    begun.push(Arc::clone(&entry));
                }
                if goes_on {
                    again.push(entry);
                }
            },
        );
        lane.leases.grant(aftermath.ahead.granted);
        let told = aftermath.wake();
        again.into_iter().for_each(|entry| lane.push(entry));
        lane.set_alarms(&mut batch.alarms);
        // Rarely there is any.
        if !refunds.is_empty() {
            lane.give_back(refunds);
        }
        if !begun.is_empty() {
            lane.look_after(begun);
        }
        told
    }

    fn fail(&mut self, lane: &Arc<Lane>, error: &StoreError) -> usize {
        self.land(lane);
        let batch = &mut self.batch;
        let (mut aftermath, mut again) = (Aftermath::default(), Vec::new());
        batch.fail(error, lane.now(), &mut aftermath, |entry, goes_on| {
            if goes_on {
                again.push(entry);
            }
        });
        let lost = aftermath.ahead.lost;
        lane.leases.grant(lost);
        lane.leases.settle(lost, false);
        let told = aftermath.wake();
        again.into_iter().for_each(|entry| lane.push(entry));
        lane.set_alarms(&mut batch.alarms);
        told
    }
}

impl Drop for Flight {
    /// Where something was left to ask nobody will: the runtime goes down, or a fault of ours ends it.
    fn drop(&mut self) {
        let was_boarding = match self.state {
            State::Boarding => true,
            State::Away => false,
            State::Parked if self.stand.leave() => true,
            State::Parked | State::Over => return,
        };
        let Some(lane) = self.lane.upgrade() else {
            return;
        };
        let left = lane.departures().go_down(was_boarding);
        let (now, mut aftermath) = (lane.now(), Aftermath::default());
        self.batch.unask(&mut self.entries);
        for entry in self.entries.drain(..).chain(left) {
            let mut line = entry.line();
            line.abandon(&StoreError::Unavailable, now, &mut aftermath);
        }
        aftermath.wake();
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How many steps more than one each question names until the server finds the present one among
/// them. The first may come before the server was ever heard, the second meet the end of a step;
/// where steps are shorter than the time that it takes to get there changes, no guess is good.
const SPARE_STEPS: [u64; 8] = [0, 0, 16, 32, 64, 128, 128, 128];
