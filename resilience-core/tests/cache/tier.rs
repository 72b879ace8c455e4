//! A second tier that other processes share, and which may be slow, broken or full of rubbish.

use std::{
    collections::HashMap,
    sync::{Mutex, OnceLock},
};

use resilience_core::{
    BoxError,
    cache::{Codec, Hears, Listener, Notice, Remembered, Reply, Tier, TierPolicy},
};

use super::*;

/// A tier in memory that can be told to misbehave.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    entries: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    mood: Mutex<Mood>,
    calls: AtomicU64,
    left: Mutex<Option<Duration>>,
    listener: OnceLock<Listener>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Mood {
    #[default]
    Well,
    /// Never at once.
    Late,
    Slow,
    Down,
    Panics,
}

impl Memory {
    fn mood(&self, mood: Mood) {
        *self.0.mood.lock().unwrap() = mood;
    }

    fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::Relaxed)
    }

    fn len(&self) -> usize {
        self.0.entries.lock().unwrap().len()
    }

    fn spoil(&self, spoil: impl Fn(&mut Vec<u8>)) {
        self.0.entries.lock().unwrap().values_mut().for_each(spoil);
    }

    fn reply<'a, T: Send + 'a>(
        &'a self,
        act: impl FnOnce(&mut HashMap<Vec<u8>, Vec<u8>>) -> T + Send + 'a,
    ) -> Reply<'a, T> {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        let mood = *self.0.mood.lock().unwrap();
        Box::pin(async move {
            match mood {
                Mood::Well => {}
                Mood::Late => sleep(MILLISECOND).await,
                Mood::Slow => sleep(3600 * SECOND).await,
                Mood::Down => return Err(BoxError::from("down")),
                Mood::Panics => panic!("the tier panics"),
            }
            Ok(act(&mut self.0.entries.lock().unwrap()))
        })
    }
}

impl Tier for Memory {
    fn get<'a>(&'a self, key: &'a [u8]) -> Reply<'a, Option<Remembered>> {
        let left = *self.0.left.lock().unwrap();
        self.reply(move |entries| {
            let entry = entries.get(key).cloned()?;
            Some(Remembered { entry, left })
        })
    }

    fn put<'a>(&'a self, key: &'a [u8], entry: Vec<u8>, _: Duration) -> Reply<'a, ()> {
        self.reply(move |entries| drop(entries.insert(key.to_vec(), entry)))
    }

    fn remove<'a>(&'a self, key: &'a [u8]) -> Reply<'a, ()> {
        self.reply(move |entries| drop(entries.remove(key)))
    }

    fn clear(&self) -> Reply<'_, ()> {
        self.reply(HashMap::clear)
    }

    fn listen(&self, listener: Listener) -> Hears {
        drop(self.0.listener.set(listener));
        Hears::Nothing
    }
}

/// Numbers as they are; 666 cannot be read without panicking.
struct Numbers;

impl Codec<u32, u64> for Numbers {
    fn key(&self, key: &u32) -> Vec<u8> {
        key.to_le_bytes().to_vec()
    }

    fn encode(&self, value: &u64) -> Option<Vec<u8>> {
        (*value != 13).then(|| value.to_le_bytes().to_vec())
    }

    fn decode(&self, bytes: &[u8]) -> Option<u64> {
        let value = u64::from_le_bytes(bytes.try_into().ok()?);
        assert_ne!(value, 666, "the codec panics");
        Some(value)
    }
}

fn over(tier: &Memory) -> Cache<u32, u64> {
    over_by(policy(), tier)
}

