//! A caller who meets the quota of all keys beside those of his own.
//!
//! The counts of the two may stand on different servers, so that no script can take from both. So the
//! key's quotas are asked first and, where they have room, that of all keys; where it has none, what
//! the key gave goes back. In this order nobody who is refused for his own key takes anything from
//! others, and neither limit is ever exceeded. Who goes away in between takes nothing in the end.
//!
//! Who waits for room stands in one line at a time, and holds nothing meanwhile: where the second that
//! is asked has none, or others are asked for before him for longer than a question takes, what the first
//! gave goes back, and when the second gave what he wants the first is asked anew.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use resilience_core::{Rejected, Timestamp};
use tokio::time::{Sleep, sleep};

use super::{
    Engine,
    ask::{Ask, InLine},
    taken::{Answered, Held, Taken},
    told::Told,
};
use crate::{
    StoreError, StoreKey,
    rate_limit::{
        decision::{Decision, Source},
        lane::Lane,
        line::Entry,
    },
};

/// How a caller fares.
pub(in crate::rate_limit) enum Begun {
    Over(Answered),
    Waits(Box<Both>),
}

/// A caller who waits for an answer.
#[must_use = "futures do nothing unless polled"]
pub(in crate::rate_limit) struct Both {
    /// Who asks for the key.
    engine: Arc<Engine>,
    key: Arc<Entry>,
    cost: u64,
    /// How long he waits for room, in nanoseconds, and until when.
    max_wait: u64,
    until: Timestamp,
    /// Of one who does not wait for room: when both have answered at the latest.
    deadline: Option<Timestamp>,
    /// Who is asked; nobody when it is over.
    asks: Option<Asks>,
}

/// One of the two is asked.
struct Asks {
    caller: InLine,
    /// What the other gave, where it was asked before.
    held: Held,
    /// When that was held for too long.
    late: Option<Pin<Box<Sleep>>>,
    _claim: Option<Claim>,
}

/// Units of a key for which a caller may wait for room among all keys.
struct Claim {
    key: Arc<Entry>,
    units: u64,
}

enum Next {
    Asks(Asks),
    Over(Answered),
}

/// A caller comes for `key`, for which `engine` asks, and `global` for all keys.
pub(in crate::rate_limit) fn ask<K: StoreKey + ?Sized>(
    engine: &Arc<Engine>,
    global: &Arc<Engine>,
    key: &K,
    (cost, max_wait): (u64, u64),
) -> Begun {
    let never = engine.never_fits(cost);
    let cost = match never.or_else(|| global.never_fits(cost)) {
        None => cost,
        Some(rejected) => match engine.refuse((cost, HERE), rejected) {
            Err(rejected) => return Begun::of_nothing(Decision::by(HERE, Err(rejected))),
            // Who goes on and takes nothing has a look.
            Ok(_) => 0,
        },
    };
    let came = engine.lane.now();
    // For a refusal that is known the key need give nothing.
    if let Some(rejected) = global.refuses(cost, came, max_wait) {
        return Begun::of_nothing(Decision::by(HERE, global.refuse((cost, HERE), rejected)));
    }
    let deadline = came.saturating_add(engine.lane.patience);
    let both = |entry: &Arc<Entry>| Both {
        engine: Arc::clone(engine),
        key: Arc::clone(entry),
        cost,
        max_wait,
        until: Timestamp::from_nanos(came.as_nanos().saturating_add(max_wait)),
        deadline: (max_wait == 0).then_some(deadline),
        asks: None,
    };
    let (both, next) = match engine.ask(key, (cost, max_wait), None, Arc::clone) {
        Ask::Refused(rejected) => {
            return Begun::of_nothing(Decision::by(HERE, Err(rejected)));
        }
        Ask::Spared(status) => return Begun::of_nothing(Decision::by(HERE, Ok(status))),
        Ask::Waits(caller) => (both(caller.entry()), Next::Asks(Asks::first(caller))),
        Ask::Leased(spent, entry) => {
            let both = both(&entry);
            let next = both.ask_other(Taken::new(engine, &entry, engine.leased(cost, &spent)));
            (both, next)
        }
    };
    match next {
        Next::Over(answered) => Begun::Over(answered),
        Next::Asks(asks) => {
            let asks = Some(asks);
            Begun::Waits(Box::new(Both { asks, ..both }))
        }
    }
}

impl Begun {
    fn of_nothing(decision: Decision) -> Self {
        Self::Over(Answered::of_nothing(decision.into()))
    }
}

impl Both {
    pub(in crate::rate_limit) const fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// How long he waits yet, in nanoseconds.
    fn left(&self) -> u64 {
        let left = self.until.saturating_since(self.engine.lane.now());
        // A clock that was set back would prolong it.
        let left = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
        left.min(self.max_wait)
    }

    /// One of the two was asked, and `told` something.
    fn heard(&self, asks: Asks, mut told: Told) -> Next {
        let Asks { caller, held, .. } = asks;
        let other = held.keep();
        if told.decision.outcome.is_err() {
            if let Some(other) = other {
                let earlier = other.told.decision.error.clone();
                told.decision.error = earlier.or(told.decision.error);
                other.give_back();
            }
            let told = caller.engine().counted(self.cost, told);
            return Next::Over(Answered::of_nothing(told));
        }
        let taken = Taken::new(caller.engine(), caller.entry(), told);
        match other {
            Some(other) => Next::Over(self.conclude(taken, other)),
            None => self.ask_other(taken),
        }
    }

