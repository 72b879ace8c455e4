//! Checks that are under way together.

use std::{collections::HashMap, future::Future, pin::pin, task::Context, time::Duration};

use redis::{AsyncCommands as _, aio::MultiplexedConnection};
use resilience_core::{
    Clock, Timestamp,
    rate_limit::{Charge, MissingKey},
};
use resilience_redis::{
    RedisStore,
    rate_limit::{Algorithm, Options, Policy, Quota, RateLimiter, Source},
};
use tokio::task::JoinSet;

use crate::support::{Proxy, RedisServer, eventually, patient};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// How often each command was called.
async fn calls(raw: &mut MultiplexedConnection) -> HashMap<String, u64> {
    let stats = redis::cmd("INFO").arg("commandstats").to_owned();
    let stats: String = stats.query_async(raw).await.expect("stats");
    let line = |line: &str| {
        let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let (calls, _) = figures.split_once(',')?;
        Some((name.to_owned(), calls.parse().ok()?))
    };
    stats.lines().filter_map(line).collect()
}

/// How often a script was asked for decisions. A `ZCARD` is in the one by which a process says, once
/// a second, that it is there.
async fn questions(raw: &mut MultiplexedConnection) -> u64 {
    decisions(&calls(raw).await)
}

fn decisions(calls: &HashMap<String, u64>) -> u64 {
    let of = |name| calls.get(name).unwrap_or(&0);
    of("evalsha") - of("zcard")
}

#[tokio::test]
async fn calls_of_one_key_share_a_round_trip_and_an_increment() {
    let server = RedisServer::start().await;
    let limiter = server.limiter(700, MINUTE).await;
    limiter.try_take("key").await.expect("room");
    let mut raw = server.raw().await;
    let before = calls(&mut raw).await;
    let mut tasks = JoinSet::new();
    for _ in 0..1000 {
        let limiter = limiter.clone();
        tasks.spawn(async move { limiter.try_take("key").await.is_ok() });
    }
    let granted = tasks.join_all().await.into_iter().filter(|ok| *ok).count();
    assert_eq!(granted, 699);
    let after = calls(&mut raw).await;
    let more = |name: &str| after.get(name).unwrap_or(&0) - before.get(name).unwrap_or(&0);
    // All are there before the first question departs; what is refused is asked once more.
    let questions = decisions(&after) - decisions(&before);
    assert!(questions <= 4, "{questions} questions");
    assert!(more("incrby") + more("incr") <= 2);
}

#[tokio::test]
async fn calls_of_many_keys_share_round_trips() {
    let server = RedisServer::start().await;
    let limiter = server.limiter(10, MINUTE).await;
    let mut raw = server.raw().await;
    let mut tasks = JoinSet::new();
    for key in 0..1000_u64 {
        let limiter = limiter.clone();
        tasks.spawn(async move { limiter.decide(&key, 1).await });
    }
    for decision in tasks.join_all().await {
        assert_eq!(decision.outcome.expect("room").remaining, 9);
        assert_eq!(decision.source, Source::Redis);
    }
    let questions = questions(&mut raw).await;
    assert!(questions <= 20, "{questions} questions for 1000 keys");
}

#[tokio::test]
async fn whoever_comes_first_is_served_first() {
    let server = RedisServer::start().await;
    let limiter = server.limiter(50, MINUTE).await;
    let calls = (0..100).map(|call| {
        let cost = [1, 3, 2][call % 3];
        let limiter = limiter.clone();
        Box::pin(async move { (cost, limiter.try_take_n("key", cost).await) })
    });
    let mut calls: Vec<_> = calls.collect();
    let mut context = Context::from_waker(std::task::Waker::noop());
    for call in &mut calls {
        assert!(pin!(call).poll(&mut context).is_pending());
    }
    let mut left = 50;
    for call in calls {
        let (cost, outcome) = call.await;
        match outcome {
            Ok(quota) => {
                left -= cost;
                assert_eq!(quota.remaining, left);
            }
            Err(rejected) => {
                assert!(cost > left, "{cost} of {left}");
                assert_eq!(rejected.quota().expect("a quota").remaining, left);
            }
        }
    }
    assert_eq!(left, 0);
}

