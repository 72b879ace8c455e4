//! A tier that is down or late, and the circuit before it.

use super::*;

/// A tier that has 70 under 7 and does not answer, and a cache that does not ask it any more.
async fn out_of_reach() -> (Memory, Cache<u32, u64>) {
    let tier = Memory::default();
    let cache = over(&tier);
    cache.insert(7, 70);
    settle().await;
    open(&tier, &cache).await;
    (tier, cache)
}

/// Makes the circuit of a tier open that does not answer.
async fn open(tier: &Memory, cache: &Cache<u32, u64>) {
    tier.mood(Mood::Slow);
    let source = Source::default();
    for key in 100..110 {
        cache.get_or_load(&key, source.gives()).await.unwrap();
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_is_down_costs_a_decision_of_its_circuit_and_no_call() {
    let (tier, source) = (Memory::default(), Source::default());
    tier.mood(Mood::Slow);
    let cache = over(&tier);
    for key in 0..20 {
        cache.get_or_load(&key, source.gives()).await.unwrap();
        settle().await;
    }
    let asked = tier.calls();
    assert!(asked <= 5, "{asked}");
    for key in 20..100 {
        let answer = timed(cache.get_or_load(&key, source.gives())).await;
        assert!(answer.1 <= MILLISECOND, "{answer:?}");
    }
    assert_eq!(tier.calls(), asked);
    assert_eq!(source.loads(), 100);
}

#[tokio::test(start_paused = true)]
async fn what_a_tier_that_is_down_is_to_forget_costs_one_timeout_in_twenty_and_is_told() {
    let tier = Memory::default();
    let cache = over(&tier);
    tier.mood(Mood::Slow);
    for key in 0..5 {
        let (forgotten, took) = timed(cache.forget(&key)).await;
        assert!(forgotten.is_err() && took == 50 * MILLISECOND, "{took:?}");
    }
    // They have opened the circuit. Of what follows one is tried all the same.
    for _ in 0..3 {
        let (told, began) = (tier.calls(), Clock::tokio());
        for key in 0..1000 {
            assert!(cache.forget(&key).await.is_err(), "it is still there");
        }
        assert!(cache.forget_all().await.is_err());
        assert_eq!(tier.calls(), told + 1001, "it may keep them in mind");
        let took = began
            .now()
            .saturating_since(resilience_core::Timestamp::ZERO);
        assert!(took <= 51 * MILLISECOND, "{took:?}");
        advance(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_right_after_an_outage_works_and_ends_it() {
    let ((tier, cache), source) = (out_of_reach().await, Source::default());
    tier.mood(Mood::Well);
    cache.forget(&7).await.unwrap();
    assert_eq!(tier.len(), 0);
    // The tier is asked again, and given what is loaded.
    assert_eq!(cache.get_or_load(&7, source.gives()).await, Ok(1));
    settle().await;
    assert_eq!(tier.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_cannot_be_sure_that_something_is_forgotten_is_told_so() {
    let (tier, cache) = out_of_reach().await;
    assert!(cache.forget(&8).await.is_err());
    tier.mood(Mood::Late);
    assert!(cache.forget(&7).await.is_err());
    assert_eq!(tier.len(), 1, "the one before was tried in vain");
    advance(SECOND).await;
    cache.forget(&7).await.unwrap();
    assert_eq!(tier.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_is_in_touch_again_is_called_again() {
    let (tier, cache) = out_of_reach().await;
    assert!(cache.forget(&8).await.is_err());
    tier.mood(Mood::Late);
    tier.0.listener.get().unwrap().tell(Notice::InTouch);
    cache.forget(&7).await.unwrap();
    assert_eq!(tier.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_insert_while_the_tier_is_away_is_not_undone_by_it() {
    let (tier, source) = (Memory::default(), Source::default());
    let (one, other) = (over(&tier), over(&tier));
    assert_eq!(one.get_or_load(&7, source.gives()).await, Ok(1));
    settle().await;
    tier.mood(Mood::Down);
    one.insert(7, 50);
    settle().await;
    tier.mood(Mood::Well);
    advance(11 * SECOND).await;
    assert_ne!(
        one.get_or_load(&7, source.gives()).await,
        Ok(1),
        "what it replaced itself"
    );
    assert_ne!(other.get_or_load(&7, source.gives()).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_tier_behind_an_open_circuit_hears_of_an_insert_as_it_does_of_a_removal() {
    let tier = Memory::default();
    let cache = over(&tier);
    open(&tier, &cache).await;
    assert!(cache.forget(&1).await.is_err());
    let told = tier.calls();
    assert!(cache.forget(&1).await.is_err());
    assert_eq!(tier.calls(), told + 1, "a removal is mentioned");
    cache.insert(2, 2);
    settle().await;
    assert_eq!(
        tier.calls(),
        told + 2,
        "and what voids an older value is not"
    );
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_missed_more_than_can_be_kept_is_asked_again_once_it_has_forgotten_everything()
{
    let (tier, source) = (Memory::default(), Source::default());
    let (one, other) = (over(&tier), over(&tier));
    assert_eq!(one.get_or_load(&7, source.gives()).await, Ok(1));
    settle().await;
    tier.mood(Mood::Down);
    for key in 0..=10_000 {
        one.insert(key, 0);
    }
    sleep(SECOND).await;
    tier.mood(Mood::Large);
    // By then its circuit lets somebody through.
    sleep(60 * SECOND).await;
    let told = tier.calls();
    for number in 2..100 {
        let (loaded, took) = timed(one.get_or_load(&20_000, source.gives())).await;
        assert_eq!((loaded, took), (Ok(number), Duration::ZERO), "nobody waits");
        one.invalidate(&20_000);
        sleep(5 * MILLISECOND).await;
    }
    assert_eq!(tier.calls() - told, 1, "once is enough");
    sleep(SECOND).await;
    assert_eq!(tier.len(), 0);
    assert_eq!(one.get_or_load(&20_001, source.gives()).await, Ok(100));
    settle().await;
    assert_eq!(other.get_or_load(&20_001, source.gives()).await, Ok(100));
}
