//! Those who stand in line for one key, each at a place of its own.

use std::task::Waker;

use resilience_core::Timestamp;
use smallvec::SmallVec;

use super::{Caller, lease::Spent, question::Aftermath};
use crate::{StoreError, rate_limit::quota::Verdict};

/// Places, some of them free.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Most keys have one caller at a time, who needs no memory of its own.
    places: SmallVec<[Place; 1]>,
    /// The first free one.
    free: Option<usize>,
    taken: usize,
}

#[derive(Debug)]
struct Place {
    cost: u64,
    /// When the caller came, and until when there may be room for him.
    came: Timestamp,
    until: Timestamp,
    /// When it was said that he be asked for.
    since: Timestamp,
    turn: Turn,
    /// Whether he heard nothing in time, and waits for one more question.
    spared: bool,
    state: State,
}

/// Where a caller stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// In line, for the first time.
    First,
    /// Among those who wait until there is room.
    Waits,
    /// In line, out of those.
    Called,
}

#[derive(Debug)]
enum State {
    /// With the next one that is free.
    Free(Option<usize>),
    Waiting(Option<Waker>),
    /// Went away; freed by whoever comes across the place.
    Gone,
    Answered(Answer),
}

/// What a caller hears.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::rate_limit) enum Answer {
    /// The server decided, at this time by its clock.
    Decided(Verdict, u64),
    /// There is no room in time, as is known without a question.
    Denied(Verdict),
    /// What the caller wants was taken ahead.
    Leased(Spent),
    /// It did not.
    Failed(StoreError),
}

impl Places {
    /// A caller comes, and gets this place.
    pub(super) fn enter(&mut self, caller: Caller<'_>) -> usize {
        let place = Place {
            cost: caller.cost,
            came: caller.now,
            until: caller.until,
            since: caller.now,
            turn: Turn::First,
            spared: false,
            state: State::Waiting(caller.waker.cloned()),
        };
        self.taken += 1;
        match self.free {
            Some(index) => {
                let before = std::mem::replace(&mut self.places[index], place);
                self.free = match before.state {
                    State::Free(next) => next,
                    State::Waiting(_) | State::Gone | State::Answered(_) => None,
                };
                index
            }
            None => {
                self.places.push(place);
                self.places.len() - 1
            }
        }
    }

    /// The caller at `index` asks for the answer; `waker` is woken when it is there.
    pub(super) fn poll(&mut self, index: usize, waker: &Waker) -> Option<Answer> {
        let state = &mut self.places[index].state;
        match std::mem::replace(state, State::Free(None)) {
            State::Answered(answer) => {
                self.release(index);
                return Some(answer);
            }
            State::Waiting(Some(mut known)) => {
                known.clone_from(waker);
                *state = State::Waiting(Some(known));
            }
            State::Waiting(None) => *state = State::Waiting(Some(waker.clone())),
            other @ (State::Free(_) | State::Gone) => *state = other,
        }
        None
    }

    /// The caller at `index` goes away. What was granted to him meanwhile must be given back: the
    /// cost, and when it was taken.
    pub(super) fn leave(&mut self, index: usize) -> Option<(u64, u64)> {
        let place = &mut self.places[index];
        match &place.state {
            State::Answered(answer) => {
                let cost = place.cost;
                let back = match answer {
                    Answer::Decided(verdict, time) if verdict.is_grant() => Some((cost, *time)),
                    Answer::Leased(spent) => Some((cost, spent.term.taken)),
                    Answer::Decided(..) | Answer::Denied(_) | Answer::Failed(_) => None,
                };
                self.release(index);
                back.filter(|(cost, _)| *cost > 0)
            }
            State::Waiting(_) => {
                place.state = State::Gone;
                None
            }
            State::Free(_) | State::Gone => None,
        }
    }

    /// What the caller at `index` wants, and since when; `None` where he went away, and the place is
    /// free from now on.
    pub(super) fn wanted(&mut self, index: usize) -> Option<(u64, Timestamp)> {
        let place = &self.places[index];
        if matches!(place.state, State::Gone) {
            self.release(index);
            return None;
        }
        Some((place.cost, place.since))
    }

