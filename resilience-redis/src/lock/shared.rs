use resilience_core::{Clock, InvalidPolicy, Random};

use super::{Policy, measure::Tally};
use crate::{
    RedisStore, StoreKey,
    key::Names,
    script::{Script, script},
};

/// What locks of one policy, and those who want one, have in common.
pub(super) struct Shared {
    pub(super) policy: Policy,
    pub(super) store: RedisStore,
    pub(super) clock: Clock,
    pub(super) acquire: Script,
    pub(super) renew: Script,
    pub(super) release: Script,
    pub(super) tally: Tally,
    pub(super) random: Random,
    names: Names,
}

impl Shared {
    pub(super) fn new(policy: &Policy, store: &RedisStore) -> Result<Self, InvalidPolicy> {
        policy.check()?;
        let prefix = store.connection().settings().key_prefix();
        Ok(Self {
            policy: *policy,
            store: store.clone(),
            clock: Clock::system(),
            tally: Tally::default(),
            random: Random::default(),
            acquire: script!("lock_acquire"),
            renew: script!("lock_renew"),
            release: script!("lock_release"),
            names: Names::new(prefix, "lock", policy.name)?,
        })
    }

    /// The lock and its fence.
    pub(super) fn keys<K: StoreKey + ?Sized>(&self, key: &K) -> [String; 2] {
        let lock = self.names.of(key);
        let fence = format!("{lock}:fence");
        [lock, fence]
    }
}
