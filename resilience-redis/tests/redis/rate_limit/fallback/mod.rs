//! Limits without Redis: what several processes allow together.

mod answers;

use std::time::Duration;

use resilience_core::Reason;
use resilience_redis::{
    RedisStore,
    rate_limit::{Algorithm, Fallback, Options, Policy, Quota, RateLimiter, Source},
};

use crate::support::{Member, Proxy, RedisServer, eventually, obey, patient, role};

/// Longer than any of these tests: all they count is in one window.
const WINDOW: Duration = Duration::from_secs(600);
const LIMIT: u64 = 100;
/// How often each process asks, at least as often as there are units.
const CALLS: u64 = LIMIT;

#[tokio::test]
async fn local_share_never_exceeds_the_limit_where_all_know_what_was_used() {
    let mut server = RedisServer::start().await;
    let mut fleet = Fleet::start("share", &four(&server)).await;
    assert_eq!(fleet.take(10).await, 40);
    fleet.tell("look").await;
    server.kill();
    let total = 40 + fleet.take(CALLS).await;
    assert!((96..=LIMIT).contains(&total), "{total} of {LIMIT}");
    // It has forgotten everything; its clients have not.
    server.start_again().await;
    fleet.tell("heal").await;
    assert_eq!(fleet.take(CALLS).await, 0, "a burst when redis is back");
}

#[tokio::test]
async fn local_share_at_worst_allows_twice_the_limit_where_redis_goes_away() {
    let mut server = RedisServer::start().await;
    let mut fleet = Fleet::start("share", &four(&server)).await;
    // One takes everything, and the others never hear of it.
    let greedy = fleet.members[0].count(&format!("take {CALLS}")).await;
    assert_eq!(greedy, LIMIT);
    server.kill();
    let total = greedy + fleet.take(CALLS).await;
    assert!(total <= 2 * LIMIT, "{total} of {LIMIT}");
    assert_eq!(total, LIMIT + 3 * LIMIT / 4, "the others' parts");
}

#[tokio::test]
async fn local_share_at_worst_allows_twice_the_limit_where_some_lose_redis() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let (near, far) = (server.url(), proxy.url());
    let mut fleet = Fleet::start("share", &[near.clone(), near, far.clone(), far]).await;
    proxy.lose_everything();
    let total = fleet.take(CALLS).await;
    assert_eq!(total, LIMIT + 2 * LIMIT / 4);
    proxy.heal();
    fleet.tell("heal").await;
    assert_eq!(fleet.take(CALLS).await, 0, "a burst when redis is back");
}

#[tokio::test]
async fn local_share_at_worst_allows_less_than_twice_the_limit_where_redis_comes_back() {
    let mut server = RedisServer::start().await;
    let mut fleet = Fleet::start("share", &four(&server)).await;
    server.kill();
    let mut total = 0;
    for member in &mut fleet.members[..3] {
        total += member.count(&format!("take {CALLS}")).await;
    }
    assert_eq!(total, 3 * LIMIT / 4);
    server.start_again().await;
    fleet.tell("heal").await;
    // The fourth was asked for nothing meanwhile, and knows nothing of that.
    total += fleet.take(CALLS).await;
    assert_eq!(total, LIMIT + 3 * LIMIT / 4);
}

#[tokio::test]
async fn local_share_begins_with_what_was_used_whatever_counts_it() {
    let mut server = RedisServer::start().await;
    let mut limiters = Vec::new();
    for (name, algorithm) in [
        ("window", Algorithm::SlidingWindow),
        ("log", Algorithm::SlidingLog),
        ("cells", Algorithm::Gcra),
    ] {
        let quota = Quota::new(LIMIT, WINDOW).algorithm(algorithm);
        let limiter = limiter_of(&server.url(), Fallback::LocalShare, name, quota).await;
        limiter.try_take_n("key", LIMIT - 1).await.expect("room");
        limiter.try_take("key").await.expect("room");
        limiters.push(limiter);
    }
    server.kill();
    for limiter in &limiters {
        let outcome = limiter.try_take_n("key", 10).await;
        let rejected = outcome.expect_err("this process knows that all is used");
        assert_eq!(rejected.reason(), Reason::RateLimited);
        limiter.try_take_n("other", 10).await.expect("room");
    }
}

