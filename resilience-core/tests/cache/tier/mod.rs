//! A second tier that other processes share, and which may be slow, broken or full of rubbish.

mod changes;
mod outages;

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
    /// Well, and a second away from having forgotten everything.
    Large,
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
                Mood::Well | Mood::Large => {}
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
        let cleared = self.reply(HashMap::clear);
        Box::pin(async move {
            if matches!(*self.0.mood.lock().unwrap(), Mood::Large) {
                sleep(SECOND).await;
            }
            cleared.await
        })
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
