//! The pure machine: the quotas of one key, asked at a time that is an argument.

use std::{array, time::Duration};

use super::{
    front::{Offer, Taken},
    policy::Tier,
    quota::Rule,
    slot::Run,
    timeline::Timeline,
    usage::{Seek, Usage},
};
use crate::{QuotaStatus, Timestamp, keyed::Retention};

/// Quotas that one call can meet: those of its key and the one that all keys share.
pub(super) const MAX_QUOTAS: usize = 5;

/// What a call meets: the quotas of its key, and the quota that all keys share.
pub(super) type Cells<'a> = [Option<&'a mut Cell>; 2];

/// Where the marks of each of the two begin.
const MARKS: [usize; 2] = [0, MAX_QUOTAS - 1];

/// What one key has used of each of its quotas.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Cell {
    timeline: Timeline,
    /// One quota is the rule; more live on the heap.
    first: Usage,
    rest: Box<[Usage]>,
    /// Whose quotas these are.
    tier: Tier,
}

/// Units that were taken or booked: what it takes to give them back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Booking {
    pub(super) units: u64,
    marks: Marks,
}

#[derive(Clone, Copy, Debug)]
enum Marks {
    /// What the only quota said.
    One(u64),
    /// What each quota said.
    Each([u64; MAX_QUOTAS]),
    /// A place so many parts behind another, of which `unit` make one unit: few are ever asked
    /// for, and a division takes longer than to keep three numbers.
    Behind { place: u64, parts: u64, unit: u64 },
}

impl Booking {
    /// Units of a key with one quota, which counts them at `mark`.
    pub(super) const fn at(mark: u64, units: u64) -> Self {
        let marks = Marks::One(mark);
        Self { units, marks }
    }

    /// Units with which a caller joined a line that was [offered](Cell::offer) with its end at
    /// `place`.
    pub(super) const fn behind(place: u64, parts: u64, unit: u64, units: u64) -> Self {
        let marks = Marks::Behind { place, parts, unit };
        Self { units, marks }
    }

    fn marks(&self) -> [u64; MAX_QUOTAS] {
        match self.marks {
            Marks::One(mark) => [mark, 0, 0, 0, 0],
            Marks::Each(marks) => marks,
            Marks::Behind { place, parts, unit } => {
                [place.wrapping_add(parts / unit.max(1)), 0, 0, 0, 0]
            }
        }
    }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is room after this wait, and not before.
    Wait(Duration),
    /// One of the quotas is smaller than the call.
    NeverFits,
}

/// Takes `units` from every quota of `cells` or from none, with a wait of at most `max_wait`.
///
/// Says how long until they may be used, and where the call stands, refused or not.
pub(super) fn take(
    mut cells: Cells<'_>,
    now: Timestamp,
    units: u64,
    max_wait: Duration,
) -> (Result<(Booking, Duration), Refusal>, Standing) {
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
            let usages = cell.iter_mut().flat_map(|cell| cell.usages_mut());
            for ((now, usage), mark) in usages.zip(&mut marks[start..]) {
                *mark = usage.book(now, wait, units);
            }
        }
    }
    let marks = Marks::Each(marks);
    let booking = Booking { units, marks };
    let wait = Duration::from_nanos(wait);
    (Ok((booking, wait)), tightest(&cells).standing())
}

/// How long one unit would have to wait, and where the quotas stand.
pub(super) fn peek(mut cells: Cells<'_>, now: Timestamp) -> (Duration, Standing) {
    for cell in cells.iter_mut().flatten() {
        cell.move_to(now);
    }
    let wait = earliest(&cells, 1).map_or(u64::MAX, |(wait, _)| wait);
    (Duration::from_nanos(wait), tightest(&cells).standing())
}

/// Where the quotas stand.
#[cfg(feature = "http")]
pub(super) fn look(mut cells: Cells<'_>, now: Timestamp) -> Standing {
    for cell in cells.iter_mut().flatten() {
        cell.move_to(now);
    }
    tightest(&cells).standing()
}

/// Gives `booking` back to the quotas it was taken from.
pub(super) fn cancel(mut cells: Cells<'_>, now: Timestamp, booking: &Booking) {
    let marks = booking.marks();
    for (cell, start) in cells.iter_mut().zip(MARKS) {
        let Some(cell) = cell else { continue };
        cell.move_to(now);
        for ((_, usage), &mark) in cell.usages_mut().zip(&marks[start..]) {
            usage.cancel(mark, booking.units);
        }
    }
}

/// Gives `units` back, whichever they were.
pub(super) fn refund(mut cells: Cells<'_>, now: Timestamp, units: u64) {
    for cell in cells.iter_mut().flatten() {
        cell.move_to(now);
        for (now, usage) in cell.usages_mut() {
            usage.refund(now, units);
        }
    }
}

