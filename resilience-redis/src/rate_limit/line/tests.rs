//! Lines of several processes before a server, all in one clock that nobody waits for.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    task::Waker,
    time::Duration,
};

use resilience_core::{
    Environment, ManualClock,
    rate_limit::{Algorithm, Policy, Quota, RateLimiter, Reservation},
};

use super::{
    question::{Question, Told},
    *,
};
use crate::{
    StoreError,
    rate_limit::quota::{PAST, rules},
};

const SECOND: u64 = 1_000_000;
/// Microseconds to the server, and back.
const WAY: u64 = 200;
/// Late by this: a question, what it must be asked again for, and a timer's granularity.
const LATE: u64 = 10_000;
const ALL: [Algorithm; 3] = [
    Algorithm::SlidingWindow,
    Algorithm::SlidingLog,
    Algorithm::Gcra,
];

#[test]
fn who_waits_is_served_in_time_and_who_would_be_too_late_is_refused_at_once() {
    for algorithm in ALL {
        let mut compared = 0;
        for seed in 0..30 {
            let mut fleet = Fleet::new(seed, 1, algorithm, 10);
            let max_wait = fleet.random.u64(0..4 * SECOND);
            let mut memory = Memory::new(&fleet, max_wait);
            for _ in 0..300 {
                fleet.come(0, 1, max_wait);
                memory.come(fleet.now);
                let pause = fleet.random.u64(0..60_000);
                fleet.run(pause);
            }
            fleet.run(10 * SECOND);
            for (caller, booked) in fleet.callers.iter().zip(&memory.waits) {
                let took = caller.took();
                // Units that are booked in memory are used an instant before a step begins, and come
                // back a step sooner than those that are taken when it has begun, each time.
                let told = (caller.end.as_ref().expect("an answer").1, *booked);
                let wait = match told.0 {
                    End::Refused(wait) => wait,
                    End::Granted | End::Failed => took,
                };
                let late = match algorithm {
                    Algorithm::SlidingWindow => LATE + (1 + wait / SECOND) * SECOND / 10,
                    _ => LATE,
                };
                let case = format!("{algorithm:?} {seed} {told:?} {caller:?}, {max_wait}");
                match told {
                    (End::Granted, Ok(wait)) => assert!(took.abs_diff(wait) <= late, "{case}"),
                    (End::Refused(wait), Err(other)) => {
                        assert!(took <= LATE && wait.abs_diff(other) <= late, "{case}");
                    }
                    // One had just not time enough, and what comes then is another story.
                    (End::Granted, Err(wait)) | (End::Refused(wait), Ok(_)) => {
                        assert!(wait.abs_diff(max_wait) <= late, "{case}");
                        break;
                    }
                    (End::Failed, _) => unreachable!("the server is up"),
                }
                compared += 1;
            }
            for caller in &fleet.callers {
                assert!(
                    caller.took() <= max_wait + LATE,
                    "{algorithm:?} {seed} {caller:?}"
                );
                let refused = matches!(caller.end, Some((_, End::Refused(_))));
                assert!(
                    !refused || caller.took() <= LATE,
                    "{algorithm:?} {seed} {caller:?}"
                );
            }
            fleet.check();
            let waited = fleet.callers.iter().filter(|it| it.took() > LATE).count();
            assert!(
                waited > 20 || max_wait < SECOND / 2,
                "{algorithm:?} {seed} {waited}"
            );
            assert!(fleet.granted() > 50);
        }
        assert!(compared > 1000, "{algorithm:?}: {compared}");
    }
}

#[test]
fn nobody_is_overtaken_or_forgotten_whatever_comes_and_goes() {
    let (mut waited, mut late) = (0, 0);
    for seed in 0..120 {
        let mut fleet = Fleet::of_any(seed, 3);
        for _ in 0..400 {
            let process = fleet.random.usize(0..3);
            match fleet.random.u8(..40) {
                0..8 => fleet.drop_one(),
                8 => fleet.recall(process),
                9 => fleet.limit = [5, 10, 20][fleet.random.usize(0..3)],
                10 => fleet.fails = fleet.random.u8(..4) == 0,
                11..13 => fleet.undecided = true,
                _ => {
                    let cost = [0, 1, 1, 1, 2, 5][fleet.random.usize(0..6)];
                    let max_wait = [0, SECOND / 2, SECOND][fleet.random.usize(0..3)];
                    fleet.come(process, cost, max_wait);
                }
            }
            let pause = fleet.random.u64(0..50_000);
            fleet.run(pause);
        }
        fleet.fails = false;
        fleet.run(10 * SECOND);
        fleet.check();
        for caller in &fleet.callers {
            let took = caller.took();
            assert!(took <= caller.max_wait + LATE, "seed {seed}: {caller:?}");
            waited += u32::from(took > LATE);
            let refused = matches!(caller.end, Some((_, End::Refused(_))));
            late += u32::from(refused && took > LATE);
        }
        assert!(fleet.processes.iter().all(|it| it.line.waiters.is_none()));
    }
    assert!(
        waited > 1000 && late > 100,
        "{waited} waited, {late} of them in vain"
    );
}

