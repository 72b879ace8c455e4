//! A bulkhead lets in as many as it may, and the rest in the order in which they came.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use resilience_core::{
    Environment, ManualClock, Timestamp,
    concurrency::{Bulkhead, Permit, Policy, Waiting},
    gate::Entry,
};

use super::bytes::Bytes;

pub fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let permits = u32::from(bytes.u8() % 4);
    let queue = usize::from(bytes.u8() % 4);
    let max_wait = bytes.duration();
    let policy = Policy::new("fuzz", permits).queue(queue).max_wait(max_wait);
    let clock = ManualClock::new();
    let environment = Environment::new().clock(clock.clone());
    let bulkhead = Bulkhead::new_in(policy, &environment).expect("the policy can work");
    let mut room = Room {
        bulkhead,
        clock,
        running: Vec::new(),
        waiting: VecDeque::new(),
        model: Model {
            permits,
            length: queue,
            max_wait,
            ..Model::default()
        },
    };
    while !bytes.is_empty() {
        room.step(&mut bytes);
        room.check();
    }
}

/// The bulkhead, its callers, and what should be.
struct Room {
    bulkhead: Bulkhead,
    clock: ManualClock,
    running: Vec<Permit>,
    waiting: VecDeque<(u64, Pin<Box<Waiting>>)>,
    model: Model,
}

impl Room {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        self.model.expire(self.clock.now());
        match bytes.u8() % 16 {
            0..=4 => self.enter(),
            5 => {
                let admitted = self.bulkhead.try_acquire();
                assert_eq!(admitted.is_ok(), self.model.has_room());
                self.model.running += usize::from(admitted.is_ok());
                self.running.extend(admitted);
            }
            6..=8 if !self.running.is_empty() => {
                let index = usize::from(bytes.u8()) % self.running.len();
                drop(self.running.swap_remove(index));
                self.model.leave();
            }
            9 | 10 => self.poll(bytes),
            11 => self.give_up(bytes),
            12 => {
                let permits = u32::from(bytes.u8() % 5);
                self.bulkhead.set_permits(permits);
                self.model.set_permits(permits);
            }
            13 if bytes.u8() == 255 => {
                self.bulkhead.close();
                self.model.close();
            }
            _ => self.clock.advance(bytes.duration()),
        }
    }

    fn enter(&mut self) {
        let now = self.clock.now();
        match self.bulkhead.enter() {
            Entry::Admitted(permit) => {
                assert!(self.model.has_room());
                self.model.running += 1;
                self.running.push(permit);
            }
            Entry::Wait(waiting) => {
                assert!(!self.model.has_room() && self.model.has_place(now));
                let caller = self.model.queue_up(now);
                self.waiting.push_back((caller, Box::pin(waiting)));
            }
            Entry::Refused(_) => assert!(!self.model.has_room() && !self.model.has_place(now)),
        }
    }

    fn poll(&mut self, bytes: &mut Bytes<'_>) {
        let Some(index) = self.choose(bytes) else {
            return;
        };
        let (caller, waiting) = &mut self.waiting[index];
        let caller = *caller;
        let mut context = Context::from_waker(Waker::noop());
        match waiting.as_mut().poll(&mut context) {
            Poll::Pending => {
                assert!(self.model.is_queued(caller));
                return;
            }
            Poll::Ready(Ok(permit)) => {
                assert!(self.model.take_grant(caller));
                self.running.push(permit);
            }
            Poll::Ready(Err(_)) => {
                assert!(!self.model.is_queued(caller) && !self.model.take_grant(caller));
            }
        }
        self.waiting.remove(index);
    }

    fn give_up(&mut self, bytes: &mut Bytes<'_>) {
        let Some(index) = self.choose(bytes) else {
            return;
        };
        if let Some((caller, waiting)) = self.waiting.remove(index) {
            drop(waiting);
            self.model.give_up(caller);
        }
    }

    fn choose(&self, bytes: &mut Bytes<'_>) -> Option<usize> {
        usize::from(bytes.u8()).checked_rem(self.waiting.len())
    }

    fn check(&mut self) {
        self.model.expire(self.clock.now());
        let snapshot = self.bulkhead.snapshot();
        assert_eq!(snapshot.running as usize, self.model.running);
        assert_eq!(snapshot.queued, self.model.queue.len());
        assert_eq!(snapshot.permits, self.model.permits);
    }
}

/// The same with lists and numbers.
#[derive(Debug, Default)]
struct Model {
    permits: u32,
    length: usize,
    max_wait: Duration,
    closed: bool,
    /// Those included that were granted a permit and do not know it yet.
    running: usize,
    queue: VecDeque<(u64, Timestamp)>,
    granted: Vec<u64>,
    callers: u64,
}

impl Model {
    fn has_room(&self) -> bool {
        !self.closed && self.queue.is_empty() && self.running < self.permits as usize
    }

    /// At the end of time there is no waiting.
    fn has_place(&self, now: Timestamp) -> bool {
        let waits = now.saturating_add(self.max_wait) > now;
        !self.closed && self.queue.len() < self.length && waits
    }

    fn queue_up(&mut self, now: Timestamp) -> u64 {
        self.callers += 1;
        let until = now.saturating_add(self.max_wait);
        self.queue.push_back((self.callers, until));
        self.callers
    }

    fn expire(&mut self, now: Timestamp) {
        self.queue.retain(|(_, until)| now < *until);
    }

    fn leave(&mut self) {
        self.running -= 1;
        self.fill();
    }

    fn fill(&mut self) {
        while self.running < self.permits as usize {
            let Some((caller, _)) = self.queue.pop_front() else {
                break;
            };
            self.running += 1;
            self.granted.push(caller);
        }
    }

    fn set_permits(&mut self, permits: u32) {
        if !self.closed {
            self.permits = permits;
            self.fill();
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.permits = 0;
        self.queue.clear();
    }

    fn is_queued(&self, caller: u64) -> bool {
        self.queue.iter().any(|(queued, _)| *queued == caller)
    }

    fn take_grant(&mut self, caller: u64) -> bool {
        let index = self.granted.iter().position(|granted| *granted == caller);
        index.map(|index| self.granted.remove(index)).is_some()
    }

    fn give_up(&mut self, caller: u64) {
        self.queue.retain(|(queued, _)| *queued != caller);
        if self.take_grant(caller) {
            self.leave();
        }
    }
}