#[tokio::test]
async fn what_is_cleared_is_forgotten_by_the_part_of_this_process_as_well() {
    let mut server = RedisServer::start().await;
    for (name, algorithm) in [
        ("window", Algorithm::SlidingWindow),
        ("log", Algorithm::SlidingLog),
        ("cells", Algorithm::Gcra),
    ] {
        let quota = Quota::new(LIMIT, WINDOW).algorithm(algorithm);
        let limiter = limiter_of(&server.url(), Fallback::LocalShare, name, quota).await;
        for key in ["one", "all"] {
            limiter.try_take_n(key, LIMIT).await.expect("room");
        }
        limiter.clear("one").await.expect("redis is up");
        server.freeze();
        let all = limiter.try_take_n("one", LIMIT).await;
        all.expect("nobody has used any of it");
        let rejected = limiter.try_take("all").await.expect_err("all is used");
        assert_eq!(rejected.reason(), Reason::RateLimited);
        server.thaw();

        // What this process allowed on its own is forgotten too.
        eventually(async || limiter.clear_all().await.ok()).await;
        for key in ["one", "all"] {
            let taken = eventually(async || {
                let decision = limiter.decide(key, 0).await;
                (decision.source == Source::Redis).then_some(())
            });
            taken.await;
            let decision = limiter.decide(key, LIMIT).await;
            assert!(decision.outcome.is_ok(), "{name} {key} {decision:?}");
            assert_eq!(decision.source, Source::Redis);
        }
    }
    server.kill();
}

#[tokio::test]
async fn a_limiter_that_a_process_makes_twice_counts_twice_and_allows_no_more() {
    let mut server = RedisServer::start().await;
    let store = server.store().await;
    let policy = Policy::new("test", Quota::new(LIMIT, WINDOW));
    let make = || store.rate_limiter(&policy).expect("a valid policy");
    let (one, other) = (make(), make());
    let clone = one.clone();
    eventually(async || (one.nodes() == 2 && other.nodes() == 2).then_some(())).await;
    server.kill();
    let mut granted = 0;
    for limiter in [&one, &other, &clone] {
        for _ in 0..LIMIT {
            let decision = limiter.decide("key", 1).await;
            assert!(decision.error.is_some());
            granted += u64::from(decision.outcome.is_ok());
        }
    }
    assert_eq!((granted, one.nodes()), (LIMIT, 2));
}

#[tokio::test]
async fn one_late_answer_is_no_outage_of_all_keys() {
    let server = RedisServer::start().await;
    let one = limiter(&server.url(), Fallback::LocalShare).await;
    let other = limiter(&server.url(), Fallback::LocalShare).await;
    eventually(async || (one.nodes() == 2 && other.nodes() == 2).then_some(())).await;
    server.freeze();
    let late = one.decide("late", 1).await;
    assert!(late.error.is_some() && late.outcome.is_ok());
    server.thaw();
    eventually(async || one.decide("late", 0).await.error.is_none().then_some(())).await;
    one.try_take_n("fresh", LIMIT).await.expect("all of it");
    // What was allowed then the server does not know of: both must have room.
    one.try_take_n("late", LIMIT / 2 - 1).await.expect("a part");
    let over = one.decide("late", 1).await;
    assert_eq!(over.source, Source::Degraded);
    let rejected = over.outcome.expect_err("the part is used up");
    assert_eq!(rejected.reason(), Reason::RateLimited);
    other.try_take_n("late", LIMIT / 2).await.expect("the rest");
}

#[tokio::test]
async fn parts_do_not_grow_where_one_process_after_the_other_loses_redis() {
    let mut server = RedisServer::start().await;
    let mut fleet = Fleet::start("share", &four(&server)).await;
    fleet.members.truncate(2);
    let greetings = async || {
        let newest = "ZREVRANGE res:nodes:{test} 0 1 WITHSCORES";
        let newest: Vec<(String, u64)> = server.ask(newest).await;
        [newest[0].1, newest[1].1]
    };
    let [last, _] = greetings().await;
    // Both that are left have greeted again, and not heard of the others.
    eventually(async || (greetings().await[1] > last).then_some(())).await;
    server.kill();
    let total = fleet.take(CALLS).await;
    assert_eq!(total, 2 * LIMIT / 4, "a part of four each");
}

