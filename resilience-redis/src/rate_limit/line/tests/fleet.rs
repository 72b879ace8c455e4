//! Processes with a line each, and those who come to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    task::Waker,
    time::Duration,
};

use resilience_core::{Timestamp, rate_limit::Algorithm};

use super::{
    ALL, PATIENCE, SECOND, WAY, at, micros,
    server::{Asking, Server},
};
use crate::{
    StoreError,
    rate_limit::line::{Aftermath, Answer, Caller, Entered, Leasing, Line, Question},
};

/// Processes that share one key of one quota.
pub(super) struct Fleet {
    pub(super) random: fastrand::Rng,
    /// The clock of all processes.
    pub(super) now: u64,
    pub(super) server: Server,
    pub(super) processes: Vec<Process>,
    pub(super) callers: Vec<Call>,
    events: BTreeSet<(u64, usize, Event)>,
    /// Units that were taken ahead.
    pub(super) ahead: u64,
    pub(super) questions: u32,
}

pub(super) struct Process {
    pub(super) line: Line,
    leases: bool,
    pub(super) asked: Option<(Asking, Vec<u64>)>,
    /// Who stands where.
    places: BTreeMap<usize, usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ask,
    Decide,
    Hear(u64),
    Ring(u64),
}

#[derive(Debug)]
pub(super) struct Call {
    process: usize,
    pub(super) place: Option<usize>,
    cost: u64,
    pub(super) max_wait: u64,
    came: u64,
    gone: bool,
    pub(super) end: Option<(u64, End)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Granted,
    Refused(u64),
    Failed,
}

impl Call {
    pub(super) fn took(&self) -> u64 {
        if self.gone {
            return 0;
        }
        let (end, _) = self.end.as_ref().expect("everybody hears in the end");
        end - self.came
    }
}

impl Fleet {
    pub(super) fn new(seed: u64, processes: usize, algorithm: Algorithm, limit: u64) -> Self {
        let mut fleet = Self {
            random: fastrand::Rng::with_seed(seed),
            now: 1000 * SECOND + seed * 12_345,
            server: Server::new(algorithm, limit),
            processes: Vec::new(),
            callers: Vec::new(),
            events: BTreeSet::new(),
            ahead: 0,
            questions: 0,
        };
        let rules = fleet.server.rules();
        fleet.processes.extend((0..processes).map(|_| Process {
            line: Line::new(&rules, false),
            leases: false,
            asked: None,
            places: BTreeMap::new(),
        }));
        fleet
    }

    /// One with a quota of one kind or another.
    pub(super) fn of_any(seed: u64, processes: usize) -> Self {
        let kinds = ALL.iter().cycle().zip(0..=seed);
        let (algorithm, _) = kinds.last().expect("one at least");
        Self::new(seed, processes, *algorithm, 10)
    }

    pub(super) fn leases(&mut self) {
        let rules = self.server.rules();
        for process in &mut self.processes {
            process.line = Line::new(&rules, true);
            process.leases = true;
        }
    }

    pub(super) fn come(&mut self, process: usize, cost: u64, max_wait: u64) {
        let caller = Caller {
            cost,
            now: at(self.now),
            until: at(self.now + max_wait),
            waker: None,
        };
        let mut call = Call {
            process,
            place: None,
            cost,
            max_wait,
            came: self.now,
            gone: false,
            end: None,
        };
        match self.processes[process].line.enter(caller) {
            Entered::Denied(verdict) => {
                let end = End::Refused(micros(verdict.wait));
                call.end = Some((self.now, end));
            }
            Entered::Leased(_) => call.end = Some((self.now, End::Granted)),
            Entered::Waits(place) => call.place = Some(place),
            Entered::First(place) => {
                call.place = Some(place);
                self.events.insert((self.now, process, Event::Ask));
            }
            Entered::Queued(place, alarm) => {
                call.place = Some(place);
                self.set_alarm(process, alarm);
            }
        }
        if let Some(place) = call.place {
            self.processes[process]
                .places
                .insert(place, self.callers.len());
        }
        self.callers.push(call);
    }

