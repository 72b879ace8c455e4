//! What a server counts of a quota of all keys, and of the key's beside it.

use resilience_redis::{
    RedisStore,
    rate_limit::{Policy, Quota, RateLimiter},
};

use super::HOUR;
use crate::support::{eventually, patient};

/// Looks past the quota of the one at what was taken of the other.
pub(super) struct Books {
    pub(super) keys: RateLimiter,
    all: RateLimiter,
}

impl Books {
    pub(super) async fn open(url: &str, limit: u64) -> Self {
        let store = RedisStore::connect(url, patient()).await;
        let store = store.expect("a server");
        let of = |policy: &Policy| store.rate_limiter(policy).expect("a valid policy");
        // Of another window, of which nobody takes anything.
        let wide = Policy::new("test", Quota::new(1 << 40, 2 * HOUR));
        Self {
            keys: of(&Policy::new("test", Quota::new(10, HOUR))),
            all: of(&wide.global(Quota::new(limit, HOUR))),
        }
    }

    pub(super) async fn of_key(&self, key: &str) -> u64 {
        let standing = self.keys.peek(key).await.expect("redis is up");
        10 - standing.remaining
    }

    pub(super) async fn left_of_all(&self) -> u64 {
        let standing = self.all.peek("nobody").await.expect("redis is up");
        standing.remaining
    }

    /// Until so much is taken of `key`, and left of all.
    pub(super) async fn show(&self, key: &str, taken: u64, left: u64) {
        eventually(async || (self.of_key(key).await == taken).then_some(())).await;
        eventually(async || (self.left_of_all().await == left).then_some(())).await;
    }
}
