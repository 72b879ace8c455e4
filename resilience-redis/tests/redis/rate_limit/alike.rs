//! What limits in memory and in Redis have in common, asked without Tower.

use resilience_core::{Reason, Rejected, rate_limit::RateLimiter};
use resilience_redis::rate_limit::{self, BySource, Policy, Tiers};

/// Units that are left, or what refused and why.
pub(super) type Left = Result<u64, (Reason, &'static str)>;

pub(super) fn why(rejected: &Rejected) -> (Reason, &'static str) {
    (rejected.reason(), rejected.policy())
}

pub(super) const fn used_up<T>(quota: &'static str) -> Result<T, (Reason, &'static str)> {
    Err((Reason::RateLimited, quota))
}

/// What is asked without Tower.
pub(super) trait Ask {
    /// Takes `cost`.
    async fn left(&self, user: &str, cost: u64) -> Left;

    /// Takes one, and waits for it.
    async fn waits(&self, user: &str) -> Left;

    async fn back(&self, user: &str, cost: u64);

    fn change(&self, policy: Policy) -> Result<(), &'static str>;

    /// Calls that went on, and would not have.
    fn would_refuse(&self) -> u64;
}

impl Ask for RateLimiter<String> {
    async fn left(&self, user: &str, cost: u64) -> Left {
        let taken = self.try_take_n(user, cost);
        taken.map(|it| it.remaining).map_err(|it| why(&it))
    }

    async fn waits(&self, user: &str) -> Left {
        let taken = self.take(user).await;
        taken.map(|it| it.remaining).map_err(|it| why(&it))
    }

    async fn back(&self, user: &str, cost: u64) {
        self.refund(user, cost);
    }

    fn change(&self, policy: Policy) -> Result<(), &'static str> {
        self.reconfigure(policy).map_err(|invalid| invalid.field())
    }

    fn would_refuse(&self) -> u64 {
        self.snapshot().would_deny
    }
}

impl<T: Tiers<str>> Ask for rate_limit::RateLimiter<T> {
    async fn left(&self, user: &str, cost: u64) -> Left {
        let taken = self.try_take_n(user, cost).await;
        taken.map(|it| it.remaining).map_err(|it| why(&it))
    }

    async fn waits(&self, user: &str) -> Left {
        let taken = self.take(user).await;
        taken.map(|it| it.remaining).map_err(|it| why(&it))
    }

    async fn back(&self, user: &str, cost: u64) {
        self.refund(user, cost).await.expect("redis is up");
    }

    fn change(&self, policy: Policy) -> Result<(), &'static str> {
        self.reconfigure(policy).map_err(|invalid| invalid.field())
    }

    fn would_refuse(&self) -> u64 {
        sum(self.snapshot().would_refuse)
    }
}

pub(super) fn sum(calls: BySource) -> u64 {
    calls.redis + calls.denied_locally + calls.lease + calls.degraded
}

/// Each test twice: where the limit is made is all that differs.
macro_rules! alike {
    ($($(#[$about:meta])* async fn $name:ident($limiter:ident: $policy:expr) $body:block)*) => {
        mod in_memory {
            use super::*;

            $($(#[$about])*
            #[tokio::test]
            async fn $name() {
                let $limiter = resilience_core::rate_limit::RateLimiter::<String>::new($policy).expect("a valid policy");
                $body
            })*
        }

        mod in_redis {
            use super::*;

            $($(#[$about])*
            #[tokio::test]
            async fn $name() {
                let server = crate::support::RedisServer::start().await;
                let store = server.store().await;
                let $limiter = store.rate_limiter(&$policy).expect("a valid policy");
                $body
            })*
        }
    };
}
pub(super) use alike;
