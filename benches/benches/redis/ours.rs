use std::{future::Future, pin::Pin, time::Duration};

use benches::VALID;
use resilience_redis::{
    RedisStore, Settings,
    rate_limit::{Options, Policy, Quota, RateLimiter, Source},
};

use crate::{
    Problem,
    crowd::{self, Asks, Errand, Keys},
};

/// Limits on one store.
pub(crate) struct Limiter(RedisStore);

impl Limiter {
    pub(crate) async fn of(url: &str) -> Result<Self, Problem> {
        // Only the time is another than a user's: a machine that others use must not fail the run.
        let settings = Settings::new().decision_timeout(Duration::from_secs(10));
        Ok(Self(RedisStore::connect(url, settings).await?))
    }

    /// One that nobody uses up.
    pub(crate) fn roomy(&self, name: &'static str) -> Result<Decides, Problem> {
        self.limiter(name, MOST, Source::Redis, &Options::new())
    }

    /// The same, taking units ahead.
    pub(crate) fn leased(&self, name: &'static str) -> Result<Decides, Problem> {
        self.limiter(name, MOST, Source::Lease, &Options::new().lease_up_to(10))
    }

    /// One that is used up.
    pub(crate) async fn used_up(&self, name: &'static str) -> Result<Decides, Problem> {
        let decides = self.limiter(name, 1, Source::DeniedLocally, &Options::new())?;
        for _ in 0..2 {
            // The second time the server says until when.
            let _ = decides.limiter.try_take(Keys::one().at(0)).await;
        }
        Ok(decides)
    }

    fn limiter(
        &self,
        name: &'static str,
        limit: u64,
        source: Source,
        options: &Options,
    ) -> Result<Decides, Problem> {
        let policy = Policy::new(name, Quota::new(limit, WINDOW));
        let limiter = self.0.rate_limiter_with(&policy, options)?;
        Ok(Decides { limiter, source })
    }
}

/// A limit that most calls ask in the way that is meant.
pub(crate) struct Decides {
    limiter: RateLimiter,
    source: Source,
}

impl Asks for Decides {
    fn asker(&self, keys: &Keys, errand: Errand) -> Pin<Box<dyn Future<Output = u64>>> {
        let (limiter, source, keys) = (self.limiter.clone(), self.source, keys.clone());
        Box::pin(async move {
            let mut others = 0;
            let calls = crowd::again(keys, errand, async |key| {
                let decision = limiter.decide(key, 1).await;
                assert!(decision.error.is_none(), "{VALID}, and a server");
                others += u64::from(decision.source != source);
            })
            .await;
            assert!(
                others <= calls / 2 || calls < 100,
                "{others} not by {source:?}"
            );
            calls
        })
    }
}

const WINDOW: Duration = Duration::from_secs(60);
const MOST: u64 = 1 << 40;
