//! What one key has used of each of its quotas.

use super::{
    front::{Offer, Taken},
    policy::Tier,
    quota::Rule,
    run::Run,
    timeline::Timeline,
    usage::Usage,
};
use crate::{Timestamp, keyed::Retention};

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

/// A usage and the time on its cell's own timeline.
#[derive(Clone, Copy)]
pub(super) struct At<'a>(pub(super) u64, pub(super) &'a Usage);

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
        if taken.is_none() && latest <= self.timeline.latest {
            return;
        }
        if let Some(taken) = taken {
            self.first.redeem(self.timeline.latest, taken);
        }
        self.timeline.latest = self.timeline.latest.max(latest);
        self.forget();
    }

    /// Whether there is an instant so long after the latest one.
    pub(super) fn reaches(&self, wait: u64) -> bool {
        self.timeline.latest.checked_add(wait).is_some()
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

    pub(super) fn usages(&self) -> impl Iterator<Item = At<'_>> {
        let now = self.timeline.latest;
        let usages = std::iter::once(&self.first).chain(&self.rest);
        usages.map(move |usage| At(now, usage))
    }

    pub(super) fn usages_mut(&mut self) -> impl Iterator<Item = (u64, &mut Usage)> {
        let now = self.timeline.latest;
        let usages = std::iter::once(&mut self.first).chain(&mut self.rest);
        usages.map(move |usage| (now, usage))
    }
}
