//! A quota that all keys share, in memory and in Redis.

use std::{future::Future as _, pin::pin, task::Context, time::Duration};

use http_body_util::BodyExt as _;
use resilience_core::{
    Reason, Rejected, Respond, Results,
    rate_limit::{Charge, MissingKey, RateLimiter},
};
use resilience_redis::{
    RedisStore, StoreError,
    rate_limit::{self, Algorithm, BySource, Fallback, Mode, Options, Policy, Quota, Source},
};
use tokio::task::JoinSet;
use tower::{BoxError, Layer as _, ServiceExt as _, service_fn};

use super::kitchen::{kitchen, request, told, user};
use crate::support::{Proxy, RedisCluster, RedisServer, eventually, in_time, patient};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Units that are left, or what refused and why.
type Left = Result<u64, (Reason, &'static str)>;

fn why(rejected: &Rejected) -> (Reason, &'static str) {
    (rejected.reason(), rejected.policy())
}

const fn used_up<T>(quota: &'static str) -> Result<T, (Reason, &'static str)> {
    Err((Reason::RateLimited, quota))
}

/// What is asked without Tower.
trait Ask {
    /// Takes `cost`.
    async fn left(&self, user: &str, cost: u64) -> Left;

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

impl Ask for rate_limit::RateLimiter {
    async fn left(&self, user: &str, cost: u64) -> Left {
        let taken = self.try_take_n(user, cost).await;
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

fn sum(calls: BySource) -> u64 {
    calls.redis + calls.denied_locally + calls.lease + calls.degraded
}

/// Five a minute for each user, and eight for all of them.
fn soup() -> Policy {
    let all = Quota::new(8, MINUTE).named("all");
    Policy::new("soup", Quota::new(5, MINUTE)).global(all)
}

/// Each test twice: where the limit is made is all that differs.
macro_rules! alike {
    ($(async fn $name:ident($limiter:ident: $policy:expr) $body:block)*) => {
        mod in_memory {
            use super::*;

            $(#[tokio::test]
            async fn $name() {
                let $limiter = RateLimiter::<String>::new($policy).expect("a valid policy");
                $body
            })*
        }

        mod in_redis {
            use super::*;

            $(#[tokio::test]
            async fn $name() {
                let server = RedisServer::start().await;
                let store = server.store().await;
                let $limiter = store.rate_limiter(&$policy).expect("a valid policy");
                $body
            })*
        }
    };
}

alike! {
    async fn a_call_takes_from_its_key_and_from_all_or_from_none(limiter: soup()) {
        assert_eq!(limiter.left("alice", 0).await, Ok(5));
        assert_eq!(limiter.left("alice", 5).await, Ok(0));
        assert_eq!(limiter.left("alice", 1).await, used_up("soup"));
        assert_eq!(limiter.left("bob", 0).await, Ok(3));
        assert_eq!(limiter.left("bob", 4).await, used_up("all"));
        assert_eq!(limiter.left("bob", 3).await, Ok(0));
        assert_eq!(limiter.left("carol", 1).await, used_up("all"));
        // Of the key of none of them more was taken than they got.
        limiter.back("alice", 5).await;
        eventually(async || (limiter.left("bob", 0).await == Ok(2)).then_some(())).await;
        eventually(async || (limiter.left("carol", 0).await == Ok(5)).then_some(())).await;
    }

    async fn what_is_too_much_for_all_keys_is_for_one(
        limiter: Policy::new("soup", Quota::new(50, MINUTE))
            .global(Quota::new(8, MINUTE).named("all"))
    ) {
        assert_eq!(limiter.left("alice", 9).await, Err((Reason::CostExceedsQuota, "all")));
        assert_eq!(limiter.left("alice", 51).await, Err((Reason::CostExceedsQuota, "soup")));
        assert_eq!(limiter.left("alice", 8).await, Ok(0));
    }

    async fn units_go_back_to_the_key_and_to_all(limiter: soup()) {
        assert_eq!(limiter.left("alice", 5).await, Ok(0));
        assert_eq!(limiter.left("bob", 3).await, Ok(0));
        limiter.back("bob", 2).await;
        assert_eq!(limiter.left("carol", 0).await, Ok(2));
        assert_eq!(limiter.left("bob", 2).await, Ok(0));
        limiter.back("alice", 100).await;
        assert_eq!(limiter.left("alice", 5).await, Ok(0));
    }

    async fn limits_of_all_keys_change_while_calls_go_on(limiter: soup()) {
        assert_eq!(limiter.left("alice", 5).await, Ok(0));
        let all = |limit| soup().global(Quota::new(limit, MINUTE).named("all"));
        assert_eq!(limiter.change(all(6)), Ok(()));
        assert_eq!(limiter.left("bob", 2).await, used_up("all"));
        assert_eq!(limiter.change(all(7)), Ok(()));
        eventually(async || (limiter.left("bob", 2).await == Ok(0)).then_some(())).await;
        let without = Policy::new("soup", Quota::new(5, MINUTE));
        assert_eq!(limiter.change(without), Err("quotas"));
        assert_eq!(limiter.left("carol", 1).await, used_up("all"));
    }

    async fn answers_tell_where_the_tightest_of_all_quotas_stands(limiter: soup()) {
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        let soup = Some(r#""soup";q=5;w=60"#);
        let all = Some(r#""all";q=8;w=60"#);
        for (user, status, policy, left) in [
            ("alice", 200, soup, "r=4"),
            ("bob", 200, soup, "r=4"),
            ("bob", 200, soup, "r=3"),
            ("bob", 200, soup, "r=2"),
            ("carol", 200, all, "r=3"),
            ("dave", 200, all, "r=2"),
            ("bob", 200, soup, "r=1"),
            ("erin", 200, all, "r=0"),
            ("frank", 429, all, "r=0"),
        ] {
            let answer = service.clone().oneshot(request(user)).await.expect("an answer");
            let (answered, named, stands) = told(&answer);
            assert_eq!((answered, named), (status, policy), "{user}");
            assert!(stands.expect("a field").contains(left), "{user} {stands:?}");
        }
    }

    async fn where_failures_are_charged_a_success_costs_neither(
        limiter: Policy::new("soup", Quota::new(1, MINUTE)).charge(Charge::Failures)
            .global(Quota::new(2, MINUTE).named("all"))
    ) {
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        let status = async |body: &str| {
            let answer = service.clone().oneshot(request(body)).await;
            let answer = answer.expect("an answer");
            let status = answer.status().as_u16();
            // The units come back when the body was seen to its end.
            let _ = answer.into_body().collect().await;
            status
        };
        for user in ["alice", "alice", "bob", "carol"] {
            eventually(async || (status(user).await == 200).then_some(())).await;
        }
        eventually(async || (status("nobody").await == 500).then_some(())).await;
        assert_eq!(status("nobody").await, 429);
        eventually(async || (limiter.left("alice", 1).await == Ok(0)).then_some(())).await;
        assert_eq!(status("bob").await, 429);
    }

    async fn requests_of_nobody_share_a_quota_and_meet_that_of_all_keys(
        limiter: Policy::new("soup", Quota::new(1, MINUTE)).global(Quota::new(2, MINUTE))
    ) {
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        for (user, status) in [("", 200), ("", 429), ("alice", 200), ("bob", 429)] {
            let answer = service.clone().oneshot(request(user)).await.expect("an answer");
            assert_eq!(answer.status(), status);
        }
    }

    async fn requests_of_nobody_that_meet_no_other_quota_meet_that_of_all_keys(
        limiter: Policy::new("soup", Quota::new(1, MINUTE)).missing_key(MissingKey::Admit)
            .global(Quota::new(4, MINUTE).named("all"))
    ) {
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        for (user, status) in [
            ("", 200), ("", 200), ("alice", 200), ("alice", 429), ("", 200), ("", 429), ("bob", 429),
        ] {
            let answer = service.clone().oneshot(request(user)).await.expect("an answer");
            assert_eq!(answer.status(), status);
            if user.is_empty() {
                assert_eq!(told(&answer).1, Some(r#""all";q=4;w=60"#));
            }
        }
    }

    async fn requests_of_nobody_are_refused_where_the_policy_says_so(
        limiter: soup().missing_key(MissingKey::Refuse)
    ) {
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        for (user, status) in [("", 400), ("alice", 200)] {
            let answer = service.clone().oneshot(request(user)).await.expect("an answer");
            assert_eq!(answer.status(), status);
        }
        assert_eq!(limiter.left("alice", 3).await, Ok(1));
    }

    async fn a_shadow_policy_takes_from_both_or_from_none_and_refuses_nothing(
        limiter: soup().mode(Mode::Shadow)
    ) {
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        assert_eq!(limiter.left("alice", 5).await, Ok(0));
        assert_eq!(limiter.left("alice", 1).await, Ok(0));
        assert_eq!(limiter.would_refuse(), 1);
        // All have three left.
        assert_eq!(limiter.left("bob", 4).await, Ok(3));
        assert!(limiter.left("bob", 9).await.is_ok());
        assert_eq!(limiter.would_refuse(), 3);
        eventually(async || (limiter.left("bob", 0).await == Ok(3)).then_some(())).await;
        assert_eq!(limiter.left("bob", 3).await, Ok(0));
        let answer = service.oneshot(request("carol")).await.expect("an answer");
        assert_eq!(told(&answer), (200, None, None));
        assert_eq!(limiter.would_refuse(), 4);
        assert_eq!(limiter.change(soup()), Ok(()));
        assert_eq!(limiter.left("carol", 1).await, used_up("all"));
        limiter.back("alice", 5).await;
        eventually(async || (limiter.left("carol", 5).await == Ok(0)).then_some(())).await;
    }
}

/// Ten an hour for each key, and so many for all of them.
fn of_all(limit: u64) -> Policy {
    let all = Quota::new(limit, HOUR).named("all");
    Policy::new("test", Quota::new(10, HOUR)).global(all)
}

/// Looks past the quota of the one at what was taken of the other.
struct Books {
    keys: rate_limit::RateLimiter,
    all: rate_limit::RateLimiter,
}

impl Books {
    async fn open(url: &str, limit: u64) -> Self {
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

    async fn of_key(&self, key: &str) -> u64 {
        let standing = self.keys.peek(key).await.expect("redis is up");
        10 - standing.remaining
    }

    async fn left_of_all(&self) -> u64 {
        let standing = self.all.peek("nobody").await.expect("redis is up");
        standing.remaining
    }

    /// Until so much is taken of `key`, and left of all.
    async fn show(&self, key: &str, taken: u64, left: u64) {
        eventually(async || (self.of_key(key).await == taken).then_some(())).await;
        eventually(async || (self.left_of_all().await == left).then_some(())).await;
    }
}

#[tokio::test]
async fn quotas_of_all_keys_that_cannot_work_are_refused() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let own = Quota::new(9, MINUTE);
    for (quota, percent, field) in [
        (Quota::new(0, MINUTE), 0, "limit"),
        (Quota::new(9, Duration::from_millis(1)), 0, "per"),
        (own.algorithm(Algorithm::Gcra), 10, "lease_up_to"),
    ] {
        let options = Options::new().lease_up_to(percent);
        let limiter = store.rate_limiter_with(&Policy::new("edge", own).global(quota), &options);
        assert_eq!(limiter.expect_err("invalid").field(), field);
    }
    // It counts apart from the keys, so that it may have their window.
    let both = Policy::new("edge", own).global(own);
    store.rate_limiter(&both).expect("a valid policy");
}

#[tokio::test]
async fn whatever_processes_ask_together_neither_limit_is_passed_and_no_unit_is_lost() {
    const KEYS: usize = 20;
    for percent in [0, 40] {
        let server = RedisServer::start().await;
        let books = Books::open(&server.url(), 100).await;
        let (mut fleet, mut calls) = (Vec::new(), JoinSet::new());
        for _ in 0..3 {
            let options = Options::new().lease_up_to(percent);
            let limiter = server
                .store()
                .await
                .rate_limiter_with(&of_all(100), &options);
            fleet.push(limiter.expect("a valid policy"));
        }
        for call in 0..3 * KEYS * 12 {
            let limiter = fleet[call % 3].clone();
            calls.spawn(async move {
                let key = call % KEYS;
                // Some come when others are gone.
                for _ in 0..call / 100 {
                    tokio::task::yield_now().await;
                }
                let decision = limiter.decide(format!("{key}").as_str(), 1).await;
                assert_eq!(decision.error, None);
                (key, decision.outcome.is_ok())
            });
        }
        let mut granted = [0; KEYS];
        for (key, ok) in calls.join_all().await {
            granted[key] += u64::from(ok);
        }
        let total: u64 = granted.iter().sum();
        assert!(granted.iter().all(|units| *units <= 10), "{granted:?}");
        assert!(total <= 100 && total > 30, "{total}");
        if percent == 0 {
            assert_eq!(total, 100);
        }
        for limiter in &fleet {
            limiter.return_leases().await.expect("redis is up");
        }
        for (key, taken) in granted.into_iter().enumerate() {
            books.show(&key.to_string(), taken, 100 - total).await;
        }
        // Each call was counted once, whoever decided.
        let counts = fleet.iter().map(|limiter| {
            let snapshot = limiter.snapshot();
            (sum(snapshot.admitted), sum(snapshot.refused))
        });
        let counts = counts.fold((0, 0), |all, it| (all.0 + it.0, all.1 + it.1));
        assert_eq!(counts, (total, (3 * KEYS * 12) as u64 - total));
    }
}

#[tokio::test]
async fn where_all_is_known_to_be_used_up_no_key_is_asked() {
    let server = RedisServer::start().await;
    let limiter = server.store().await.rate_limiter(&of_all(3));
    let limiter = limiter.expect("a valid policy");
    let books = Books::open(&server.url(), 3).await;
    limiter.try_take_n("alice", 3).await.expect("room");
    let refused = limiter.decide("bob", 1).await;
    assert_eq!(refused.source, Source::Redis);
    assert!(refused.time.is_some());
    assert_eq!(
        why(&refused.outcome.expect_err("used up")),
        used_up::<()>("all").unwrap_err()
    );
    // From time to time somebody asks all the same.
    eventually(async || {
        let before = server.ask::<u64>("DBSIZE").await;
        let refused = limiter.decide("carol", 1).await;
        let rejected = refused.outcome.expect_err("used up");
        assert_eq!(why(&rejected), (Reason::RateLimited, "all"));
        assert!(rejected.retry_after() > Some(MINUTE));
        let is_known = refused.source == Source::DeniedLocally;
        (is_known && before == server.ask::<u64>("DBSIZE").await).then_some(())
    })
    .await;
    books.show("bob", 0, 0).await;
    books.show("carol", 0, 0).await;
    // Who takes nothing is not held back.
    let look = limiter.peek("dave").await.expect("a look");
    assert_eq!((look.limit, look.remaining), (3, 0));
}

#[tokio::test]
async fn an_operator_clears_one_key_or_all_of_them() {
    let server = RedisServer::start().await;
    let limiter = server.store().await.rate_limiter(&of_all(12));
    let limiter = limiter.expect("a valid policy");
    for user in ["alice", "bob"] {
        limiter.try_take_n(user, 6).await.expect("room");
    }
    let other = Policy::new("test-2", Quota::new(5, HOUR)).global(Quota::new(9, HOUR));
    let other = server.store().await.rate_limiter(&other);
    let other = other.expect("a valid policy");
    other.try_take_n("alice", 5).await.expect("room");
    limiter.clear("alice").await.expect("redis is up");
    let books = Books::open(&server.url(), 12).await;
    books.show("alice", 0, 0).await;
    // Those of bob and of all.
    assert_eq!(limiter.clear_all().await.expect("redis is up"), 2);
    limiter.try_take_n("carol", 10).await.expect("room");
    books.show("bob", 0, 2).await;
    assert_eq!(other.left("alice", 0).await, Ok(0));
}

#[tokio::test]
async fn whoever_takes_ahead_of_keys_and_of_all_needs_no_question() {
    let server = RedisServer::start().await;
    let all = Quota::new(2100, HOUR).named("all");
    let policy = Policy::new("test", Quota::new(2000, HOUR)).global(all);
    let ahead = Options::new().lease_up_to(50);
    let store = server.store().await;
    let limiter = store.rate_limiter_with(&policy, &ahead);
    let limiter = limiter.expect("a valid policy");
    let other = store.rate_limiter(&policy).expect("a valid policy");
    let service = limiter.layer_with(|_: &()| Some("alice"), Results);
    let service = service.layer(service_fn(async |()| Ok::<_, BoxError>(())));
    let mut leased = 0;
    for _ in 0..200 {
        let decision = limiter.decide("alice", 1).await;
        decision.outcome.expect("room");
        leased += u64::from(decision.source == Source::Lease);
        service.clone().oneshot(()).await.expect("room");
    }
    assert!(leased > 100, "{leased} of 200");
    let snapshot = limiter.snapshot();
    assert_eq!(sum(snapshot.admitted), 400);
    assert!(snapshot.admitted.lease > 200, "{snapshot:?}");
    limiter.return_leases().await.expect("redis is up");
    for (user, limit, remaining) in [("alice", 2000, 1600), ("bob", 2100, 1700)] {
        let standing = other.peek(user).await.expect("redis is up");
        assert_eq!((standing.limit, standing.remaining), (limit, remaining));
    }
}

#[tokio::test]
async fn who_waits_for_room_for_his_key_is_refused_where_all_keys_have_none() {
    let server = RedisServer::start().await;
    let quota = Quota::new(1, Duration::from_millis(200));
    let policy = Policy::new("test", quota).max_wait(MINUTE);
    let policy = policy.global(Quota::new(3, HOUR).named("all"));
    let limiter = server.store().await.rate_limiter(&policy);
    let limiter = limiter.expect("a valid policy");
    let mut last = Duration::ZERO;
    for _ in 0..3 {
        let decision = limiter.decide_or_wait("key", 1).await;
        assert_eq!((decision.source, decision.error), (Source::Redis, None));
        decision.outcome.expect("room in the end");
        let time = decision.time.expect("the server decided");
        assert!(time >= last + Duration::from_millis(200));
        last = time;
    }
    let rejected = limiter.take("key").await.expect_err("used up");
    assert_eq!(why(&rejected), (Reason::RateLimited, "all"));
    assert!(rejected.retry_after() > Some(MINUTE));
}

/// Asks for three units and goes away after so many polls; says whether the answer came first.
async fn leaves_after(polls: usize, limiter: &rate_limit::RateLimiter) -> bool {
    let mut context = Context::from_waker(std::task::Waker::noop());
    let mut call = pin!(limiter.try_take_n("key", 3));
    for _ in 0..polls {
        if let std::task::Poll::Ready(outcome) = call.as_mut().poll(&mut context) {
            outcome.expect("room");
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

#[tokio::test]
async fn whoever_goes_away_at_any_point_takes_nothing_of_either() {
    let server = RedisServer::start().await;
    let limiter = server.store().await.rate_limiter(&of_all(20));
    let limiter = limiter.expect("a valid policy");
    let books = Books::open(&server.url(), 20).await;
    let mut answers = 0;
    for polls in 0..400 {
        if leaves_after(polls % 40, &limiter).await {
            limiter.refund("key", 3).await.expect("redis is up");
            answers += 1;
        }
        books.show("key", 0, 20).await;
    }
    assert!(answers < 400, "nobody went away");
}

/// A cluster, the owner of what all keys take, and a key that another one owns.
async fn apart() -> (RedisCluster, usize, String) {
    let cluster = RedisCluster::start().await;
    let owner = cluster.owner_of("{test}").await;
    for key in 0.. {
        if cluster.owner_of(&format!("{{test:{key}}}")).await != owner {
            return (cluster, owner, key.to_string());
        }
    }
    unreachable!()
}

/// Servers write nothing until they are told that it is over, which is long before this.
const PAUSE: &str = "CLIENT PAUSE 600000 WRITE";
const GO_ON: &str = "CLIENT UNPAUSE";

#[tokio::test]
async fn in_a_cluster_whoever_goes_away_between_the_two_takes_nothing() {
    let (cluster, owner, key) = apart().await;
    let store = RedisStore::connect(&cluster.url(), patient()).await;
    let limiter = store.expect("a server").rate_limiter(&of_all(20));
    let limiter = limiter.expect("a valid policy");
    let books = Books::open(&cluster.url(), 20).await;
    limiter.try_take_n(&key, 2).await.expect("room");
    books.show(&key, 2, 18).await;
    let whose = |key: &String| Some(key.clone());
    let service = limiter.layer_with(whose, Results);
    let service = service.layer(service_fn(async |_| Ok::<_, Rejected>(())));
    for is_behind_tower in [false, true] {
        cluster.members[owner].tell(PAUSE).await;
        let (limiter, of_key) = (limiter.clone(), key.clone());
        let call = if is_behind_tower {
            let call = service.clone().oneshot(of_key);
            tokio::spawn(async move { call.await.is_ok() })
        } else {
            tokio::spawn(async move { limiter.try_take(&of_key).await.is_ok() })
        };
        eventually(async || (books.of_key(&key).await == 3).then_some(())).await;
        call.abort();
        eventually(async || (books.of_key(&key).await == 2).then_some(())).await;
        cluster.members[owner].tell(GO_ON).await;
        books.show(&key, 2, 18).await;
    }
}

#[tokio::test]
async fn in_a_cluster_what_all_keys_have_no_room_for_goes_back_to_the_key() {
    let (cluster, _, key) = apart().await;
    let store = RedisStore::connect(&cluster.url(), patient()).await;
    let limiter = store.expect("a server").rate_limiter(&of_all(4));
    let limiter = limiter.expect("a valid policy");
    let books = Books::open(&cluster.url(), 4).await;
    limiter.try_take_n(&key, 3).await.expect("room");
    assert_eq!(limiter.left(&key, 2).await, used_up("all"));
    books.show(&key, 3, 1).await;
    assert_eq!(limiter.left(&key, 1).await, Ok(0));
    books.show(&key, 4, 0).await;
}

#[tokio::test]
async fn in_a_cluster_that_cannot_say_what_all_keys_took_each_process_allows_its_part_of_that() {
    let (cluster, owner, key) = apart().await;
    let settings = patient().decision_timeout(Duration::from_millis(400));
    let store = RedisStore::connect(&cluster.url(), settings).await;
    let store = store.expect("a server");
    let of = |fallback| {
        let options = Options::new().fallback(fallback);
        let limiter = store.rate_limiter_with(&of_all(4), &options);
        limiter.expect("a valid policy")
    };
    let (share, deny) = (of(Fallback::LocalShare), of(Fallback::Deny));
    eventually(async || (share.nodes() == 2).then_some(())).await;
    let books = Books::open(&cluster.url(), 4).await;
    for limiter in [&share, &deny] {
        limiter.peek(&key).await.expect("redis is up");
    }
    cluster.members[owner].tell(PAUSE).await;
    for _ in 0..2 {
        let decision = share.decide(&key, 1).await;
        assert_eq!(decision.source, Source::Degraded);
        assert!(decision.error.is_some() && decision.time.is_some());
        decision.outcome.expect("its part");
    }
    let refused = share.decide(&key, 1).await;
    assert_eq!(refused.source, Source::Degraded);
    assert_eq!(
        why(&refused.outcome.expect_err("its part is used up")).1,
        "all"
    );
    let refused = deny.decide(&key, 1).await;
    assert!(refused.error.is_some());
    let rejected = refused.outcome.expect_err("nobody decides");
    assert_eq!(rejected.reason(), Reason::StoreUnavailable);
    eventually(async || (books.of_key(&key).await == 2).then_some(())).await;
    // What it was asked for too late nobody can take back; of the key nothing is lost.
    cluster.members[owner].tell(GO_ON).await;
    eventually(async || (books.of_key(&key).await == 2).then_some(())).await;
}

#[tokio::test]
async fn one_deadline_holds_for_both_questions() {
    const DEADLINE: Duration = Duration::from_millis(600);
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let settings = patient().decision_timeout(DEADLINE);
    let store = RedisStore::connect(&proxy.url(), settings).await;
    let deny = Options::new().fallback(Fallback::Deny);
    let limiter = store
        .expect("a server")
        .rate_limiter_with(&of_all(20), &deny);
    let limiter = limiter.expect("a valid policy");
    let books = Books::open(&server.url(), 20).await;
    limiter.try_take("key").await.expect("room");
    // Each of the two would come in time.
    proxy.delay_replies(DEADLINE * 2 / 3);
    let late = in_time(DEADLINE, limiter.decide("key", 1)).await;
    assert_eq!(late.error, Some(StoreError::Timeout(DEADLINE)));
    assert_eq!(late.source, Source::Degraded);
    let rejected = late.outcome.expect_err("nobody decides");
    assert_eq!(rejected.reason(), Reason::StoreUnavailable);
    proxy.heal();
    books.show("key", 1, 19).await;
}

#[tokio::test]
async fn without_redis_each_process_allows_its_part_of_both_and_no_burst_follows() {
    let mut server = RedisServer::start().await;
    let settings = patient().decision_timeout(Duration::from_millis(500));
    let mut fleet = Vec::new();
    for _ in 0..2 {
        let store = RedisStore::connect(&server.url(), settings.clone()).await;
        let limiter = store.expect("a server").rate_limiter(&of_all(16));
        fleet.push(limiter.expect("a valid policy"));
    }
    for limiter in &fleet {
        eventually(async || (limiter.nodes() == 2).then_some(())).await;
    }
    server.kill();
    for limiter in &fleet {
        for (user, quota) in [("alice", "test"), ("bob", "all")] {
            let mut taken = 0;
            let rejected = loop {
                let decision = limiter.decide(user, 1).await;
                assert_eq!(decision.source, Source::Degraded);
                match decision.outcome {
                    Ok(_) => taken += 1,
                    Err(rejected) => break rejected,
                }
            };
            assert_eq!(taken, if user == "alice" { 5 } else { 3 });
            assert_eq!(why(&rejected), (Reason::RateLimited, quota));
        }
    }
    server.start_again().await;
    for limiter in &fleet {
        eventually(async || {
            limiter
                .decide("alice", 0)
                .await
                .error
                .is_none()
                .then_some(())
        })
        .await;
        for user in ["alice", "carol"] {
            let refused = limiter.decide(user, 1).await;
            assert_eq!((refused.source, refused.error), (Source::Degraded, None));
            refused.outcome.expect_err("a burst when redis is back");
        }
    }
    let books = Books::open(&server.url(), 16).await;
    books.show("alice", 0, 16).await;
    books.show("carol", 0, 16).await;
}
