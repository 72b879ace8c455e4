//! What is put into a tier, and taken out of it.

use super::*;

#[tokio::test(start_paused = true)]
async fn tagged_values_and_such_as_have_no_bytes_stay_in_their_process() {
    let tier = Memory::default();
    let cache = over(&tier);
    cache.insert(7, Loaded::new(70).tag("menu"));
    cache.insert(8, 13);
    let none = cache
        .get_or_find(&9, async || Ok::<Option<u64>, Infallible>(None))
        .await;
    assert_eq!(none, Ok(None));
    settle().await;
    assert_eq!(tier.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_is_gone_from_both_tiers() {
    let (tier, source) = (Memory::default(), Source::default());
    let cache = over(&tier);
    for key in 0..3 {
        cache.insert(key, 70);
    }
    settle().await;
    cache.forget(&0).await.unwrap();
    assert_eq!(cache.get_or_load(&0, source.gives()).await, Ok(1));
    settle().await;
    assert_eq!(tier.len(), 3);
    cache.forget_all().await.unwrap();
    assert_eq!(tier.len(), 0);
    assert_eq!(cache.get_or_load(&1, source.gives()).await, Ok(2));

    tier.mood(Mood::Down);
    settle().await;
    assert!(cache.forget(&1).await.is_err());
    assert_eq!(cache.get(&1), None, "here it is gone all the same");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_asks_the_source_and_not_the_tier() {
    let (tier, source) = (Memory::default(), Source::default());
    let environment = Environment::new().clock(Clock::tokio());
    let policy = policy().stale_while_revalidate(60 * SECOND);
    let second = (TierPolicy::new("tier"), tier.clone(), Numbers);
    let cache = Cache::new_over(policy, second, &environment).unwrap();
    cache.insert(7, 70);
    settle().await;
    advance(11 * SECOND).await;
    assert_eq!(cache.get_or_load(&7, source.gives()).await, Ok(70));
    settle().await;
    sleep(MILLISECOND).await;
    assert_eq!(cache.get(&7), Some(1));
}

#[tokio::test(start_paused = true)]
async fn an_insert_that_is_not_kept_here_leaves_nothing_older_in_the_tier() {
    for unkept in [
        Loaded::new(2).ttl(Duration::ZERO),
        Loaded::new(2).weight(1 << 40),
        Loaded::new(2).weight(0),
    ] {
        let (tier, source) = (Memory::default(), Source::default());
        let cache = over(&tier);
        assert_eq!(cache.get_or_load(&7, source.gives()).await, Ok(1));
        settle().await;
        cache.insert(7, unkept);
        settle().await;
        // The source counts on: 1 is the value that was replaced.
        assert_eq!(cache.get_or_load(&7, source.gives()).await, Ok(2));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_has_everything_forgotten_waits_until_it_is() {
    let (tier, source) = (Memory::default(), Source::default());
    let cache = over(&tier);
    cache.get_or_load(&7, source.gives()).await.unwrap();
    settle().await;
    tier.mood(Mood::Large);
    let (forgotten, took) = timed(cache.forget_all()).await;
    assert!(forgotten.is_ok() && took >= SECOND, "{forgotten:?}");
    assert_eq!(tier.len(), 0);
}
