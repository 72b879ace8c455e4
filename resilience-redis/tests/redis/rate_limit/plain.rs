//! Calls that come alone, which the count decides without a script.

use std::{collections::BTreeMap, time::Duration};

use redis::{AsyncCommands as _, aio::MultiplexedConnection};
use resilience_redis::{
    RedisStore, StoreError,
    rate_limit::{Policy, Quota, RateLimiter, Source},
};

use crate::support::{Proxy, RedisServer, eventually, patient};

/// So long that no step of it ends in a test.
const AGE: Duration = Duration::from_secs(1_000_000_000);

/// How often no script was asked: none of a window looks how long its count will be there.
async fn plain_calls(server: &RedisServer) -> u64 {
    let stats: String = server.ask("INFO commandstats").await;
    let calls = |line: &str| {
        let figures = line.strip_prefix("cmdstat_pttl:calls=")?;
        figures.split_once(',')?.0.parse().ok()
    };
    stats.lines().find_map(calls).unwrap_or(0)
}

async fn left(limiter: &RateLimiter, cost: u64) -> u64 {
    let decision = limiter.decide("key", cost).await;
    assert_eq!(decision.source, Source::Redis, "{decision:?}");
    decision.outcome.expect("room").remaining
}

/// A limit of which some was used, and the only count.
async fn used(server: &RedisServer) -> (RateLimiter, MultiplexedConnection, String) {
    let limiter = server.limiter(100, AGE).await;
    assert_eq!(left(&limiter, 1).await, 99);
    assert_eq!(left(&limiter, 1).await, 98);
    let mut raw = server.raw().await;
    let keys: Vec<String> = raw.keys("*:rl:*").await.expect("keys");
    let [key] = &keys[..] else { panic!("{keys:?}") };
    (limiter, raw, key.clone())
}

#[tokio::test]
async fn a_call_that_comes_alone_needs_no_script_where_there_is_much_room() {
    let server = RedisServer::start().await;
    let (limiter, ..) = used(&server).await;
    let before = plain_calls(&server).await;
    assert_eq!(left(&limiter, 1).await, 97);
    assert_eq!(left(&limiter, 45).await, 52);
    assert_eq!(plain_calls(&server).await, before + 2);
    for left_then in (0..52).rev() {
        assert_eq!(left(&limiter, 1).await, left_then);
    }
    assert_eq!(plain_calls(&server).await, before + 2);
    let rejected = limiter.try_take("key").await.expect_err("no room");
    assert!(rejected.retry_after() > Some(AGE / 2));
}

#[tokio::test]
async fn others_who_took_the_rest_are_seen_and_no_unit_is_lost() {
    let server = RedisServer::start().await;
    let (limiter, mut raw, key) = used(&server).await;
    let other = server.limiter(100, AGE).await;
    other.try_take_n("key", 97).await.expect("room");
    let before = plain_calls(&server).await;
    let rejected = limiter.try_take_n("key", 2).await.expect_err("no room");
    assert!(rejected.retry_after() > Some(AGE / 2));
    assert_eq!(plain_calls(&server).await, before + 1);
    assert_eq!(raw.get::<_, u64>(&key).await.expect("a count"), 99);
    other.try_take("key").await.expect("the last one");
}

#[tokio::test]
async fn a_count_that_is_gone_begins_anew_and_goes_in_its_time() {
    let server = RedisServer::start().await;
    let (limiter, mut raw, key) = used(&server).await;
    let lives: i64 = raw.pttl(&key).await.expect("a life");
    let () = raw.del(&key).await.expect("an answer");
    assert_eq!(left(&limiter, 3).await, 97);
    let lives_now: i64 = raw.pttl(&key).await.expect("a life");
    assert!(
        (lives - 60_000..=lives).contains(&lives_now),
        "{lives_now} of {lives}"
    );
    assert_eq!(raw.get::<_, u64>(&key).await.expect("a count"), 3);
}