    /// Many come who take 899 units, and whom no one question can be about: all of them take longer than one
    /// of them may wait for an answer.
    pub(super) fn come_in_a_long_row(&mut self) {
        for index in 0..2 * 899 {
            self.come(0, index % 2, SECOND);
        }
    }

    pub(super) fn drop_one(&mut self) {
        let waiting = |index: &usize| self.callers[*index].place.is_some();
        let waiting: Vec<_> = (0..self.callers.len()).filter(waiting).collect();
        if !waiting.is_empty() {
            let index = waiting[self.random.usize(0..waiting.len())];
            self.leave(index);
        }
    }

    pub(super) fn leave(&mut self, index: usize) {
        let call = &mut self.callers[index];
        let Some(place) = call.place.take() else {
            return;
        };
        call.gone = true;
        let process = call.process;
        self.processes[process].places.remove(&place);
        let mut aftermath = Aftermath::default();
        let line = &mut self.processes[process].line;
        let asks = line.leave(place, at(self.now), &mut aftermath);
        self.follow(process, asks, &aftermath);
    }

    pub(super) fn recall(&mut self, process: usize) {
        let line = &mut self.processes[process].line;
        line.doubt();
        let asks = line.recall(at(self.now));
        self.follow(process, asks, &Aftermath::default());
    }

    /// So many units come back to what `process` has taken ahead in this step.
    pub(super) fn put_back(&mut self, process: usize, units: u64) {
        let end = self.server.rules()[0].end(self.server.time(self.now));
        let mut aftermath = Aftermath::default();
        let line = &mut self.processes[process].line;
        assert!(line.put_back(units, end));
        let asks = line.serve(at(self.now), &mut aftermath);
        self.follow(process, asks, &aftermath);
    }

    /// What follows from something that was done with the line of `process`.
    fn follow(&mut self, process: usize, asks: bool, aftermath: &Aftermath) {
        if asks {
            self.events.insert((self.now, process, Event::Ask));
        }
        self.set_alarm(process, aftermath.alarm);
        for &(units, taken) in &aftermath.orphans {
            self.server.give_back(units, taken);
        }
        for unused in &aftermath.ahead.unused {
            self.server.give_back(unused.units, unused.taken);
        }
        self.collect(process);
    }

    fn set_alarm(&mut self, process: usize, alarm: Option<Timestamp>) {
        if let Some(time) = alarm {
            let time = time.as_nanos();
            // Timers count in milliseconds.
            let rings = time.div_ceil(1_000_000) * 1000;
            self.events
                .insert((rings.max(self.now), process, Event::Ring(time)));
        }
    }

    /// Lets so many microseconds pass.
    pub(super) fn run(&mut self, micros: u64) {
        let end = self.now + micros;
        while let Some(&(time, process, event)) = self.events.first()
            && time <= end
        {
            self.events.pop_first();
            self.now = self.now.max(time);
            match event {
                Event::Ask => self.ask(process),
                Event::Decide => self.decide(process),
                Event::Hear(micros) => self.hear(process, micros),
                Event::Ring(time) => {
                    let mut aftermath = Aftermath::default();
                    let line = &mut self.processes[process].line;
                    let time = Timestamp::from_nanos(time);
                    let asks = line.ring(time, at(self.now), &mut aftermath);
                    self.follow(process, asks, &aftermath);
                }
            }
        }
        self.now = end;
    }

