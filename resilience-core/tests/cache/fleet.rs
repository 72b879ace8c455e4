//! Processes that share a second tier, and what each hears of the others.

use std::{
    collections::HashMap,
    sync::{Mutex, OnceLock, Weak},
};

use resilience_core::cache::{Codec, Hears, Listener, Notice, Remembered, Reply, Tier, TierPolicy};

use super::*;

/// A tier in memory that tells every process what the others change.
#[derive(Debug, Default)]
struct Hub {
    entries: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    nodes: Mutex<Vec<Weak<Node>>>,
}

/// One process at a [`Hub`].
#[derive(Debug)]
struct Node {
    hub: Arc<Hub>,
    listener: OnceLock<Listener>,
}

#[derive(Clone, Debug)]
struct Seat(Arc<Node>);

impl Hub {
    fn seat(self: &Arc<Self>) -> Seat {
        let node = Arc::new(Node {
            hub: self.clone(),
            listener: OnceLock::new(),
        });
        self.nodes.lock().unwrap().push(Arc::downgrade(&node));
        Seat(node)
    }

    fn change(&self, by: &Arc<Node>, key: &[u8], entry: Option<Vec<u8>>) {
        match entry {
            Some(entry) => self.entries.lock().unwrap().insert(key.to_vec(), entry),
            None => self.entries.lock().unwrap().remove(key),
        };
        let nodes = self.nodes.lock().unwrap().clone();
        for node in nodes.iter().filter_map(Weak::upgrade) {
            if !Arc::ptr_eq(&node, by) {
                node.listener().tell(Notice::Changed(mark(key)));
            }
        }
    }
}

impl Node {
    fn listener(&self) -> &Listener {
        self.listener.get().unwrap()
    }
}

impl Tier for Seat {
    fn get<'a>(&'a self, key: &'a [u8]) -> Reply<'a, Option<Remembered>> {
        Box::pin(async move {
            let entry = self.0.hub.entries.lock().unwrap().get(key).cloned();
            Ok(entry.map(|entry| Remembered { entry, left: None }))
        })
    }

    fn put<'a>(&'a self, key: &'a [u8], entry: Vec<u8>, _: Duration) -> Reply<'a, ()> {
        Box::pin(async move {
            self.0.hub.change(&self.0, key, Some(entry));
            Ok(())
        })
    }

    fn remove<'a>(&'a self, key: &'a [u8]) -> Reply<'a, ()> {
        Box::pin(async move {
            self.0.hub.change(&self.0, key, None);
            Ok(())
        })
    }

    fn clear(&self) -> Reply<'_, ()> {
        Box::pin(async move {
            self.0.hub.entries.lock().unwrap().clear();
            Ok(())
        })
    }

    fn listen(&self, listener: Listener) -> Hears {
        self.0.listener.set(listener).unwrap();
        Hears::Changes
    }

    fn mark(&self, key: &[u8]) -> u64 {
        mark(key)
    }
}

fn mark(key: &[u8]) -> u64 {
    key.iter().fold(7, |sum, &byte| sum * 31 + u64::from(byte))
}

/// Numbers as text.
struct Text;

impl Codec<u32, u64> for Text {
    fn key(&self, key: &u32) -> Vec<u8> {
        key.to_string().into_bytes()
    }

    fn encode(&self, value: &u64) -> Option<Vec<u8>> {
        Some(value.to_string().into_bytes())
    }

    fn decode(&self, bytes: &[u8]) -> Option<u64> {
        std::str::from_utf8(bytes).ok()?.parse().ok()
    }
}

/// A process of the fleet: its cache, and what it hears through.
fn process(hub: &Arc<Hub>, policy: Policy) -> (Cache<u32, u64>, Seat) {
    let environment = Environment::new().clock(Clock::tokio());
    let seat = hub.seat();
    let tier = (TierPolicy::new("tier"), seat.clone(), Text);
    (Cache::new_over(policy, tier, &environment).unwrap(), seat)
}

