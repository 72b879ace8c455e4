//! Units that go back.

use std::sync::Arc;

use redis::{Cmd, RedisWrite as _};

use super::{
    lease::Unused,
    rules::{Kind, Rule},
    table::Entry,
    window::PAST,
};

/// Units of one key that go back to each of its quotas.
#[derive(Debug)]
pub(super) struct Refund {
    /// Whoever knows of the key here, and must hear when the units are back.
    entry: Option<Arc<Entry>>,
    units: u64,
    /// When they were taken, microseconds; 0 where nobody knows.
    taken: u64,
    /// For each quota the keys to take from, in this order.
    keys: Box<[Box<[String]>]>,
    /// Whether nobody used the units, which were taken ahead.
    is_lease: bool,
}

impl Refund {
    /// Gives back just what was taken at `taken` by the server's clock.
    pub(super) fn exact(entry: &Arc<Entry>, units: u64, rules: &[Rule], taken: u64) -> Self {
        let key = |rule: &Rule| -> Box<[String]> {
            Box::new([entry.name().to_owned() + &rule.suffix(rule.step(taken))])
        };
        Self {
            entry: Some(Arc::clone(entry)),
            units,
            taken,
            keys: rules.iter().map(key).collect(),
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

    /// Gives back the oldest units that count at `now` by the server's clock: those would be back
    /// the soonest, so that no window can hold too much, whichever were meant.
    pub(super) fn oldest(name: &str, units: u64, rules: &[Rule], now: u64) -> Self {
        let keys = |rule: &Rule| {
            let last = rule.step(now);
            let first = match rule.kind {
                Kind::Window { .. } => last.saturating_sub(PAST as u64),
                Kind::Log { .. } | Kind::Cells { .. } => last,
            };
            (first..=last)
                .map(|step| name.to_owned() + &rule.suffix(step))
                .collect()
        };
        Self {
            entry: None,
            units,
            taken: 0,
            keys: rules.iter().map(keys).collect(),
            is_lease: false,
        }
    }

    /// The units are back, as far as is known: who was refused for want of them meanwhile is not to
    /// be refused until the time that the server named then.
    pub(super) fn is_back(&self) {
        if let Some(entry) = &self.entry {
            entry.line().doubt();
        }
    }

    /// Units that were taken ahead and that nobody used.
    pub(super) const fn leased(&self) -> u64 {
        if self.is_lease { self.units } else { 0 }
    }

    /// Every key that something may be taken from.
    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.keys.iter().flatten()
    }

    /// A name with the hash tag of the key.
    pub(super) fn name(&self) -> &str {
        &self.keys[0][0]
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
        refund.keys.iter().for_each(|keys| {
            command.arg(keys.len());
        });
    }
}