#[test]
fn a_servers_clock_that_jumps_keeps_nobody_waiting_for_longer() {
    for seed in 0..60 {
        let mut fleet = Fleet::of_any(seed, 2);
        for round in 0..300 {
            if round % 60 == 59 {
                let jump = [SECOND / 2, 3600 * SECOND][fleet.random.usize(0..2)].cast_signed();
                fleet.skew += if fleet.random.bool() { jump } else { -jump };
                fleet.skew = fleet.skew.max(0);
            }
            let process = fleet.random.usize(0..2);
            fleet.come(process, 1, 2 * SECOND);
            let pause = fleet.random.u64(0..60_000);
            fleet.run(pause);
        }
        fleet.run(10 * SECOND);
        fleet.check();
        for caller in &fleet.callers {
            assert!(caller.took() <= caller.max_wait + LATE, "{seed} {caller:?}");
        }
        assert!(fleet.granted() > 50, "{}", fleet.granted());
    }
}

#[test]
fn while_the_server_is_away_those_who_wait_are_decided_when_there_was_to_be_room() {
    for algorithm in ALL {
        let wait = |fails: bool| {
            let mut fleet = Fleet::new(1, 1, algorithm, 10);
            for _ in 0..35 {
                fleet.come(0, 1, 4 * SECOND);
            }
            fleet.run(10_000);
            fleet.fails = fails;
            fleet.run(5 * SECOND);
            let failed = |it: &&Call| matches!(it.end, Some((_, End::Failed)));
            let failed = fleet.callers.iter().filter(failed).count();
            assert_eq!(failed, if fails { 25 } else { 0 });
            fleet.callers.iter().map(Call::took).collect::<Vec<_>>()
        };
        for (took, other) in wait(true).into_iter().zip(wait(false)) {
            assert!(took.abs_diff(other) <= LATE, "{algorithm:?} {took} {other}");
        }
    }
}

#[test]
fn no_more_wait_than_get_their_units_in_time() {
    for algorithm in ALL {
        let mut fleet = Fleet::new(1, 1, algorithm, 10);
        for _ in 0..50 {
            for _ in 0..1000 {
                fleet.come(0, 1, 3 * SECOND);
            }
            fleet.run(20_000);
            let waiting = fleet.waiting();
            // Three windows' worth, and one that is there for all at the start.
            assert!((20..=40).contains(&waiting), "{algorithm:?} {waiting}");
            assert!(fleet.processes[0].line.places.len() <= 1100);
        }
    }
}

#[test]
fn those_who_go_away_leave_no_trace() {
    let mut fleet = Fleet::new(1, 1, Algorithm::SlidingWindow, 10);
    for _ in 0..20 {
        fleet.come(0, 1, 3 * SECOND);
    }
    fleet.run(10_000);
    for _ in 0..10_000 {
        fleet.come(0, 1, 3 * SECOND);
        let last = fleet.callers.len() - 1;
        fleet.leave(last);
    }
    assert!(fleet.processes[0].line.places.len() < 100);
    assert_eq!(fleet.waiting(), 10);
    fleet.run(5 * SECOND);
    fleet.check();
    assert_eq!(fleet.granted(), 20);
}

#[test]
fn who_goes_away_holds_up_nobody_behind_him() {
    for algorithm in ALL {
        let mut fleet = Fleet::new(0, 1, algorithm, 10);
        for cost in [6, 10, 1] {
            fleet.come(0, cost, 3 * SECOND);
        }
        fleet.run(10_000);
        assert_eq!(fleet.waiting(), 2, "{algorithm:?}");
        fleet.leave(1);
        fleet.run(10_000);
        assert_eq!(fleet.granted(), 2, "{algorithm:?}");
    }
}

