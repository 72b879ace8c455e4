//! The pure machine: the quotas of one key, asked at a time that is an argument.

use std::{array, time::Duration};

use super::{
    gcra::Gcra,
    log::{Log, Search},
    policy::Tier,
    quota::{Algorithm, Rule},
};
use crate::{
    QuotaStatus, Timestamp,
    keyed::{Retain, Retention},
};

/// Quotas that one call can meet: those of its key and the one that all keys share.
pub(super) const MAX_QUOTAS: usize = 5;

/// What a call meets: the quotas of its key, and the quota that all keys share.
pub(super) type Cells<'a> = [Option<&'a mut Cell>; 2];

/// Where the marks of each of the two begin.
const MARKS: [usize; 2] = [0, MAX_QUOTAS - 1];

/// What one key has used of each of its quotas.
#[derive(Debug)]
pub(super) struct Cell {
    timeline: Timeline,
    /// One quota is the rule; more live on the heap.
    first: State,
    rest: Box<[State]>,
    /// Whose quotas these are.
    tier: Tier,
}

/// Units that were taken or booked: what it takes to give them back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Booking {
    /// How long until they may be used.
    pub(super) wait: Duration,
    pub(super) units: u64,
    marks: [u64; MAX_QUOTAS],
}

/// Where the quota stands that leaves the least.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) name: &'static str,
    pub(super) status: QuotaStatus,
    /// How long until there is more.
    #[cfg_attr(not(feature = "http"), allow(dead_code, reason = "answers tell it"))]
    pub(super) next_back: Duration,
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    /// There is room after this wait, and not before.
    Wait(Duration),
    /// One of the quotas is smaller than the call.
    NeverFits,
}

/// Takes `units` from every quota of `cells` or from none, with a wait of at most `max_wait`.
///
/// Says where the call stands as well, refused or not.
pub(super) fn take(
    mut cells: Cells<'_>,
    now: Timestamp,
    units: u64,
    max_wait: Duration,
) -> (Result<Booking, Refusal>, Standing) {
    for cell in cells.iter_mut().flatten() {
        cell.move_to(now);
    }
    let (wait, slowest) = match earliest(&cells, units) {
        Ok(found) => found,
        Err(slowest) => return (Err(Refusal::NeverFits), slowest.standing()),
    };
    if wait > 0 && (Duration::from_nanos(wait) > max_wait || !is_reachable(&cells, wait)) {
        let refusal = Refusal::Wait(Duration::from_nanos(wait));
        return (Err(refusal), slowest.standing());
    }
    let mut marks = [0; MAX_QUOTAS];
    if units > 0 {
        for (cell, start) in cells.iter_mut().zip(MARKS) {
            let states = cell.iter_mut().flat_map(|cell| cell.states_mut());
            for ((now, state), mark) in states.zip(&mut marks[start..]) {
                *mark = state.book(now, wait, units);
            }
        }
    }
    let booking = Booking {
        wait: Duration::from_nanos(wait),
        units,
        marks,
    };
    (Ok(booking), tightest(&cells).standing())
}

/// How long one unit would have to wait, and where the quotas stand.
pub(super) fn peek(mut cells: Cells<'_>, now: Timestamp) -> (Duration, Standing) {
    for cell in cells.iter_mut().flatten() {
        cell.move_to(now);
    }
    let wait = earliest(&cells, 1).map_or(u64::MAX, |(wait, _)| wait);
    (Duration::from_nanos(wait), tightest(&cells).standing())
}

/// Gives `booking` back to the quotas it was taken from.
pub(super) fn cancel(mut cells: Cells<'_>, now: Timestamp, booking: &Booking) {
    for (cell, start) in cells.iter_mut().zip(MARKS) {
        let Some(cell) = cell else { continue };
        cell.move_to(now);
        for ((_, state), &mark) in cell.states_mut().zip(&booking.marks[start..]) {
            state.cancel(mark, booking.units);
        }
    }
}

/// Gives `units` back, whichever they were.
pub(super) fn refund(mut cells: Cells<'_>, now: Timestamp, units: u64) {
    for cell in cells.iter_mut().flatten() {
        cell.move_to(now);
        for (now, state) in cell.states_mut() {
            state.refund(now, units);
        }
    }
}

/// A state and the time on its cell's own timeline.
#[derive(Clone, Copy)]
struct At<'a>(u64, &'a State);

