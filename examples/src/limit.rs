//! A rate limit that is this gateway's own, or one that all gateways share.

use std::{fmt, hash::Hash};

use axum::{Router, body::Body};
use http::Request;
use resilience_core::{
    Instrument, InvalidPolicy, KeyExtractor, Measured, RateLimiter, Respond, Sample,
    rate_limit::Policy,
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
    Shared(shared::RateLimiter),
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
            Some(redis) => Self::Shared(redis.rate_limiter_with(&policy, options)?),
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
            Self::Shared(limiter) => routes.layer(Respond::with((limiter.layer_by(whose),))),
        }
    }
}

impl<K> fmt::Debug for Limit<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own(_) => "Own",
            Self::Shared(_) => "Shared",
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
            Self::Shared(limiter) => limiter.policy(),
        }
    }

    fn instruments(&self) -> &'static [&'static Instrument] {
        match self {
            Self::Own(limiter) => limiter.instruments(),
            Self::Shared(limiter) => limiter.instruments(),
        }
    }

    fn measure(&self, record: &mut dyn FnMut(Sample)) {
        match self {
            Self::Own(limiter) => limiter.measure(record),
            Self::Shared(limiter) => limiter.measure(record),
        }
    }
}
