//! Redis as the place where a fleet keeps what its processes share.

use std::hash::Hash;

use redis::{Cmd, FromRedisValue, ToRedisArgs};
use resilience_core::{
    Cache, Environment, InvalidPolicy,
    cache::{self as core_cache, Codec, TierPolicy},
};
use tokio::runtime::Handle;

use crate::{
    RedisTier, Settings, StoreError, Target,
    bloom_guard::{self, BloomGuard},
    connection::{Blocking, Connection, Start},
    lock::{self, Locks},
    queue::{self, Queue},
    rate_limit::{self, Policy, RateLimiter, Tiered, Untiered},
    script::Script,
    stock::{self, Stocks},
};

/// A Redis server, or a cluster of them, that processes share their state through.
///
/// # Sharing
///
/// Clones share one connection to each server, over which the commands of all callers go out
/// together, and a small pool for what takes long. All of them live on the runtime that
/// [`RedisStore::connect`] ran on, whichever runtime their users are on: that one should run as long
/// as the store is in use.
#[derive(Clone, Debug)]
pub struct RedisStore {
    connection: Connection,
    blocking: Blocking,
    runtime: Handle,
}

impl RedisStore {
    /// Connects to `target`: a [`Target`], or its URL, as in `redis://user:password@host:6379/0`.
    ///
    /// From then on a connection that breaks is made anew in the background; until one stands
    /// every call fails at once.
    ///
    /// # Errors
    ///
    /// Where the settings or the target cannot work, or no connection stands after the time that the
    /// settings give it.
    pub async fn connect<T>(target: T, settings: Settings) -> Result<Self, StoreError>
    where
        T: TryInto<Target>,
        T::Error: Into<StoreError>,
    {
        Self::open(target, settings, Start::Connected).await
    }

    /// Connects as [`connect`](Self::connect) does, and where nobody answers goes on without: the
    /// connection is then made in the background, as one that broke.
    ///
    /// For a service that has to start while Redis is away. What is decided until a connection
    /// stands is what is decided whenever Redis is away; a limiter that never heard of the other
    /// processes takes itself for the only one.
    ///
    /// # Errors
    ///
    /// Where the settings or the target cannot work, and where the server was reached and does not
    /// let us in ([`StoreError::Unauthorized`], [`StoreError::Untrusted`]): waiting heals neither.
    pub async fn connect_or_keep_trying<T>(
        target: T,
        settings: Settings,
    ) -> Result<Self, StoreError>
    where
        T: TryInto<Target>,
        T::Error: Into<StoreError>,
    {
        Self::open(target, settings, Start::Degraded).await
    }

    async fn open<T>(target: T, settings: Settings, start: Start) -> Result<Self, StoreError>
    where
        T: TryInto<Target>,
        T::Error: Into<StoreError>,
    {
        settings.check().map_err(StoreError::InvalidSettings)?;
        let target = target.try_into().map_err(Into::into)?;
        let connection = Connection::open(&target, settings, start).await?;
        let blocking = Blocking::beside(connection.clone());
        Ok(Self {
            connection,
            blocking,
            runtime: Handle::current(),
        })
    }

    /// A limiter for `policy` whose counts stand in this store.
    ///
    /// Limiters of one name share their counts, in whatever process they are.
    ///
    /// # Errors
    ///
    /// Where the policy cannot work, or asks for what this store does not count.
    pub fn rate_limiter(&self, policy: &Policy) -> Result<RateLimiter, InvalidPolicy> {
        self.rate_limiter_with(policy, &rate_limit::Options::new())
    }

    /// A limiter as [`rate_limiter`](Self::rate_limiter) makes it, with settings of its own.
    ///
    /// # Errors
    ///
    /// As [`rate_limiter`](Self::rate_limiter).
    pub fn rate_limiter_with(
        &self,
        policy: &Policy,
        options: &rate_limit::Options,
    ) -> Result<RateLimiter, InvalidPolicy> {
        RateLimiter::new(policy, self, options, Untiered)
    }