#[tokio::test]
async fn deny_never_exceeds_the_limit() {
    let mut server = RedisServer::start().await;
    let mut fleet = Fleet::start("deny", &four(&server)).await;
    assert_eq!(fleet.take(10).await, 40);
    server.kill();
    assert_eq!(fleet.take(CALLS).await, 0);
    // It has forgotten everything: that is what it costs to keep counts nowhere else.
    server.start_again().await;
    fleet.tell("heal").await;
    assert_eq!(fleet.take(CALLS).await, LIMIT);
}

#[tokio::test]
async fn allow_bounds_nothing_without_redis_and_everything_with_it() {
    let mut server = RedisServer::start().await;
    let mut fleet = Fleet::start("allow", &four(&server)).await;
    server.kill();
    assert_eq!(fleet.take(CALLS).await, 4 * CALLS);
    server.start_again().await;
    fleet.tell("heal").await;
    assert_eq!(fleet.take(CALLS).await, LIMIT);
}

fn four(server: &RedisServer) -> [String; 4] {
    [(); 4].map(|()| server.url())
}

/// Processes that share a limit.
struct Fleet {
    members: Vec<Member>,
}

impl Fleet {
    /// One for each of the URLs, all of which have heard of each other.
    async fn start(fallback: &str, urls: &[String]) -> Self {
        let start = |url| {
            let role = format!("{fallback} {url}");
            Member::start("rate_limit::fallback::a_member_of_the_fleet", &role)
        };
        let members = urls.iter().map(start).collect();
        let mut fleet = Self { members };
        fleet.tell(&format!("meet {}", urls.len())).await;
        fleet
    }

    /// How many units all get who ask for `calls` each, one after the other.
    async fn take(&mut self, calls: u64) -> u64 {
        let mut total = 0;
        for member in &mut self.members {
            total += member.count(&format!("take {calls}")).await;
        }
        total
    }

    async fn tell(&mut self, order: &str) {
        for member in &mut self.members {
            member.tell(order).await;
        }
    }
}

/// What a process does that was started by one of the tests above; nothing in the process of the
/// tests themselves.
#[tokio::test]
async fn a_member_of_the_fleet() {
    let Some(role) = role() else { return };
    let (fallback, url) = role.split_once(' ').expect("two words");
    let fallback = match fallback {
        "share" => Fallback::LocalShare,
        "allow" => Fallback::Allow,
        "deny" => Fallback::Deny,
        other => panic!("no fallback {other}"),
    };
    let limiter = limiter(url, fallback).await;
    obey(async |words| match words {
        ["meet", others] => {
            let others: u64 = others.parse().expect("a number");
            eventually(async || (limiter.nodes() == others).then_some(())).await;
            String::new()
        }
        ["look"] => {
            limiter.peek("key").await.expect("redis is up");
            String::new()
        }
        ["heal"] => {
            eventually(async || {
                let decision = limiter.decide("other", 0).await;
                decision.error.is_none().then_some(())
            })
            .await;
            String::new()
        }
        ["take", calls] => {
            let mut taken = 0;
            for _ in 0..calls.parse::<u64>().expect("a number") {
                let decision = limiter.decide("key", 1).await;
                let degraded = decision.source == Source::Degraded;
                assert!(degraded || decision.error.is_none());
                taken += u64::from(decision.outcome.is_ok());
            }
            taken.to_string()
        }
        other => panic!("no order {other:?}"),
    })
    .await;
}

async fn limiter(url: &str, fallback: Fallback) -> RateLimiter {
    limiter_of(url, fallback, "test", Quota::new(LIMIT, WINDOW)).await
}

async fn limiter_of(
    url: &str,
    fallback: Fallback,
    name: &'static str,
    quota: Quota,
) -> RateLimiter {
    let settings = patient()
        .decision_timeout(Duration::from_millis(500))
        .connect_timeout(Duration::from_secs(1));
    let store = RedisStore::connect(url, settings).await;
    let policy = Policy::new(name, quota);
    let options = Options::new().fallback(fallback);
    let store = store.expect("the server is up");
    store
        .rate_limiter_with(&policy, &options)
        .expect("a valid policy")
}
