//! Quotas as whoever remembers every unit would count them.

/// `length` of a window is that of its steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    pub(super) kind: &'static str,
    pub(super) limit: u64,
    pub(super) length: u64,
    pub(super) burst: u64,
}

pub(super) const fn quota(kind: &'static str, limit: u64, length: u64, burst: u64) -> Quota {
    Quota {
        kind,
        limit,
        length,
        burst,
    }
}

/// Remembers every unit, and counts them all again at each question.
pub(super) struct Model {
    pub(super) quotas: Vec<Quota>,
    /// When each unit was taken that was not given back, for each quota.
    pub(super) taken: Vec<Vec<u64>>,
    /// For cells: the level, and when.
    pub(super) level: Vec<(u64, u64)>,
}

impl Model {
    pub(super) fn new(quotas: &[Quota]) -> Self {
        Self {
            quotas: quotas.to_vec(),
            taken: vec![Vec::new(); quotas.len()],
            level: vec![(0, 0); quotas.len()],
        }
    }

    pub(super) fn counts(quota: Quota, at: u64, now: u64) -> bool {
        match quota.kind {
            "window" => now / quota.length - at / quota.length <= 10,
            _ => now - at < quota.length,
        }
    }

    pub(super) fn used(&self, index: usize, now: u64) -> u64 {
        let counts = |at: &&u64| Self::counts(self.quotas[index], **at, now);
        self.taken[index].iter().filter(counts).count() as u64
    }

    pub(super) fn level(&self, index: usize, now: u64) -> u64 {
        let (level, since) = self.level[index];
        level.saturating_sub((now - since) * self.quotas[index].limit)
    }

    pub(super) fn has_room(&self, cost: u64, now: u64) -> bool {
        let all = self.quotas.iter().enumerate();
        all.into_iter().all(|(index, quota)| match quota.kind {
            "cells" => self.level(index, now) + cost * quota.length <= quota.burst * quota.length,
            _ => self.used(index, now) + cost <= quota.limit,
        })
    }

    pub(super) fn take(&mut self, cost: u64, now: u64) -> bool {
        let granted = self.has_room(cost, now);
        if granted {
            for (index, quota) in self.quotas.iter().enumerate() {
                self.taken[index].extend((0..cost).map(|_| now));
                self.level[index] = (self.level(index, now) + cost * quota.length, now);
            }
        }
        granted
    }

    pub(super) fn refund(&mut self, units: u64, now: u64) {
        for (index, quota) in self.quotas.iter().enumerate() {
            let quota = *quota;
            self.taken[index].retain(|at| Self::counts(quota, *at, now));
            let back = self.taken[index].len().min(units as usize);
            self.taken[index].drain(..back);
            // What drained meanwhile is not known to whoever gives back: the level then is meant.
            let (level, since) = self.level[index];
            self.level[index] = (level.saturating_sub(units * quota.length), since);
        }
    }

    /// What stands now, as the scripts tell it.
    pub(super) fn before(&self, now: u64) -> Vec<Vec<u64>> {
        let all = self.quotas.iter().enumerate();
        let tell = |(index, quota): (usize, &Quota)| match quota.kind {
            "window" => {
                let step = now / quota.length;
                let count = |age| {
                    let inside = |at: &&u64| **at / quota.length == step - age;
                    self.taken[index].iter().filter(inside).count() as u64
                };
                (0..=10).map(count).collect()
            }
            "log" => {
                let mut counting = self.taken[index].iter();
                let oldest = counting.find(|at| Self::counts(*quota, **at, now));
                vec![self.used(index, now), oldest.copied().unwrap_or(0)]
            }
            _ => vec![self.level(index, now)],
        };
        all.map(tell).collect()
    }

    /// The most units in any window of a quota.
    pub(super) fn fullest_window(&self, index: usize) -> u64 {
        let quota = self.quotas[index];
        let length = if quota.kind == "window" {
            10 * quota.length
        } else {
            quota.length
        };
        let window = |&end: &u64| {
            let inside = |&&at: &&u64| at <= end && end - at < length;
            self.taken[index].iter().filter(inside).count() as u64
        };
        self.taken[index].iter().map(window).max().unwrap_or(0)
    }
}