    /// The first that was asked has room, and the other is asked.
    fn ask_other(&self, taken: Taken) -> Next {
        let error = taken.told.decision.error.clone();
        let held = Held::of(taken);
        let (ask, claim) = if held.is_of(&self.engine) {
            let claim = self.claim();
            let wait = claim.as_ref().map_or(0, |_| self.left());
            let ask = self.global().ask(&(), (self.cost, wait), None, Arc::clone);
            (ask, claim)
        } else {
            let wanted = (self.cost, self.left());
            (self.engine.ask_again(&self.key, wanted), None)
        };
        let of_nothing = |outcome| {
            error.iter().for_each(|error| self.engine.warn(error));
            let decision = Decision::by(HERE, outcome);
            Next::Over(Answered::of_nothing(Decision { error, ..decision }.into()))
        };
        match ask {
            Ask::Refused(rejected) => of_nothing(Err(rejected)),
            Ask::Spared(status) => of_nothing(Ok(status)),
            Ask::Leased(spent, entry) => {
                let engine = if held.is_of(&self.engine) {
                    self.global()
                } else {
                    &self.engine
                };
                let told = engine.leased(self.cost, &spent);
                let taken = Taken::new(engine, &entry, told);
                let other = held.keep().expect("what the first gave");
                Next::Over(self.conclude(taken, other))
            }
            Ask::Waits(caller) => Next::Asks(Asks {
                caller,
                held,
                late: None,
                _claim: claim,
            }),
        }
    }

    /// What of this key may wait for room among all keys: no more than the key has room for in time, so
    /// that none fills the line of all. `None` where that is too much, and where nobody waits.
    fn claim(&self) -> Option<Claim> {
        let left = Duration::from_nanos(self.left());
        let rules = self.engine.lane.rules().iter();
        let most = rules.map(|rule| rule.most_within(left)).min()?;
        let claims = !left.is_zero() && self.key.claim(self.cost, most);
        claims.then(|| Claim {
            key: Arc::clone(&self.key),
            units: self.cost,
        })
    }

    fn conclude(&self, one: Taken, other: Taken) -> Answered {
        if Arc::ptr_eq(&one.engine, &self.engine) {
            one.conclude(self.cost, other)
        } else {
            other.conclude(self.cost, one)
        }
    }

    fn global(&self) -> &Arc<Engine> {
        self.engine.global.as_ref().expect("there is one")
    }
}

impl Future for Both {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answered> {
        loop {
            let mut asks = self.asks.take().expect("polled after it was ready");
            let Poll::Ready(told) = asks.poll(self.cost, self.deadline, context) else {
                self.asks = Some(asks);
                return Poll::Pending;
            };
            match self.heard(asks, told) {
                Next::Asks(asks) => self.asks = Some(asks),
                Next::Over(answered) => return Poll::Ready(answered),
            }
        }
    }
}

impl Asks {
    const fn first(caller: InLine) -> Self {
        Self {
            caller,
            held: Held::nothing(),
            late: None,
            _claim: None,
        }
    }

    fn poll(
        &mut self,
        cost: u64,
        deadline: Option<Timestamp>,
        context: &mut Context<'_>,
    ) -> Poll<Told> {
        if let Poll::Ready(told) = self.caller.poll_told(context) {
            return Poll::Ready(told);
        }
        if self.held.is_nothing() {
            return Poll::Pending;
        }
        let Some(deadline) = deadline else {
            // Held for as long as it takes to wait, it would be taken at another time than it is used,
            // and from others.
            if self.caller.waits() || self.is_late(context) && !self.caller.is_asked() {
                self.held = Held::nothing();
            }
            return Poll::Pending;
        };
        let (engine, entry) = (self.caller.engine(), self.caller.entry());
        let lane = &engine.lane;
        // At most all of it, should the clock have been set back meanwhile.
        let left = deadline.saturating_since(lane.now()).min(lane.patience);
        if !left.is_zero() {
            let late = self.late.get_or_insert_with(|| sleep_in(lane, left));
            ready!(late.as_mut().poll(context));
        }
        let late = StoreError::Timeout(lane.patience);
        Poll::Ready(engine.undecided(entry, cost, late))
    }

    /// Whether one who waits was in line for longer than a question takes.
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        let lane = &self.caller.engine().lane;
        let longest = lane.patience.saturating_mul(9) / 8;
        let late = self.late.get_or_insert_with(|| sleep_in(lane, longest));
        late.as_mut().poll(context).is_ready()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.key.unclaim(self.units);
    }
}

impl Engine {
    /// The refusal of a call for any key, where it is known, longer than `max_wait` nanoseconds off, and
    /// nobody is to ask all the same.
    fn refuses(&self, cost: u64, now: Timestamp, max_wait: u64) -> Option<Rejected> {
        let verdict = self.table.denied(&(), cost, now)?;
        if verdict.wait <= Duration::from_nanos(max_wait) {
            return None;
        }
        self.tally.refuse(HERE);
        Some(self.rejected(&verdict))
    }
}

fn sleep_in(lane: &Lane, time: Duration) -> Pin<Box<Sleep>> {
    let _runtime = lane.runtime().enter();
    Box::pin(sleep(time))
}

const HERE: Source = Source::DeniedLocally;
