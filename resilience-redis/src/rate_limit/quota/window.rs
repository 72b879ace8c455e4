//! The arithmetic of a strict sliding window, as far as one process knows its counts.
//!
//! Time is cut into steps of a tenth of the window, each with a count of its own. The present step
//! and the ten before it are counted whole, so that no window of the full length ever holds more
//! than the limit; in return a unit comes back up to a step late.
//!
//! Nobody adds to a step that is over. So a process that was told the past once knows what it may
//! take of the present step, and asks the server about one count instead of eleven.

use std::ops::{Deref, DerefMut};

/// Steps before the present one that count.
pub(in crate::rate_limit) const PAST: usize = 10;

/// What a process knows of one window of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::rate_limit) struct Window {
    /// The step that was the present one when the server was last heard. Its number is the time
    /// at its start in steps since 1970.
    step: u64,
    /// Units in that step, as far as heard of.
    present: u64,
    /// Units in the steps before it, the youngest first.
    past: [u64; PAST],
    known: bool,
}

/// The windows of one key, one for each quota: nearly always a single one, which is then not
/// somewhere else in memory.
#[derive(Debug)]
pub(in crate::rate_limit) enum Windows {
    One([Window; 1]),
    Several(Box<[Window]>),
}

/// What a question builds on of one window; nothing where the rule is none.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::rate_limit) struct Past {
    /// Counts of the past that are asked for.
    pub(in crate::rate_limit) asked: usize,
    /// Units in the rest of the past.
    pub(in crate::rate_limit) known: u64,
    /// Units in the present step, as far as heard of.
    pub(in crate::rate_limit) present: u64,
}

impl Windows {
    pub(in crate::rate_limit) fn new(count: usize) -> Self {
        match count {
            1 => Self::One([Window::default()]),
            _ => Self::Several(vec![Window::default(); count].into()),
        }
    }
}

impl Deref for Windows {
    type Target = [Window];

    fn deref(&self) -> &[Window] {
        match self {
            Self::One(window) => window,
            Self::Several(windows) => windows,
        }
    }
}

impl DerefMut for Windows {
    fn deref_mut(&mut self) -> &mut [Window] {
        match self {
            Self::One(window) => window,
            Self::Several(windows) => windows,
        }
    }
}

impl Window {
    /// How many steps before `step` the server must be asked for: the youngest so many.
    pub(super) fn missing(&self, step: u64) -> usize {
        if !self.known {
            return PAST;
        }
        // A server whose clock was set back writes to steps that were over.
        let age = step
            .checked_sub(self.step)
            .and_then(|age| usize::try_from(age).ok());
        age.map_or(PAST, |age| age.min(PAST))
    }

    /// Units in the steps before `step` for which the server need not be asked.
    pub(super) fn remembered(&self, step: u64) -> u64 {
        let ours = PAST - self.missing(step);
        self.past[..ours].iter().sum()
    }

    /// What a question of `step` builds on.
    pub(in crate::rate_limit) fn at(&self, step: u64) -> Past {
        Past {
            asked: self.missing(step),
            known: self.remembered(step),
            present: if step == self.step { self.present } else { 0 },
        }
    }

    /// Takes note of what the server said: the units now in `step`, and in as many steps before
    /// it as were [missing](Self::missing), the youngest first.
    pub(in crate::rate_limit) fn learn(&mut self, step: u64, present: u64, missing: &[u64]) {
        let ours = PAST - missing.len();
        self.past.copy_within(..ours, missing.len());
        self.past[..missing.len()].copy_from_slice(missing);
        (self.step, self.present, self.known) = (step, present, true);
    }

    /// The same with `units` more in the present step.
    pub(in crate::rate_limit) const fn with(&self, units: u64) -> Self {
        let mut window = *self;
        window.present += units;
        window
    }

    /// Forgets the past, so that the server will be asked for all of it.
    pub(in crate::rate_limit) const fn doubt(&mut self) {
        self.known = false;
    }

    /// The step that was the present one when the server was last heard.
    pub(super) const fn step(&self) -> u64 {
        self.step
    }

    /// Units in the window, when the server was last heard.
    pub(in crate::rate_limit) fn used(&self) -> u64 {
        self.past.iter().sum::<u64>() + self.present
    }

    /// Those of them that are still in the window when the present step is `step`.
    pub(super) fn used_at(&self, step: u64) -> u64 {
        let passed = usize::try_from(step.saturating_sub(self.step)).unwrap_or(usize::MAX);
        match PAST.checked_sub(passed) {
            Some(past) => self.present + self.past[..past].iter().sum::<u64>(),
            None => 0,
        }
    }

