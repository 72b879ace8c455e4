//! What all gateways of the shop share.

use std::time::Duration;

use bytes::Bytes;
use resilience_core::{
    Environment, InvalidPolicy,
    cache::{self, Cache, TierPolicy},
};
use resilience_redis::{
    RedisStore, Settings,
    lock::{self, Locks},
    queue::{self, Queue},
    stock::{self, Stock},
};

use crate::{
    StartError,
    cached_page::{Page, PageCodec},
    config::{Config, FilterSeed, FleetSettings},
    store::KITCHEN_GROUP,
};

/// What all gateways of the shop share. There is none without `--redis`.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// Where they meet.
    pub redis: RedisStore,
    /// Portions that are left, counted ahead of the database.
    pub portions: Stock,
    /// Who does what only one gateway need do.
    pub turns: Locks,
    /// Paid orders on their way to the kitchens.
    pub kitchen: Queue,
    /// What tells all of them alike which dishes there are.
    pub filter_seed: FilterSeed,
    /// How it is used.
    pub settings: FleetSettings,
}

impl Fleet {
    /// Joins the other gateways, where `config` says where they meet; where Redis is away, as soon
    /// as it comes.
    ///
    /// # Errors
    ///
    /// When Redis does not let us in, or a setting cannot work.
    pub async fn join(config: &Config) -> Result<Option<Self>, StartError> {
        let fleet = config.fleet;
        let Some(target) = config.redis.clone() else {
            return Ok(None);
        };
        let settings = Settings::new()
            .prefix("ordering")
            .decision_timeout(fleet.answer);
        let redis = RedisStore::connect_or_keep_trying(target, settings).await?;
        let filter_seed = config.filter_seed.unwrap_or_else(|| {
            tracing::warn!(
                "the filter of dishes has a seed that everybody knows: --filter-seed sets another"
            );
            FilterSeed::KNOWN_TO_ALL
        });
        // An order is in the database within 5 s or fails.
        let portions = stock::Policy::new("portions")
            .reservation(Duration::from_secs(10))
            .life(fleet.recount * 2);
        let turns = lock::Policy::new("turns");
        let kitchen = queue::Policy::new("kitchen")
            .capacity(fleet.kitchen_queue)
            .groups(&[KITCHEN_GROUP]);
        Ok(Some(Self {
            portions: redis.stocks(&portions)?.stock("menu"),
            turns: redis.locks(&turns)?,
            kitchen: redis.queue(&kitchen)?,
            filter_seed,
            settings: fleet,
            redis,
        }))
    }

    /// A cache by `policy` which all gateways fill and void together.
    pub(crate) fn cache(
        &self,
        policy: cache::Policy,
        environment: &Environment,
    ) -> Result<Cache<Page, Bytes>, InvalidPolicy> {
        let name = policy.name();
        // Nobody hears what other gateways void while Redis is away: a page is a second old then.
        let terms = TierPolicy::new(name).longest_alone(Duration::from_secs(1));
        let tier = (terms, self.redis.cache_tier(name)?, PageCodec);
        Cache::new_over(policy, tier, environment)
    }
}