    /// A limiter as [`rate_limiter_with`](Self::rate_limiter_with) makes it, whose keys have the quotas
    /// of their tiers.
    ///
    /// `tier_of` names the [tier](Policy::tier) of a key; a name that no tier has, such as the empty
    /// one, means the policy's own quota. It is asked on every call, with no lock held, so that a key
    /// that has moved to another tier is treated by it at once. A quota is known by its window and
    /// algorithm: where those of two tiers are the same, what a key has used in the one stays used in
    /// the other. Borrowed forms of a key are made owned for the question.
    ///
    /// ```no_run
    /// # async fn example(store: resilience_redis::RedisStore) -> Result<(), Box<dyn std::error::Error>> {
    /// use resilience_redis::rate_limit::{Options, Policy, Quota};
    ///
    /// let policy = Policy::new("api", Quota::per_minute(60)).tier("premium", Quota::per_minute(600));
    /// let limiter = store.rate_limiter_with_tiers(&policy, &Options::new(), |user: &u64| {
    ///     if *user < 1000 { "premium" } else { "" }
    /// })?;
    /// assert_eq!(limiter.peek(&1).await?.limit, 600);
    /// assert_eq!(limiter.peek(&1000).await?.limit, 60);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`rate_limiter`](Self::rate_limiter).
    pub fn rate_limiter_with_tiers<K>(
        &self,
        policy: &Policy,
        options: &rate_limit::Options,
        tier_of: impl Fn(&K) -> &'static str + Send + Sync + 'static,
    ) -> Result<RateLimiter<Tiered<K>>, InvalidPolicy> {
        RateLimiter::new(policy, self, options, Tiered::new(tier_of))
    }

    /// Locks that one process of the fleet has at a time.
    ///
    /// # Errors
    ///
    /// Where the policy cannot work.
    pub fn locks(&self, policy: &lock::Policy) -> Result<Locks, InvalidPolicy> {
        Locks::new(policy, self)
    }

    /// A queue that the fleet shares.
    ///
    /// # Errors
    ///
    /// Where the policy cannot work.
    pub fn queue(&self, policy: &queue::Policy) -> Result<Queue, InvalidPolicy> {
        Queue::new(policy, self)
    }

    /// Units that the fleet reserves and sells, counted ahead of the database.
    ///
    /// # Errors
    ///
    /// Where the policy cannot work.
    pub fn stocks(&self, policy: &stock::Policy) -> Result<Stocks, InvalidPolicy> {
        Stocks::new(policy, self)
    }

    /// A guard whose filter the fleet shares.
    ///
    /// Guards of one name share their filter, in whatever process they are.
    ///
    /// # Errors
    ///
    /// Where the policy cannot work, has no [seed](bloom_guard::Policy::seed), or asks for a filter
    /// of more than 512 MiB.
    pub fn bloom_guard<K: Hash + ?Sized>(
        &self,
        policy: bloom_guard::Policy,
    ) -> Result<BloomGuard<K>, InvalidPolicy> {
        self.bloom_guard_in(policy, &Environment::new())
    }

    /// A guard as [`bloom_guard`](Self::bloom_guard) makes it, that takes time and observer from
    /// `environment`.
    ///
    /// # Errors
    ///
    /// As [`bloom_guard`](Self::bloom_guard).
    pub fn bloom_guard_in<K: Hash + ?Sized>(
        &self,
        policy: bloom_guard::Policy,
        environment: &Environment,
    ) -> Result<BloomGuard<K>, InvalidPolicy> {
        BloomGuard::new(self, policy, environment)
    }

    /// A cache over a second tier in this store: [`Cache::new`] with the whole fleet behind it.
    ///
    /// Caches of one name share what they have loaded, in whatever process they are.
    ///
    /// # Errors
    ///
    /// Where the policy cannot work.
    pub fn cache<K, V>(
        &self,
        policy: core_cache::Policy,
        codec: impl Codec<K, V> + 'static,
    ) -> Result<Cache<K, V>, InvalidPolicy>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        let name = policy.name();
        let tier = (TierPolicy::new(name), self.cache_tier(name)?, codec);
        Cache::new_over(policy, tier, &Environment::new())
    }

    /// The second tier alone, for [`Cache::new_over`] with a [`TierPolicy`] and an [`Environment`]
    /// of your own. One for each cache: it tells the first alone what it hears.
    ///
    /// # Errors
    ///
    /// A name of more than 128 bytes.
    pub fn cache_tier(&self, name: &str) -> Result<RedisTier, InvalidPolicy> {
        RedisTier::new(self, name)
    }

    /// Runs `script` on the server that owns `keys`, within the time to decide.
    pub(crate) async fn call<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: impl ToRedisArgs + Copy,
    ) -> Result<T, StoreError> {
        let deadline = self.connection.settings().time_to_decide();
        script
            .call(&self.connection, deadline, keys, arguments)
            .await
    }

    /// Sends `command` to the server that owns `key`, within the time to decide.
    pub(crate) async fn ask<T: FromRedisValue>(
        &self,
        key: &str,
        command: &Cmd,
    ) -> Result<T, StoreError> {
        let deadline = self.connection.settings().time_to_decide();
        let request = async |mut wire| command.query_async(&mut wire).await;
        self.connection.run(key, deadline, request).await
    }

    pub(crate) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The runtime on which all that belongs to no caller runs.
    pub(crate) const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(crate) const fn blocking(&self) -> &Blocking {
        &self.blocking
    }
}
