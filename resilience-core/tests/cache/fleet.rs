//! Processes that share a second tier, and what each hears of the others.

use std::{
    collections::HashMap,
    sync::{Mutex, OnceLock, Weak},
};

use resilience_core::cache::{
    Claim, Codec, Hears, Lease, Listener, Notice, Remembered, Reply, Tier, TierPolicy, Unfilled,
};
use tokio::{sync::Notify, time::timeout};

use super::*;

/// A tier in memory that tells every process what the others change, and lets one load at a time.
#[derive(Debug, Default)]
struct Hub {
    entries: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    leases: Mutex<HashMap<Vec<u8>, u64>>,
    private: Mutex<Vec<Vec<u8>>>,
    granted: AtomicU64,
    over: Notify,
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
        self.end(key);
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

impl Hub {
    fn grant(&self, key: &[u8]) -> Option<Claim> {
        if self.private.lock().unwrap().iter().any(|it| it == key) {
            return Some(Claim::Refused);
        }
        let mut leases = self.leases.lock().unwrap();
        if leases.contains_key(key) {
            return None;
        }
        let number = self.granted.fetch_add(1, Ordering::Relaxed) + 1;
        leases.insert(key.to_vec(), number);
        Some(Claim::Granted(Lease::new(number)))
    }

    fn has(&self, key: &[u8], lease: Lease) -> bool {
        self.leases.lock().unwrap().get(key) == Some(&lease.number())
    }

    fn end(&self, key: &[u8]) {
        self.leases.lock().unwrap().remove(key);
        self.over.notify_waiters();
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

    fn claim<'a>(&'a self, key: &'a [u8], _: Duration, patience: Duration) -> Reply<'a, Claim> {
        Box::pin(async move {
            let over = self.0.hub.over.notified();
            if let Some(granted) = self.0.hub.grant(key) {
                return Ok(granted);
            }
            match timeout(patience, over).await {
                Ok(()) => Ok(Claim::Over),
                Err(_) => Ok(Claim::Refused),
            }
        })
    }

    fn fill<'a>(
        &'a self,
        key: &'a [u8],
        lease: Lease,
        entry: Vec<u8>,
        _: Duration,
    ) -> Reply<'a, ()> {
        Box::pin(async move {
            if self.0.hub.has(key, lease) {
                self.0.hub.change(&self.0, key, Some(entry));
            }
            Ok(())
        })
    }

