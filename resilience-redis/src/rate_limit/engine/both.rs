//! A caller who meets the quota of all keys beside those of his own.
//!
//! The counts of the two may stand on different servers, so that no script can take from both. So the
//! key's quotas are asked first and, where they have room, that of all keys; where it has none, what
//! the key gave goes back. In this order nobody who is refused for his own key takes anything from
//! others, and neither limit is ever exceeded. Who goes away in between takes nothing in the end.

use std::{
    future::Future,
    mem::replace,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use resilience_core::{Rejected, Timestamp};
use tokio::time::{Sleep, sleep};

use super::{
    Engine,
    ask::{Ask, Place},
    taken::{Answered, Held, Taken},
    told::Told,
};
use crate::{
    StoreError, StoreKey,
    rate_limit::decision::{Decision, Source},
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
    cost: u64,
    /// When both have answered at the latest; of one who waits for room, when the second has after the
    /// first did.
    deadline: Option<Timestamp>,
    stage: Stage,
}

enum Stage {
    /// The key's quotas are asked.
    Key(Place),
    /// They have room, and that of all keys is asked.
    All(Box<All>),
    Over,
}

enum Next {
    All(Box<All>),
    Over(Answered),
}

/// A caller for whom his key has room.
struct All {
    held: Held,
    place: Place,
    late: Option<Pin<Box<Sleep>>>,
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
    if let Some(rejected) = global.refuses(cost, came) {
        return Begun::of_nothing(Decision::by(HERE, global.refuse((cost, HERE), rejected)));
    }
    let stage = match engine.ask(key, (cost, max_wait), None, Arc::clone) {
        Ask::Refused(rejected) => {
            return Begun::of_nothing(Decision::by(HERE, Err(rejected)));
        }
        Ask::Spared(status) => return Begun::of_nothing(Decision::by(HERE, Ok(status))),
        Ask::Waits(place) => Stage::Key(place),
        Ask::Leased(spent, entry) => {
            let told = engine.leased(cost, &spent);
            match Held::new(engine, &entry, told).ask_all(cost) {
                Next::All(all) => Stage::All(all),
                Next::Over(answered) => return Begun::Over(answered),
            }
        }
    };
    let deadline = came.saturating_add(engine.lane.patience);
    let deadline = (max_wait == 0).then_some(deadline);
    Begun::Waits(Box::new(Both {
        engine: Arc::clone(engine),
        cost,
        deadline,
        stage,
    }))
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
}

impl Future for Both {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answered> {
        let cost = self.cost;
        loop {
            let next = match replace(&mut self.stage, Stage::Over) {
                Stage::Key(mut place) => match place.poll_told(context) {
                    Poll::Ready(told) => heard_of_key(&place, cost, told),
                    Poll::Pending => {
                        self.stage = Stage::Key(place);
                        return Poll::Pending;
                    }
                },
                Stage::All(mut all) => match all.poll(cost, self.deadline, context) {
                    Poll::Ready(told) => Next::Over(all.conclude(cost, told)),
                    Poll::Pending => {
                        self.stage = Stage::All(all);
                        return Poll::Pending;
                    }
                },
                Stage::Over => panic!("polled after it was ready"),
            };
            match next {
                Next::All(all) => {
                    let now = || self.engine.lane.now();
                    let deadline = || now().saturating_add(self.engine.lane.patience);
                    self.deadline = Some(self.deadline.unwrap_or_else(deadline));
                    self.stage = Stage::All(all);
                }
                Next::Over(answered) => return Poll::Ready(answered),
            }
        }
    }
}

/// The key's quotas were asked: who was admitted goes on to that of all keys.
fn heard_of_key(place: &Place, cost: u64, told: Told) -> Next {
    let engine = place.engine();
    if told.decision.outcome.is_err() {
        return Next::Over(Answered::of_nothing(engine.counted(cost, told)));
    }
    Held::new(engine, place.entry(), told).ask_all(cost)
}

impl All {
    fn poll(
        &mut self,
        cost: u64,
        deadline: Option<Timestamp>,
        context: &mut Context<'_>,
    ) -> Poll<Told> {
        if let Poll::Ready(told) = self.place.poll_told(context) {
            return Poll::Ready(told);
        }
        let (global, entry) = (self.place.engine(), self.place.entry());
        let lane = &global.lane;
        // At most all of it, should the clock have been set back meanwhile.
        let left = deadline.map_or(lane.patience, |it| it.saturating_since(lane.now()));
        let left = left.min(lane.patience);
        if !left.is_zero() {
            let late = self.late.get_or_insert_with(|| {
                let _runtime = lane.runtime().enter();
                Box::pin(sleep(left))
            });
            ready!(late.as_mut().poll(context));
        }
        let late = StoreError::Timeout(lane.patience);
        Poll::Ready(global.undecided(entry, cost, late))
    }

    fn conclude(self, cost: u64, told: Told) -> Answered {
        let Self { held, place, .. } = self;
        let all = Taken::new(place.engine(), place.entry(), told);
        held.keep().conclude(cost, all)
    }
}

impl Held {
    /// Asks for all keys.
    fn ask_all(self, cost: u64) -> Next {
        let key = self.taken();
        let global = key.engine.global.as_ref().expect("there is one");
        let error = key.told.decision.error.clone();
        let of_nothing = |outcome| {
            error.iter().for_each(|error| global.warn(error));
            let decision = Decision::by(HERE, outcome);
            Next::Over(Answered::of_nothing(Decision { error, ..decision }.into()))
        };
        match global.ask(&(), (cost, 0), None, Arc::clone) {
            Ask::Refused(rejected) => of_nothing(Err(rejected)),
            Ask::Spared(status) => of_nothing(Ok(status)),
            Ask::Leased(spent, entry) => {
                let told = global.leased(cost, &spent);
                let all = Taken::new(global, &entry, told);
                Next::Over(self.keep().conclude(cost, all))
            }
            Ask::Waits(place) => Next::All(Box::new(All {
                held: self,
                place,
                late: None,
            })),
        }
    }
}

impl Engine {
    /// The refusal of a call for any key, where it is known and nobody is to ask all the same.
    fn refuses(&self, cost: u64, now: Timestamp) -> Option<Rejected> {
        let verdict = self.table.denied(&(), cost, now)?;
        self.tally.refuse(HERE);
        Some(self.rejected(&verdict))
    }
}

const HERE: Source = Source::DeniedLocally;
