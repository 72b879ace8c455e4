//! The bulkhead against a slow, obvious model: a list of callers, looked through at every step.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;
use resilience_core::{
    Environment, Event, ManualClock, Reason, Rejected,
    concurrency::{Bulkhead, Permit, Policy, Waiting},
    gate::Entry,
};

#[derive(Clone, Copy, Debug)]
enum Step {
    Enter,
    TryEnter,
    /// Leaves, or gives up its place, whoever the number falls on.
    Go(usize),
    SetPermits(u32),
    Pass(u64),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Enter),
        2 => Just(Step::TryEnter),
        6 => any::<usize>().prop_map(Step::Go),
        1 => (0..4_u32).prop_map(Step::SetPermits),
        4 => (0..8_u64).prop_map(Step::Pass),
        1 => prop_oneof![40 => Just(Step::Pass(1)), 1 => Just(Step::Close)],
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stand {
    Running,
    Queued,
    Refused(Reason),
    Gone,
}

/// What the documents say, and nothing clever.
struct Model {
    permits: usize,
    queue: usize,
    max_wait: u64,
    now: u64,
    closed: bool,
    callers: Vec<(u64, Stand)>,
}

impl Model {
    fn count(&self, stand: Stand) -> usize {
        self.callers.iter().filter(|it| it.1 == stand).count()
    }

    fn enter(&mut self, patient: bool) {
        let full = if self.closed {
            Reason::Closed
        } else {
            Reason::ConcurrencyLimited
        };
        let stand = if self.count(Stand::Running) < self.permits {
            Stand::Running
        } else if patient
            && !self.closed
            && self.max_wait > 0
            && self.count(Stand::Queued) < self.queue
        {
            Stand::Queued
        } else {
            Stand::Refused(full)
        };
        self.callers.push((self.now, stand));
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Enter => self.enter(true),
            Step::TryEnter => self.enter(false),
            Step::Go(index) => {
                if let Some(index) = index.checked_rem(self.callers.len()) {
                    self.callers[index].1 = Stand::Gone;
                }
            }
            Step::SetPermits(permits) if !self.closed => self.permits = permits as usize,
            Step::SetPermits(_) => {}
            Step::Pass(time) => self.now += time,
            Step::Close => {
                self.closed = true;
                self.permits = 0;
                self.refuse(Reason::Closed, |_| true);
            }
        }
        let (now, max_wait) = (self.now, self.max_wait);
        self.refuse(Reason::QueueTimeout, |since| since + max_wait <= now);
        while self.count(Stand::Running) < self.permits
            && let Some(first) = self.callers.iter_mut().find(|it| it.1 == Stand::Queued)
        {
            first.1 = Stand::Running;
        }
    }

    fn refuse(&mut self, reason: Reason, which: impl Fn(u64) -> bool) {
        for caller in &mut self.callers {
            if caller.1 == Stand::Queued && which(caller.0) {
                caller.1 = Stand::Refused(reason);
            }
        }
    }
}

/// What a caller of the real one holds.
enum Held {
    Running(#[expect(dead_code, reason = "held for its drop")] Permit),
    Queued(Pin<Box<Waiting>>),
    Refused(Rejected),
    Gone,
}

impl Held {
    fn stand(&mut self) -> Stand {
        if let Self::Queued(waiting) = self {
            match waiting
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
            {
                Poll::Pending => return Stand::Queued,
                Poll::Ready(Ok(permit)) => *self = Self::Running(permit),
                Poll::Ready(Err(rejected)) => *self = Self::Refused(rejected),
            }
        }
        match self {
            Self::Running(_) => Stand::Running,
            Self::Queued(_) => Stand::Queued,
            Self::Refused(rejected) => Stand::Refused(rejected.reason()),
            Self::Gone => Stand::Gone,
        }
    }
}

struct Real {
    bulkhead: Bulkhead,
    clock: ManualClock,
    callers: Vec<Held>,
}

impl Real {
    fn new(permits: u32, queue: usize, max_wait: u64) -> Self {
        let clock = ManualClock::new();
        let policy = Policy::new("model", permits)
            .queue(queue)
            .max_wait(Duration::from_nanos(max_wait));
        let environment = Environment::new()
            .clock(clock.clone())
            .observer(|_: &Event<'_>| {});
        Self {
            bulkhead: Bulkhead::new_in(policy, &environment).unwrap(),
            clock,
            callers: Vec::new(),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Enter => self.callers.push(match self.bulkhead.enter() {
                Entry::Admitted(permit) => Held::Running(permit),
                Entry::Wait(waiting) => Held::Queued(Box::pin(waiting)),
                Entry::Refused(rejected) => Held::Refused(rejected),
            }),
            Step::TryEnter => self.callers.push(match self.bulkhead.try_acquire() {
                Ok(permit) => Held::Running(permit),
                Err(rejected) => Held::Refused(rejected),
            }),
            Step::Go(index) => {
                if let Some(index) = index.checked_rem(self.callers.len()) {
                    self.callers[index] = Held::Gone;
                }
            }
            Step::SetPermits(permits) => self.bulkhead.set_permits(permits),
            Step::Pass(time) => self.clock.advance(Duration::from_nanos(time)),
            Step::Close => self.bulkhead.close(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// `looks` says after which steps anybody looks: what nobody looks at must come out the same.
    #[test]
    fn the_bulkhead_does_what_the_model_does_whether_or_not_anybody_looks(
        permits in 0..4_u32,
        queue in 0..4_usize,
        max_wait in 0..12_u64,
        steps in prop::collection::vec((step(), any::<bool>()), 0..60),
    ) {
        let mut real = Real::new(permits, queue, max_wait);
        let mut model = Model {
            permits: permits as usize,
            queue,
            max_wait,
            now: 0,
            closed: false,
            callers: Vec::new(),
        };
        for (step, looks) in steps {
            real.take(step);
            model.take(step);
            let snapshot = real.bulkhead.snapshot();
            prop_assert_eq!(snapshot.running as usize, model.count(Stand::Running));
            prop_assert_eq!(snapshot.queued, model.count(Stand::Queued));
            prop_assert_eq!(snapshot.permits as usize, model.permits);
            if looks {
                for (index, caller) in model.callers.iter().enumerate() {
                    let stand = real.callers[index].stand();
                    // A wait that was over and unseen when the bulkhead closed may be told either.
                    let refused = |it| matches!(it, Stand::Refused(_));
                    let either = model.closed && refused(stand) && refused(caller.1);
                    prop_assert!(either || stand == caller.1, "caller {}: {:?}", index, stand);
                }
            }
        }
        // Everybody leaves: nothing is left over, and everybody was counted once.
        let asked = real.callers.len() as u64;
        real.callers.clear();
        let end = real.bulkhead.snapshot();
        prop_assert_eq!((end.running, end.queued), (0, 0));
        prop_assert_eq!(end.admitted + end.refused + end.timed_out + end.abandoned, asked);
    }
}
