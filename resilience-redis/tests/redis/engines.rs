//! Caches and guards behave alike in memory and on Redis: one suite over both engines, and the same
//! random operations to both at once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{collections::BTreeSet, time::Duration};

use resilience_core::{
    Cache, Environment,
    bloom_guard::{self, Presence},
    cache::{EarlyRefresh, Loaded, Policy, TierPolicy},
};
use resilience_redis::{RedisStore, bloom_guard::BloomGuard, cache::Text};

use crate::support::{PATIENCE, RedisServer, eventually, patient};

/// Runs each test on each engine.
macro_rules! on_both_engines {
    ($($test:ident),+ $(,)?) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $test() {
                super::$test(&super::Engine::Memory).await;
            })+
        }

        mod on_redis {
            $(#[tokio::test]
            async fn $test() {
                super::$test(&super::Engine::redis().await).await;
            })+
        }
    };
}

on_both_engines!(
    a_value_is_loaded_once_and_served_until_it_is_forgotten,
    what_is_put_is_served_and_what_was_loaded_before_is_not,
    that_there_is_no_value_is_remembered_and_a_failure_is_not,
    what_has_a_tag_goes_with_it,
    a_value_that_is_stale_is_served_where_its_load_fails,
    everything_passes_until_keys_are_known_and_then_what_was_inserted,
    a_rebuild_forgets_what_its_source_has_not,
    what_is_not_found_is_not_looked_for_again_until_it_is_inserted,
);

enum Engine {
    Memory,
    Redis(RedisServer),
}

impl Engine {
    async fn redis() -> Self {
        Self::Redis(RedisServer::start().await)
    }

    async fn cache(&self, policy: Policy) -> Cache<u64, String> {
        match self {
            Self::Memory => Cache::new(policy).unwrap(),
            Self::Redis(server) => cache_on(server, policy).await,
        }
    }

    async fn guard(&self, policy: bloom_guard::Policy) -> Guard {
        match self {
            Self::Memory => Guard::Memory(resilience_core::BloomGuard::new(policy).unwrap()),
            Self::Redis(server) => Guard::Redis(server.store().await.bloom_guard(policy).unwrap()),
        }
    }
}

/// A cache on Redis with time enough for a loaded machine, as soon as it is in touch.
async fn cache_on(server: &RedisServer, policy: Policy) -> Cache<u64, String> {
    let settings = patient().dead_after(PATIENCE);
    let store = RedisStore::connect(&server.url(), settings).await.unwrap();
    let tier = store.cache_tier(policy.name()).unwrap();
    let terms = TierPolicy::new("tier").timeout(PATIENCE).patience(PATIENCE);
    let second = (terms, tier.clone(), Text);
    let cache = Cache::new_over(policy, second, &Environment::new()).unwrap();
    eventually(async || tier.is_in_touch().then_some(())).await;
    cache
}

enum Guard {
    Memory(resilience_core::BloomGuard<u64>),
    Redis(BloomGuard<u64>),
}

impl Guard {
    async fn insert(&self, key: u64) {
        match self {
            Self::Memory(guard) => guard.insert(&key),
            Self::Redis(guard) => guard.insert(&key).await.unwrap(),
        }
    }

    async fn rebuild(&self, keys: impl IntoIterator<Item = u64>) {
        match self {
            Self::Memory(guard) => guard.rebuild_from(|| keys).unwrap(),
            Self::Redis(guard) => guard.rebuild_from(|| keys).await.unwrap(),
        }
    }

    fn check(&self, key: u64) -> Presence {
        match self {
            Self::Memory(guard) => guard.check(&key),
            Self::Redis(guard) => guard.check(&key),
        }
    }

    /// A copy that nobody says is complete lets everything pass: that ends, as Redis answers.
    async fn lacks(&self, key: u64) {
        eventually(async || (self.check(key) == Presence::Absent).then_some(())).await;
    }

    /// How often the service was asked for a key that it does not have.
    async fn look(&self, key: u64) -> u64 {
        let mut asked = 0;
        let service = async || {
            asked += 1;
            Ok::<Option<()>, ()>(None)
        };
        let found = match self {
            Self::Memory(guard) => guard.find(&key, service).await,
            Self::Redis(guard) => guard.find(&key, service).await,
        };
        assert_eq!(found, Ok(None));
        asked
    }
}

