//! No false negative at any moment: against a set that is kept beside, and against threads.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use proptest::prelude::*;
use resilience_core::{
    BloomGuard, Environment, ManualClock, Outcome, Settle as _,
    bloom_guard::{Bloom, ExactSet, Filter, Permit, Policy, Presence, Rebuild, Standing},
};

#[derive(Clone, Debug)]
enum Step {
    Insert(u16),
    /// A key comes to be in the source, which the filter does not hear of.
    Create(u16),
    /// Begins a rebuild whose source has the keys that exist now.
    Begin,
    /// The source of the rebuild gives its next few keys.
    Feed(usize),
    Finish,
    Abandon,
    /// The key is deleted from the source, which the filter does not hear of.
    Delete(u16),
    Save,
    Load,
    LoadGarbage(Vec<u8>),
    /// A call sets out.
    Ask(u16),
    /// It comes back: found if the source has it now.
    Answer(usize),
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = KEYS;
    prop_oneof![
        20 => key.clone().prop_map(Step::Insert),
        3 => key.clone().prop_map(Step::Create),
        3 => Just(Step::Begin),
        8 => (1..80_usize).prop_map(Step::Feed),
        3 => Just(Step::Finish),
        1 => Just(Step::Abandon),
        3 => key.clone().prop_map(Step::Delete),
        2 => Just(Step::Save),
        2 => Just(Step::Load),
        1 => prop::collection::vec(any::<u8>(), 0..100).prop_map(Step::LoadGarbage),
        20 => key.prop_map(Step::Ask),
        20 => (0..4_usize).prop_map(Step::Answer),
        5 => (0..90_u64).prop_map(Step::Advance),
    ]
}

const KEYS: std::ops::Range<u16> = 0..300;

struct Model<F: Filter> {
    guard: BloomGuard<u16, F>,
    clock: ManualClock,
    /// What exists and is known: each of these must pass.
    exists: BTreeSet<u16>,
    /// What exists, and only a rebuild can know.
    unheard: BTreeSet<u16>,
    rebuild: Option<Reading<F>>,
    asked: Vec<(u16, Permit<F>)>,
    saved: Option<Vec<u8>>,
}

struct Reading<F: Filter> {
    rebuild: Rebuild<u16, F>,
    /// What its source still has to give.
    source: Vec<u16>,
    /// What it brings that was not known before.
    brings: BTreeSet<u16>,
}

impl<F: Filter> Model<F> {
    fn new(make: impl Fn(Policy, &Environment) -> BloomGuard<u16, F>) -> Self {
        let clock = ManualClock::new();
        // So small that it fills up and overflows.
        let policy = Policy::new("model")
            .expected_keys(64)
            .false_positive_rate(0.3)
            .overload_factor(4.0)
            .remember(8, Duration::from_secs(60));
        Self {
            guard: make(policy, &Environment::new().clock(clock.clone())),
            clock,
            exists: BTreeSet::new(),
            unheard: BTreeSet::new(),
            rebuild: None,
            asked: Vec::new(),
            saved: None,
        }
    }

    fn step(&mut self, step: Step) -> Option<Step> {
        match step {
            Step::Insert(key) => {
                self.guard.insert(&key);
                self.exists.insert(key);
                self.unheard.remove(&key);
            }
            Step::Create(key) => {
                if !self.exists.contains(&key) {
                    self.unheard.insert(key);
                }
            }
            Step::Delete(key) => {
                self.exists.remove(&key);
                self.unheard.remove(&key);
                if let Some(reading) = &mut self.rebuild {
                    reading.brings.remove(&key);
                }
            }
            Step::Begin => match self.guard.rebuild() {
                Ok(rebuild) => {
                    self.rebuild = Some(Reading {
                        rebuild,
                        source: self.exists.union(&self.unheard).copied().collect(),
                        brings: self.unheard.clone(),
                    });
                }
                Err(_) => assert!(self.rebuild.is_some()),
            },
            Step::Feed(many) => {
                if let Some(reading) = &mut self.rebuild {
                    let rest = reading.source.len().saturating_sub(many);
                    let keys = reading.source.drain(rest..);
                    keys.for_each(|key| reading.rebuild.insert(&key));
                }
            }
            Step::Finish => {
                if let Some(mut reading) = self.rebuild.take() {
                    let keys = reading.source.iter();
                    keys.for_each(|key| reading.rebuild.insert(key));
                    reading.rebuild.finish();
                    self.unheard.retain(|key| !reading.brings.contains(key));
                    self.exists.append(&mut reading.brings);
                    assert_ne!(self.guard.snapshot().standing, Standing::Empty);
                }
            }
            Step::Abandon => self.rebuild = None,
            Step::Ask(key) => {
                if let Ok(permit) = self.guard.try_acquire(&key) {
                    self.asked.push((key, permit));
                }
            }
            Step::Answer(index) if index < self.asked.len() => {
                let (key, mut permit) = self.asked.swap_remove(index);
                if !self.exists.contains(&key) && !self.unheard.contains(&key) {
                    permit.not_found();
                }
                permit.settle(Outcome::Success);
            }
            Step::Answer(_) => {}
            Step::Advance(seconds) => self.clock.advance(Duration::from_secs(seconds)),
            Step::Save | Step::Load | Step::LoadGarbage(_) => return Some(step),
        }
        None
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for key in &self.exists {
            prop_assert_eq!(self.guard.check(key), Presence::Maybe, "{} exists", key);
        }
        Ok(())
    }
}