#[test]
fn who_goes_away_while_he_is_asked_for_leaves_nobody_behind_him_waiting_in_vain() {
    for algorithm in ALL {
        let mut fleet = Fleet::new(0, 1, algorithm, 10);
        fleet.come(0, 10, 0);
        fleet.run(10_000);
        fleet.come(0, 1, 2 * SECOND);
        fleet.run(10_000);
        // Somebody rings for him.
        fleet.undecided = true;
        while fleet.processes[0].asked.is_none() {
            fleet.run(WAY / 2);
        }
        fleet.come(0, 1, 2 * SECOND);
        assert_eq!(fleet.waiting(), 2);
        fleet.leave(1);
        fleet.run(3 * SECOND);
        fleet.check();
        assert_eq!(fleet.granted(), 2, "{algorithm:?}");
    }
}

#[test]
fn nothing_is_taken_ahead_of_one_who_would_wait() {
    let mut fleet = Fleet::new(0, 2, Algorithm::SlidingWindow, 40);
    fleet.leases();
    for _ in 0..6 {
        fleet.come(0, 1, SECOND);
        fleet.run(1000);
    }
    let ahead = fleet.ahead;
    assert!(ahead > 0 && fleet.granted() == 6);
    // Of this the first process knows nothing.
    fleet.come(1, 32, 0);
    fleet.run(1000);
    fleet.come(0, 3, 3 * SECOND);
    fleet.run(10_000);
    assert_eq!((fleet.waiting(), fleet.ahead), (1, ahead));
}

#[test]
fn units_that_were_taken_ahead_are_for_those_who_wait_first() {
    let mut ahead = 0;
    for seed in 0..50 {
        let mut fleet = Fleet::new(seed, 2, Algorithm::SlidingWindow, 40);
        fleet.leases();
        for _ in 0..1000 {
            let process = fleet.random.usize(0..2);
            let cost = fleet.random.u64(1..4);
            fleet.come(process, cost, SECOND);
            let pause = fleet.random.u64(0..20_000);
            fleet.run(pause);
        }
        fleet.run(5 * SECOND);
        fleet.check();
        ahead += fleet.ahead;
    }
    assert!(ahead > 100, "{ahead}");
}

/// The limiter of one process, in memory, asked the same.
struct Memory {
    limiter: RateLimiter,
    clock: ManualClock,
    /// Kept, since units that are not used go back.
    booked: Vec<Reservation>,
    /// Of each caller, how long he waits or would have to.
    waits: Vec<Result<u64, u64>>,
}

impl Memory {
    fn new(fleet: &Fleet, max_wait: u64) -> Self {
        let clock = ManualClock::new();
        clock.set(at(fleet.now));
        let environment = Environment::new().clock(clock.clone());
        let policy = fleet.policy().max_wait(Duration::from_micros(max_wait));
        Self {
            limiter: RateLimiter::new_in(policy, &environment).expect("a valid policy"),
            clock,
            booked: Vec::new(),
            waits: Vec::new(),
        }
    }

    fn come(&mut self, now: u64) {
        self.clock.set(at(now));
        let wait = match self.limiter.reserve(&(), 1) {
            Ok(booked) => {
                let wait = booked.wait();
                self.booked.push(booked);
                Ok(micros(wait))
            }
            Err(rejected) => Err(micros(rejected.retry_after().expect("a wait"))),
        };
        self.waits.push(wait);
    }
}

/// Processes that share one key of one quota.
struct Fleet {
    random: fastrand::Rng,
    /// The clock of all processes, and how far the server's is ahead of it.
    now: u64,
    skew: i64,
    algorithm: Algorithm,
    limit: u64,
    /// Whether the server gives no decision.
    fails: bool,
    /// Whether it does nothing about the next question, since its clock shows another step.
    undecided: bool,
    /// When units were taken; of cells, the level and since when.
    taken: VecDeque<u64>,
    level: (u64, u64),
    processes: Vec<Process>,
    callers: Vec<Call>,
    events: BTreeSet<(u64, usize, Event)>,
    /// Units that were taken ahead.
    ahead: u64,
}

struct Process {
    line: Line,
    leases: bool,
    asked: Option<(Asking, Vec<u64>)>,
    /// Who stands where.
    places: BTreeMap<usize, usize>,
}

/// What was asked, and by which rules.
struct Asking {
    rules: Box<[Rule]>,
    runs: Vec<Run>,
    past: Vec<Past>,
    sent: u64,
    fails: bool,
    undecided: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ask,
    Decide,
    Hear(u64),
    Ring(u64),
}

#[derive(Debug)]
struct Call {
    process: usize,
    place: Option<usize>,
    cost: u64,
    max_wait: u64,
    came: u64,
    gone: bool,
    end: Option<(u64, End)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Granted,
    Refused(u64),
    Failed,
}

impl Call {
    fn took(&self) -> u64 {
        if self.gone {
            return 0;
        }
        let (end, _) = self.end.as_ref().expect("everybody hears in the end");
        end - self.came
    }
}