fn over_by(policy: Policy, tier: &Memory) -> Cache<u32, u64> {
    let environment = Environment::new().clock(Clock::tokio());
    let tier = (
        TierPolicy::new("tier").max_entry(100),
        tier.clone(),
        Numbers,
    );
    Cache::new_over(policy, tier, &environment).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_one_process_has_loaded_another_need_not_load() {
    let (tier, source) = (Memory::default(), Source::default());
    let (one, other) = (over(&tier), over(&tier));
    assert_eq!(one.get_or_load(&7, source.gives()).await, Ok(1));
    settle().await;
    assert_eq!(other.get_or_load(&7, source.gives()).await, Ok(1));
    assert_eq!(source.loads(), 1);
    assert_eq!(other.snapshot().tier_hits, 1);
    one.insert(8, 80);
    settle().await;
    assert_eq!(other.get_or_load(&8, source.gives()).await, Ok(80));
}

#[tokio::test(start_paused = true)]
async fn an_entry_lives_no_longer_here_than_it_does_in_the_tier() {
    let (tier, source) = (Memory::default(), Source::default());
    over(&tier).insert(7, 70);
    settle().await;
    *tier.0.left.lock().unwrap() = Some(2 * SECOND);
    let cache = over(&tier);
    assert_eq!(cache.get_or_load(&7, source.gives()).await, Ok(70));
    advance(2 * SECOND).await;
    assert_eq!(cache.get(&7), None);
}

#[tokio::test(start_paused = true)]
async fn corrupt_bytes_from_a_tier_are_dropped_and_the_value_loaded_again() {
    type Spoil = fn(&mut Vec<u8>);
    let spoils: [Spoil; 6] = [
        |entry| entry.truncate(5),
        Vec::clear,
        |entry| entry[10] ^= 1,
        |entry| *entry = b"somebody else's".to_vec(),
        |entry| entry.extend([0; 200]),
        |entry| entry[3] = b'9',
    ];
    for spoil in spoils {
        let (tier, source) = (Memory::default(), Source::default());
        over(&tier).insert(7, 70);
        settle().await;
        tier.spoil(spoil);
        let cache = over(&tier);
        assert_eq!(cache.get_or_load(&7, source.takes(SECOND)).await, Ok(1));
        assert_eq!(cache.snapshot().tier_corrupt, 1);
        settle().await;
        assert_eq!(over(&tier).get_or_load(&7, source.gives()).await, Ok(1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_of_another_key_is_not_believed() {
    let (tier, source) = (Memory::default(), Source::default());
    over(&tier).insert(7, 70);
    settle().await;
    {
        let mut entries = tier.0.entries.lock().unwrap();
        let entry = entries.values().next().unwrap().clone();
        entries.insert(8_u32.to_le_bytes().to_vec(), entry);
    }
    assert_eq!(over(&tier).get_or_load(&8, source.gives()).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_codec_or_a_tier_that_panics_is_a_miss() {
    let (tier, source) = (Memory::default(), Source::default());
    over(&tier).insert(7, 666);
    settle().await;
    let cache = over(&tier);
    assert_eq!(cache.get_or_load(&7, source.gives()).await, Ok(1));
    assert_eq!(cache.snapshot().tier_corrupt, 1);
    tier.mood(Mood::Panics);
    assert_eq!(cache.get_or_load(&8, source.gives()).await, Ok(2));
    assert_eq!(cache.snapshot().tier_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_tier_costs_its_timeout_and_single_flight_still_holds() {
    let (tier, source) = (Memory::default(), Source::default());
    tier.mood(Mood::Slow);
    let cache = over(&tier);
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let (cache, loader) = (cache.clone(), source.takes(SECOND));
            tokio::spawn(timed(async move { cache.get_or_load(&7, loader).await }))
        })
        .collect();
    for caller in callers {
        let (value, took) = caller.await.unwrap();
        assert_eq!(value, Ok(1));
        assert_eq!(took, SECOND + 50 * MILLISECOND);
    }
    assert_eq!(source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_hard_timeout_is_for_the_load_and_the_tier_has_its_own() {
    let tier = Memory::default();
    tier.mood(Mood::Slow);
    let policy = policy().hard_timeout(100 * MILLISECOND);
    for (takes, expected) in [(90, Ok(1)), (110, Err(Reason::LoadTimeout))] {
        let (cache, source) = (over_by(policy, &tier), Source::default());
        let takes = takes * MILLISECOND;
        let asks = || {
            let (cache, load) = (cache.clone(), source.takes(takes));
            tokio::spawn(timed(async move { cache.get_or_load(&7, load).await }))
        };
        let first = asks();
        sleep(120 * MILLISECOND).await;
        // The load has run for longer than that, counted from when it was asked for.
        let second = asks();
        let (answer, took) = first.await.unwrap();
        assert_eq!(took, 50 * MILLISECOND + takes.min(100 * MILLISECOND));
        assert_eq!(
            answer.map_err(|error| reason::<u64, _>(Err(error)).unwrap()),
            expected
        );
        assert_eq!(second.await.unwrap().0.is_ok(), expected.is_ok());
        assert_eq!(source.loads(), 1);
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
    let (tier, source) = (Memory::default(), Source::default());
    let cache = over(&tier);
    cache.insert(7, 70);
    settle().await;
    open(&tier, &cache).await;
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
    let tier = Memory::default();
    let cache = over(&tier);
    cache.insert(7, 70);
    settle().await;
    open(&tier, &cache).await;
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
    let tier = Memory::default();
    let cache = over(&tier);
    cache.insert(7, 70);
    settle().await;
    open(&tier, &cache).await;
    assert!(cache.forget(&8).await.is_err());
    tier.mood(Mood::Late);
    tier.0.listener.get().unwrap().tell(Notice::InTouch);
    cache.forget(&7).await.unwrap();
    assert_eq!(tier.len(), 0);
}

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