    fn release<'a>(&'a self, key: &'a [u8], lease: Lease, why: Unfilled) -> Reply<'a, ()> {
        Box::pin(async move {
            if self.0.hub.has(key, lease) {
                if why == Unfilled::Private {
                    self.0.hub.private.lock().unwrap().push(key.to_vec());
                }
                self.0.hub.end(key);
            }
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
async fn of_values_that_are_put_in_a_row_the_last_is_shared() {
    let hub = Arc::default();
    let ((one, _one), (other, _other)) = (process(&hub, policy()), process(&hub, policy()));
    for value in 70..80 {
        one.insert(7, value);
    }
    settle().await;
    let source = Source::default();
    assert_eq!(other.get_or_load(&7, source.gives()).await, Ok(79));

    one.insert(7, Loaded::new(80).tag("menu"));
    settle().await;
    let third = process(&hub, policy()).0;
    let found = third.get_or_load(&7, source.gives()).await;
    assert_eq!(found, Ok(1), "not what was put before");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_stored_that_others_changed_while_it_was_loaded() {
    let (hub, source) = (Arc::default(), Source::default());
    let ((one, _one), (other, _other)) = (process(&hub, policy()), process(&hub, policy()));
    let loading = ask(&one, source.takes(SECOND));
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
    let before = ask(&one, source.takes(SECOND));
    settle().await;
    other.forget(&7).await.unwrap();
    let after = ask(&one, source.takes(SECOND));
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

#[tokio::test(start_paused = true)]
async fn a_fleet_loads_a_key_once() {
    let (hub, source) = (Arc::default(), Source::default());
    let fleet: Vec<_> = (0..8).map(|_| process(&hub, policy())).collect();
    let callers: Vec<_> = fleet
        .iter()
        .flat_map(|(cache, _)| (0..10).map(|_| ask(cache, source.takes(500 * MILLISECOND))))
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(1));
    }
    assert_eq!(source.loads(), 1);
    let waits: u64 = fleet.iter().map(|it| it.0.snapshot().tier_waits).sum();
    assert_eq!(waits, 7);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_another_process_does_so_for_as_long_as_its_patience() {
    let (hub, source) = (Arc::default(), Source::default());
    let ((one, _one), (other, _other)) = (process(&hub, policy()), process(&hub, policy()));
    let slow = ask(&one, source.takes(5 * SECOND));
    settle().await;
    let (value, took) = timed(other.get_or_load(&7, source.gives())).await;
    assert_eq!((value, took), (Ok(2), SECOND));
    assert_eq!(slow.await.unwrap(), Ok(1));
    settle().await;
    let (third, _third) = process(&hub, policy());
    let shared = third.get_or_load(&7, source.gives()).await;
    assert_eq!(shared, Ok(1), "only what was loaded for all is shared");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_fails_or_goes_away_lets_the_next_process_try_at_once() {
    let hub = Arc::default();
    let hasty = policy().on_leader_gone(OnLeaderGone::HandOver);
    let ((one, _one), (other, _other)) = (process(&hub, hasty), process(&hub, policy()));
    let source = Source::default();
    let fails = {
        let load = source.takes(100 * MILLISECOND);
        || -> Later<Result<u64, &'static str>> { Box::pin(async { load().await.and(Err("down")) }) }
    };
    let failing = ask(&one, fails);
    settle().await;
    let (value, took) = timed(other.get_or_load(&7, source.gives())).await;
    assert_eq!((value, took), (Ok(2), 100 * MILLISECOND));
    assert_eq!(failing.await.unwrap(), Err(Error::Inner("down")));

    other.forget(&7).await.unwrap();
    let dropped = ask(&one, source.takes(5 * SECOND));
    settle().await;
    let waiting = ask(&other, source.gives());
    settle().await;
    dropped.abort();
    assert_eq!(timed(waiting).await.0.unwrap(), Ok(4));
}

#[tokio::test(start_paused = true)]
async fn what_is_for_one_process_alone_holds_no_other_up_twice() {
    let (hub, source) = (Arc::default(), Source::default());
    let fleet: Vec<_> = (0..4).map(|_| process(&hub, policy())).collect();
    let tagged = || {
        let load = source.takes(100 * MILLISECOND);
        move || async move { load().await.map(|value| Loaded::new(value).tag("menu")) }
    };
    let callers: Vec<_> = fleet
        .iter()
        .map(|(cache, _)| {
            let (cache, loader) = (cache.clone(), tagged());
            tokio::spawn(timed(async move { cache.get_or_load(&7, loader).await }))
        })
        .collect();
    for caller in callers {
        let (value, took) = caller.await.unwrap();
        assert!(value.is_ok());
        assert!(took <= 200 * MILLISECOND, "{took:?}");
    }
    assert_eq!(source.loads(), 4);
    assert!(hub.entries.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_process_refreshes_and_the_others_take_what_it_brings() {
    let (hub, source) = (Arc::default(), Source::default());
    let policy = policy().stale_while_revalidate(60 * SECOND);
    let fleet: Vec<_> = (0..4).map(|_| process(&hub, policy)).collect();
    for (cache, _) in &fleet {
        assert_eq!(cache.get_or_load(&7, source.gives()).await, Ok(1));
        settle().await;
    }
    advance(11 * SECOND).await;
    for (cache, _) in &fleet {
        let loader = source.takes(500 * MILLISECOND);
        assert_eq!(cache.get_or_load(&7, loader).await, Ok(1), "stale");
    }
    sleep(SECOND).await;
    for (cache, _) in &fleet {
        assert_eq!(cache.get_or_load(&7, source.gives()).await, Ok(2));
    }
    assert_eq!(source.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn that_a_key_has_no_value_is_known_to_all_until_it_has_one() {
    let hub = Arc::default();
    let ((one, _one), (other, _other)) = (process(&hub, policy()), process(&hub, policy()));
    let absent = async || Ok::<Option<u64>, Infallible>(None);
    assert_eq!(one.get_or_find(&7, absent).await, Ok(None));
    settle().await;
    let never = async || -> Result<Option<u64>, Infallible> { panic!("nobody need look") };
    assert_eq!(other.get_or_find(&7, never).await, Ok(None));
    one.insert(7, 70);
    settle().await;
    assert_eq!(other.get_or_find(&7, never).await, Ok(Some(70)));
}

#[tokio::test(start_paused = true)]
async fn what_others_loaded_weighs_and_is_refreshed_here_as_it_is_there() {
    let (hub, source) = (Arc::default(), Source::default());
    let policy = policy().early_refresh(EarlyRefresh::Probabilistic { beta: 1.0 });
    let ((one, _one), (other, _other)) = (process(&hub, policy), process(&hub, policy));
    let heavy = {
        let load = source.takes(900 * MILLISECOND);
        || async { load().await.map(|value| Loaded::new(value).weight(20)) }
    };
    assert_eq!(one.get_or_load(&7, heavy).await, Ok(1));
    settle().await;
    assert_eq!(other.get_or_load(&7, source.gives()).await, Ok(1));
    assert_eq!(other.snapshot().weight, 20);
    // After a load of 0.9 s nine draws of ten refresh 0.1 s ahead of the end; after a load of no
    // time none does.
    advance(10 * SECOND - 100 * MILLISECOND).await;
    for _ in 0..1000 {
        drop(other.get_or_load(&7, source.gives()).await);
    }
    settle().await;
    assert_eq!(source.loads(), 2);
}
