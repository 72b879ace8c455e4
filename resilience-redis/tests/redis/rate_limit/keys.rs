//! What stands on the server for a key, and what somebody else put there.

use redis::AsyncCommands as _;
use resilience_core::{Reason, rate_limit::Algorithm};
use resilience_redis::{
    RedisStore, StoreError,
    rate_limit::{Fallback, Options, Policy, Quota, Source},
};

use super::limits::{DAY, MINUTE, refusal};
use crate::support::{RedisServer, eventually, patient};

#[tokio::test]
async fn every_key_expires_has_one_hash_tag_and_is_short() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let quotas = Policy::new("a:{b}*", Quota::new(9, MINUTE)).and(Quota::new(9, 2 * MINUTE));
    let limiter = store.rate_limiter(&quotas).expect("a valid policy");
    let long = "}:{".repeat(10_000);
    for key in ["", "{}", "}{", "a b\r\n", "*", "naïve", &long] {
        limiter.try_take(key).await.expect("a fresh key");
    }
    let mut raw = server.raw().await;
    let keys = eventually(async || {
        let keys: Vec<String> = raw.keys("*").await.expect("keys");
        // Two for each, and one in which processes stand that have the limiter.
        (keys.len() == 15).then_some(keys)
    });
    let (mut raw, mut counts) = (server.raw().await, 0);
    for key in keys.await {
        assert!(key.len() <= 512 && key.is_ascii());
        assert_eq!(
            (key.matches('{').count(), key.matches('}').count()),
            (1, 1),
            "{key}"
        );
        let expires: i64 = raw.pttl(&key).await.expect("an expiry");
        let lives = if key.contains(":rl:") {
            counts += 1;
            60_000..=144_001
        } else {
            1..=5_000
        };
        assert!(lives.contains(&expires), "{key} expires in {expires} ms");
    }
    assert_eq!(counts, 14);
}

#[tokio::test]
async fn a_counter_takes_72_bytes_for_each_step_in_which_something_was_taken() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let policy = Policy::new("t", Quota::new(1_000_000, MINUTE));
    let limiter = store.rate_limiter(&policy).expect("a valid policy");
    let mut raw = server.raw().await;
    let memory: String = server.ask("INFO memory").await;
    // Without jemalloc, as some servers are built, older ones take some more for the same.
    let most = if memory.contains("mem_allocator:jemalloc") {
        72
    } else {
        88
    };
    for units in [1, 9999, 900_000] {
        limiter.try_take_n("k", units).await.expect("room");
        let keys: Vec<String> = raw.keys("*:rl:*").await.expect("keys");
        assert!((1..=3).contains(&keys.len()), "{keys:?}");
        for key in keys {
            let usage = server.ask::<u64>(&format!("MEMORY USAGE {key}")).await;
            assert!(usage <= most, "{key}: {usage}");
        }
    }
}

#[tokio::test]
async fn keys_that_differ_never_share_a_count() {
    let server = RedisServer::start().await;
    let limiter = server.limiter(1, MINUTE).await;
    limiter.try_take(&("a:b", "c")).await.expect("fresh");
    limiter.try_take(&("a", "b:c")).await.expect("fresh");
    for key in [
        "a:b:c", "a", "{a}", "{}", "{", "}", "a%3Ab", "a%3ab", "", ":", "a\0",
    ] {
        limiter.try_take(key).await.expect("fresh");
        assert_eq!(
            refusal(&limiter, key, 1).await.reason(),
            Reason::RateLimited
        );
    }
    for (prefix, name) in [
        ("p", "test"),
        ("resilience", "test:a"),
        ("resilience", "test}"),
    ] {
        let url = server.url();
        let store = RedisStore::connect(&url, patient().prefix(prefix));
        let policy = Policy::new(name, Quota::new(1, MINUTE));
        let other = store
            .await
            .expect("a store")
            .rate_limiter(&policy)
            .expect("a policy");
        other.try_take("a").await.expect("another count");
    }
}

#[tokio::test]
async fn a_value_of_somebody_else_under_our_key_is_a_typed_error() {
    let server = RedisServer::start().await;
    let one = Policy::new("one", Quota::new(2, DAY));
    let two = Policy::new("two", Quota::new(2, DAY)).and(Quota::new(2, 2 * DAY).named("two"));
    for policy in [one, two] {
        let deny = Options::new().fallback(Fallback::Deny);
        let limiter = server.store().await.rate_limiter_with(&policy, &deny);
        let limiter = limiter.expect("a valid policy");
        limiter.try_take("key").await.expect("fresh");
        let mut raw = server.raw().await;
        let keys = format!("*:rl:*{}*", policy.name());
        let keys: Vec<String> = raw.keys(keys).await.expect("keys");
        let values = ["", "1 2 3", "not ours", "9223372036854775807"];
        let less_than_none = ["-1", "-5", "-9223372036854775808"];
        for (key, value) in keys.iter().flat_map(|key| {
            let values = values.iter().chain(&less_than_none);
            values.map(move |value| (key, value))
        }) {
            let () = raw.set(key, value).await.expect("set");
            // One spoilt key troubles nobody else, who is asked for together with it.
            let (decision, other) =
                tokio::join!(limiter.decide("key", 1), limiter.decide("other", 0));
            assert_eq!(decision.error, Some(StoreError::ForeignValue), "{value}");
            assert_eq!(other.error, None, "{value}");
            let () = raw.set(key, 1).await.expect("set");
        }
        let () = raw.del(&keys[0]).await.expect("del");
        let () = raw.lpush(&keys[0], "element").await.expect("lpush");
        let decision = limiter.decide("key", 1).await;
        assert_eq!(decision.error, Some(StoreError::ForeignValue));
        assert_eq!(decision.source, Source::Degraded);
        let rejected = decision.outcome.expect_err("nobody counts");
        assert_eq!(rejected.reason(), Reason::StoreUnavailable);
        limiter.try_take("other").await.expect("fresh");
    }
}