impl Model<ExactSet> {
    fn check_exactly(&self) -> Result<(), TestCaseError> {
        self.check()?;
        if self.guard.snapshot().standing == Standing::Answering {
            for key in KEYS.filter(|key| !self.exists.contains(key)) {
                prop_assert_eq!(self.guard.check(&key), Presence::Absent, "{} is gone", key);
            }
        }
        Ok(())
    }
}

impl Model<Bloom> {
    fn snapshots(&mut self, step: Step) {
        match step {
            Step::Save => {
                if let Some(bytes) = self.guard.save() {
                    self.saved = Some(bytes);
                }
            }
            Step::Load => {
                // What it is about need not be in it: the guard was rebuilt before it was saved.
                if let Some(bytes) = &self.saved
                    && self.guard.load(bytes).is_ok()
                {
                    assert!(self.rebuild.is_none());
                }
            }
            Step::LoadGarbage(bytes) => {
                self.guard.load(&bytes).unwrap_err();
                assert_eq!(self.guard.snapshot().standing, Standing::Empty);
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_exists_always_passes(steps in prop::collection::vec(step(), 1..400)) {
        let mut model = Model::new(|policy, environment| {
            BloomGuard::new_in(policy, environment).unwrap()
        });
        for step in steps {
            if let Some(step) = model.step(step) {
                model.snapshots(step);
            }
            model.check()?;
        }
    }

    #[test]
    fn an_exact_set_answers_as_a_set_does(steps in prop::collection::vec(step(), 1..400)) {
        let mut model = Model::<ExactSet>::new(|policy, environment| {
            BloomGuard::exact_in(policy, environment).unwrap()
        });
        for step in steps {
            if let Step::Delete(key) = step {
                model.guard.remove(&key);
            }
            model.step(step);
            model.check_exactly()?;
        }
    }
}

/// Writers insert and publish how far they are; readers ask for what was published; one rebuilds
/// all the time, larger and smaller.
#[test]
fn threads_that_insert_check_and_rebuild_see_no_false_negative() {
    const WRITERS: usize = 2;
    const KEYS: u64 = 20_000;
    // A key that is inserted and not published yet is one of the last 4096, however long its writer
    // has to wait for its turn.
    const AHEAD: u64 = 1000;
    let policy = Policy::new("stress")
        .expected_keys(500)
        .overload_factor(f64::INFINITY);
    let guard = BloomGuard::<u64>::new(policy.remember(64, Duration::from_secs(60))).unwrap();
    guard.rebuild_from(|| 0..0_u64).unwrap();
    let inserted: [AtomicU64; WRITERS] = std::array::from_fn(|_| AtomicU64::new(0));
    let over = AtomicBool::new(false);
    let key = |writer: usize, number: u64| (number * WRITERS as u64) + writer as u64;
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (guard, inserted) = (&guard, &inserted);
                scope.spawn(move || {
                    for number in 0..KEYS {
                        let behind =
                            |other: &AtomicU64| other.load(Ordering::Relaxed) + AHEAD <= number;
                        while inserted.iter().any(behind) {
                            thread::yield_now();
                        }
                        guard.insert(&key(writer, number));
                        inserted[writer].store(number + 1, Ordering::Release);
                    }
                })
            })
            .collect();
        for seed in 0..2_u64 {
            let (guard, inserted, over) = (&guard, &inserted, &over);
            scope.spawn(move || {
                let mut draw = seed + 1;
                while !over.load(Ordering::Relaxed) {
                    draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let writer = (draw >> 33) as usize % inserted.len();
                    let known = inserted[writer].load(Ordering::Acquire);
                    if known == 0 {
                        continue;
                    }
                    for number in [known - 1, (draw >> 20) % known] {
                        let key = key(writer, number);
                        assert_eq!(guard.check(&key), Presence::Maybe, "{key} of {known}");
                    }
                    // An answer that comes late, for a key that nobody inserts.
                    if let Ok(mut permit) = guard.try_acquire(&(draw | 1 << 63)) {
                        permit.not_found();
                        permit.settle(Outcome::Success);
                    }
                }
            });
        }
        let (guard, inserted, over) = (&guard, &inserted, &over);
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let source = || {
                    let counts: Vec<u64> = inserted
                        .iter()
                        .map(|it| it.load(Ordering::Acquire))
                        .collect();
                    counts.into_iter().enumerate().flat_map(|(writer, known)| {
                        (0..known).map(move |number| key(writer, number))
                    })
                };
                guard.rebuild_from(source).unwrap();
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!((0..KEYS * WRITERS as u64).all(|key| guard.check(&key) == Presence::Maybe));
}

/// One key is created while others ask for it: whoever asks after the insert is let through, also
/// when "not found" answers for it are still under way.
#[test]
fn a_key_that_is_created_while_it_is_asked_for_is_visible_from_then_on() {
    let policy = Policy::new("race")
        .expected_keys(100)
        .false_positive_rate(0.5);
    let guard = BloomGuard::<u64>::new(policy.remember(1024, Duration::from_secs(60))).unwrap();
    guard.rebuild_from(|| 0..100_u64).unwrap();
    let ghosts: Vec<u64> = (1000..)
        .filter(|key| guard.check(key) == Presence::Maybe)
        .take(300)
        .collect();
    for ghost in ghosts {
        let created = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let before = created.load(Ordering::Acquire);
                        let permit = guard.try_acquire(&ghost);
                        assert!(!before || permit.is_ok(), "{ghost} is hidden");
                        if let Ok(mut permit) = permit {
                            if !created.load(Ordering::Acquire) {
                                permit.not_found();
                            }
                            thread::yield_now();
                            permit.settle(Outcome::Success);
                        }
                    }
                });
            }
            guard.insert(&ghost);
            created.store(true, Ordering::Release);
        });
        assert_eq!(guard.check(&ghost), Presence::Maybe);
    }
}