/// Asks for three units and goes away after so many polls; says whether the answer came first.
async fn leaves_after(polls: usize, limiter: &RateLimiter) -> bool {
    let mut context = Context::from_waker(std::task::Waker::noop());
    let mut call = Box::pin(limiter.try_take_n("key", 3));
    for _ in 0..polls {
        if call.as_mut().poll(&mut context).is_ready() {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

#[tokio::test]
async fn whoever_goes_away_at_any_point_takes_nothing() {
    let server = RedisServer::start().await;
    let limiter = server.limiter(100, MINUTE).await;
    let other = server.limiter(100, MINUTE).await;
    let mut answers = 0;
    for polls in 0..30 {
        // While the server stands still nobody is answered before he goes.
        server.freeze();
        assert!(!leaves_after(polls, &limiter).await);
        server.thaw();
        answers += u64::from(leaves_after(polls, &limiter).await);
    }
    limiter
        .refund("key", 3 * answers)
        .await
        .expect("redis is up");
    // Answered, and nobody took the answer.
    let mut context = Context::from_waker(std::task::Waker::noop());
    let mut call = Box::pin(limiter.try_take_n("key", 5));
    assert!(call.as_mut().poll(&mut context).is_pending());
    let all = async |expected| {
        let quota = other.peek("key").await.expect("redis is up");
        (quota.remaining == expected).then_some(())
    };
    eventually(async || all(95).await).await;
    drop(call);
    eventually(async || all(100).await).await;
}

#[tokio::test]
async fn units_that_come_back_elsewhere_are_there_within_a_second() {
    let server = RedisServer::start().await;
    let limiter = server.limiter(10, 10 * MINUTE).await;
    let other = server.limiter(10, 10 * MINUTE).await;
    other.try_take_n("key", 10).await.expect("room");
    let refusal = async || {
        let rejected = limiter.try_take("key").await.err()?;
        Some(rejected.retry_after().expect("a wait"))
    };
    assert!(refusal().await > Some(9 * MINUTE));
    other.refund("key", 10).await.expect("redis is up");
    eventually(async || refusal().await.is_none().then_some(())).await;
    for _ in 0..9 {
        assert_eq!(refusal().await, None, "nobody is held back any more");
    }
}

#[tokio::test]
async fn a_key_that_is_used_up_is_refused_without_a_question_until_its_time() {
    let server = RedisServer::start().await;
    let window = Duration::from_millis(300);
    let limiter = server.limiter(3, window).await;
    limiter.try_take_n("key", 3).await.expect("room");
    let refused = limiter.decide("key", 1).await;
    assert_eq!(refused.source, Source::Redis);
    let named = refused
        .outcome
        .expect_err("used up")
        .retry_after()
        .expect("a wait");
    let mut raw = server.raw().await;
    let before = questions(&mut raw).await;
    let clock = Clock::system();
    let mut last = named;
    let mut end = Timestamp::ZERO;
    let free = loop {
        let asked = clock.now();
        let decision = limiter.decide("key", 1).await;
        match (decision.source, decision.outcome) {
            (Source::DeniedLocally, Err(rejected)) => {
                let wait = rejected.retry_after().expect("a wait");
                assert!(wait <= last && !wait.is_zero());
                assert_eq!(rejected.quota().expect("a quota").remaining, 0);
                last = wait;
                end = asked.saturating_add(wait);
            }
            // A question may be faster than the one before, and then names a later time.
            (Source::Redis, Err(rejected)) => last = rejected.retry_after().expect("a wait"),
            (source, outcome) => break (source, outcome),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(free.0, Source::Redis);
    assert_eq!(free.1.expect("free again").remaining, 2);
    let questions = questions(&mut raw).await - before;
    assert!(questions <= 20, "{questions} questions");
    let early = end.saturating_since(clock.now());
    assert!(early < window / 10, "asked {early:?} before its time");
}

#[tokio::test]
async fn who_wants_more_of_a_key_that_is_used_up_is_refused_without_a_question_as_well() {
    let server = RedisServer::start().await;
    let limiter = server.limiter(10, 10 * MINUTE).await;
    limiter.try_take_n("key", 10).await.expect("room");
    let refused = limiter.try_take("key").await.expect_err("used up");
    let named = refused.retry_after().expect("a wait");
    let mut raw = server.raw().await;
    let (before, clock) = (questions(&mut raw).await, Clock::system());
    let start = clock.now();
    for call in 0..500 {
        let refused = limiter.try_take_n("key", 2 + call % 8).await;
        let wait = refused.expect_err("used up").retry_after();
        assert!(wait > Some(named - MINUTE), "{wait:?} of {named:?}");
    }
    let seconds = clock.now().saturating_since(start).as_secs();
    let questions = questions(&mut raw).await - before;
    // One a second, and each twice where the past is remembered.
    assert!(
        questions <= 2 * (seconds + 1),
        "{questions} questions in {seconds} s"
    );
}

#[tokio::test]
async fn units_that_come_back_are_seen_by_all_who_ask() {
    let server = RedisServer::start().await;
    let (one, other) = (
        server.limiter(10, MINUTE).await,
        server.limiter(10, MINUTE).await,
    );
    one.try_take_n("key", 8).await.expect("room");
    other.try_take_n("key", 2).await.expect("room");
    one.try_take("key").await.expect_err("used up");
    one.refund("key", 4).await.expect("redis is up");
    assert_eq!(one.try_take("key").await.expect("room").remaining, 3);
    assert_eq!(other.try_take("key").await.expect("room").remaining, 2);
    one.clear("key").await.expect("redis is up");
    assert_eq!(other.try_take("key").await.expect("room").remaining, 9);
}

#[tokio::test]
async fn whoever_never_asked_can_give_back_and_clear() {
    let server = RedisServer::start().await;
    let limiter = async || server.limiter(10, MINUTE).await;
    let one = limiter().await;
    one.try_take_n("key", 8).await.expect("room");
    limiter().await.refund("key", 3).await.expect("redis is up");
    assert_eq!(one.peek("key").await.expect("redis is up").remaining, 5);
    limiter().await.clear("key").await.expect("redis is up");
    assert_eq!(one.peek("key").await.expect("redis is up").remaining, 10);
}

#[tokio::test]
async fn more_keys_than_are_remembered_are_counted_as_well() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let policy = Policy::new("test", Quota::new(2, MINUTE));
    let limiter = store
        .rate_limiter(&policy.capacity(8))
        .expect("a valid policy");
    for _ in 0..2 {
        for key in 0..100_u64 {
            limiter.try_take(&key).await.expect("room");
        }
    }
    for key in 0..100_u64 {
        limiter.try_take(&key).await.expect_err("used up");
    }
}

#[tokio::test]
async fn limits_change_at_once_and_what_was_taken_stays_taken() {
    let server = RedisServer::start().await;
    let limiter = server.limiter(10, MINUTE).await;
    let policy = |limit| {
        let quota = Quota::new(limit, MINUTE);
        Policy::new("test", quota)
    };
    limiter.try_take_n("key", 10).await.expect("room");
    limiter.try_take("key").await.expect_err("used up");
    limiter.reconfigure(policy(12)).expect("a limit can change");
    assert_eq!(limiter.try_take("key").await.expect("room").remaining, 1);
    limiter.reconfigure(policy(5)).expect("a limit can change");
    let rejected = limiter.try_take("key").await.expect_err("far over");
    assert_eq!(rejected.quota().expect("a quota").remaining, 0);
    let other = Quota::new(5, 2 * MINUTE);
    for (policy, field) in [
        (Policy::new("test", other), "quotas"),
        (policy(0), "limit"),
        (policy(5).and(other), "quotas"),
        (policy(5).tier("gold", Quota::new(6, MINUTE)), "quotas"),
        (policy(5).capacity(7), "capacity"),
        (policy(5).missing_key(MissingKey::Refuse), "missing_key"),
        (policy(5).charge(Charge::Failures), "charge"),
    ] {
        let invalid = limiter.reconfigure(policy).expect_err("it cannot change");
        assert_eq!(invalid.field(), field);
    }
}

#[tokio::test]
async fn what_a_quota_is_called_cannot_change() {
    let server = RedisServer::start().await;
    let policy = |names: [&'static str; 4]| {
        let quota = |limit, index: usize| Quota::new(limit, MINUTE).named(names[index]);
        let second = Quota::new(20, 2 * MINUTE).named(names[1]);
        Policy::new("test", quota(10, 0))
            .and(second)
            .tier("gold", quota(30, 2))
            .global(quota(40, 3))
    };
    let names = ["first", "second", "gold-first", "all"];
    let store = server.store().await;
    let limiter = store.rate_limiter_with_tiers(&policy(names), &Options::new(), |_: &String| "");
    let limiter = limiter.expect("a valid policy");
    for index in 0..4 {
        let mut others = names;
        others[index] = "other";
        let invalid = limiter.reconfigure(policy(others));
        let invalid = invalid.expect_err("it cannot change");
        assert_eq!(invalid.field(), "named", "{index}");
    }
    limiter.reconfigure(policy(names)).expect("nothing changes");
}

#[tokio::test]
async fn a_limit_that_changes_while_the_server_is_asked_grants_what_the_server_took() {
    for (before, after, taken) in [(10, 1000, 10), (1000, 10, 101)] {
        for algorithm in [
            Algorithm::SlidingWindow,
            Algorithm::SlidingLog,
            Algorithm::Gcra,
        ] {
            let server = RedisServer::start().await;
            let proxy = Proxy::before(server.port()).await;
            let policy = |limit| Policy::new("test", Quota::new(limit, DAY).algorithm(algorithm));
            let store = RedisStore::connect(&proxy.url(), patient()).await;
            let limiter = store.expect("a server").rate_limiter(&policy(before));
            let limiter = limiter.expect("valid");
            limiter.try_take("key").await.expect("room");
            proxy.delay_replies(Duration::from_millis(500));
            let mut calls = JoinSet::new();
            for _ in 0..100 {
                let limiter = limiter.clone();
                calls.spawn(async move { limiter.try_take("key").await.is_ok() });
            }
            let direct = server.store().await.rate_limiter(&policy(1000));
            let direct = direct.expect("valid");
            eventually(async || {
                let left = direct.peek("key").await.expect("a look").remaining;
                (left == 1000 - taken).then_some(())
            })
            .await;
            limiter.reconfigure(policy(after)).expect("only the limit");
            let granted = calls.join_all().await.into_iter().filter(|ok| *ok);
            let left = direct.peek("key").await.expect("a look").remaining;
            assert_eq!(1 + granted.count() as u64, 1000 - left, "{algorithm:?}");
        }
    }
}

/// Else a batch of many such keys would keep the server from everybody else for most of a second.
#[tokio::test]
async fn units_of_a_log_that_are_over_are_found_in_few_steps() {
    let server = RedisServer::start().await;
    let quota = Quota::new(1000, DAY).algorithm(Algorithm::SlidingLog);
    let limiter = server
        .store()
        .await
        .rate_limiter(&Policy::new("test", quota));
    let limiter = limiter.expect("valid");
    limiter.try_take("key").await.expect("room");
    let mut raw = server.raw().await;
    let keys: Vec<String> = server.ask("KEYS res:rl:*").await;
    for over in [0_usize, 1, 2, 3, 62, 63, 64, 500, 990] {
        let length: u64 = match over {
            0 => 1,
            over => raw.lpush(&keys[0], vec!["1"; over]).await.expect("a list"),
        };
        let before = calls(&mut raw).await.get("lindex").copied();
        let status = limiter.try_take("key").await.expect("room");
        let steps = calls(&mut raw).await["lindex"] - before.unwrap_or(0);
        assert!(steps <= 25, "{steps} steps for {over} of {length}");
        let stands: u64 = server.ask(&format!("LLEN {}", keys[0])).await;
        assert_eq!(
            (stands, status.remaining),
            (length - over as u64 + 1, 1000 - stands)
        );
    }
    let over = 900;
    let length: u64 = raw.lpush(&keys[0], vec!["1"; over]).await.expect("a list");
    let before = calls(&mut raw).await["lindex"];
    limiter.refund("key", 2).await.expect("an answer");
    let steps = calls(&mut raw).await["lindex"] - before;
    assert!(steps <= 25, "{steps} steps to give back");
    let stands: u64 = server.ask(&format!("LLEN {}", keys[0])).await;
    assert_eq!(stands, length - over as u64 - 2);
}
