//! Where the cells of a call are.

use std::{borrow::Borrow, hash::Hash};

use super::{Shared, Whose, whose::has_keys};
use crate::{
    Timestamp,
    rate_limit::{cell::Cell, policy::Tier, state::Cells},
    sync::lock,
};

impl<K: Hash + Eq + Clone + Send + 'static> Shared<K> {
    /// Lets `act` work on the cells of a call, which are made where they are missing.
    pub(super) fn visit<Q, R>(
        &self,
        whose: Whose<&Q>,
        now: Timestamp,
        act: impl FnOnce(Cells<'_>) -> R,
    ) -> R
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        match whose {
            Whose::Key(key) if has_keys::<K>() => {
                let tier = self.tier_of(key);
                let make = || self.new_cell(tier);
                self.keys.with(key, now, make, |cell| {
                    self.update_tier(cell, now, tier);
                    self.with_global(Some(cell), act)
                })
            }
            Whose::Key(_) | Whose::Nobody => {
                self.keyless.with(|cell| self.with_global(Some(cell), act))
            }
            Whose::Exempt => self.with_global(None, act),
        }
    }

    /// Lets `act` work on the cells of a call as far as they are there.
    pub(super) fn look<Q, R>(
        &self,
        whose: Whose<&Q>,
        now: Timestamp,
        act: impl FnOnce(Cells<'_>) -> R,
    ) -> R
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        match whose {
            Whose::Key(key) if has_keys::<K>() => {
                let keys = &self.keys;
                keys.peek(key, now, |cell| self.with_global(cell, act))
            }
            Whose::Key(_) | Whose::Nobody => {
                self.keyless.with(|cell| self.with_global(Some(cell), act))
            }
            Whose::Exempt => self.with_global(None, act),
        }
    }

    fn with_global<R>(&self, own: Option<&mut Cell>, act: impl FnOnce(Cells<'_>) -> R) -> R {
        let mut global = self.global.as_ref().map(lock);
        act([own, global.as_deref_mut()])
    }

    pub(super) fn new_cell(&self, tier: Tier) -> Cell {
        Cell::new(lock(&self.rules).of_tier(tier), tier)
    }

    pub(super) fn update_tier(&self, cell: &mut Cell, now: Timestamp, tier: Tier) {
        if cell.tier() != tier {
            self.update_rules(cell, now, tier);
        }
    }

    pub(super) fn update_rules(&self, cell: &mut Cell, now: Timestamp, tier: Tier) {
        let rules = lock(&self.rules);
        cell.follow(now, rules.of_tier(tier), tier);
    }

    /// Asks the closure of [`with_tiers`](super::RateLimiter::with_tiers), where there is one.
    pub(super) fn tier_of<Q>(&self, key: &Q) -> Tier
    where
        Q: ToOwned<Owned = K> + ?Sized,
    {
        match &self.tier_of {
            None => Tier::None,
            Some(tier_of) => {
                let name = tier_of(&key.to_owned());
                let index = self.tiers.iter().position(|tier| *tier == name);
                index.map_or(Tier::None, Tier::Index)
            }
        }
    }
}