/// A state and the time on its cell's own timeline.
#[derive(Clone, Copy)]
struct At<'a>(u64, &'a Usage);

/// The shortest wait in nanoseconds after which `units` have room everywhere, and the quota that
/// is the last to have it; or a quota that never has.
fn earliest<'a>(cells: &'a Cells<'_>, units: u64) -> Result<(u64, At<'a>), At<'a>> {
    let usages = || cells.iter().flatten().flat_map(|cell| cell.usages());
    let first = usages().next().expect("a call meets a quota");
    if let Some(never) = usages().find(|it| units > it.1.rule.most) {
        return Err(never);
    }
    if usages().all(|it| units == 0 || it.1.fits(it.0, units)) {
        return Ok((0, first));
    }
    // Each quota in turn puts the call off until none does. No search ever goes back, so that
    // all of this passes over each entry once.
    let mut searches: [Option<(At<'a>, Seek<'a>)>; MAX_QUOTAS] = array::from_fn(|_| None);
    for (slot, it) in searches.iter_mut().zip(usages()) {
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
    let usages = cells.iter().flatten().flat_map(|cell| cell.usages());
    let least = usages.min_by_key(|it| it.1.remaining(it.0));
    least.expect("a call meets a quota")
}

impl At<'_> {
    fn standing(self) -> Standing {
        let Self(now, usage) = self;
        Standing {
            name: usage.rule.name,
            status: QuotaStatus {
                limit: usage.rule.limit,
                window: usage.rule.window(),
                remaining: usage.remaining(now),
            },
            next_back: Duration::from_nanos(usage.next_back(now)),
        }
    }
}

impl Cell {
    /// Nothing used yet of `rules`, of which there is one at least.
    pub(super) fn new(rules: impl IntoIterator<Item = Rule>, tier: Tier) -> Self {
        let mut usages = rules.into_iter().map(Usage::new);
        Self {
            timeline: Timeline::default(),
            first: usages.next().expect("a policy has a quota"),
            rest: usages.collect(),
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
        for ((now, usage), rule) in self.usages_mut().zip(rules) {
            usage.follow(now, rule);
        }
    }

    /// What callers may decide by themselves from the latest instant on, where one quota is all
    /// there is.
    pub(super) fn offer(&self) -> Option<(Timeline, Offer)> {
        if !self.rest.is_empty() {
            return None;
        }
        let offer = self.first.offer(self.timeline.latest)?;
        Some((self.timeline, offer))
    }

    /// What a quota held of which `run` is all that was used, as `timeline` has it.
    pub(super) fn of_run(run: Run, rule: Rule, timeline: Timeline) -> Self {
        Self {
            timeline,
            first: Usage::of_run(run, rule, timeline.latest),
            rest: Box::default(),
            tier: Tier::None,
        }
    }

    /// The run that is all that was used, where it is.
    pub(super) fn run(&self) -> Option<Run> {
        let alone = self.rest.is_empty() && self.tier == Tier::None;
        alone.then(|| self.first.run(self.timeline.latest))?
    }

    /// Goes by `timeline` from now on, which is ahead of its own.
    pub(super) const fn keep_time(&mut self, timeline: Timeline) {
        self.timeline = timeline;
    }

    /// The rule of the only quota that can be [offered](Self::offer).
    pub(super) const fn rule(&self) -> &Rule {
        &self.first.rule
    }

    /// Hears of what callers have taken by themselves since the latest instant, and until which
    /// one they came.
    pub(super) fn redeem(&mut self, taken: Option<Taken>, latest: u64) {
        if let Some(taken) = taken {
            self.first.redeem(self.timeline.latest, taken);
        }
        self.timeline.latest = self.timeline.latest.max(latest);
        self.forget();
    }

    /// Time has gone on, as far as the clock says.
    pub(super) fn move_to(&mut self, now: Timestamp) {
        self.timeline.move_to(now);
        self.forget();
    }

    /// How much would be lost with it now.
    pub(super) fn retention(&mut self) -> Retention {
        self.forget();
        let usages = self.usages().map(|At(now, usage)| usage.retention(now));
        usages.max().unwrap_or(Retention::Idle)
    }

    fn forget(&mut self) {
        for (now, usage) in self.usages_mut() {
            usage.forget(now);
        }
    }

    fn usages(&self) -> impl Iterator<Item = At<'_>> {
        let now = self.timeline.latest;
        let usages = std::iter::once(&self.first).chain(&self.rest);
        usages.map(move |usage| At(now, usage))
    }

    fn usages_mut(&mut self) -> impl Iterator<Item = (u64, &mut Usage)> {
        let now = self.timeline.latest;
        let usages = std::iter::once(&mut self.first).chain(&mut self.rest);
        usages.map(move |usage| (now, usage))
    }
}
