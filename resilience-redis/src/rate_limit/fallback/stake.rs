//! What an engine has of this process' share: the parts of its quotas, for the keys of its tier.

use std::{ops::Deref, sync::Arc, time::Duration};

use resilience_core::{QuotaStatus, Reason, Rejected, Timestamp, rate_limit::Reservation};

use super::{
    part::{Key, Part},
    share::Share,
};
use crate::rate_limit::tiers::Tier;

/// A share, and whose part of it is meant.
#[derive(Clone, Debug)]
pub(in crate::rate_limit) struct Stake {
    share: Arc<Share>,
    whose: Whose,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::rate_limit) enum Whose {
    /// Keys of a tier, or of none.
    Keys(Tier),
    /// The quota that all keys share.
    All,
}

/// Units that were taken of the parts of some quotas.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::rate_limit) struct Parts {
    units: u64,
    /// A bit for the place of each quota.
    quotas: u8,
}

impl Parts {
    #[inline]
    pub(in crate::rate_limit) const fn is_empty(&self) -> bool {
        self.quotas == 0
    }
}

impl Stake {
    pub(in crate::rate_limit) const fn new(share: Arc<Share>, whose: Whose) -> Self {
        Self { share, whose }
    }

    /// The whole fleet has used so much of the key `name`, of each quota.
    pub(in crate::rate_limit) fn seed(&self, name: &str, used: impl IntoIterator<Item = u64>) {
        let (key, nodes) = (self.key(name), self.nodes());
        for (part, used) in self.parts().iter().zip(used) {
            part.seed(&key, used.div_ceil(nodes));
        }
    }

    /// Nothing of the key `name` is used any more.
    pub(in crate::rate_limit) fn forget(&self, name: &str) {
        let key = self.key(name);
        let parts = self.parts().iter();
        parts.for_each(|part| part.refund(&key, u64::MAX));
    }

    /// Gives back what was taken of the key `name`. Which units these are nobody can know: the oldest,
    /// which would be back the soonest.
    pub(in crate::rate_limit) fn give_back(&self, name: &str, taken: Parts) {
        if taken.is_empty() {
            return;
        }
        let key = self.key(name);
        for (index, part) in self.parts().iter().enumerate() {
            if taken.quotas & (1 << index) != 0 {
                part.refund(&key, taken.units);
            }
        }
    }

    /// Takes `units` of the key `name` from the parts of those quotas that are `meant`, by their
    /// places, or from none; says where the tightest of them stands, if any is meant, and what it took.
    pub(in crate::rate_limit) fn take(
        &self,
        name: &str,
        units: u64,
        meant: impl Fn(usize) -> bool,
    ) -> Result<(Option<QuotaStatus>, Parts), Rejected> {
        let (key, mut taken, mut refused) = (self.key(name), Vec::new(), Vec::new());
        let mut quotas = 0;
        for (index, part) in self.parts().iter().enumerate() {
            if meant(index) {
                quotas |= 1 << index;
                match part.take(&key, units) {
                    Ok(reservation) => taken.push(reservation),
                    Err(rejected) => refused.push(rejected),
                }
            }
        }
        let Some(slowest) = refused.into_iter().max_by_key(wait) else {
            let standings = taken.iter().map(Reservation::status);
            let tightest = standings.min_by_key(|status| status.remaining);
            return Ok((tightest, Parts { units, quotas }));
        };
        taken.into_iter().for_each(Reservation::cancel);
        Err(match slowest.reason() {
            // It is only the part that is too small, and not for long.
            Reason::CostExceedsQuota => Rejected::new(Reason::StoreUnavailable, slowest.policy()),
            _ => slowest,
        })
    }

    /// Whether a key may have come from another tier, in which it was allowed units that count at `now`.
    pub(in crate::rate_limit) fn may_have_moved(&self, now: Timestamp) -> bool {
        let moves = match self.whose {
            Whose::Keys(_) => self.share.has_tiers,
            Whose::All => false,
        };
        moves && self.share.is_in_use(now)
    }

    /// Whether some of the key `name` is used of the part of the quota at the place `index`, in whatever
    /// tier the key was then.
    pub(in crate::rate_limit) fn is_used(&self, name: &str, index: usize) -> bool {
        let part = self.parts().get(index);
        part.is_some_and(|part| part.is_used(&self.key(name)))
    }

    fn parts(&self) -> &[Part] {
        match self.whose {
            Whose::Keys(_) => self.share.of_keys(),
            Whose::All => self.share.of_all(),
        }
    }

    fn key(&self, name: &str) -> Key {
        let tier = match self.whose {
            Whose::Keys(tier) => tier,
            Whose::All => Tier::None,
        };
        Key::new(name, tier)
    }
}