#[tokio::test]
async fn a_count_whose_end_somebody_changed_is_for_the_script_and_taken_from_once() {
    let server = RedisServer::start().await;
    let (limiter, mut raw, key) = used(&server).await;
    let mut taken = 2;
    // Never; much later, and so a time before the step; sooner, and so a time after it.
    for change in [
        redis::Cmd::persist(&key),
        redis::Cmd::pexpire(&key, 30 * 1_000_000_000_000),
        redis::Cmd::pexpire(&key, 60_000),
    ] {
        let () = change.query_async(&mut raw).await.expect("an answer");
        taken += 3;
        assert_eq!(left(&limiter, 3).await, 100 - taken);
        assert_eq!(raw.get::<_, u64>(&key).await.expect("a count"), taken);
        assert!(raw.pttl::<_, i64>(&key).await.expect("a life") > 60_000);
    }
}

#[tokio::test]
async fn a_key_that_holds_something_else_stays_as_it_is() {
    let server = RedisServer::start().await;
    let (limiter, mut raw, key) = used(&server).await;
    for value in ["not ours", "-7", "9223372036854775807", "1.5", ""] {
        let () = raw.set(&key, value).await.expect("an answer");
        let decision = limiter.decide("key", 1).await;
        assert_eq!(decision.error, Some(StoreError::ForeignValue), "{value}");
        assert_eq!(raw.get::<_, String>(&key).await.expect("a value"), value);
    }
    let () = raw.del(&key).await.expect("an answer");
    let () = raw.lpush(&key, "x").await.expect("an answer");
    let decision = limiter.decide("key", 1).await;
    assert_eq!(decision.error, Some(StoreError::ForeignValue));
}

#[tokio::test]
async fn one_after_the_other_never_has_more_than_the_limit_in_a_window() {
    let window = Duration::from_millis(200);
    let server = RedisServer::start().await;
    let limiters = [
        server.limiter(400, window).await,
        server.limiter(400, window).await,
    ];
    let ask = async |limiter: &RateLimiter| {
        let mut times = Vec::new();
        for _ in 0..6_000 {
            let decision = limiter.decide("key", 1).await;
            if decision.outcome.is_ok() {
                times.push(decision.time.expect("the server's time"));
            }
        }
        times
    };
    let before = plain_calls(&server).await;
    let (some, others) = tokio::join!(ask(&limiters[0]), ask(&limiters[1]));
    assert!(plain_calls(&server).await - before > 100);
    let mut admitted = BTreeMap::new();
    for time in some.into_iter().chain(others) {
        *admitted.entry(time).or_insert(0) += 1;
    }
    for first in admitted.keys() {
        let within = admitted.range(first..&(*first + window));
        let count: u64 = within.map(|(_, count)| count).sum();
        assert!(count <= 400, "{count} from {first:?} on");
    }
}

#[tokio::test]
async fn a_count_goes_in_the_end_though_the_answer_about_it_is_lost() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let settings = patient().decision_timeout(Duration::from_millis(200));
    let store = RedisStore::connect(&proxy.url(), settings).await;
    let policy = Policy::new("test", Quota::new(100, AGE));
    let limiter = store.expect("the server is up").rate_limiter(&policy);
    let limiter = limiter.expect("a valid policy");
    for _ in 0..2 {
        limiter.try_take("key").await.expect("room");
    }
    server.tell("FLUSHALL").await;
    proxy.lose_replies();
    let decision = limiter.decide("key", 1).await;
    assert!(decision.error.is_some_and(|error| error.may_have_run()));
    proxy.heal();
    let mut raw = server.raw().await;
    let keys: Vec<String> = raw.keys("*:rl:*").await.expect("keys");
    let [key] = &keys[..] else { panic!("{keys:?}") };
    eventually(async || {
        let left: i64 = raw.clone().pttl(key).await.expect("a number");
        (left > 0).then_some(())
    })
    .await;
    let used: u64 = raw.get(key).await.expect("a number");
    assert_eq!(used, 1);
}
