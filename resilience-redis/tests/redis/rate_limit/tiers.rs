//! Quotas of tiers, in memory and in Redis.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use resilience_core::{
    Environment, Measured as _, Reason, Respond,
    rate_limit::{MissingKey, RateLimiter},
};
use resilience_redis::{
    RedisStore,
    rate_limit::{self, Algorithm, Mode, Options, Policy, Quota, Source, Tiered},
};
use tokio::task::JoinSet;
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::alike::{Ask as _, why};
use crate::support::{Proxy, RedisServer, eventually, patient};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What `alice` is in, while somebody changes it; `gold-…` is in gold and all others are in none.
#[derive(Clone, Default)]
struct Plans(Arc<AtomicUsize>);

impl Plans {
    const ALL: [&'static str; 4] = ["", "gold", "silver", "unheard of"];

    fn put_alice_in(&self, tier: &str) {
        let index = Self::ALL.iter().position(|it| *it == tier);
        self.0.store(index.expect("a tier"), Ordering::Relaxed);
    }

    fn tier_of(self) -> impl Fn(&String) -> &'static str + Send + Sync + 'static {
        move |user| match user.as_str() {
            "alice" => Self::ALL[self.0.load(Ordering::Relaxed)],
            user if user.starts_with("gold-") => "gold",
            _ => "",
        }
    }
}

type Shared = rate_limit::RateLimiter<Tiered<String>>;

fn shared(store: &RedisStore, policy: &Policy, options: &Options, plans: &Plans) -> Shared {
    let limiter = store.rate_limiter_with_tiers(policy, options, plans.clone().tier_of());
    limiter.expect("a valid policy")
}

/// Ten a minute; in gold thirty, in silver twenty.
fn tiers() -> Policy {
    Policy::new("soup", Quota::new(10, MINUTE))
        .tier("gold", Quota::new(30, MINUTE).named("gold-soup"))
        .tier("silver", Quota::new(20, MINUTE).named("silver-soup"))
}

/// Each test twice: where the limit is made is all that differs.
macro_rules! alike {
    ($(async fn $name:ident($limiter:ident: $policy:expr, $plans:ident) $body:block)*) => {
        mod in_memory {
            use super::*;

            $(#[tokio::test]
            async fn $name() {
                let $plans = Plans::default();
                let environment = Environment::new();
                let tier_of = $plans.clone().tier_of();
                let $limiter = RateLimiter::with_tiers($policy, &environment, tier_of);
                let $limiter = $limiter.expect("a valid policy");
                $body
            })*
        }

        mod in_redis {
            use super::*;

            $(#[tokio::test]
            async fn $name() {
                let $plans = Plans::default();
                let server = RedisServer::start().await;
                let store = server.store().await;
                let tier_of = $plans.clone().tier_of();
                let $limiter =
                    store.rate_limiter_with_tiers(&$policy, &Options::new(), tier_of);
                let $limiter = $limiter.expect("a valid policy");
                $body
            })*
        }
    };
}

alike! {
    async fn a_key_has_the_quota_of_its_tier_in_place_of_the_first(
        limiter: tiers().and(Quota::new(25, HOUR).named("hour")), plans
    ) {
        plans.put_alice_in("unheard of");
        assert_eq!(limiter.left("alice", 10).await, Ok(0));
        assert_eq!(limiter.left("alice", 1).await, Err((Reason::RateLimited, "soup")));
        assert_eq!(limiter.left("bob", 11).await, Err((Reason::CostExceedsQuota, "soup")));
        // What stands beside the first holds in every tier.
        assert_eq!(limiter.left("gold-bob", 20).await, Ok(5));
        assert_eq!(limiter.left("gold-bob", 6).await, Err((Reason::RateLimited, "hour")));
        assert_eq!(limiter.left("gold-bob", 31).await, Err((Reason::CostExceedsQuota, "gold-soup")));
        assert_eq!(limiter.left("gold-bob", 5).await, Ok(0));
    }

    async fn a_key_that_moves_to_another_tier_is_treated_by_it_at_once_and_keeps_what_it_used(
        limiter: tiers(), plans
    ) {
        assert_eq!(limiter.left("alice", 8).await, Ok(2));
        plans.put_alice_in("gold");
        assert_eq!(limiter.left("alice", 0).await, Ok(22));
        assert_eq!(limiter.left("alice", 12).await, Ok(10));
        plans.put_alice_in("silver");
        assert_eq!(limiter.left("alice", 1).await, Err((Reason::RateLimited, "silver-soup")));
        plans.put_alice_in("");
        assert_eq!(limiter.left("alice", 1).await, Err((Reason::RateLimited, "soup")));
        limiter.back("alice", 11).await;
        assert_eq!(limiter.left("alice", 1).await, Ok(0));
        plans.put_alice_in("gold");
        assert_eq!(limiter.left("alice", 20).await, Ok(0));
    }

    async fn keys_of_all_tiers_meet_the_quota_of_all_keys(
        limiter: tiers().global(Quota::new(35, MINUTE).named("all")), plans
    ) {
        assert_eq!(limiter.left("gold-bob", 30).await, Ok(0));
        assert_eq!(limiter.left("alice", 6).await, Err((Reason::RateLimited, "all")));
        plans.put_alice_in("silver");
        assert_eq!(limiter.left("alice", 5).await, Ok(0));
        limiter.back("gold-bob", 30).await;
        eventually(async || (limiter.left("alice", 0).await == Ok(15)).then_some(())).await;
    }

    async fn limits_of_tiers_change_while_calls_go_on(limiter: tiers(), plans) {
        plans.put_alice_in("gold");
        assert_eq!(limiter.left("alice", 30).await, Ok(0));
        let gold = |limit| Policy::new("soup", Quota::new(5, MINUTE))
            .tier("gold", Quota::new(limit, MINUTE).named("gold-soup"))
            .tier("silver", Quota::new(20, MINUTE).named("silver-soup"));
        assert_eq!(limiter.change(gold(32)), Ok(()));
        assert_eq!(limiter.left("alice", 1).await, Ok(1));
        assert_eq!(limiter.change(gold(6)), Ok(()));
        assert_eq!(limiter.left("gold-bob", 6).await, Ok(0));
        assert_eq!(limiter.left("bob", 6).await, Err((Reason::CostExceedsQuota, "soup")));
        // Nothing of this changes anything.
        let (own, silver) = (Policy::new("soup", Quota::new(9, MINUTE)), Quota::new(9, MINUTE));
        for policy in [
            own.clone(),
            own.clone().tier("gold", silver),
            own.clone().tier("silver", silver).tier("gold", silver),
            own.clone().tier("gold", silver).tier("bronze", silver),
        ] {
            assert_eq!(limiter.change(policy), Err("quotas"));
        }
        assert_eq!(limiter.left("bob", 6).await, Err((Reason::CostExceedsQuota, "soup")));
    }

    async fn answers_tell_of_the_quota_of_the_tier_and_those_of_nobody_of_the_policys_own(
        limiter: tiers().missing_key(MissingKey::Shared), _plans
    ) {
        let user = |request: &http::Request<String>| {
            Some(request.body().clone()).filter(|user| !user.is_empty())
        };
        let kitchen = async |request: http::Request<String>| {
            Ok::<_, Infallible>(http::Response::new(request.into_body()))
        };
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        for (user, told) in [
            ("gold-bob", r#""gold-soup";q=30;w=60"#),
            ("bob", r#""soup";q=10;w=60"#),
            ("", r#""soup";q=10;w=60"#),
        ] {
            let answer = service.clone().oneshot(http::Request::new(user.to_owned())).await;
            let answer = answer.expect("an answer");
            assert_eq!(answer.headers()["ratelimit-policy"], told, "{user}");
        }
    }

    async fn a_shadow_policy_refuses_in_no_tier(limiter: tiers().mode(Mode::Shadow), _plans) {
        for _ in 0..2 {
            assert_eq!(limiter.left("gold-bob", 30).await, Ok(0));
        }
        assert_eq!(limiter.change(tiers()), Ok(()));
        assert_eq!(limiter.left("gold-bob", 30).await, Err((Reason::RateLimited, "gold-soup")));
    }
}

#[tokio::test]
async fn a_policy_with_tiers_whose_keys_are_in_none_has_its_own_quotas() {
    let server = RedisServer::start().await;
    let limiter = server.store().await.rate_limiter(&tiers());
    let limiter = limiter.expect("a valid policy");
    let peeked = limiter.peek("gold-bob").await.expect("redis is up");
    assert_eq!(peeked.limit, 10);
}

#[tokio::test]
async fn quotas_of_tiers_that_cannot_work_are_refused() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let short = Duration::from_millis(1);
    let log = Quota::new(1001, MINUTE).algorithm(Algorithm::SlidingLog);
    let cells = Quota::new(9, MINUTE).algorithm(Algorithm::Gcra);
    for (quota, percent, field) in [
        (Quota::new(0, MINUTE), 0, "limit"),
        (Quota::new(1, short), 0, "per"),
        (log, 0, "limit"),
        // The same as the one beside the first.
        (Quota::new(9, HOUR), 0, "and"),
        (cells, 10, "lease_up_to"),
    ] {
        let policy = Policy::new("edge", Quota::new(9, MINUTE)).and(Quota::new(99, HOUR));
        let policy = policy.tier("gold", quota);
        let options = Options::new().lease_up_to(percent);
        let limiter = store.rate_limiter_with_tiers(&policy, &options, |_: &u64| "gold");
        assert_eq!(limiter.expect_err("invalid").field(), field);
    }
}

#[tokio::test]
async fn processes_together_never_pass_the_limit_of_a_tier_that_a_key_moves_to() {
    let server = RedisServer::start().await;
    let plans = Plans::default();
    let mut calls = JoinSet::new();
    for node in 0..3 {
        let store = server.store().await;
        // One of them takes units ahead.
        let options = Options::new().lease_up_to(if node == 0 { 50 } else { 0 });
        let limiter = shared(&store, &tiers(), &options, &plans);
        for call in 0..40 {
            let (limiter, plans) = (limiter.clone(), plans.clone());
            calls.spawn(async move {
                let tier = Plans::ALL[call % 4];
                plans.put_alice_in(tier);
                limiter.try_take("alice").await.is_ok()
            });
        }
    }
    let granted = calls.join_all().await.into_iter().filter(|ok| *ok).count();
    assert!((10..=30).contains(&granted), "{granted}");
}

#[tokio::test]
async fn what_became_of_calls_is_summed_over_all_tiers() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let limiter = shared(&store, &tiers(), &Options::new(), &Plans::default());
    limiter.try_take_n("bob", 10).await.expect("room");
    limiter.try_take_n("gold-bob", 30).await.expect("room");
    for user in ["bob", "gold-bob"] {
        limiter.try_take(user).await.expect_err("used up");
    }
    let snapshot = limiter.snapshot();
    assert_eq!((snapshot.nodes, snapshot.admitted.redis), (1, 2));
    let refused = snapshot.refused;
    assert_eq!(refused.redis + refused.denied_locally, 2);
    let mut told = 0;
    limiter.measure(&mut |sample| {
        if sample.instrument.name == "resilience.rate_limit.admitted" {
            told += sample.value;
        }
    });
    assert_eq!((told, limiter.nodes()), (2, 1));
}

#[tokio::test]
async fn a_key_is_forgotten_in_whatever_tier_it_was() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let plans = Plans::default();
    // Of another window, so that it has counts of its own.
    let gold = Quota::new(30, HOUR).algorithm(Algorithm::SlidingLog);
    let policy = Policy::new("soup", Quota::new(10, MINUTE)).tier("gold", gold);
    let limiter = shared(&store, &policy, &Options::new(), &plans);
    let spend = async || {
        for (tier, units) in [("", 10), ("gold", 30)] {
            plans.put_alice_in(tier);
            limiter.try_take_n("alice", units).await.expect("room");
        }
    };
    spend().await;
    limiter.clear("alice").await.expect("redis is up");
    spend().await;
    assert_eq!(limiter.clear_all().await.expect("redis is up"), 2);
    spend().await;
}

#[tokio::test]
async fn units_taken_ahead_of_every_tier_go_back() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let policy = Policy::new("soup", Quota::new(1000, HOUR)).tier("gold", Quota::new(2000, HOUR));
    let limiter = shared(
        &store,
        &policy,
        &Options::new().lease_up_to(50),
        &Plans::default(),
    );
    let mut leased = 0;
    for user in ["bob", "gold-bob"] {
        for _ in 0..100 {
            let decision = limiter.decide(user, 1).await;
            decision.outcome.expect("room");
            leased += u64::from(decision.source == Source::Lease);
        }
    }
    assert!(leased > 100, "{leased} of 200");
    limiter.return_leases().await.expect("redis is up");
    let snapshot = limiter.snapshot();
    assert_eq!(
        (snapshot.leased - snapshot.returned, snapshot.lost),
        (leased, 0)
    );
    assert_eq!(snapshot.admitted.lease, leased);
    for (user, left) in [("bob", 900), ("gold-bob", 1900)] {
        let standing = limiter.peek(user).await.expect("redis is up");
        assert_eq!(standing.remaining, left);
    }
}

