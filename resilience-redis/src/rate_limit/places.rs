//! Those who stand in line for one key, each at a place of its own.

use std::task::Waker;

use resilience_core::Timestamp;

use super::{grant::Verdict, lease::Spent, line::Caller, question::Aftermath};
use crate::StoreError;

/// Places, some of them free.
#[derive(Debug, Default)]
pub(super) struct Places {
    places: Vec<Place>,
    /// The first free one.
    free: Option<usize>,
    taken: usize,
}

#[derive(Debug)]
struct Place {
    cost: u64,
    since: Timestamp,
    state: State,
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
pub(super) enum Answer {
    /// The server decided, at this time by its clock.
    Decided(Verdict, u64),
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
            since: caller.now,
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
                    Answer::Decided(..) | Answer::Failed(_) => None,
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

    fn release(&mut self, index: usize) {
        self.places[index].state = State::Free(self.free);
        self.free = Some(index);
        self.taken -= 1;
    }

    pub(super) const fn are_free(&self) -> bool {
        self.taken == 0
    }

    /// Forgets free places, where none is taken and there are more than `kept`. Says whether it did.
    pub(super) fn shrink(&mut self, kept: usize) -> bool {
        let shrinks = self.places.len() > kept && self.are_free();
        if shrinks {
            *self = Self::default();
        }
        shrinks
    }
}
