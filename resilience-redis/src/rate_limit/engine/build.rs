//! The engines of one limiter: one asks for keys that are in no tier, one for those of each, and where
//! there is a quota of all keys one for that.
//!
//! What they count on the server goes by window and algorithm alone: whatever tier a key is in, its
//! counts of one quota are the same. What all keys take is counted apart, under a name that no key has.

use std::sync::Arc;

use resilience_core::{
    InvalidPolicy,
    rate_limit::{Policy, Terms},
};

use super::{Engine, Site};
use crate::{
    RedisStore, key,
    rate_limit::{
        fallback::{Share, Stake, Whose, register},
        options::Options,
        quota::{Kind, Rule, rules},
        tiers::Tier,
    },
};

/// The engine of keys that are in no tier, which has the others.
pub(in crate::rate_limit) fn build(
    policy: &Policy,
    store: &RedisStore,
    options: &Options,
) -> Result<Arc<Engine>, InvalidPolicy> {
    let terms = policy.terms()?;
    let rules = Rules::of(&terms)?;
    rules.each().try_for_each(|it| check_leases(options, it))?;
    let prefix = store.connection().settings().key_prefix();
    let nodes = key::start(prefix, NODES, policy.name())? + "}";
    let share = Arc::new(Share::new(&terms, &options.environment)?);
    let engine = |kind, rules, whose| {
        let site = Site {
            name: policy.name(),
            key_start: key::start(prefix, kind, policy.name())?,
            store,
            options,
            terms: &terms,
        };
        let stake = Stake::new(Arc::clone(&share), whose);
        Ok(Engine::new(site, rules, stake))
    };
    let of_all = |rules| engine(KIND_OF_ALL, rules, Whose::All).map(Arc::new);
    let global = rules.global.map(of_all).transpose()?;
    let of_keys = |rules, tier| {
        let mut engine = engine(KIND, rules, Whose::Keys(tier))?;
        engine.global.clone_from(&global);
        Ok(engine)
    };
    let names = terms.tiers.iter().map(|(name, _)| *name);
    let tier = |(index, (name, rules))| {
        let engine = of_keys(rules, Tier::Index(index))?;
        Ok((name, Arc::new(engine)))
    };
    let tiers = names.zip(rules.tiers).enumerate().map(tier);
    let tiers = tiers.collect::<Result<_, _>>()?;
    let mut own = of_keys(rules.own, Tier::None)?;
    own.tiers = tiers;
    register::keep(store, nodes, &share, &options.environment);
    Ok(Arc::new(own))
}

/// The rules of each engine.
struct Rules {
    own: Box<[Rule]>,
    tiers: Vec<Box<[Rule]>>,
    global: Option<Box<[Rule]>>,
}

impl Rules {
    fn of(terms: &Terms) -> Result<Self, InvalidPolicy> {
        let tier = |(_, first): &(_, _)| {
            let rest = terms.quotas.iter().skip(1);
            rules([first].into_iter().chain(rest))
        };
        Ok(Self {
            own: rules(&terms.quotas)?,
            tiers: terms.tiers.iter().map(tier).collect::<Result<_, _>>()?,
            global: terms
                .global
                .iter()
                .map(|it| rules([it]))
                .next()
                .transpose()?,
        })
    }

    /// Those of keys that are in no tier, of each tier, and of all keys.
    fn each(&self) -> impl Iterator<Item = &[Rule]> {
        let others = self.tiers.iter().chain(&self.global);
        std::iter::once(&*self.own).chain(others.map(|rules| &**rules))
    }
}

impl Engine {
    /// This engine of keys that are in no tier, and those of each tier.
    pub(in crate::rate_limit) fn of_keys(&self) -> impl Iterator<Item = &Self> {
        let tiers = self.tiers.iter().map(|(_, engine)| &**engine);
        std::iter::once(self).chain(tiers)
    }

    /// These, and where there is one that of all keys.
    pub(in crate::rate_limit) fn engines(&self) -> impl Iterator<Item = &Self> {
        self.of_keys().chain(self.global.as_deref())
    }

    /// The engine for keys of the tier `name`: this one, where there is no such tier.
    pub(in crate::rate_limit) fn of_tier<'a>(self: &'a Arc<Self>, name: &str) -> &'a Arc<Self> {
        let tier = self.tiers.iter().find(|(tier, _)| *tier == name);
        tier.map_or(self, |(_, engine)| engine)
    }

    pub(in crate::rate_limit) fn reconfigure(&self, policy: &Policy) -> Result<(), InvalidPolicy> {
        let fixed = |field| InvalidPolicy::new(field, "cannot change while in use");
        let terms = policy.terms()?;
        let new = Rules::of(&terms)?;
        if policy.name() != self.name {
            return Err(fixed("name"));
        }
        let old = self.tiers.iter().map(|(name, _)| *name);
        let are_named_alike = old.eq(terms.tiers.iter().map(|(name, _)| *name));
        let old = self.engines().map(|engine| kinds(engine.lane.rules()));
        if !are_named_alike || !old.eq(new.each().map(kinds)) {
            return Err(fixed("quotas"));
        }
        let old = self.engines().map(|engine| names(engine.lane.rules()));
        if !old.eq(new.each().map(names)) {
            return Err(fixed("named"));
        }
        if let Some(field) = self.stake.fixed_field(&terms) {
            return Err(fixed(field));
        }
        let _changing = self.changing.lock();
        self.stake.follow(&terms)?;
        for (engine, rules) in self.engines().zip(new.each()) {
            engine.follow(rules, &terms);
        }
        Ok(())
    }
}

/// How each quota is counted.
fn kinds(rules: &[Rule]) -> Vec<Kind> {
    rules.iter().map(|rule| rule.kind).collect()
}

/// What each quota is called in refusals.
fn names(rules: &[Rule]) -> Vec<&'static str> {
    rules.iter().map(|rule| rule.name).collect()
}

fn check_leases(options: &Options, rules: &[Rule]) -> Result<(), InvalidPolicy> {
    let invalid = |problem| Err(InvalidPolicy::new("lease_up_to", problem));
    match options.lease_percent {
        0 => Ok(()),
        101.. => invalid("must be 0 to 100 percent of the limit"),
        _ if rules.iter().any(|rule| rule.step_length().is_none()) => {
            invalid("is for sliding windows: others have no steps in which a unit may be used late")
        }
        _ => Ok(()),
    }
}

/// What stands in a key after the prefix, for a rate limit.
const KIND: &str = "rl";
/// What stands there for what all keys of it take.
const KIND_OF_ALL: &str = "rl-all";
/// What stands there for the processes that have the limiter.
const NODES: &str = "nodes";