#[tokio::test(start_paused = true)]
async fn what_one_process_forgets_or_inserts_no_other_serves_any_more() {
    let (hub, source) = (Arc::default(), Source::default());
    let ((one, _one), (other, _other)) = (process(&hub, policy()), process(&hub, policy()));
    assert_eq!(one.get_or_load(&7, source.gives()).await, Ok(1));
    settle().await;
    assert_eq!(other.get_or_load(&7, source.gives()).await, Ok(1));
    other.insert(8, 80);
    settle().await;

    one.forget(&7).await.unwrap();
    assert_eq!(other.get(&7), None);
    assert_eq!(other.get(&8), Some(80), "another key is left alone");
    assert_eq!(other.get_or_load(&7, source.gives()).await, Ok(2));

    one.insert(8, 81);
    assert_eq!(one.get(&8), Some(81));
    settle().await;
    assert_eq!(other.get(&8), None);
    assert_eq!(other.get_or_load(&8, source.gives()).await, Ok(81));
    assert_eq!(one.get(&8), Some(81), "nobody hears of himself");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_stored_that_others_changed_while_it_was_loaded() {
    let (hub, source) = (Arc::default(), Source::default());
    let ((one, _one), (other, _other)) = (process(&hub, policy()), process(&hub, policy()));
    let loading = tokio::spawn({
        let (cache, loader) = (one.clone(), source.takes(SECOND));
        async move { cache.get_or_load(&7, loader).await }
    });
    settle().await;
    other.forget(&7).await.unwrap();
    // Who asked before gets what it waited for, and nobody else does.
    assert_eq!(loading.await.unwrap(), Ok(1));
    settle().await;
    assert_eq!(one.get(&7), None);
    assert!(hub.entries.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_after_a_change_is_not_given_a_load_from_before() {
    let (hub, source) = (Arc::default(), Source::default());
    let ((one, _one), (other, _other)) = (process(&hub, policy()), process(&hub, policy()));
    let ask = |cache: &Cache<u32, u64>| {
        let (cache, loader) = (cache.clone(), source.takes(SECOND));
        tokio::spawn(async move { cache.get_or_load(&7, loader).await })
    };
    let before = ask(&one);
    settle().await;
    other.forget(&7).await.unwrap();
    let after = ask(&one);
    assert_eq!(before.await.unwrap(), Ok(1));
    assert_eq!(after.await.unwrap(), Ok(2));
}

#[tokio::test(start_paused = true)]
async fn out_of_touch_everything_held_is_stale_and_no_more_than_that() {
    let (hub, source) = (Arc::default(), Source::default());
    let stale = policy().stale_if_error(60 * SECOND);
    let ((strict, strict_seat), (lenient, seat)) = (process(&hub, policy()), process(&hub, stale));
    strict.insert(7, 70);
    lenient.insert(8, 80);
    settle().await;
    hub.entries.lock().unwrap().clear();

    strict_seat.0.listener().tell(Notice::OutOfTouch);
    seat.0.listener().tell(Notice::OutOfTouch);
    assert_eq!(strict.get(&7), None);
    assert_eq!(strict.get_or_load(&7, source.gives()).await, Ok(1));
    assert_eq!(lenient.get(&8), None);
    assert_eq!(lenient.get_or_load(&8, source.fails()).await, Ok(80));
}

#[tokio::test(start_paused = true)]
async fn what_is_loaded_out_of_touch_is_fresh_for_a_short_time_and_not_once_touch_is_back() {
    let (hub, source) = (Arc::default(), Source::default());
    let long = Policy::new("dishes", 3600 * SECOND).jitter(0.0);
    let (cache, seat) = process(&hub, long.early_refresh(EarlyRefresh::Never));
    let listener = seat.0.listener();
    listener.tell(Notice::OutOfTouch);
    cache.insert(7, 70);
    cache.insert(8, 80);
    advance(30 * SECOND - MILLISECOND).await;
    assert_eq!(cache.get(&7), Some(70));
    advance(MILLISECOND).await;
    assert_eq!(cache.get(&7), None);

    cache.insert(8, 81);
    listener.tell(Notice::InTouch);
    assert_eq!(cache.get(&8), None);
    settle().await;
    hub.entries.lock().unwrap().clear();
    assert_eq!(cache.get_or_load(&8, source.gives()).await, Ok(1));
    advance(3000 * SECOND).await;
    assert_eq!(cache.get(&8), Some(1));
}

#[tokio::test(start_paused = true)]
async fn all_can_change_at_once() {
    let (hub, _source) = (Arc::default(), Source::default());
    let (cache, seat) = process(&hub, policy().stale_if_error(60 * SECOND));
    cache.insert(7, 70);
    seat.0.listener().tell(Notice::AllChanged);
    settle().await;
    hub.entries.lock().unwrap().clear();
    let failed = cache.get_or_load(&7, Source::default().fails()).await;
    assert!(failed.is_err(), "what is void does not stand in for a load");
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_gone_hears_nothing() {
    let hub: Arc<Hub> = Arc::default();
    let (cache, seat) = process(&hub, policy());
    drop(cache);
    seat.0.listener().tell(Notice::AllChanged);
}