impl Deref for Stake {
    type Target = Share;

    fn deref(&self) -> &Share {
        &self.share
    }
}

/// How long to wait after a refusal; what no wait helps waits longest.
fn wait(rejected: &Rejected) -> Duration {
    rejected.retry_after().unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use resilience_core::{
        Environment, ManualClock,
        rate_limit::{Policy, Quota},
    };

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn share(policy: &Policy) -> (Arc<Share>, ManualClock) {
        let clock = ManualClock::new();
        let environment = Environment::new().clock(clock.clone());
        let terms = policy.terms().expect("quotas");
        let share = Share::new(&terms, &environment).expect("a valid policy");
        (Arc::new(share), clock)
    }

    #[test]
    fn each_quota_begins_with_its_own_part_of_what_was_used() {
        let policy = Policy::new("minute", Quota::new(10, MINUTE))
            .and(Quota::new(100, MINUTE * 600).named("hours"));
        let (share, clock) = share(&policy);
        let stake = Stake::new(share, Whose::Keys(Tier::None));
        stake.seed("key", [0, 80]);
        let refusal = |minutes| {
            let taken = stake.take("key", 1, |_| true);
            let rejected = taken.expect_err("no room");
            assert!(rejected.retry_after() >= Some(MINUTE * minutes));
            rejected.policy()
        };
        let take = |units| stake.take("key", units, |_| true).expect("room").0;
        assert_eq!(take(10).map(|it| it.remaining), Some(0));
        assert_eq!(refusal(1), "minute");
        clock.advance(2 * MINUTE);
        assert_eq!(take(10).map(|it| it.remaining), Some(0));
        assert_eq!(refusal(500), "hours");
        clock.advance(2 * MINUTE);
        assert_eq!(refusal(500), "hours");
        // Whoever was refused for want of one has taken of none.
        let minute = |index| index == 0;
        let left = stake.take("key", 10, minute).expect("room");
        assert_eq!(left.0.map(|it| it.limit), Some(10));
    }

    #[test]
    fn a_key_that_moves_to_another_tier_has_used_there_what_it_used_before() {
        let gold = Quota::new(30, MINUTE).named("gold");
        let policy = Policy::new("minute", Quota::new(10, MINUTE)).tier("gold", gold);
        let (share, _) = share(&policy);
        let stakes = [Tier::None, Tier::Index(0)]
            .map(|tier| Stake::new(Arc::clone(&share), Whose::Keys(tier)));
        let left = |index: usize, units| {
            let taken = stakes[index].take("key", units, |_| true);
            let taken = taken.map(|(it, _)| it.expect("one is meant"));
            taken.map(|it| it.remaining).map_err(|it| it.policy())
        };
        assert_eq!(left(0, 8), Ok(2));
        assert_eq!(left(1, 20), Ok(2));
        assert_eq!(left(0, 1), Err("minute"));
        assert_eq!(left(1, 3), Err("gold"));
        // Of the tier's quota, of which so much is used here already.
        stakes[1].seed("key", [29]);
        assert_eq!(left(1, 1), Ok(0));
        stakes[1].forget("key");
        assert_eq!(left(0, 10), Ok(0));
    }
    #[test]
    fn what_is_given_back_goes_to_the_parts_that_it_was_taken_of() {
        let policy = Policy::new("minute", Quota::new(10, MINUTE))
            .and(Quota::new(20, MINUTE * 60).named("hour"))
            .global(Quota::new(15, MINUTE).named("all"));
        let (share, _) = share(&policy);
        let [keys, all] = [Whose::Keys(Tier::None), Whose::All]
            .map(|whose| Stake::new(Arc::clone(&share), whose));
        let left = |stake: &Stake, units, meant: fn(usize) -> bool| {
            let (status, parts) = stake.take("key", units, meant).expect("room");
            (status.map(|it| it.remaining), parts)
        };
        let (_, both) = left(&keys, 4, |_| true);
        let (_, minute) = left(&keys, 3, |index| index == 0);
        assert_eq!(left(&all, 15, |_| true).0, Some(0));
        keys.give_back("key", minute);
        assert_eq!(left(&keys, 0, |index| index == 0).0, Some(6));
        assert_eq!(left(&keys, 0, |index| index == 1).0, Some(16));
        keys.give_back("key", both);
        keys.give_back("key", Parts::default());
        assert_eq!(left(&keys, 0, |index| index == 0).0, Some(10));
        assert_eq!(left(&keys, 0, |index| index == 1).0, Some(20));
        assert_eq!(left(&all, 0, |_| true).0, Some(0));
    }
}
