//! Primaries that are replaced.

use resilience_core::cache::Tier as _;

use super::{Process, Source, hasty, policy};
use crate::support::{PATIENCE, RedisSentinels, eventually};

#[tokio::test]
async fn after_a_failover_processes_hear_one_another_again_and_what_was_removed_stays_so() {
    let mut sentinels = RedisSentinels::start().await;
    let one = Process::with(&sentinels.url(), hasty(), policy()).await;
    let other = Process::with(&sentinels.url(), hasty(), policy()).await;
    let source = Source::default();
    one.load(7, &source).await;
    other.is_given(7, "load 1").await;
    sentinels.primary.kill();
    eventually(async || (!one.tier.is_in_touch()).then_some(())).await;
    assert!(one.cache.forget(&7).await.is_err());
    one.hears().await;
    other.hears().await;
    eventually(async || {
        let found = other.load(7, &Source::numbered(20)).await;
        (found != "load 1").then_some(())
    })
    .await;
    one.cache.insert(8, "stew".to_owned());
    other.is_given(8, "stew").await;
}

#[tokio::test]
async fn whoever_was_led_to_another_primary_hears_there_though_the_old_one_is_back() {
    let mut servers = RedisSentinels::start().await;
    let settings = hasty().dead_after(PATIENCE);
    let one = Process::with(&servers.url(), settings.clone(), policy()).await;
    let other = Process::with(&servers.url(), settings, policy()).await;
    servers.primary.freeze();
    for process in [&one, &other] {
        eventually(async || process.tier.get(b"8").await.ok()).await;
    }
    // Nobody tells the old one that it is not the primary any more.
    for sentinel in &mut servers.sentinels {
        sentinel.kill();
    }
    servers.primary.thaw();
    one.cache.insert(7, "soup".to_owned());
    other.is_given(7, "soup").await;
    one.hears().await;
    one.cache.forget(&7).await.unwrap();
    other.eventually_without(7).await;
    assert_eq!(other.load(7, &Source::default()).await, "load 1");
}