const MINUTE: Duration = Duration::from_secs(60);

fn cached() -> Policy {
    Policy::new("dishes", MINUTE).early_refresh(EarlyRefresh::Never)
}

fn guarded() -> bloom_guard::Policy {
    bloom_guard::Policy::new("dishes")
        .expected_keys(1000)
        .false_positive_rate(1e-9)
        .seed(*b"thirty-two bytes that are secret")
}

/// A load that gives `value`.
fn gives(value: &str) -> std::future::Ready<Result<String, &'static str>> {
    std::future::ready(Ok(value.to_owned()))
}

async fn fails() -> Result<String, &'static str> {
    Err("down")
}

async fn a_value_is_loaded_once_and_served_until_it_is_forgotten(engine: &Engine) {
    let cache = engine.cache(cached()).await;
    assert_eq!(cache.get(&7), None);
    assert_eq!(
        cache.get_or_load(&7, || gives("soup")).await.unwrap(),
        "soup"
    );
    assert_eq!(
        cache.get_or_load(&7, || gives("stew")).await.unwrap(),
        "soup"
    );
    assert_eq!(cache.get(&7).as_deref(), Some("soup"));
    assert_eq!(cache.get(&8), None);
    cache.forget(&7).await.unwrap();
    assert_eq!(cache.get(&7), None);
    assert_eq!(
        cache.get_or_load(&7, || gives("stew")).await.unwrap(),
        "stew"
    );
    cache.forget_all().await.unwrap();
    assert_eq!(cache.get(&7), None);
    assert_eq!(
        cache.get_or_load(&7, || gives("salad")).await.unwrap(),
        "salad"
    );
    assert_eq!(cache.snapshot().loads, 3);
}

async fn what_is_put_is_served_and_what_was_loaded_before_is_not(engine: &Engine) {
    let cache = engine.cache(cached()).await;
    cache.get_or_load(&7, || gives("soup")).await.unwrap();
    cache.insert(7, "stew".to_owned());
    assert_eq!(cache.get(&7).as_deref(), Some("stew"));
    assert_eq!(
        cache.get_or_load(&7, || gives("salad")).await.unwrap(),
        "stew"
    );
    cache.insert(7, "soup".to_owned());
    cache.forget(&7).await.unwrap();
    assert_eq!(
        cache.get_or_load(&7, || gives("salad")).await.unwrap(),
        "salad"
    );
}

async fn that_there_is_no_value_is_remembered_and_a_failure_is_not(engine: &Engine) {
    let cache = engine.cache(cached()).await;
    assert!(cache.get_or_load(&7, fails).await.is_err());
    let none = async || Ok::<Option<String>, &str>(None);
    let soup = async || Ok::<_, &str>(Some("soup".to_owned()));
    assert_eq!(cache.get_or_find(&7, none).await.unwrap(), None);
    assert_eq!(cache.get_or_find(&7, soup).await.unwrap(), None);
    cache.forget(&7).await.unwrap();
    assert_eq!(
        cache.get_or_find(&7, soup).await.unwrap().as_deref(),
        Some("soup")
    );
}

async fn what_has_a_tag_goes_with_it(engine: &Engine) {
    let cache = engine.cache(cached()).await;
    for (key, tag) in [(1, "menu"), (2, "prices"), (3, "menu")] {
        cache.insert(key, Loaded::new("soup".to_owned()).tag(tag));
    }
    cache.invalidate_tag("menu");
    for (key, expected) in [(1, "stew"), (2, "soup"), (3, "stew")] {
        assert_eq!(
            cache.get_or_load(&key, || gives("stew")).await.unwrap(),
            expected
        );
    }
}

async fn a_value_that_is_stale_is_served_where_its_load_fails(engine: &Engine) {
    let cache = engine.cache(cached().stale_if_error(MINUTE)).await;
    let short = Loaded::new("soup".to_owned()).ttl(Duration::from_millis(50));
    cache.insert(7, short);
    eventually(async || cache.get(&7).is_none().then_some(())).await;
    assert_eq!(cache.get_or_load(&7, fails).await.unwrap(), "soup");
    assert!(cache.get_or_load(&8, fails).await.is_err());
}

