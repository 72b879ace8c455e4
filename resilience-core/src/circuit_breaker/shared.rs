use std::mem;

use crossbeam_utils::CachePadded;

use super::{
    Policy, Snapshot,
    limits::Limits,
    measure::Figures,
    snapshot::Unvoted,
    state::State,
    terms::{Answer, Change, Moment, Refusal, Standing, Ticket, Vote},
    word::{GateWord, Sign, Word},
};
use crate::{
    Environment, Event, Outcome, Reason, Rejected, Timestamp,
    engine::keep_at_hand,
    keyed::Retention,
    sync::{Arc, AtomicU64, Mutex, Ordering, lock},
};

/// The machine made shareable.
///
/// The machine behind the lock is the only truth. In front of it stands a word that says what
/// callers may do without it: while the circuit is closed they are admitted and their successes
/// are kept back in the word; while it is open they are refused by the time alone. Failures, slow
/// calls, the first call of a bucket and every transition take the lock, tell the machine what was
/// kept back, and say anew what holds.
#[derive(Debug)]
pub(super) struct Shared {
    word: GateWord,
    limits: CachePadded<Limits>,
    refused: CachePadded<AtomicU64>,
    unvoted: Unvoted,
    core: Mutex<Core>,
    name: &'static str,
    environment: Environment,
    /// Who counts on, when this circuit of many is forgotten.
    heir: Option<Arc<Mutex<Figures>>>,
}

#[derive(Debug)]
struct Core {
    state: State,
    /// Successes that the word was allowed to keep back.
    untold: u32,
    /// Somebody is telling the observer, and will tell it what is still to come.
    announcing: bool,
}

keep_at_hand!(Shared);

impl Shared {
    pub(super) fn new(policy: Policy, environment: Environment) -> Self {
        let shared = Self {
            word: GateWord::new(Word::new(Sign::Ask, Ticket::default(), 0)),
            limits: CachePadded::new(Limits::new(&policy)),
            refused: CachePadded::new(AtomicU64::new(0)),
            unvoted: Unvoted::default(),
            name: policy.name,
            core: Mutex::new(Core {
                state: State::new(policy, environment.now()),
                untold: 0,
                announcing: false,
            }),
            environment,
            heir: None,
        };
        shared.publish(&mut lock(&shared.core));
        shared
    }