/// The shortest wait in nanoseconds after which `units` have room everywhere, and the quota that
/// is the last to have it; or a quota that never has.
fn earliest<'a>(cells: &'a Cells<'_>, units: u64) -> Result<(u64, At<'a>), At<'a>> {
    let states = || cells.iter().flatten().flat_map(|cell| cell.states());
    let first = states().next().expect("a call meets a quota");
    if let Some(never) = states().find(|it| units > it.1.rule.most) {
        return Err(never);
    }
    if states().all(|it| units == 0 || it.1.fits(it.0, units)) {
        return Ok((0, first));
    }
    // Each quota in turn puts the call off until none does. No search ever goes back, so that
    // all of this passes over each entry once.
    let mut searches: [Option<(At<'a>, Seek<'a>)>; MAX_QUOTAS] = array::from_fn(|_| None);
    for (slot, it) in searches.iter_mut().zip(states()) {
        *slot = Some((it, it.1.seek(it.0, units)));
    }
    let (mut wait, mut slowest) = (0, first);
    loop {
        let before = wait;
        for (at, search) in searches.iter_mut().flatten() {
            let later = search.from(wait);
            if later > wait {
                (wait, slowest) = (later, *at);
            }
        }
        if wait == before {
            return Ok((wait, slowest));
        }
    }
}

/// Whether the instant after `wait` lies before the end of time for every cell.
fn is_reachable(cells: &Cells<'_>, wait: u64) -> bool {
    let mut cells = cells.iter().flatten();
    wait < u64::MAX && cells.all(|cell| cell.timeline.latest.checked_add(wait).is_some())
}

/// The quota that leaves the least, the first of several.
fn tightest<'a>(cells: &'a Cells<'_>) -> At<'a> {
    let states = cells.iter().flatten().flat_map(|cell| cell.states());
    let least = states.min_by_key(|it| it.1.remaining(it.0));
    least.expect("a call meets a quota")
}

impl At<'_> {
    fn standing(self) -> Standing {
        let Self(now, state) = self;
        Standing {
            name: state.rule.name,
            status: QuotaStatus {
                limit: state.rule.limit,
                window: state.rule.window(),
                remaining: state.remaining(now),
            },
            next_back: Duration::from_nanos(state.next_back(now)),
        }
    }
}

impl Cell {
    /// Nothing used yet of `rules`, of which there is one at least.
    pub(super) fn new(rules: impl IntoIterator<Item = Rule>, tier: Tier) -> Self {
        let mut states = rules.into_iter().map(State::new);
        Self {
            timeline: Timeline::default(),
            first: states.next().expect("a policy has a quota"),
            rest: states.collect(),
            tier,
        }
    }

    pub(super) const fn tier(&self) -> Tier {
        self.tier
    }

    /// Goes on under other rules, as many as before; what was used stays used.
    pub(super) fn follow(
        &mut self,
        now: Timestamp,
        rules: impl IntoIterator<Item = Rule>,
        tier: Tier,
    ) {
        self.move_to(now);
        self.tier = tier;
        for ((now, state), rule) in self.states_mut().zip(rules) {
            state.follow(now, rule);
        }
    }

    fn move_to(&mut self, now: Timestamp) {
        self.timeline.move_to(now.as_nanos());
        for (now, state) in self.states_mut() {
            state.forget(now);
        }
    }

    fn states(&self) -> impl Iterator<Item = At<'_>> {
        let now = self.timeline.latest;
        let states = std::iter::once(&self.first).chain(&self.rest);
        states.map(move |state| At(now, state))
    }

    fn states_mut(&mut self) -> impl Iterator<Item = (u64, &mut State)> {
        let now = self.timeline.latest;
        let states = std::iter::once(&mut self.first).chain(&mut self.rest);
        states.map(move |state| (now, state))
    }
}

impl Retain for Cell {
    fn retention(&mut self, now: Timestamp) -> Retention {
        self.move_to(now);
        let states = self.states().map(|At(now, state)| state.retention(now));
        states.max().unwrap_or(Retention::Idle)
    }
}

/// Time as one cell sees it: it never goes back.
///
/// Callers read the clock before they get the lock, so that a little disorder is normal: time
/// stands still until the clock has caught up. A clock that falls back further was set, and time
/// goes on from the latest instant seen, since nobody shall wait for what a broken clock said.
#[derive(Debug, Default)]
struct Timeline {
    latest: u64,
    /// What to add to the clock.
    lag: u64,
}

/// How far the clock may fall back and be waited for: no thread stands longer between reading the
/// clock and getting a lock.
const DISORDER: u64 = 1_000_000_000;

impl Timeline {
    fn move_to(&mut self, clock: u64) {
        let now = clock.saturating_add(self.lag);
        let behind = self.latest.saturating_sub(now);
        if behind > DISORDER {
            self.lag = self.lag.saturating_add(behind);
        }
        self.latest = self.latest.max(now);
    }
}

/// What was used of one quota.
#[derive(Debug)]
struct State {
    rule: Rule,
    used: Used,
}

#[derive(Debug)]
enum Used {
    Log(Log),
    Gcra(Gcra),
}

