use std::collections::BTreeMap;

use super::*;
use crate::rate_limit::quota::PAST;

const STEP: u64 = 20_000;
const LIMIT: u64 = 60;
const IN_A_ROW: Duration = Duration::from_millis(20);
const START: u64 = 1 << 40;

/// A server and the processes that ask it, in one clock of microseconds.
struct Fleet {
    random: fastrand::Rng,
    time: u64,
    counts: BTreeMap<u64, u64>,
    /// With how far ahead each process' clock is, and how long it takes for 1000 microseconds.
    nodes: Vec<(Lease, u64, u64)>,
    granted: u64,
    returned: u64,
    used: Vec<u64>,
}

impl Fleet {
    fn room(&self) -> u64 {
        let step = self.time / STEP;
        let window = self.counts.range(step - PAST as u64..=step);
        LIMIT - window.map(|(_, count)| count).sum::<u64>()
    }

    fn now(&self, node: usize) -> Timestamp {
        let (_, ahead, slow) = self.nodes[node];
        let passed = (self.time - START) * 1000;
        Timestamp::from_nanos(ahead * 1000 + passed * 1000 / slow)
    }

    fn call(&mut self, node: usize, cost: u64) {
        let now = self.now(node);
        if let Some(spent) = self.nodes[node].0.spend(cost, now) {
            assert!(spent.time >= self.time && spent.term.taken <= self.time);
            return self.used.extend((0..cost).map(|_| self.time));
        }
        let cap = self.random.u64(0..30);
        let asked = self.nodes[node].0.ask(cost, cap, IN_A_ROW, now);
        assert!(asked <= cap);
        self.pass(STEP / 5);
        let fits = cost <= self.room();
        let taken = if fits { cost } else { 0 };
        let ahead = asked.min(self.room() - taken);
        *self.counts.entry(self.time / STEP).or_default() += taken + ahead;
        self.used.extend((0..taken).map(|_| self.time));
        let term = Term {
            taken: self.time,
            sent: now,
            end: (self.time / STEP + 1) * STEP,
        };
        let verdict = Verdict {
            wait: Duration::ZERO,
            rule: 0,
            remaining: self.room(),
            next_back: Duration::ZERO,
        };
        self.granted += ahead;
        self.pass(STEP / 5);
        let now = self.now(node);
        let unused = self.nodes[node].0.hold(ahead, term, verdict, now);
        self.give_back(unused);
    }

    /// A question takes less than `micros` on its way, and now and then no time.
    fn pass(&mut self, micros: u64) {
        if self.random.bool() {
            self.time += self.random.u64(0..micros);
        }
    }

    fn give_back(&mut self, unused: Option<Unused>) {
        let Some(unused) = unused else { return };
        self.returned += unused.units;
        let count = self.counts.get_mut(&(unused.taken / STEP));
        *count.expect("it was taken there") -= unused.units;
    }
}

#[test]
fn no_window_holds_more_than_the_limit_and_no_unit_is_lost() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let clock = |slow| (Lease::default(), random.u64(0..1 << 40), slow);
        let nodes = [999, 1000, 1001].map(clock);
        let mut fleet = Fleet {
            nodes: nodes.into(),
            random,
            time: START,
            counts: BTreeMap::new(),
            granted: 0,
            returned: 0,
            used: Vec::new(),
        };
        for _ in 0..5000 {
            let node = fleet.random.usize(0..3);
            let cost = fleet.random.u64(1..4);
            match fleet.random.u8(..20) {
                0 => fleet.time += fleet.random.u64(0..5 * STEP),
                1..4 => {
                    let now = fleet.now(node);
                    let expired = fleet.nodes[node].0.expire(now);
                    fleet.give_back(expired);
                }
                _ => fleet.call(node, cost),
            }
            fleet.time += fleet.random.u64(0..STEP * 3 / 50);
        }
        let held = fleet.nodes.iter_mut().filter_map(|it| it.0.surrender());
        let held: u64 = held.map(|unused| unused.units).sum();
        let counted: u64 = fleet.counts.values().sum();
        assert_eq!(fleet.used.len() as u64, counted - held);
        assert!(fleet.granted > 1000 && fleet.returned > 0, "{seed}");
        // The obvious way to say what the limit means.
        let length = usize::try_from(LIMIT).expect("small");
        for ends in fleet.used.windows(length + 1) {
            assert!(ends[length] - ends[0] >= STEP * PAST as u64, "seed {seed}");
        }
    }
}

#[test]
fn a_unit_is_used_in_the_step_in_which_it_was_taken_or_not_at_all() {
    let at = |micros: u64| Timestamp::from_nanos(micros * 1000);
    let verdict = Verdict {
        wait: Duration::ZERO,
        rule: 0,
        remaining: 7,
        next_back: Duration::from_micros(100),
    };
    let (taken, sent, end) = (5_600, at(100), 6_000);
    let term = Term { taken, sent, end };
    let mut lease = Lease::default();
    assert_eq!(lease.hold(3, term, verdict, at(498)), None);
    // 398 microseconds, and a thousandth more.
    let spent = lease.spend(2, at(498)).expect("the last moment");
    assert_eq!((spent.verdict.remaining, spent.time), (8, 5_999));
    assert!(lease.put_back(1, end));
    for late in [at(499), at(5_000), at(99)] {
        assert_eq!(lease.spend(1, late), None);
    }
    assert_eq!(lease.spend(3, at(200)), None);
    assert_eq!(lease.expire(at(498)), None);
    assert_eq!(lease.expire(at(499)), Some(Unused { units: 2, taken }));
    assert!(!lease.put_back(1, end));
}

#[test]
fn what_comes_too_late_to_be_used_does_not_end_the_demand() {
    let at = |micros: u64| Timestamp::from_nanos(micros * 1000);
    let verdict = Verdict {
        wait: Duration::ZERO,
        rule: 0,
        remaining: 7,
        next_back: Duration::ZERO,
    };
    let mut lease = Lease::default();
    let mut ask = |now, heard, end| {
        let asked = lease.ask(4, 100, Duration::from_secs(1), at(now));
        let (taken, sent) = (now, at(now));
        let term = Term { taken, sent, end };
        let unused = lease.hold(asked, term, verdict, at(heard));
        while lease.spend(1, at(heard)).is_some() {}
        (asked, unused.map(|unused| unused.units))
    };
    assert_eq!(ask(100, 150, 1000), (0, None));
    assert_eq!(ask(200, 250, 1000), (4, None));
    assert_eq!(ask(900, 950, 1000), (8, None));
    assert_eq!(ask(990, 1000, 1000), (16, Some(16)));
    assert_eq!(ask(1010, 1060, 2000), (32, None));
}