    fn ask(&mut self, process: usize) {
        let rules = self.server.rules();
        let (mut runs, mut past) = (Vec::new(), Vec::new());
        let steps = [rules[0].step(self.server.time(self.now + WAY))];
        let it = &mut self.processes[process];
        let leasing = it.leases.then_some(Leasing {
            percent: 50,
            nodes: 1,
            now: at(self.now),
        });
        let mut aftermath = Aftermath::default();
        let question = (&mut runs, &mut past);
        let late = StoreError::Timeout(Duration::from_micros(PATIENCE));
        let limit = (at(self.now), at(self.now - PATIENCE * 7 / 8), &late);
        let line = &mut it.line;
        let asked = line.ask(&rules, &steps, question, leasing, limit, &mut aftermath);
        if let Some(asked) = asked {
            // Of the time for a decision nothing is over that somebody waited for room.
            let since = at(self.now).saturating_since(asked.since);
            assert!(since < Duration::from_millis(2), "{since:?}");
            let asking = Asking {
                rules,
                runs,
                past,
                sent: self.now,
                fails: self.server.fails,
                undecided: std::mem::take(&mut self.server.undecided),
                undone: false,
            };
            self.questions += 1;
            assert!(it.asked.replace((asking, Vec::new())).is_none());
            self.events.insert((self.now + WAY, process, Event::Decide));
        }
        self.follow(process, false, &aftermath);
    }

    fn decide(&mut self, process: usize) {
        let asked = &mut self.processes[process].asked;
        let (asking, told) = asked.as_mut().expect("a question");
        *told = self.server.decide(asking, self.now);
        let hears = Event::Hear(self.server.time(self.now));
        self.events.insert((self.now + WAY, process, hears));
    }

    fn hear(&mut self, process: usize, micros: u64) {
        let (asking, counts) = self.processes[process].asked.take().expect("a question");
        let (sent, heard) = (at(asking.sent), at(self.now));
        let mut aftermath = Aftermath::default();
        let line = &mut self.processes[process].line;
        let goes_on = if asking.undecided {
            line.unask();
            true
        } else if asking.undone {
            line.ask_again();
            true
        } else if asking.fails {
            line.fail(&StoreError::Unavailable, heard, &mut aftermath)
        } else {
            let question = Question {
                runs: &asking.runs,
                past: &asking.past,
            };
            let (told, times) = ([asking.reading(&counts)], (sent, heard, micros));
            line.hear(&asking.rules, question, &told, times, &mut aftermath)
        };
        self.ahead += aftermath.ahead.granted;
        self.follow(process, false, &aftermath);
        if goes_on {
            self.events.insert((self.now, process, Event::Ask));
        }
    }

    /// Hears who has an answer.
    fn collect(&mut self, process: usize) {
        let Process { line, places, .. } = &mut self.processes[process];
        places.retain(|&place, &mut index| {
            let Some(answer) = line.poll(place, Waker::noop()) else {
                return true;
            };
            let call = &mut self.callers[index];
            let end = match answer {
                Answer::Decided(verdict, _) if verdict.is_grant() => End::Granted,
                Answer::Leased(_) => End::Granted,
                Answer::Decided(verdict, _) | Answer::Denied(verdict) => {
                    assert!(!verdict.is_grant());
                    End::Refused(micros(verdict.wait))
                }
                Answer::Failed(_) => End::Failed,
            };
            (call.place, call.end) = (None, Some((self.now, end)));
            false
        });
    }

    pub(super) fn waiting(&self) -> usize {
        self.callers.iter().filter(|it| it.place.is_some()).count()
    }

    pub(super) fn granted(&self) -> usize {
        let granted = |it: &&Call| matches!(it.end, Some((_, End::Granted)));
        self.callers.iter().filter(granted).count()
    }

    /// Everybody who is there has heard, and in each process those of whom all can wait were granted
    /// in the order in which they came.
    pub(super) fn check(&self) {
        for process in 0..self.processes.len() {
            let ours = self.callers.iter().filter(|it| it.process == process);
            let mut last: Option<&Call> = None;
            for call in ours.filter(|it| it.cost > 0) {
                assert!(call.gone || call.end.is_some(), "{call:?}");
                if let Some((_, End::Granted)) = call.end
                    && !call.gone
                {
                    if let Some(last) = last {
                        let end = |it: &Call| it.end.map(|(time, _)| time);
                        assert!(end(call) >= end(last), "{last:?} {call:?}");
                    }
                    last = Some(call);
                }
            }
        }
    }
}