    /// Whether the caller at `index` can wait at `now` for room at `due`.
    pub(super) fn can_wait(&self, index: usize, due: Timestamp, now: Timestamp) -> bool {
        let place = &self.places[index];
        // A clock that was set back would prolong it.
        (place.came..place.until).contains(&now) && due <= place.until
    }

    /// Whether the caller at `index`, who was refused, waits at `now` for room that there is at `due`:
    /// who waited before does so as long as he can, since others took what he waited for.
    pub(super) fn waits_on(&self, index: usize, due: Timestamp, now: Timestamp) -> bool {
        let waited = self.places[index].turn != Turn::First;
        self.can_wait(index, if waited { now } else { due }, now)
    }

    /// Nothing was heard in time by `now` of a question for the caller at `index`. Says whether he waits
    /// for one more: who has time does so once.
    pub(super) fn spare(&mut self, index: usize, now: Timestamp) -> bool {
        let has_time = self.can_wait(index, now, now);
        let is_new = self
            .waiting(index, Turn::First)
            .is_some_and(|cost| cost > 0);
        let place = &mut self.places[index];
        let spares = is_new && has_time && !place.spared;
        if spares {
            (place.spared, place.since) = (true, now);
        }
        spares
    }

    /// When the caller at `index` came.
    pub(super) fn came(&self, index: usize) -> Timestamp {
        self.places[index].came
    }

    /// When it was said that the caller at `index` be asked for.
    pub(super) fn since(&self, index: usize) -> Timestamp {
        self.places[index].since
    }

    /// Until when there may be room for the caller at `index`.
    pub(super) fn until(&self, index: usize) -> Timestamp {
        self.places[index].until
    }

    /// Whether the caller at `index` has time to wait until there is room.
    pub(super) fn has_time(&self, index: usize) -> bool {
        let place = &self.places[index];
        place.came < place.until
    }

    /// What the caller at `index` wants who is there still, has no answer, and is at this `turn`.
    pub(super) fn waiting(&self, index: usize, turn: Turn) -> Option<u64> {
        let place = &self.places[index];
        let waits = matches!(place.state, State::Waiting(_)) && place.turn == turn;
        waits.then_some(place.cost)
    }

    /// How many callers wait, or waited, until there is room, and have no answer yet.
    pub(super) fn count_waiting(&self) -> usize {
        let waits =
            |place: &&Place| matches!(place.state, State::Waiting(_)) && place.turn != Turn::First;
        self.places.iter().filter(waits).count()
    }

    /// From now on the caller at `index` waits until there is room; he is to hear of it who did not
    /// before, and may hold what he needs beside it.
    pub(super) fn wait(&mut self, index: usize) -> Option<Waker> {
        let place = &mut self.places[index];
        match (
            std::mem::replace(&mut place.turn, Turn::Waits),
            &place.state,
        ) {
            (Turn::First, State::Waiting(waker)) => waker.clone(),
            _ => None,
        }
    }

    /// Whether the caller at `index` waits until there is room, or did so.
    pub(super) fn waits(&self, index: usize) -> bool {
        self.places[index].turn != Turn::First
    }

    /// It was said at `since` that the caller at `index` be asked for.
    pub(super) fn call(&mut self, index: usize, since: Timestamp) {
        let place = &mut self.places[index];
        (place.turn, place.since) = (Turn::Called, since);
    }

    /// The caller at `index` has an answer.
    pub(super) fn answer(&mut self, index: usize, answer: Answer, aftermath: &mut Aftermath) {
        let place = &mut self.places[index];
        match std::mem::replace(&mut place.state, State::Answered(answer)) {
            State::Waiting(waker) => aftermath.wakers.extend(waker),
            State::Gone | State::Free(_) | State::Answered(_) => {
                aftermath.orphans.extend(self.leave(index));
            }
        }
    }

    /// The place is free; where all are, none are kept but the first.
    fn release(&mut self, index: usize) {
        self.taken -= 1;
        if self.are_free() && self.places.spilled() {
            *self = Self::default();
            return;
        }
        self.places[index].state = State::Free(self.free);
        self.free = Some(index);
    }

    pub(super) const fn are_free(&self) -> bool {
        self.taken == 0
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}
