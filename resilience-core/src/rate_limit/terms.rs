use std::time::Duration;

use super::{
    policy::{Charge, MissingKey, Mode, Policy},
    quota::{Algorithm, Rule},
};
use crate::InvalidPolicy;

/// A checked policy in the words of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Terms {
    /// The quotas of each key, one to four: a call takes from all of them or from none.
    pub quotas: Vec<Term>,
    /// The tiers by their names, which differ, and the quota that keys of each have in place of the
    /// first.
    pub tiers: Vec<(&'static str, Term)>,
    /// The quota that all keys share: a call takes from it and from its key's, or from none.
    pub global: Option<Term>,
    /// How long a call may wait for its units.
    pub max_wait: Duration,
    /// How many keys to remember in this process; never zero.
    pub capacity: usize,
    /// Whether the policy refuses.
    pub mode: Mode,
    /// What becomes of a request that names no key.
    pub missing_key: MissingKey,
    /// Which calls are charged.
    pub charge: Charge,
}

/// A quota in the words of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Term {
    /// What refusals call it.
    pub name: &'static str,
    /// Units in one window; never zero.
    pub limit: u64,
    /// Length of the window; never zero.
    pub window: Duration,
    /// Units that an idle key can take at once; never zero.
    pub burst: u64,
    /// How units are counted.
    pub algorithm: Algorithm,
}

impl Policy {
    /// The policy in the words of a store, which keeps the counts and decides by rules of its own.
    ///
    /// # Errors
    ///
    /// What is wrong with the policy.
    pub fn terms(&self) -> Result<Terms, InvalidPolicy> {
        let checked = self.clone().check()?;
        let tiers = checked.rules.tiers.into_iter();
        Ok(Terms {
            quotas: checked.rules.quotas.into_iter().map(Term::of).collect(),
            tiers: tiers.map(|(name, rule)| (name, Term::of(rule))).collect(),
            global: checked.rules.global.map(Term::of),
            max_wait: checked.max_wait,
            capacity: checked.capacity,
            mode: checked.mode,
            missing_key: checked.missing_key,
            charge: checked.charge,
        })
    }
}

impl Term {
    const fn of(rule: Rule) -> Self {
        Self {
            name: rule.name,
            limit: rule.limit,
            window: rule.window(),
            burst: rule.most,
            algorithm: rule.algorithm,
        }
    }
}