/// How often each unknown key passes says nothing about another seed.
#[test]
fn two_guards_with_seeds_of_their_own_agree_on_no_more_than_chance() {
    let guards = [0, 1].map(|_| {
        let guard = BloomGuard::<u64>::new(Policy::new("seeds").expected_keys(1000)).unwrap();
        guard.rebuild_from(|| 0..1000_u64).unwrap();
        guard
    });
    let mut counts: BTreeMap<usize, u32> = BTreeMap::new();
    for key in 10_000..110_000_u64 {
        let passed = guards.iter().filter(|it| it.check(&key) == Presence::Maybe);
        *counts.entry(passed.count()).or_default() += 1;
    }
    let both = counts.get(&2).copied().unwrap_or(0);
    assert!(both < 40, "10 are expected: {both}");
}

#[test]
fn a_key_that_was_removed_while_a_rebuild_read_its_source_stays_removed() {
    let policy = Policy::new("dishes").expected_keys(100);
    let guard = BloomGuard::<u16, ExactSet>::exact(policy).unwrap();
    guard.rebuild_from(|| [1_u16, 2]).unwrap();
    let mut rebuild = guard.rebuild().unwrap();
    // The source was read a moment ago.
    let source = [1_u16, 2];
    assert!(guard.remove(&1) && guard.remove(&2));
    guard.insert(&2);
    source.iter().for_each(|key| rebuild.insert(key));
    rebuild.finish();
    assert_eq!(guard.check(&1), Presence::Absent);
    assert_eq!(guard.check(&2), Presence::Maybe, "it came back since");
}

#[test]
fn a_snapshot_takes_no_key_away_that_a_rebuild_brought() {
    let guard = || {
        let policy = Policy::new("dishes").expected_keys(100);
        BloomGuard::<u16>::new(policy.seed(*b"which dishes a restaurant serves")).unwrap()
    };
    let old = guard();
    old.rebuild_from(|| [1_u16]).unwrap();
    let guard = guard();
    guard.rebuild_from(|| [1_u16, 2, 3]).unwrap();
    guard.load(&old.save().unwrap()).unwrap();
    for key in [1, 2, 3] {
        assert_eq!(guard.check(&key), Presence::Maybe, "{key} exists");
    }
}