/// A search through one quota.
#[derive(Debug)]
enum Seek<'a> {
    Log(Search<'a>),
    Gcra(u64),
}

impl Seek<'_> {
    fn from(&mut self, wait: u64) -> u64 {
        match self {
            Self::Log(search) => search.from(wait),
            Self::Gcra(earliest) => wait.max(*earliest),
        }
    }
}

impl State {
    fn new(rule: Rule) -> Self {
        let used = match rule.algorithm {
            Algorithm::SlidingLog | Algorithm::SlidingWindow => Used::Log(Log::default()),
            Algorithm::Gcra => Used::Gcra(Gcra::default()),
        };
        Self { rule, used }
    }

    fn forget(&mut self, now: u64) {
        match &mut self.used {
            Used::Log(log) => log.forget(now, &self.rule),
            Used::Gcra(gcra) => gcra.drain(now, &self.rule),
        }
    }

    fn fits(&self, now: u64, units: u64) -> bool {
        match &self.used {
            Used::Log(log) => {
                log.peak(now, &self.rule) + u128::from(units) <= u128::from(self.rule.limit)
            }
            Used::Gcra(gcra) => gcra.fits(units, &self.rule),
        }
    }

    fn seek(&self, now: u64, units: u64) -> Seek<'_> {
        match &self.used {
            Used::Log(log) => Seek::Log(log.search(now, &self.rule, units)),
            Used::Gcra(gcra) => Seek::Gcra(gcra.wait(units, &self.rule)),
        }
    }

    fn remaining(&self, now: u64) -> u64 {
        match &self.used {
            Used::Log(log) => {
                let peak = u64::try_from(log.peak(now, &self.rule)).unwrap_or(u64::MAX);
                self.rule.limit.saturating_sub(peak)
            }
            Used::Gcra(gcra) => gcra.remaining(&self.rule),
        }
    }

    fn next_back(&self, now: u64) -> u64 {
        match &self.used {
            Used::Log(log) => log.next_back(now, &self.rule),
            Used::Gcra(gcra) => gcra.next_back(&self.rule),
        }
    }

    /// Counts units, and says what `cancel` wants to know of them.
    fn book(&mut self, now: u64, wait: u64, units: u64) -> u64 {
        let at = now.saturating_add(wait);
        match &mut self.used {
            Used::Log(log) => {
                log.book(at, units, &self.rule);
                at
            }
            Used::Gcra(gcra) => gcra.book(wait, units, &self.rule),
        }
    }

    fn cancel(&mut self, mark: u64, units: u64) {
        match &mut self.used {
            Used::Log(log) => log.cancel(mark, units),
            Used::Gcra(gcra) => gcra.cancel(mark, units, &self.rule),
        }
    }

    fn refund(&mut self, now: u64, units: u64) {
        match &mut self.used {
            Used::Log(log) => log.refund(now, units),
            Used::Gcra(gcra) => gcra.refund(units, &self.rule),
        }
    }

    /// Goes on under `rule`. What was forgotten under the old rule stays forgotten.
    fn follow(&mut self, now: u64, rule: Rule) {
        let old = std::mem::replace(&mut self.rule, rule);
        let changed = match (&mut self.used, rule.algorithm) {
            (Used::Log(_), Algorithm::SlidingLog | Algorithm::SlidingWindow) => None,
            (Used::Gcra(gcra), Algorithm::Gcra) => {
                gcra.follow(&old, &rule);
                None
            }
            (Used::Log(log), Algorithm::Gcra) => {
                let units = u64::try_from(log.peak(now, &old)).unwrap_or(u64::MAX);
                Some(Used::Gcra(Gcra::with_units(now, units, &rule)))
            }
            (Used::Gcra(gcra), Algorithm::SlidingLog | Algorithm::SlidingWindow) => {
                let mut log = Log::default();
                match gcra.units(&old) {
                    0 => {}
                    units => log.book(now, units, &rule),
                }
                Some(Used::Log(log))
            }
        };
        if let Some(used) = changed {
            self.used = used;
        }
    }

    fn retention(&self, now: u64) -> Retention {
        let empty = match &self.used {
            Used::Log(log) => log.is_empty(),
            Used::Gcra(gcra) => gcra.is_empty(),
        };
        if empty {
            return Retention::Idle;
        }
        match self.remaining(now) {
            0 => Retention::Pinned,
            remaining => {
                let used = self.rule.most.saturating_sub(remaining);
                let share = u128::from(used) * SHARE / u128::from(self.rule.most);
                Retention::Used(u64::try_from(share).unwrap_or(u64::MAX))
            }
        }
    }
}

/// In what a used share is counted, so that keys of several tiers compare.
const SHARE: u128 = 1 << 20;
