//! Whether what concurrent clients saw could have happened one call after the other.

use std::{
    collections::HashSet,
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex},
};

use resilience_core::{Clock, Timestamp};

/// What calls do when they are made one after the other.
pub(crate) trait Sequential: Clone + Eq + Hash {
    type Call: Clone + Debug;
    type Answer: Clone + Debug + PartialEq;

    fn apply(&mut self, call: &Self::Call) -> Self::Answer;
}

/// Calls of many clients, each with the times between which it took effect.
pub(crate) struct History<S: Sequential> {
    clock: Clock,
    calls: Arc<Mutex<Vec<MadeOf<S>>>>,
}

type MadeOf<S> = Made<<S as Sequential>::Call, <S as Sequential>::Answer>;

#[derive(Clone, Debug)]
struct Made<C, A> {
    made: Timestamp,
    answered: Timestamp,
    call: C,
    answer: A,
}

impl<S: Sequential> History<S> {
    pub(crate) fn new() -> Self {
        Self {
            clock: Clock::system(),
            calls: Arc::default(),
        }
    }

    /// Makes `call` by `make`, and remembers it.
    pub(crate) async fn record(&self, call: S::Call, make: impl Future<Output = S::Answer>) {
        let made = self.clock.now();
        let answer = make.await;
        let answered = self.clock.now();
        self.calls.lock().expect("no panic").push(Made {
            made,
            answered,
            call,
            answer,
        });
    }

    /// Panics where no order of the calls explains all answers, after Wing and Gong (1993), with the
    /// memory of Lowe (2017).
    #[track_caller]
    pub(crate) fn assert_linearizable(&self, start: S) {
        let calls = self.calls.lock().expect("no panic").clone();
        let mut seen = HashSet::new();
        let mut open = vec![(vec![false; calls.len()], start)];
        while let Some((done, state)) = open.pop() {
            let waiting = || {
                calls
                    .iter()
                    .zip(&done)
                    .enumerate()
                    .filter(|(_, (_, done))| !**done)
            };
            let Some(first_answer) = waiting().map(|(_, (call, _))| call.answered).min() else {
                return;
            };
            for (index, (call, _)) in waiting().filter(|(_, (call, _))| call.made <= first_answer) {
                let mut next = state.clone();
                if next.apply(&call.call) == call.answer {
                    let mut done = done.clone();
                    done[index] = true;
                    if seen.insert((done.clone(), next.clone())) {
                        open.push((done, next));
                    }
                }
            }
        }
        panic!("no order of these calls explains their answers: {calls:#?}");
    }
}

impl<S: Sequential> Clone for History<S> {
    fn clone(&self) -> Self {
        Self {
            clock: self.clock.clone(),
            calls: self.calls.clone(),
        }
    }
}
