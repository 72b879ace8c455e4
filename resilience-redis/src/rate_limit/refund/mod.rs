//! Units that go back.

mod leases;
mod refunds;
mod send;

use std::sync::Arc;

use redis::{Cmd, RedisWrite as _};

use crate::rate_limit::{
    line::{Entry, Unused},
    quota::{Kind, PAST, Rule},
};

pub(in crate::rate_limit) use self::{leases::Leases, refunds::Refunds};

/// Units of one key that go back to each of its quotas.
#[derive(Debug)]
pub(super) struct Refund {
    /// Whoever knows of the key here, and must hear when the units are back.
    entry: Option<Arc<Entry>>,
    units: u64,
    /// When they were taken, microseconds; 0 where nobody knows.
    taken: u64,
    /// What to take from of each quota.
    counts: Box<[Counts]>,
    /// Whether nobody used the units, which were taken ahead.
    is_lease: bool,
}

/// The counts of one quota.
#[derive(Debug)]
struct Counts {
    /// From the oldest to the youngest.
    keys: Box<[String]>,
    /// The step that the first is of.
    first: u64,
}

impl Counts {
    fn new(name: &str, rule: &Rule, first: u64, last: u64) -> Self {
        let key = |step| name.to_owned() + &rule.suffix(step);
        Self {
            keys: (first..=last).map(key).collect(),
            first,
        }
    }
}

impl Refund {
    /// Gives back just what was taken at `taken` by the server's clock.
    pub(super) fn exact(entry: &Arc<Entry>, units: u64, rules: &[Rule], taken: u64) -> Self {
        let counts = |rule: &Rule| {
            let step = rule.step(taken);
            Counts::new(entry.name(), rule, step, step)
        };
        Self {
            entry: Some(Arc::clone(entry)),
            units,
            taken,
            counts: rules.iter().map(counts).collect(),
            is_lease: false,
        }
    }

    /// Gives back what was taken ahead.
    pub(super) fn unused(entry: &Arc<Entry>, unused: Unused, rules: &[Rule]) -> Self {
        Self {
            is_lease: true,
            ..Self::exact(entry, unused.units, rules, unused.taken)
        }
    }

    /// Gives back the oldest units that count: those would be back the soonest, so that no window
    /// can hold too much, whichever were meant. The server read `now` not long ago.
    pub(super) fn oldest(name: &str, units: u64, rules: &[Rule], now: u64) -> Self {
        let counts = |rule: &Rule| {
            let present = rule.step(now);
            let (first, last) = match rule.kind {
                Kind::Window { .. } => (present.saturating_sub(PAST as u64), present + AHEAD),
                Kind::Log { .. } | Kind::Cells { .. } => (present, present),
            };
            Counts::new(name, rule, first, last)
        };
        Self {
            entry: None,
            units,
            taken: 0,
            counts: rules.iter().map(counts).collect(),
            is_lease: false,
        }
    }

    /// Whose units they are, where that is known here: once they are back, as far as is known, who was
    /// refused for want of them meanwhile is not to be refused until the time that the server named then.
    pub(super) const fn entry(&self) -> Option<&Arc<Entry>> {
        self.entry.as_ref()
    }

    /// Units that were taken ahead and that nobody used.
    pub(super) const fn leased(&self) -> u64 {
        if self.is_lease { self.units } else { 0 }
    }

    /// Every key that something may be taken from.
    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.counts.iter().flat_map(|counts| &counts.keys)
    }

    /// A name with the hash tag of the key.
    pub(super) fn name(&self) -> &str {
        &self.counts[0].keys[0]
    }
}

/// Writes the keys and arguments of the script that gives `refunds` back.
pub(super) fn write(rules: &[Rule], refunds: &[Refund], command: &mut Cmd) {
    let keys = || refunds.iter().flat_map(Refund::keys);
    command.arg(keys().count());
    keys().for_each(|key| command.write_arg(key.as_bytes()));
    command.arg(rules.len());
    for rule in rules {
        let length = match rule.kind {
            Kind::Window { step } => step,
            Kind::Log { length } | Kind::Cells { length } => length,
        };
        command.arg(rule.kind.word()).arg(length);
    }
    for refund in refunds {
        command.arg(refund.units).arg(refund.taken);
        for counts in &refund.counts {
            command.arg(counts.keys.len());
            if refund.taken == 0 {
                command.arg(counts.first);
            }
        }
    }
}

/// Steps that may begin until the server has the question.
const AHEAD: u64 = 16;
