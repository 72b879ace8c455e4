use std::{
    fmt, mem,
    sync::atomic::{AtomicU64 as Counter, Ordering::Relaxed},
    task::Waker,
};

use super::{
    Policy,
    state::{Decision, Place, Standing, State},
    word::{Counts, Step},
};
use crate::{
    Environment, Outcome, Reason, Rejected, Settle, Timestamp,
    engine::{Hold, keep_at_hand},
    foreign::contain,
    sync::{Arc, AtomicU64, Mutex, Ordering, lock},
};

/// What all clones of a bulkhead share.
///
/// The counts live in one word while nobody waits. Whoever cannot do with that word takes the
/// lock, and guards the word for as long as the machine behind the lock has the say; nobody else
/// changes a guarded word. So no permit comes back unseen while a caller joins the queue, and no
/// newcomer takes the place of one who waits.
pub(super) struct Shared {
    counts: AtomicU64,
    state: Mutex<State<Waker>>,
    pub(super) common: Arc<Common>,
}

/// What the bulkheads of all keys share.
pub(super) struct Common {
    pub(super) policy: Policy,
    pub(super) environment: Environment,
    pub(super) tally: Tally,
}

/// What was decided, once for every caller.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Beside those that [`Counts`] hold.
    pub(super) admitted: Counter,
    pub(super) refused: Counter,
    pub(super) timed_out: Counter,
    pub(super) abandoned: Counter,
    pub(super) failed: Counter,
    pub(super) dropped: Counter,
}

/// How a bulkhead stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Levels {
    pub(super) permits: u32,
    pub(super) running: u32,
    pub(super) queued: usize,
}

keep_at_hand!(Shared);

impl Shared {
    pub(super) fn new(permits: u32, common: Arc<Common>) -> Self {
        let policy = &common.policy;
        let state = State::new(permits, policy.queue, policy.longest_wait());
        Self {
            counts: AtomicU64::new(state.counts().bits()),
            state: Mutex::new(state),
            common,
        }
    }

    /// Asks for a permit, and for a place in the queue where there is none.
    pub(super) fn enter(&self) -> Decision {
        match self.step(Counts::enter) {
            Step::To(_) => Decision::Run,
            Step::Full if self.common.policy.queue == 0 => {
                Decision::Refuse(Reason::ConcurrencyLimited)
            }
            Step::Full | Step::Guarded => {
                let decision = self.ask(State::enter);
                if decision == Decision::Run {
                    self.common.tally.count_admitted(1);
                }
                decision
            }
        }
    }

    /// Asks for a permit.
    pub(super) fn try_enter(&self) -> Result<(), Reason> {
        match self.step(Counts::enter) {
            Step::To(_) => Ok(()),
            Step::Full => Err(Reason::ConcurrencyLimited),
            Step::Guarded => {
                self.ask(|state, _, _| state.try_enter())?;
                self.common.tally.count_admitted(1);
                Ok(())
            }
        }
    }

    fn leave(&self) {
        match self.step(Counts::leave) {
            Step::To(_) => {}
            Step::Full | Step::Guarded => self.ask(State::leave),
        }
    }

    pub(super) fn poll(&self, place: Place, waker: &Waker) -> Standing {
        // Cloned before the lock and dropped after it, as is the one it replaces: a waker is
        // foreign code, which may come back here.
        let mut waker = Some(waker.clone());
        self.ask(|state, now, woken| state.poll(place, now, &mut waker, woken))
    }

    pub(super) fn abandon(&self, place: Place) {
        self.ask(|state, now, woken| state.abandon(place, now, woken));
    }

    pub(super) fn set_permits(&self, permits: u32) {
        self.ask(|state, now, woken| state.set_permits(permits, now, woken));
    }

    pub(super) fn close(&self) {
        self.ask(|state, _, woken| state.close(woken));
    }

    /// After this the tally knows of everybody who was let in before.
    pub(super) fn levels(&self) -> Levels {
        self.ask(|state, now, woken| Levels {
            queued: state.waiting(now, woken),
            permits: state.permits(),
            running: state.running(),
        })
    }

