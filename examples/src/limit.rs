//! A rate limit that is this gateway's own, or one that all gateways share.

use std::{fmt, hash::Hash};

use axum::{Router, body::Body};
use http::Request;
use resilience_core::{
    Instrument, InstrumentKind, InvalidPolicy, KeyExtractor, Measured, RateLimiter, Respond,
    Sample, rate_limit::Policy,
};
use resilience_redis::{
    RedisStore, StoreKey,
    rate_limit::{self as shared, Options},
};

/// A limit for each `K`; clones share it.
#[derive(Clone)]
pub enum Limit<K> {
    /// This gateway's own.
    Own(RateLimiter<K>),
    /// The same in all gateways. While Redis is away each of them has its part of it.
    Shared(&'static str, shared::RateLimiter),
}

impl<K> Limit<K>
where
    K: Hash + Eq + Clone + StoreKey + Send + Sync + 'static,
{
    /// By `policy`, and shared over `redis` where there is one.
    ///
    /// # Errors
    ///
    /// When a setting cannot work.
    pub fn new(
        policy: Policy,
        redis: Option<&RedisStore>,
        options: &Options,
    ) -> Result<Self, InvalidPolicy> {
        Ok(match redis {
            Some(redis) => {
                let limiter = redis.rate_limiter_with(&policy, options)?;
                Self::Shared(policy.name(), limiter)
            }
            None => Self::Own(RateLimiter::new(policy)?),
        })
    }

    /// Puts it in front of `routes`, for the key that `whose` finds.
    pub(crate) fn before<E>(&self, routes: Router, whose: E) -> Router
    where
        E: KeyExtractor<Request<Body>, Key = K> + Clone + Send + Sync + 'static,
    {
        match self {
            Self::Own(limiter) => routes.layer(Respond::with((limiter.layer_by(whose),))),
            Self::Shared(_, limiter) => routes.layer(Respond::with((limiter.layer_by(whose),))),
        }
    }
}

impl<K> fmt::Debug for Limit<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own(_) => "Own",
            Self::Shared(..) => "Shared",
        })
    }
}

impl<K> Measured for Limit<K>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
{
    fn policy(&self) -> &'static str {
        match self {
            Self::Own(limiter) => limiter.policy(),
            Self::Shared(name, _) => name,
        }
    }

    fn instruments(&self) -> &'static [&'static Instrument] {
        static SHARED: [&Instrument; 1] = [&GATEWAYS];
        match self {
            Self::Own(limiter) => limiter.instruments(),
            Self::Shared(..) => &SHARED,
        }
    }

    fn measure(&self, record: &mut dyn FnMut(Sample)) {
        match self {
            Self::Own(limiter) => limiter.measure(record),
            Self::Shared(_, limiter) => record(Sample {
                instrument: &GATEWAYS,
                label: None,
                value: limiter.nodes(),
            }),
        }
    }
}

static GATEWAYS: Instrument = Instrument {
    name: "resilience.rate_limit.gateways",
    kind: InstrumentKind::Gauge,
    unit: "{gateway}",
    description: "Gateways that share the limit, and would share its quota without Redis.",
    label: None,
};