async fn everything_passes_until_keys_are_known_and_then_what_was_inserted(engine: &Engine) {
    let guard = engine.guard(guarded()).await;
    guard.insert(1).await;
    assert!((0..100).all(|key| guard.check(key) == Presence::Maybe));
    guard.rebuild([2]).await;
    guard.lacks(3).await;
    guard.insert(3).await;
    assert!((1..=3).all(|key| guard.check(key) == Presence::Maybe));
    for key in 4..100 {
        guard.lacks(key).await;
    }
}

async fn a_rebuild_forgets_what_its_source_has_not(engine: &Engine) {
    let guard = engine.guard(guarded()).await;
    guard.rebuild(0..100).await;
    guard.insert(200).await;
    guard.rebuild(50..100).await;
    for key in (0..50).chain(100..200) {
        guard.lacks(key).await;
    }
    let known = (50..100).chain([200]);
    assert!(
        known
            .into_iter()
            .all(|key| guard.check(key) == Presence::Maybe)
    );
}

async fn what_is_not_found_is_not_looked_for_again_until_it_is_inserted(engine: &Engine) {
    let guard = engine.guard(guarded().remember(10, MINUTE)).await;
    guard.rebuild([1]).await;
    guard.lacks(2).await;
    // Of the source, and gone since.
    eventually(async || (guard.look(1).await == 0).then_some(())).await;
    guard.lacks(1).await;
    guard.insert(1).await;
    assert_eq!(guard.check(1), Presence::Maybe);
    assert_eq!(guard.look(1).await, 1);
    assert_eq!(guard.look(1).await, 1, "just inserted, so that it may come");
}

#[tokio::test]
async fn a_cache_answers_the_same_on_both_engines_whatever_is_done_to_it() {
    let redis = Engine::redis().await;
    for seed in 0..4 {
        let mut random = fastrand::Rng::with_seed(seed);
        let caches = [
            Engine::Memory.cache(cached()).await,
            redis.cache(cached()).await,
        ];
        caches[1].forget_all().await.unwrap();
        for step in 0..250 {
            let key = random.u64(..6);
            let operation = random.u8(..16);
            let value = format!("{step}");
            let mut answers = Vec::new();
            for cache in &caches {
                let answer = match operation {
                    0..5 => {
                        let load = gives(&value);
                        cache.get_or_load(&key, move || load).await.ok()
                    }
                    5 => cache.get_or_load(&key, fails).await.ok(),
                    6 => {
                        let none = async || Ok::<Option<String>, &str>(None);
                        cache.get_or_find(&key, none).await.ok().flatten()
                    }
                    7..10 => cache.get(&key),
                    10 => {
                        cache.insert(key, value.clone());
                        None
                    }
                    11 => {
                        cache.insert(key, Loaded::new(value.clone()).tag("menu"));
                        None
                    }
                    12 => {
                        cache.invalidate_tag("menu");
                        None
                    }
                    13..15 => {
                        cache.forget(&key).await.unwrap();
                        None
                    }
                    _ => {
                        cache.forget_all().await.unwrap();
                        None
                    }
                };
                answers.push((answer, cache.snapshot().loads));
            }
            assert_eq!(
                answers[0], answers[1],
                "seed {seed}, step {step}, {operation} of {key}"
            );
        }
    }
}

#[tokio::test]
async fn a_guard_answers_the_same_on_both_engines_whatever_is_done_to_it() {
    let redis = Engine::redis().await;
    let mut random = fastrand::Rng::with_seed(5);
    // Of the same seed and size, so that even the false positives are the same.
    let policy = guarded().expected_keys(400).false_positive_rate(0.2);
    let guards = [
        Engine::Memory.guard(policy).await,
        redis.guard(policy).await,
    ];
    let mut source = BTreeSet::new();
    let mut counts = [0, 0];
    for step in 0..400 {
        let key = random.u64(..2000);
        match random.u8(..40) {
            0 => {
                for guard in &guards {
                    guard.rebuild(source.iter().copied()).await;
                }
            }
            1..8 if source.len() < 250 => {
                source.insert(key);
                for guard in &guards {
                    guard.insert(key).await;
                }
            }
            8 => drop(source.pop_first()),
            _ => match guards[0].check(key) {
                Presence::Maybe => {
                    counts[0] += 1;
                    assert_eq!(guards[1].check(key), Presence::Maybe, "step {step}, {key}");
                }
                Presence::Absent => {
                    counts[1] += 1;
                    guards[1].lacks(key).await;
                }
            },
        }
    }
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
}