impl Fleet {
    fn new(seed: u64, processes: usize, algorithm: Algorithm, limit: u64) -> Self {
        let mut fleet = Self {
            random: fastrand::Rng::with_seed(seed),
            now: 1000 * SECOND + seed * 12_345,
            skew: 0,
            algorithm,
            limit,
            fails: false,
            undecided: false,
            taken: VecDeque::new(),
            level: (0, 0),
            processes: Vec::new(),
            callers: Vec::new(),
            events: BTreeSet::new(),
            ahead: 0,
        };
        let rules = fleet.rules();
        fleet.processes.extend((0..processes).map(|_| Process {
            line: Line::new(&rules, false),
            leases: false,
            asked: None,
            places: BTreeMap::new(),
        }));
        fleet
    }

    /// One with a quota of one kind or another.
    fn of_any(seed: u64, processes: usize) -> Self {
        let kinds = ALL.iter().cycle().zip(0..=seed);
        let (algorithm, _) = kinds.last().expect("one at least");
        Self::new(seed, processes, *algorithm, 10)
    }

    fn leases(&mut self) {
        let rules = self.rules();
        for process in &mut self.processes {
            process.line = Line::new(&rules, true);
            process.leases = true;
        }
    }

    fn policy(&self) -> Policy {
        let quota = Quota::new(self.limit, Duration::from_secs(1)).algorithm(self.algorithm);
        Policy::new("test", quota)
    }

    fn rules(&self) -> Box<[Rule]> {
        rules(&self.policy().terms().expect("a quota").quotas).expect("a valid policy")
    }

    /// What the server's clock shows.
    const fn server(&self) -> u64 {
        self.now.strict_add_signed(self.skew)
    }