#[tokio::test]
async fn without_redis_each_process_allows_its_part_of_the_quota_of_the_tier() {
    let mut server = RedisServer::start().await;
    let plans = Plans::default();
    let settings = patient().decision_timeout(Duration::from_millis(500));
    let mut fleet = Vec::new();
    for _ in 0..2 {
        let store = RedisStore::connect(&server.url(), settings.clone()).await;
        let store = store.expect("the server is up");
        fleet.push(shared(&store, &tiers(), &Options::new(), &plans));
    }
    let [one, other] = &fleet[..] else {
        unreachable!()
    };
    eventually(async || (one.nodes() == 2 && other.nodes() == 2).then_some(())).await;
    plans.put_alice_in("gold");
    one.try_take_n("alice", 10).await.expect("room");
    server.kill();
    let left = async |user, cost| {
        let decision = one.decide(user, cost).await;
        assert_eq!(decision.source, Source::Degraded);
        let taken = decision.outcome;
        taken.map(|it| it.remaining).map_err(|it| why(&it))
    };
    let used_up = |quota| Err((Reason::RateLimited, quota));
    assert_eq!(left("gold-bob", 15).await, Ok(0));
    assert_eq!(left("gold-bob", 1).await, used_up("gold-soup"));
    assert_eq!(left("bob", 5).await, Ok(0));
    assert_eq!(left("bob", 1).await, used_up("soup"));
    // Five of the ten are this process' part of what the fleet used.
    assert_eq!(left("alice", 8).await, Ok(2));
    plans.put_alice_in("");
    assert_eq!(left("alice", 1).await, used_up("soup"));
    plans.put_alice_in("gold");
    assert_eq!(left("alice", 2).await, Ok(0));
}