    pub(super) fn leaving_figures_to(mut self, heir: Arc<Mutex<Figures>>) -> Self {
        self.heir = Some(heir);
        self
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    #[inline]
    fn now(&self) -> Timestamp {
        self.environment.now()
    }

    /// When a call that is admitted now begins, where calls are timed.
    #[inline]
    pub(super) fn start(&self) -> Option<Timestamp> {
        self.limits.are_calls_timed().then(|| self.start_time())
    }

    /// Not inlined, since few circuits time their calls.
    #[inline(never)]
    fn start_time(&self) -> Timestamp {
        self.now()
    }

    /// Asks for admission.
    #[inline]
    pub(super) fn admit(&self) -> Result<Ticket, Refusal> {
        let word = self.word.load();
        match word.sign() {
            Sign::Admit | Sign::Bypass => Ok(word.ticket()),
            sign @ (Sign::Ask | Sign::Open | Sign::Probing | Sign::ForcedOpen) => self.ask(sign),
        }
    }

    /// Not inlined, since a healthy circuit is seldom asked.
    #[inline(never)]
    fn ask(&self, sign: Sign) -> Result<Ticket, Refusal> {
        match self.refusal(sign, || self.now()) {
            Some(refusal) => Err(refusal),
            None => self.with(|state, moment| state.ask(moment)),
        }
    }

    /// The refusal that `sign` allows to give without asking the machine.
    fn refusal(&self, sign: Sign, now: impl FnOnce() -> Timestamp) -> Option<Refusal> {
        let time_left = || self.limits.time_left(now());
        match sign {
            Sign::ForcedOpen => Some(Refusal::ForcedOpen),
            Sign::Open => time_left().map(|retry_after| Refusal::Open { retry_after }),
            Sign::Probing => time_left().map(|_| Refusal::Probing),
            Sign::Admit | Sign::Ask | Sign::Bypass => None,
        }
    }

    /// The time now, where every call would be refused.
    #[inline]
    pub(super) fn refuses_all(&self) -> Option<Timestamp> {
        match self.word.load().sign() {
            Sign::Admit | Sign::Ask | Sign::Bypass => None,
            sign @ (Sign::Open | Sign::Probing | Sign::ForcedOpen) => self.refuses_by(sign),
        }
    }

    #[inline(never)]
    fn refuses_by(&self, sign: Sign) -> Option<Timestamp> {
        let now = self.now();
        self.refusal(sign, || now).map(|_| now)
    }

    /// Refuses a call as of then. Where the wait has ended meanwhile, as one beside the probes.
    pub(super) fn refuse_as_of(&self, then: Timestamp) -> Rejected {
        let refusal = self.refusal(self.word.load().sign(), || then);
        self.refuse(refusal.unwrap_or(Refusal::Probing))
    }

    /// Counts and announces a refusal.
    #[inline(never)]
    pub(super) fn refuse(&self, refusal: Refusal) -> Rejected {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let rejected = match refusal {
            Refusal::Open { retry_after } | Refusal::Ramping { retry_after } => {
                Rejected::new(Reason::CircuitOpen, self.name).with_retry_after(retry_after)
            }
            Refusal::Probing => Rejected::new(Reason::CircuitOpen, self.name),
            Refusal::ForcedOpen => Rejected::new(Reason::CircuitForcedOpen, self.name),
        };
        self.environment.tell_refusal(&rejected);
        rejected
    }

    /// Whether a call that began then is slow now.
    pub(super) fn is_slow(&self, begun: Timestamp) -> bool {
        self.limits.is_slow(self.now().saturating_since(begun))
    }

    /// An admitted call is over.
    pub(super) fn settle(&self, ticket: Ticket, outcome: Outcome, slow: bool) {
        let answer = match outcome {
            Outcome::Success if !slow && self.keep_back(ticket) => return,
            Outcome::Success => Answer::Success,
            Outcome::Failure => Answer::Failure,
            Outcome::Overload { retry_after } => Answer::Overload { retry_after },
            Outcome::NotCalled | Outcome::Canceled | Outcome::Ignored => {
                return self.give_back(ticket, outcome);
            }
        };
        self.vote(ticket, Vote { answer, slow });
    }

    /// Keeps back the success of a call that was not slow, where that is allowed.
    #[inline]
    pub(super) fn keep_back(&self, ticket: Ticket) -> bool {
        // Read before the word: an older end is an earlier one, and errs towards telling.
        self.limits.is_stable(|| self.now()) && self.word.keep_back(ticket)
    }

    #[cold]
    pub(super) fn vote(&self, ticket: Ticket, vote: Vote) {
        if self.word.load().sign() != Sign::Bypass {
            self.with(|state, moment| state.vote(ticket, vote, moment));
        }
    }

    /// The call has no vote. Only a half-open has a permit to be given back.
    fn give_back(&self, ticket: Ticket, outcome: Outcome) {
        match self.word.load().sign() {
            Sign::Bypass => {}
            Sign::Admit => self.unvoted.count(outcome),
            Sign::Ask | Sign::Open | Sign::Probing | Sign::ForcedOpen => {
                self.unvoted.count(outcome);
                self.with(|state, moment| state.give_back(ticket, moment));
            }
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.with(|state, moment| {
            state.look(moment);
            self.show(state)
        })
    }

    fn show(&self, state: &State) -> Snapshot {
        Snapshot::new(state, self.refused.load(Ordering::Relaxed), &self.unvoted)
    }

    /// Goes on by another policy of the same name.
    pub(super) fn reconfigure(&self, policy: Policy) {
        self.with(|state, moment| {
            self.limits.time_calls(&policy);
            state.reconfigure(policy, moment);
        });
    }

    /// Lets `act` work on the machine, and announces what came of it.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut State, Moment) -> R) -> R {
        let (result, news) = self.exclusively(act);
        if news {
            self.announce();
        }
        result
    }

    /// Lets `act` work on the machine, which knows of everything before, and says whether there is
    /// something to announce.
    fn exclusively<R>(&self, act: impl FnOnce(&mut State, Moment) -> R) -> (R, bool) {
        let mut core = lock(&self.core);
        let kept_back = mem::take(&mut core.untold) - self.word.close().untold();
        core.state.hear_successes(u64::from(kept_back));
        let moment = self.moment(core.state.policy());
        let result = act(&mut core.state, moment);
        self.publish(&mut core);
        (result, core.state.has_changes() && !core.announcing)
    }

    /// How much would be lost if this circuit were forgotten. Announces nothing, since the caller
    /// holds a lock; nothing comes of it that were to be announced.
    pub(super) fn retention(&self) -> Retention {
        self.exclusively(|state, moment| state.retention(moment.now))
            .0
    }

    /// Read with the lock held, so that the machine's time does not run backwards.
    fn moment(&self, policy: &Policy) -> Moment {
        let random = if policy.open.is_random() {
            self.environment.draw()
        } else {
            0.0
        };
        Moment {
            now: self.now(),
            random,
        }
    }

    fn publish(&self, core: &mut Core) {
        let standing = core.state.standing();
        self.limits.publish(standing);
        let sign = match standing {
            Standing::Admit { untold, .. } => {
                core.untold = untold;
                Sign::Admit
            }
            Standing::Ask => Sign::Ask,
            Standing::Open { .. } => Sign::Open,
            Standing::Probing { .. } => Sign::Probing,
            Standing::ForcedOpen => Sign::ForcedOpen,
            Standing::Bypass => Sign::Bypass,
        };
        let word = Word::new(sign, core.state.generation(), core.untold);
        self.word.publish(word);
    }

    /// Announces changes in their order: one caller at a time does, with no lock held, and goes on
    /// until there are none. Changes that come meanwhile, from others or from the observer itself,
    /// wait for it.
    #[cold]
    fn announce(&self) {
        let mut mine = false;
        while let Some(change) = self.next_change(&mut mine) {
            let policy = self.name;
            self.environment.emit(&match change {
                Change::Phase { from, to } => Event::PhaseChanged { policy, from, to },
                Change::Reached(threshold) => Event::ThresholdReached { policy, threshold },
            });
        }
    }

    /// The next change, where it is for this caller to announce.
    fn next_change(&self, mine: &mut bool) -> Option<Change> {
        let mut core = lock(&self.core);
        if core.announcing && !*mine {
            return None;
        }
        let change = core.state.take_change();
        core.announcing = change.is_some();
        *mine = core.announcing;
        change
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(heir) = self.heir.take() {
            let (last, _) = self.exclusively(|state, _| self.show(state));
            lock(&heir).add_counters(&last);
        }
    }
}

#[cfg(all(test, not(resilience_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ManualClock;