    fn come(&mut self, process: usize, cost: u64, max_wait: u64) {
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

    fn drop_one(&mut self) {
        let waiting = |index: &usize| self.callers[*index].place.is_some();
        let waiting: Vec<_> = (0..self.callers.len()).filter(waiting).collect();
        if !waiting.is_empty() {
            let index = waiting[self.random.usize(0..waiting.len())];
            self.leave(index);
        }
    }

    fn leave(&mut self, index: usize) {
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

    fn recall(&mut self, process: usize) {
        let line = &mut self.processes[process].line;
        line.doubt();
        let asks = line.recall(at(self.now));
        self.follow(process, asks, &Aftermath::default());
    }

    /// What follows from something that was done with the line of `process`.
    fn follow(&mut self, process: usize, asks: bool, aftermath: &Aftermath) {
        if asks {
            self.events.insert((self.now, process, Event::Ask));
        }
        self.set_alarm(process, aftermath.alarm);
        for &(units, taken) in &aftermath.orphans {
            self.give_back(units, taken);
        }
        for unused in &aftermath.ahead.unused {
            self.give_back(unused.units, unused.taken);
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
    fn run(&mut self, micros: u64) {
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
        let rules = self.rules();
        let (mut runs, mut past) = (Vec::new(), Vec::new());
        let steps = [rules[0].step(self.server() + WAY)];
        let it = &mut self.processes[process];
        let leasing = it.leases.then_some(Leasing {
            percent: 50,
            nodes: 1,
            now: at(self.now),
        });
        let mut aftermath = Aftermath::default();
        let asked = loop {
            let question = (&mut runs, &mut past);
            match it.line.ask(&rules, &steps, question, leasing) {
                None if it.line.pass_on(at(self.now), &mut aftermath) => {}
                asked => break asked,
            }
        };
        if let Some(asked) = asked {
            // Of the time for a decision nothing is over that somebody waited for room.
            let since = at(self.now).saturating_since(asked.since);
            assert!(since < Duration::from_millis(2), "{since:?}");
            let asking = Asking {
                rules,
                runs,
                past,
                sent: self.now,
                fails: self.fails,
                undecided: std::mem::take(&mut self.undecided),
            };
            assert!(it.asked.replace((asking, Vec::new())).is_none());
            self.events.insert((self.now + WAY, process, Event::Decide));
        }
        self.follow(process, false, &aftermath);
    }

    /// What the script does.
    fn decide(&mut self, process: usize) {
        let (asking, mut told) = self.processes[process].asked.take().expect("a question");
        let rule = &asking.rules[0];
        let (limit, used) = (rule.limit(), self.used(rule));
        let (mut taken, mut short) = (0, Vec::new());
        let nothing = asking.fails || asking.undecided;
        for run in asking.runs.iter().filter(|_| !nothing) {
            let room = rule.burst().saturating_sub(used + taken);
            let fits = room.checked_div(run.cost).unwrap_or(run.callers);
            let granted = fits.min(run.callers);
            taken += granted * run.cost;
            if granted < run.callers {
                short.push(taken + run.cost);
            }
        }
        match rule.kind {
            Kind::Window { step } => {
                let count = |age: usize| {
                    let then = self.server() / step - age as u64;
                    self.taken.iter().filter(|at| **at / step == then).count() as u64
                };
                told.extend((0..=asking.past[0].asked).map(count));
            }
            Kind::Log { length } => {
                let now = self.server();
                self.taken.retain(|at| at + length > now);
                let oldest = self.taken.front().copied().unwrap_or(0);
                told.extend([used, oldest, short.len() as u64]);
            }
            Kind::Cells { .. } => told.push(self.level.0),
        }
        let now = self.server();
        self.taken.extend((0..taken).map(|_| now));
        match rule.kind {
            Kind::Log { .. } => {
                let time = |units: &u64| match (used + units).checked_sub(limit + 1) {
                    Some(index) => self.taken[usize::try_from(index).expect("small")],
                    None => 0,
                };
                told.extend(short.iter().map(time));
                told.extend(&self.taken);
            }
            Kind::Cells { length } => self.level.0 += taken * length,
            Kind::Window { .. } => {}
        }
        self.processes[process].asked = Some((asking, told));
        let hears = (self.now + WAY, process, Event::Hear(self.server()));
        self.events.insert(hears);
    }

    /// Units that count now.
    fn used(&mut self, rule: &Rule) -> u64 {
        match rule.kind {
            Kind::Window { step } => {
                let steps = self.server() / step - PAST as u64..=self.server() / step;
                let counts = |at: &&u64| steps.contains(&(**at / step));
                self.taken.iter().filter(counts).count() as u64
            }
            Kind::Log { length } => {
                // Where the clock was set back, all count as of now.
                let now = self.server();
                self.taken.iter_mut().for_each(|at| *at = now.min(*at));
                let counts = |at: &&u64| **at + length > now;
                self.taken.iter().filter(counts).count() as u64
            }
            Kind::Cells { length } => {
                let (level, since) = self.level;
                let drained = self.server().saturating_sub(since) * rule.limit();
                self.level = (level.saturating_sub(drained), self.server());
                self.level.0.div_ceil(length)
            }
        }
    }

    fn hear(&mut self, process: usize, micros: u64) {
        let (asking, counts) = self.processes[process].asked.take().expect("a question");
        let Asking {
            rules,
            runs,
            past,
            sent,
            fails,
            undecided,
        } = asking;
        let (sent, heard) = (at(sent), at(self.now));
        let mut aftermath = Aftermath::default();
        let line = &mut self.processes[process].line;
        let goes_on = if undecided {
            line.unask();
            true
        } else if fails {
            line.fail(&StoreError::Unavailable, heard, &mut aftermath)
        } else {
            let told = match rules[0].kind {
                Kind::Window { .. } => Told::Window(&counts),
                Kind::Log { .. } => {
                    let (short, times) =
                        counts[3..].split_at(usize::try_from(counts[2]).expect("few"));
                    let (used, oldest) = (counts[0], counts[1]);
                    let times = if short.is_empty() { &[] } else { times };
                    Told::Log {
                        used,
                        oldest,
                        short,
                        times,
                    }
                }
                Kind::Cells { .. } => Told::Cells(counts[0]),
            };
            let question = Question {
                runs: &runs,
                past: &past,
            };
            let times = (sent, heard, micros);
            line.hear(&rules, question, &[told], times, &mut aftermath)
        };
        self.ahead += aftermath.ahead.granted;
        self.follow(process, false, &aftermath);
        if goes_on {
            self.events.insert((self.now, process, Event::Ask));
        }
    }

    fn give_back(&mut self, units: u64, taken: u64) {
        for _ in 0..units {
            let found = self.taken.iter().position(|at| *at == taken);
            found.map(|index| self.taken.remove(index));
        }
        if let Kind::Cells { length } = self.rules()[0].kind {
            self.level.0 = self.level.0.saturating_sub(units * length);
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

    fn waiting(&self) -> usize {
        self.callers.iter().filter(|it| it.place.is_some()).count()
    }

    fn granted(&self) -> usize {
        let granted = |it: &&Call| matches!(it.end, Some((_, End::Granted)));
        self.callers.iter().filter(granted).count()
    }

    /// Everybody who is there has heard, and in each process those of whom all can wait were granted
    /// in the order in which they came.
    fn check(&self) {
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

fn at(micros: u64) -> Timestamp {
    Timestamp::from_nanos(micros * 1000)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("not long")
}