#[tokio::test]
async fn a_spoilt_key_of_several_quotas_troubles_nobody_else_whatever_counts_it() {
    let server = RedisServer::start().await;
    let quota = |days| Quota::new(5, days * DAY);
    let policy = Policy::new("three", quota(1))
        .and(quota(2).algorithm(Algorithm::SlidingLog).named("log"))
        .and(quota(3).algorithm(Algorithm::Gcra).named("cells"));
    let deny = Options::new().fallback(Fallback::Deny);
    let limiter = server.store().await.rate_limiter_with(&policy, &deny);
    let limiter = limiter.expect("a valid policy");
    limiter.try_take("key").await.expect("fresh");
    let mut raw = server.raw().await;
    let keys: Vec<String> = raw.keys("*:rl:*three*").await.expect("keys");
    assert_eq!(keys.len(), 3, "{keys:?}");
    let spoilers: [(&str, &[&str]); 17] = [
        ("HSET", &["a", "b"]),
        ("RPUSH", &["x"]),
        ("RPUSH", &["1", "x"]),
        ("RPUSH", &["x", "1"]),
        ("RPUSH", &["1e300"]),
        ("RPUSH", &["nan"]),
        ("RPUSH", &["-1"]),
        ("RPUSH", &["x", "9007199254740991"]),
        ("RPUSH", &["9007199254740993"]),
        // What Lua takes for a number, and the server does not.
        ("SET", &["0x10"]),
        ("SET", &[" 7"]),
        ("SET", &["007"]),
        ("SET", &["1e3"]),
        ("SET", &["nan"]),
        ("SET", &["1.5"]),
        ("SET", &["1 99999999999999999999"]),
        ("SET", &["99999999999999999999 1"]),
    ];
    for (key, (verb, values)) in keys.iter().flat_map(|key| {
        let spoilers = spoilers.iter();
        spoilers.map(move |spoiler| (key, spoiler))
    }) {
        let () = raw.del(key).await.expect("del");
        let mut spoil = redis::cmd(verb);
        let () = spoil
            .arg(key)
            .arg(*values)
            .query_async(&mut raw)
            .await
            .expect("spoilt");
        let (decision, other) = tokio::join!(limiter.decide("key", 1), limiter.decide("other", 0));
        assert_eq!(
            decision.error,
            Some(StoreError::ForeignValue),
            "{key} {values:?}"
        );
        assert_eq!(other.error, None, "{key} {values:?}");
        limiter
            .refund("key", 1)
            .await
            .expect("what is not ours is left");
        let () = raw.del(key).await.expect("del");
    }
    // Nobody keeps so long a list, and none is gone through.
    let log = keys.iter().find(|key| key.contains("}e:"));
    let log = log.expect("one is a log");
    let long = vec!["1"; 1001];
    let () = raw.rpush(log, long).await.expect("rpush");
    let decision = limiter.decide("key", 1).await;
    assert_eq!(decision.error, Some(StoreError::ForeignValue));
    let () = raw.del(log).await.expect("del");
    limiter.try_take("key").await.expect("it is ours again");
}

#[tokio::test]
async fn an_operator_clears_one_key_or_all_of_one_policy() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let limiter = server.limiter(1, MINUTE).await;
    let policy = Policy::new("test2", Quota::new(1, MINUTE));
    let neighbour = store.rate_limiter(&policy).expect("a valid policy");
    for user in 0..1200_u64 {
        limiter.try_take(&user).await.expect("fresh");
    }
    limiter.try_take(&()).await.expect("fresh");
    neighbour.try_take("key").await.expect("fresh");

    limiter.clear(&7_u64).await.expect("cleared");
    limiter.try_take(&7_u64).await.expect("fresh again");
    assert_eq!(
        refusal(&limiter, &8_u64, 1).await.reason(),
        Reason::RateLimited
    );

    assert_eq!(limiter.clear_all().await, Ok(1201));
    limiter.try_take(&8_u64).await.expect("fresh again");
    assert_eq!(
        refusal(&neighbour, "key", 1).await.reason(),
        Reason::RateLimited
    );
}

#[tokio::test]
async fn an_operator_deletes_counts_whose_names_somebody_else_made() {
    let server = RedisServer::start().await;
    let limiter = server.limiter(1, MINUTE).await;
    limiter.try_take("key").await.expect("fresh");
    let mut set = redis::cmd("SET");
    set.arg(b"res:rl:{test:\xff}").arg("1");
    let set = set.query_async::<()>(&mut server.raw().await).await;
    set.expect("set");
    assert_eq!(limiter.clear_all().await, Ok(2));
    limiter.try_take("key").await.expect("fresh again");
}