    fn shared(policy: Policy) -> Shared {
        Shared::new(policy, Environment::new().clock(ManualClock::new()))
    }

    #[test]
    fn a_closed_circuit_admits_and_takes_successes_without_its_lock() {
        let shared = shared(Policy::new("p").min_calls(1));
        shared.settle(shared.admit().unwrap(), Outcome::Success, false);
        let guard = lock(&shared.core);
        for _ in 0..1_000 {
            shared.settle(shared.admit().unwrap(), Outcome::Success, false);
            shared.settle(shared.admit().unwrap(), Outcome::Canceled, false);
        }
        drop(guard);
        assert_eq!(shared.snapshot().totals.successes, 1_001);
    }

    #[test]
    fn a_circuit_refuses_without_its_lock() {
        let shared = shared(Policy::tripping_after("p", 1));
        let refuses = |refusal: Refusal| {
            let _guard = lock(&shared.core);
            assert_eq!(shared.refuses_all(), Some(Timestamp::ZERO));
            assert_eq!(shared.admit(), Err(refusal));
            shared.refuse(refusal);
        };
        let retry_after = Duration::from_secs(5);
        shared.settle(shared.admit().unwrap(), Outcome::Failure, false);
        refuses(Refusal::Open { retry_after });
        shared
            .with(|state, moment| state.force_half_open(moment))
            .unwrap();
        let _probe = shared.admit().unwrap();
        refuses(Refusal::Probing);
        shared
            .with(|state, moment| state.force_open(moment))
            .unwrap();
        refuses(Refusal::ForcedOpen);
        assert_eq!(shared.snapshot().rejected, 3);
    }
}