    /// Moves the word alone, where that is enough.
    fn step(&self, step: impl Fn(Counts) -> Step) -> Step {
        let mut bits = self.counts.load(Relaxed);
        loop {
            let next = step(Counts::from_bits(bits));
            let Step::To(counts) = next else {
                return next;
            };
            // Acquire to see what the last holder of the permit did, release to show it.
            match self
                .counts
                .compare_exchange_weak(bits, counts.bits(), Ordering::AcqRel, Relaxed)
            {
                Ok(_) => return next,
                Err(seen) => bits = seen,
            }
        }
    }

    /// Asks the machine, with the word guarded, and wakes whom it names.
    fn ask<R>(&self, ask: impl FnOnce(&mut State<Waker>, Timestamp, &mut Vec<Waker>) -> R) -> R {
        let mut woken = Vec::new();
        let answer = {
            let mut state = lock(&self.state);
            let counts = self.counts.fetch_or(Counts::GUARD, Ordering::AcqRel);
            let counts = Counts::from_bits(counts);
            if !counts.is_guarded() {
                state.resume(counts);
                self.common.tally.count_admitted(counts.admitted());
            }
            // Read under the lock, so that waits end in the order in which they began.
            let now = self.common.environment.now();
            let answer = ask(&mut state, now, &mut woken);
            self.counts.store(state.counts().bits(), Ordering::Release);
            answer
        };
        // Each of them, or a permit would lie with somebody who sleeps on.
        for waker in woken {
            contain(|| waker.wake());
        }
        answer
    }
}

/// A bulkhead of many that is forgotten leaves its count behind.
impl Drop for Shared {
    fn drop(&mut self) {
        let counts = Counts::from_bits(self.counts.load(Relaxed));
        if !counts.is_guarded() {
            self.common.tally.count_admitted(counts.admitted());
        }
    }
}

impl Tally {
    pub(super) fn count_admitted(&self, calls: u64) {
        self.admitted.fetch_add(calls, Relaxed);
    }
}

impl Common {
    /// Counts a refusal and tells it.
    pub(super) fn refuse(&self, reason: Reason) -> Rejected {
        let rejected = Rejected::new(reason, self.policy.name);
        let tally = &self.tally;
        let counter = if reason == Reason::QueueTimeout {
            &tally.timed_out
        } else {
            &tally.refused
        };
        counter.fetch_add(1, Relaxed);
        self.environment.tell_refusal(&rejected);
        rejected
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let levels = self.levels();
        f.debug_struct("Bulkhead")
            .field("policy", &self.common.policy)
            .field("permits", &levels.permits)
            .field("running", &levels.running)
            .field("queued", &levels.queued)
            .finish()
    }
}

/// One running call. Dropped, it lets the next one in.
#[must_use = "a permit that is dropped lets the next call in"]
pub struct Permit(Hold<Shared>);

impl Permit {
    #[inline]
    pub(super) const fn new(shared: Hold<Shared>) -> Self {
        Self(shared)
    }
}

/// A bulkhead counts calls and does not judge them: every outcome gives the permit back alike.
impl Settle for Permit {
    #[inline(always)]
    fn settle(mut self, outcome: Outcome) {
        let shared = self.0.take();
        mem::forget(self);
        shared.finish(outcome);
        shared.release();
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        self.0.finish(Outcome::Canceled);
    }
}

impl Shared {
    #[inline]
    fn finish(&self, outcome: Outcome) {
        let tally = &self.common.tally;
        match outcome {
            Outcome::Canceled => {
                tally.dropped.fetch_add(1, Relaxed);
            }
            Outcome::Failure | Outcome::Overload { .. } => {
                tally.failed.fetch_add(1, Relaxed);
            }
            Outcome::Success | Outcome::NotCalled | Outcome::Ignored => {}
        }
        self.leave();
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = self.0.common.policy.name;
        f.debug_struct("Permit")
            .field("policy", &policy)
            .finish_non_exhaustive()
    }
}