#[tokio::test]
async fn what_was_allowed_without_redis_counts_in_the_tier_that_a_key_moves_to() {
    let server = RedisServer::start().await;
    for (lease, name) in [(0, "soup"), (50, "salad")] {
        let proxy = Proxy::before(server.port()).await;
        let plans = Plans::default();
        let settings = patient().decision_timeout(Duration::from_millis(200));
        let store = RedisStore::connect(&proxy.url(), settings).await;
        // Much longer than this takes.
        let policy = Policy::new(name, Quota::new(10, HOUR));
        let policy = policy.tier("gold", Quota::new(30, HOUR).named("gold"));
        let options = Options::new().lease_up_to(lease);
        let limiter = shared(&store.expect("up"), &policy, &options, &plans);
        proxy.lose_everything();
        let decision = limiter.decide("alice", 10).await;
        assert_eq!(decision.source, Source::Degraded);
        decision.outcome.expect("the only process has all of it");
        proxy.heal();
        plans.put_alice_in("gold");
        let decided = async |user| {
            let decided = eventually(async || {
                let decision = limiter.decide(user, 0).await;
                (decision.source == Source::Redis).then_some(())
            });
            decided.await;
        };
        decided("alice").await;
        // The server knows nothing of the ten.
        let mut taken = 0;
        while limiter.try_take("alice").await.is_ok() {
            taken += 1;
        }
        assert_eq!(taken, 20, "{name}");
        // Of another nothing was allowed.
        decided("gold-bob").await;
        let other = limiter.decide("gold-bob", 30).await;
        assert_eq!((other.source, other.outcome.is_ok()), (Source::Redis, true));
    }
}