    /// When there is room for `cost` more units within `limit`, after `taken` more and if nobody else
    /// takes any: the first such step. `None` where there is room now, or never will be.
    pub(super) fn room(&self, taken: u64, cost: u64, limit: u64) -> Option<u64> {
        let mut missing = (self.used() + taken).checked_sub(limit.checked_sub(cost)?)?;
        for age in (0..=PAST).rev() {
            if missing == 0 {
                break;
            }
            missing = missing.saturating_sub(self.count(age, taken));
            if missing == 0 {
                return Some(self.leaves(age));
            }
        }
        None
    }

    /// When the next units leave the window after `taken` more: the first step without them. `None`
    /// where there are none.
    pub(super) fn relief(&self, taken: u64) -> Option<u64> {
        let oldest = (0..=PAST).rev().find(|&age| self.count(age, taken) > 0)?;
        Some(self.leaves(oldest))
    }

    const fn count(&self, age: usize, taken: u64) -> u64 {
        match age.checked_sub(1) {
            None => self.present + taken,
            Some(index) => self.past[index],
        }
    }

    const fn leaves(&self, age: usize) -> u64 {
        self.step + (PAST + 1 - age) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The counts of all steps, as on a server, and no memory.
    #[derive(Default)]
    struct Model(BTreeMap<u64, u64>);

    impl Model {
        fn count(&self, step: u64) -> u64 {
            self.0.get(&step).copied().unwrap_or(0)
        }

        fn used(&self, step: u64) -> u64 {
            (step - PAST as u64..=step).map(|it| self.count(it)).sum()
        }
    }

    #[test]
    fn what_is_remembered_and_what_is_asked_for_are_the_whole_past() {
        let mut random = fastrand::Rng::with_seed(5);
        let (mut window, mut model) = (Window::default(), Model::default());
        let (limit, mut step) = (20, 1000_u64);
        for _ in 0..20_000 {
            match random.u8(..8) {
                0 => step += random.u64(1..4),
                1 => step += random.u64(8..14),
                2 if random.u8(..50) == 0 => step -= random.u64(1..20),
                3 => window.doubt(),
                4 => window = Window::default(),
                // Somebody else takes.
                5 if model.used(step) < limit => *model.0.entry(step).or_default() += 1,
                _ => {
                    let asked = window.missing(step);
                    let missing: Vec<u64> = (1..=asked as u64)
                        .map(|age| model.count(step - age))
                        .collect();
                    let past = window.remembered(step) + missing.iter().sum::<u64>();
                    assert_eq!(past, model.used(step) - model.count(step));
                    let cost = random.u64(0..5);
                    if model.used(step) + cost <= limit {
                        *model.0.entry(step).or_default() += cost;
                    }
                    window.learn(step, model.count(step), &missing);
                    assert_eq!(window.missing(step), 0);
                    assert_eq!(window.used(), model.used(step));
                    // A server's clock that is set back brings old counts to life again: of what
                    // is to come nothing is known then.
                    if model.0.keys().next_back() <= Some(&step) {
                        let later = |fits: &dyn Fn(u64) -> bool| (step + 1..).find(|it| fits(*it));
                        let room = later(&|it| model.used(it) + cost <= limit);
                        let now = model.used(step) + cost <= limit;
                        assert_eq!(window.room(0, cost, limit), if now { None } else { room });
                        let used = model.used(step);
                        let relief = (used > 0).then(|| later(&|it| model.used(it) < used));
                        assert_eq!(window.relief(0), relief.flatten());
                    } else {
                        model.0.retain(|it, _| *it <= step);
                        window.doubt();
                    }
                }
            }
        }
    }

    #[test]
    fn a_cost_above_the_limit_never_finds_room() {
        let mut window = Window::default();
        window.learn(100, 3, &[0; PAST]);
        assert_eq!(window.room(0, 6, 5), None);
        assert_eq!(window.room(0, 5, 5), Some(111));
        assert_eq!(window.room(0, 2, 5), None);
        assert_eq!(window.room(0, u64::MAX, u64::MAX), Some(111));
    }

    #[test]
    fn a_limit_below_what_is_used_asks_for_as_much_to_leave() {
        let mut window = Window::default();
        window.learn(100, 3, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 4]);
        assert_eq!(window.room(0, 1, 8), Some(101));
        assert_eq!(window.room(0, 1, 4), Some(110));
        assert_eq!(window.room(0, 1, 1), Some(111));
        assert_eq!(window.relief(0), Some(101));
    }
}
