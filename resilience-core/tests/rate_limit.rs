//! The sentences of the rate limiter's documents, one test each.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    convert::Infallible,
    future::{Future, pending},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use resilience_core::{
    BoxError, Clock, Environment, Error, Event, InvalidPolicy, ManualClock, Measured, Outcome,
    Reason, Rejectable, Rejected, Respond, Results, Timestamp,
    rate_limit::{
        Algorithm, Charge, Everybody, MissingKey, Mode, Policy, Quota, RateLimiter, Reservation,
    },
};
use tower::{Layer, Service, ServiceExt, service_fn};

const NANO: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const ALL: [Algorithm; 3] = [
    Algorithm::SlidingLog,
    Algorithm::SlidingWindow,
    Algorithm::Gcra,
];

fn log(limit: u64, per: Duration) -> Quota {
    Quota::new(limit, per).algorithm(Algorithm::SlidingLog)
}

fn policy(quota: Quota) -> Policy {
    Policy::new("test", quota)
}

fn manual<K>(policy: Policy) -> (RateLimiter<K>, ManualClock)
where
    K: std::hash::Hash + Eq + Clone + Send + 'static,
{
    let clock = ManualClock::new();
    let environment = Environment::new().clock(clock.clone());
    (RateLimiter::new_in(policy, &environment).unwrap(), clock)
}

fn unkeyed(policy: Policy) -> (RateLimiter, ManualClock) {
    manual(policy)
}

fn paused(policy: Policy) -> RateLimiter {
    let environment = Environment::new().clock(Clock::tokio());
    RateLimiter::new_in(policy, &environment).unwrap()
}

fn invalid(policy: Policy) -> &'static str {
    RateLimiter::<()>::new(policy).unwrap_err().field()
}

fn retry_after<T: std::fmt::Debug>(result: Result<T, Rejected>) -> Duration {
    result.unwrap_err().retry_after().unwrap()
}

fn count(limiter: &RateLimiter, times: usize) -> usize {
    (0..times).filter(|_| limiter.try_take(&()).is_ok()).count()
}

// --- settings

#[test]
fn what_cannot_work_is_an_invalid_policy() {
    assert_eq!(invalid(policy(Quota::per_second(0))), "limit");
    assert_eq!(invalid(policy(Quota::new(1, Duration::ZERO))), "per");
    let gcra = Quota::per_second(1).algorithm(Algorithm::Gcra);
    assert_eq!(invalid(policy(gcra.burst(0))), "burst");
    assert_eq!(invalid(policy(Quota::per_second(1).burst(2))), "burst");
    let quota = Quota::per_second(1);
    assert_eq!(invalid(policy(quota).capacity(0)), "capacity");
    assert_eq!(invalid(policy(quota).global(Quota::per_second(0))), "limit");
    assert_eq!(
        invalid(policy(quota).and(quota).and(quota).and(quota).and(quota)),
        "and"
    );
    assert_eq!(
        invalid(policy(quota).tier("a", quota).tier("a", quota)),
        "tier"
    );
    assert_eq!(invalid(policy(quota.named("two\nlines"))), "name");
    assert_eq!(invalid(Policy::new("", quota)), "name");
}

#[test]
fn every_other_number_works() {
    for algorithm in ALL {
        for limit in [1, 2, 3, u64::MAX - 1, u64::MAX] {
            for per in [NANO, Duration::from_nanos(9), SECOND, Duration::MAX] {
                let quota = Quota::new(limit, per).algorithm(algorithm);
                let (limiter, clock) = unkeyed(policy(quota).max_wait(Duration::MAX));
                for now in [0, 1, 1 << 40, u64::MAX - 1, u64::MAX, 5] {
                    clock.set(Timestamp::from_nanos(now));
                    for cost in [0, 1, limit - 1, limit, limit.saturating_add(1), u64::MAX] {
                        let _ = limiter.try_take_n(&(), cost);
                        let _ = limiter.peek(&());
                        let _ = limiter.reserve(&(), cost).map(Reservation::cancel);
                        limiter.refund(&(), cost);
                    }
                }
            }
        }
    }
}

// --- counting

#[test]
fn a_unit_is_free_again_exactly_one_window_later() {
    for (at, allowed) in [
        (SECOND - NANO, false),
        (SECOND, true),
        (SECOND + NANO, true),
    ] {
        let (limiter, clock) = unkeyed(policy(log(1, SECOND)));
        limiter.try_take(&()).unwrap();
        clock.advance(at);
        assert_eq!(limiter.try_take(&()).is_ok(), allowed, "{at:?}");
    }
}

#[test]
fn the_limit_passes_and_the_next_is_refused() {
    for algorithm in ALL {
        let quota = Quota::new(5, SECOND).algorithm(algorithm);
        let (limiter, clock) = unkeyed(policy(quota));
        assert_eq!(count(&limiter, 9), 5, "{algorithm:?}");
        clock.advance(Duration::from_millis(1 << 33));
        assert_eq!(count(&limiter, 9), 5, "{algorithm:?}, after idling");
    }
}

#[test]
fn a_window_of_one_nanosecond_works() {
    for algorithm in ALL {
        let quota = Quota::new(2, NANO).algorithm(algorithm);
        let (limiter, clock) = unkeyed(policy(quota));
        assert_eq!(count(&limiter, 5), 2);
        clock.advance(NANO);
        assert_eq!(count(&limiter, 5), 2);
    }
}

#[test]
fn nothing_can_always_be_taken() {
    for algorithm in ALL {
        let quota = Quota::new(1, SECOND).algorithm(algorithm);
        let (limiter, _) = unkeyed(policy(quota));
        for remaining in [1, 0] {
            assert_eq!(limiter.try_take_n(&(), 0).unwrap().remaining, remaining);
            assert_eq!(limiter.peek(&()).remaining, remaining);
            let _ = limiter.try_take(&());
        }
    }
}

#[test]
fn a_cost_that_no_wait_could_meet_is_told_apart() {
    for algorithm in ALL {
        let quota = Quota::new(3, SECOND).algorithm(algorithm);
        let (limiter, _) = unkeyed(policy(quota).max_wait(Duration::MAX));
        for cost in [4, u64::MAX] {
            let rejected = limiter.try_take_n(&(), cost).unwrap_err();
            assert_eq!(rejected.reason(), Reason::CostExceedsQuota);
            assert_eq!(rejected.retry_after(), None);
            assert!(limiter.reserve(&(), cost).is_err());
        }
        assert_eq!(limiter.peek(&()).remaining, 3);
    }
}

#[test]
fn a_refused_call_takes_nothing() {
    for algorithm in ALL {
        let quota = Quota::new(2, SECOND).algorithm(algorithm);
        let (limiter, clock) = unkeyed(policy(quota));
        assert_eq!(count(&limiter, 1000), 2);
        let wait = limiter.peek(&()).retry_after;
        clock.advance(wait - NANO);
        assert_eq!(count(&limiter, 1000), 0);
        clock.advance(NANO);
        assert!(limiter.try_take(&()).is_ok());
    }
}

#[test]
fn threads_at_one_instant_get_the_limit_together() {
    for algorithm in ALL {
        let quota = Quota::new(500, SECOND).algorithm(algorithm);
        let (limiter, _) = manual::<u64>(policy(quota).global(log(1200, SECOND)));
        let allowed: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..8_u64)
                .map(|thread| {
                    let limiter = limiter.clone();
                    let key = thread % 4;
                    scope.spawn(move || (0..300).filter(|_| limiter.try_take(&key).is_ok()).count())
                })
                .collect();
            threads.into_iter().map(|it| it.join().unwrap()).sum()
        });
        assert_eq!(allowed, 1200);
        let snapshot = limiter.snapshot();
        assert_eq!((snapshot.allowed, snapshot.denied), (1200, 1200));
    }
}

#[test]
fn a_call_takes_from_all_quotas_or_from_none() {
    let burst = Quota::per_second(2).named("burst");
    let (limiter, clock) =
        manual::<String>(policy(log(3, MINUTE)).and(burst).global(log(4, MINUTE)));
    assert!(limiter.try_take("a").is_ok());
    assert!(limiter.try_take("a").is_ok());
    let rejected = limiter.try_take("a").unwrap_err();
    assert_eq!(rejected.policy(), "burst");
    assert_eq!(
        rejected.retry_after(),
        Some(Duration::from_millis(1100) - NANO)
    );
    clock.advance(Duration::from_secs(2));
    // The refusal took nothing from the others: one of three is left, then one of the four.
    assert_eq!(limiter.try_take("a").unwrap().remaining, 0);
    assert_eq!(retry_after(limiter.try_take("a")), Duration::from_secs(58));
    assert_eq!(limiter.try_take("b").unwrap().remaining, 0);
    assert_eq!(retry_after(limiter.try_take("b")), Duration::from_secs(58));
    limiter.refund("b", 1);
    assert_eq!(limiter.try_take_n("c", 1).unwrap().remaining, 0);
}

#[test]
fn clones_share_one_limiter() {
    let (limiter, _) = unkeyed(policy(log(3, SECOND)));
    let clones = [limiter.clone(), limiter.clone(), limiter.clone()];
    assert_eq!(clones.iter().map(|it| count(it, 3)).sum::<usize>(), 3);
}

#[test]
fn a_refund_gives_units_back_from_every_quota() {
    for algorithm in ALL {
        let quota = Quota::new(5, MINUTE).algorithm(algorithm);
        let (limiter, _) = manual::<u8>(policy(quota).global(quota));
        limiter.try_take_n(&1, 5).unwrap();
        limiter.refund(&1, 2);
        assert_eq!(limiter.peek(&1).remaining, 2);
        assert_eq!(limiter.peek(&2).remaining, 2);
        limiter.refund(&1, u64::MAX);
        limiter.refund(&7, u64::MAX);
        assert_eq!(limiter.peek(&1).remaining, 5);
    }
}

#[test]
fn a_refund_gives_back_the_oldest_units() {
    let (limiter, clock) = unkeyed(policy(log(2, MINUTE)));
    limiter.try_take(&()).unwrap();
    clock.advance(SECOND * 10);
    limiter.try_take(&()).unwrap();
    limiter.refund(&(), 1);
    clock.advance(SECOND * 50);
    assert_eq!(limiter.peek(&()).remaining, 1);
}

// --- time

#[test]
fn a_clock_that_falls_back_gives_nothing_away_and_blocks_nobody_for_long() {
    for algorithm in ALL {
        let quota = Quota::new(2, SECOND).algorithm(algorithm);
        let (limiter, clock) = unkeyed(policy(quota));
        let century = SECOND * 3_000_000_000;
        clock.advance(century);
        assert_eq!(count(&limiter, 5), 2);
        clock.set(Timestamp::ZERO);
        assert_eq!(count(&limiter, 5), 0, "{algorithm:?}");
        clock.advance(SECOND * 2);
        assert_eq!(count(&limiter, 5), 2, "{algorithm:?}");
        clock.set(Timestamp::from_nanos(u64::MAX));
        assert!(count(&limiter, 5) <= 2);
        clock.set(Timestamp::ZERO);
        assert_eq!(count(&limiter, 5), 0);
    }
}

#[test]
fn callers_that_read_the_clock_in_disorder_gain_nothing() {
    let (limiter, clock) = unkeyed(policy(log(1, SECOND)));
    clock.advance(SECOND);
    limiter.try_take(&()).unwrap();
    for _ in 0..1000 {
        clock.set(Timestamp::from_nanos(999_000_000));
        assert!(limiter.try_take(&()).is_err());
        clock.set(Timestamp::from_nanos(1_000_000_000));
        assert!(limiter.try_take(&()).is_err());
    }
    clock.advance(SECOND);
    assert!(limiter.try_take(&()).is_ok());
}

// --- booking and waiting

#[test]
fn a_reservation_dropped_before_its_time_gives_its_units_back() {
    for algorithm in ALL {
        let quota = Quota::new(1, SECOND).algorithm(algorithm);
        let (limiter, clock) = unkeyed(policy(quota).max_wait(MINUTE));
        limiter.try_take(&()).unwrap();
        let first = limiter.reserve(&(), 1).unwrap();
        let second = limiter.reserve(&(), 1).unwrap();
        assert!(first.wait() < second.wait());
        let due = first.wait();
        drop(second);
        clock.advance(due);
        // Its time has come: it may have been used.
        drop(first);
        assert!(limiter.try_take(&()).is_err());
        assert!(limiter.reserve(&(), 1).unwrap().wait() <= Duration::from_millis(1100));
    }
}

#[test]
fn units_given_back_late_are_those_that_still_count() {
    let quota = Quota::new(10, SECOND * 10).algorithm(Algorithm::Gcra);
    let (limiter, clock) = unkeyed(policy(quota));
    let early = limiter.reserve(&(), 5).unwrap();
    clock.advance(SECOND * 2);
    limiter.try_take_n(&(), 4).unwrap();
    assert_eq!(limiter.peek(&()).remaining, 3);
    early.cancel();
    assert_eq!(limiter.peek(&()).remaining, 6);
}

#[test]
fn units_given_back_in_any_order_are_nobody_elses() {
    for algorithm in ALL {
        let quota = Quota::new(10, SECOND * 10).algorithm(algorithm);
        let (limiter, clock) = unkeyed(policy(quota));
        let first = limiter.reserve(&(), 5).unwrap();
        let second = limiter.reserve(&(), 5).unwrap();
        first.cancel();
        clock.advance(SECOND * 6);
        limiter.try_take_n(&(), 5).unwrap();
        second.cancel();
        assert!(count(&limiter, 20) <= 5, "{algorithm:?}");
    }
}

#[test]
fn units_given_back_at_once_are_all_free_in_any_order() {
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    for algorithm in ALL {
        for order in orders {
            let quota = Quota::new(10, SECOND * 10).algorithm(algorithm);
            let (limiter, _clock) = unkeyed(policy(quota));
            let mut held = [2, 3, 4].map(|units| limiter.reserve(&(), units).ok());
            limiter.try_take(&()).unwrap();
            for index in order {
                held[index].take().unwrap().cancel();
            }
            assert_eq!(limiter.peek(&()).remaining, 9, "{algorithm:?}, {order:?}");
        }
    }
}

#[test]
fn a_booking_counts_from_its_time_for_every_quota() {
    let each = log(1, SECOND * 10);
    let all = Quota::per_second(1).algorithm(Algorithm::Gcra);
    let (limiter, clock) = manual::<u8>(policy(each).global(all).max_wait(MINUTE));
    limiter.try_take(&1).unwrap();
    let booked = limiter.reserve(&1, 1).unwrap();
    assert_eq!(booked.wait(), SECOND * 10);
    clock.advance(Duration::from_millis(10_500));
    assert_eq!(
        retry_after(limiter.try_take(&2)),
        Duration::from_millis(500)
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_known_to_be_too_long_is_refused_at_once() {
    let limiter = paused(policy(log(1, SECOND)).max_wait(SECOND));
    let started = Clock::tokio();
    limiter.take(&()).await.unwrap();
    let waiter = limiter.clone();
    let waiter = tokio::spawn(async move { waiter.take(&()).await });
    tokio::task::yield_now().await;
    let before = started.now();
    assert_eq!(retry_after(limiter.take(&()).await), SECOND * 2);
    assert_eq!(started.now(), before);
    waiter.await.unwrap().unwrap();
    assert!(started.now() >= Timestamp::ZERO.saturating_add(SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_caller_dropped_while_it_waits_takes_nothing() {
    let limiter = paused(policy(log(1, SECOND)).max_wait(MINUTE));
    limiter.take(&()).await.unwrap();
    {
        let mut waiting = pin!(limiter.take(&()));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        assert_eq!(limiter.peek(&()).retry_after, SECOND * 2);
        tokio::time::advance(SECOND * 3 / 2).await;
        assert_eq!(limiter.peek(&()).remaining, 0);
    }
    assert_eq!(limiter.peek(&()).remaining, 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_layer_paces_calls_and_forgets_those_that_go_away() {
    let quota = Quota::new(1, SECOND).algorithm(Algorithm::Gcra);
    let limiter = paused(policy(quota).max_wait(MINUTE));
    let clock = Clock::tokio();
    let inner = service_fn(|(): ()| async { Ok::<_, BoxError>(()) });
    let mut service = limiter.layer_with(Everybody, Results).layer(inner);
    let first = service.ready().await.unwrap().call(());
    let second = service.ready().await.unwrap().call(());
    let third = service.ready().await.unwrap().call(());
    drop(second);
    first.await.unwrap();
    let fourth = service.ready().await.unwrap().call(());
    third.await.unwrap();
    assert_eq!(clock.now(), Timestamp::ZERO.saturating_add(SECOND * 2));
    fourth.await.unwrap();
    assert!(clock.now() <= Timestamp::ZERO.saturating_add(SECOND * 3));
}

// --- live changes

#[test]
fn a_limit_lowered_below_what_is_used_refuses_until_enough_has_come_back() {
    for algorithm in ALL {
        let quota = |limit| policy(Quota::new(limit, SECOND).algorithm(algorithm));
        let (limiter, clock) = unkeyed(quota(10));
        assert_eq!(count(&limiter, 10), 10);
        limiter.reconfigure(quota(4)).unwrap();
        let standing = limiter.peek(&());
        assert_eq!((standing.limit, standing.remaining), (4, 0));
        assert!(limiter.try_take(&()).is_err());
        clock.advance(standing.retry_after);
        assert!(limiter.try_take(&()).is_ok());
        limiter.reconfigure(quota(1000)).unwrap();
        assert!(limiter.peek(&()).remaining >= 990);
    }
}

#[test]
fn a_change_of_rate_keeps_fractions_of_units() {
    let quota = |limit| {
        Quota::new(limit, SECOND * 10)
            .algorithm(Algorithm::Gcra)
            .burst(10)
    };
    let (limiter, clock) = unkeyed(policy(quota(10)));
    limiter.try_take_n(&(), 6).unwrap();
    clock.advance(Duration::from_millis(2500));
    limiter.reconfigure(policy(quota(20))).unwrap();
    // Three and a half are out, and two drain a second.
    assert_eq!(limiter.peek(&()).remaining, 6);
    assert_eq!(
        retry_after(limiter.try_take_n(&(), 7)),
        Duration::from_millis(250)
    );
}

#[test]
fn what_was_used_stays_used_whatever_the_algorithm_becomes() {
    for old in ALL {
        for new in ALL {
            let quota = |algorithm| policy(Quota::new(10, SECOND).algorithm(algorithm));
            let (limiter, clock) = manual::<u8>(quota(old));
            limiter.try_take_n(&1, 7).unwrap();
            limiter.reconfigure(quota(new)).unwrap();
            assert_eq!(limiter.peek(&1).remaining, 3, "{old:?} to {new:?}");
            assert_eq!(limiter.peek(&2).remaining, 10);
            clock.advance(SECOND * 2);
            assert_eq!(limiter.peek(&1).remaining, 10);
        }
    }
}

#[test]
fn only_quotas_the_wait_and_the_mode_can_change() {
    let quota = Quota::per_second(1);
    let (limiter, _) = manual::<u8>(policy(quota));
    let field = |policy| limiter.reconfigure(policy).unwrap_err().field();
    assert_eq!(field(Policy::new("other", quota)), "name");
    assert_eq!(field(policy(quota).capacity(7)), "capacity");
    assert_eq!(field(policy(quota).charge(Charge::Failures)), "charge");
    assert_eq!(
        field(policy(quota).missing_key(MissingKey::Admit)),
        "missing_key"
    );
    assert_eq!(field(policy(quota).global(quota)), "quotas");
    assert_eq!(field(policy(quota).and(quota)), "quotas");
    assert_eq!(field(policy(Quota::per_second(0))), "limit");
    limiter.try_take(&1).unwrap();
    limiter.reconfigure(policy(quota).max_wait(MINUTE)).unwrap();
    assert!(limiter.reserve(&1, 1).is_ok());
    limiter
        .reconfigure(policy(quota).mode(Mode::Shadow))
        .unwrap();
    assert!(limiter.try_take(&1).is_ok());
}

// --- keys

#[test]
fn every_key_has_its_own_quota() {
    let (limiter, _) = manual::<String>(policy(log(1, SECOND)));
    let long = "x".repeat(1 << 20);
    // Latin and Cyrillic letters that look alike.
    let keys = [
        "",
        " ",
        "paypal",
        "p\u{430}ypal",
        "a\u{301}",
        "\u{e1}",
        &long,
        &long[1..],
    ];
    for key in keys {
        assert!(limiter.try_take(key).is_ok());
        assert!(limiter.try_take(key).is_err());
    }
    let (limiter, _) = manual::<Vec<u8>>(policy(log(1, SECOND)));
    assert!(limiter.try_take(&b"\xff"[..]).is_ok());
    assert!(limiter.try_take(&b"\xfe"[..]).is_ok());
}

#[test]
fn a_million_new_keys_free_no_one_who_is_at_the_limit_and_starve_no_one() {
    let (limiter, _) = manual::<u64>(policy(log(3, MINUTE)).capacity(1000));
    for _ in 0..3 {
        limiter.try_take(&0).unwrap();
    }
    for key in 1..1_000_000 {
        let _ = limiter.try_take(&key);
    }
    assert!(limiter.try_take(&0).is_err());
    assert!(limiter.try_take(&u64::MAX).is_ok());
    assert!(limiter.len() <= 1000);
}

#[test]
fn what_a_key_gives_back_is_no_gift_to_those_who_share() {
    let (limiter, _clock) = manual::<u64>(policy(log(1, MINUTE)).capacity(1));
    // One key has the only place, and as many keys as share share what is left.
    let refused = (0..1000)
        .filter(|key| limiter.try_take(key).is_err())
        .count();
    assert!(refused > 900);
    for key in 0..1000 {
        limiter.refund(&(1_000_000 + key), 1);
    }
    let admitted = (2000..3000)
        .filter(|key| limiter.try_take(key).is_ok())
        .count();
    assert_eq!(admitted, 0);
}

#[test]
fn new_keys_share_where_everybody_is_at_the_limit() {
    let (limiter, clock) = manual::<u64>(policy(log(1, MINUTE)).capacity(8));
    for key in 0..8 {
        limiter.try_take(&key).unwrap();
    }
    let allowed = (100..1100)
        .filter(|key| limiter.try_take(key).is_ok())
        .count();
    assert!((1..=8).contains(&allowed), "{allowed}");
    assert!((0..8).all(|key| limiter.try_take(&key).is_err()));
    clock.advance(MINUTE);
    assert!((100..108).all(|key| limiter.try_take(&key).is_ok()));
}

#[test]
fn a_key_that_moves_to_another_tier_keeps_what_it_has_used() {
    let clock = ManualClock::new();
    let environment = Environment::new().clock(clock);
    let plan = Arc::new(Mutex::new(""));
    let tiers = policy(Quota::per_minute(10)).tier("premium", Quota::per_minute(100));
    let limiter = RateLimiter::<String>::with_tiers(tiers.clone(), &environment, {
        let plan = Arc::clone(&plan);
        move |_| *plan.lock().unwrap()
    })
    .unwrap();
    limiter.try_take_n("alice", 8).unwrap();
    assert_eq!(limiter.peek("alice").remaining, 2);
    *plan.lock().unwrap() = "premium";
    assert_eq!(limiter.peek("alice").remaining, 92);
    limiter.try_take_n("alice", 90).unwrap();
    *plan.lock().unwrap() = "unheard of";
    assert_eq!(limiter.peek("alice").remaining, 0);
    *plan.lock().unwrap() = "premium";
    let tiers = policy(Quota::per_minute(10)).tier("premium", Quota::per_minute(200));
    limiter.reconfigure(tiers).unwrap();
    assert_eq!(limiter.peek("alice").remaining, 102);
}

#[test]
fn a_panic_in_a_key_or_a_tier_leaves_the_limiter_usable() {
    let environment = Environment::new();
    let tier_of = |key: &u8| if *key == 0 { panic!("no plan") } else { "" };
    let limiter = RateLimiter::with_tiers(policy(log(1, MINUTE)), &environment, tier_of).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| limiter.try_take(&0))).is_err());
    assert!(limiter.try_take(&1).is_ok());

    #[derive(Clone, PartialEq, Eq)]
    struct Key(u8);
    impl std::hash::Hash for Key {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            assert_ne!(self.0, 0, "cannot be hashed");
            state.write_u8(self.0);
        }
    }
    let (limiter, _) = manual::<Key>(policy(log(1, MINUTE)).capacity(1));
    assert!(catch_unwind(AssertUnwindSafe(|| limiter.try_take(&Key(0)))).is_err());
    assert!(limiter.try_take(&Key(1)).is_ok());
    assert!(limiter.try_take(&Key(1)).is_err());
}

// --- reports

#[test]
fn a_shadow_policy_counts_and_reports_and_refuses_nothing() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let environment = Environment::new().observer(move |event: &Event<'_>| {
        if let Event::WouldReject(rejected) = event {
            seen.lock().unwrap().push((*rejected).clone());
        }
    });
    let shadow = policy(log(1, MINUTE)).mode(Mode::Shadow).max_wait(MINUTE);
    let limiter = RateLimiter::<()>::new_in(shadow, &environment).unwrap();
    for _ in 0..5 {
        limiter.try_take(&()).unwrap();
    }
    limiter.try_take_n(&(), 9).unwrap();
    assert!(limiter.reserve(&(), 1).unwrap().wait().is_zero());
    let reasons: Vec<_> = events
        .lock()
        .unwrap()
        .iter()
        .map(Rejected::reason)
        .collect();
    assert_eq!(reasons.len(), 6);
    assert_eq!(reasons[4], Reason::CostExceedsQuota);
    assert_eq!(limiter.snapshot().would_deny, 6);
    assert_eq!(limiter.snapshot().allowed, 1);
}

#[test]
fn whoever_asked_is_counted_once() {
    let (limiter, _) = manual::<u8>(policy(log(1, SECOND)).max_wait(SECOND));
    limiter.try_take(&1).unwrap();
    let _booked = limiter.reserve(&1, 1).unwrap();
    assert!(limiter.try_take(&1).is_err());
    let mut samples = Vec::new();
    limiter.measure(&mut |it| samples.push((it.instrument.name, it.label, it.value)));
    let decisions = "resilience.rate_limit.decisions";
    assert_eq!(
        samples,
        [
            (decisions, Some("allowed"), 1),
            (decisions, Some("waited"), 1),
            (decisions, Some("denied"), 1),
            (decisions, Some("would_deny"), 0),
            ("resilience.rate_limit.keys", None, 1),
        ]
    );
    assert_eq!(limiter.instruments().len(), 2);
    assert_eq!(limiter.policy(), "test");
}

#[test]
fn calls_are_counted_one_by_one_however_many_there_are() {
    for algorithm in ALL {
        let (limiter, clock) = unkeyed(policy(Quota::per_second(500).algorithm(algorithm)));
        for number in 1..=400 {
            limiter.try_take(&()).unwrap();
            clock.advance(NANO);
            assert!(number % 50 != 0 || limiter.snapshot().allowed == number);
        }
        for _ in 0..100 {
            limiter.try_take_n(&(), 1).unwrap();
        }
        assert_eq!(limiter.snapshot().allowed, 500);
    }
}

#[test]
fn an_observer_may_ask_the_limiter_that_reports_to_it() {
    let cell = Arc::new(Mutex::new(None::<RateLimiter>));
    let inside = Arc::clone(&cell);
    let environment = Environment::new().observer(move |_: &Event<'_>| {
        let limiter = inside.lock().unwrap().take();
        assert!(limiter.is_none_or(|it| it.peek(&()).remaining == 0));
        panic!("an observer breaks");
    });
    let limiter = RateLimiter::new_in(policy(log(1, MINUTE)), &environment).unwrap();
    *cell.lock().unwrap() = Some(limiter.clone());
    assert_eq!(count(&limiter, 3), 1);
}

// --- outcomes

async fn call(limiter: &RateLimiter, outcome: Result<(), Reason>) {
    let inner = service_fn(move |(): ()| async move {
        outcome.map_err(|reason| BoxError::from(Rejected::new(reason, "inner")))
    });
    let service = limiter.layer_with(Everybody, Results).layer(inner);
    let _ = service.oneshot(()).await;
}

#[tokio::test]
async fn a_call_that_an_inner_layer_refused_costs_nothing() {
    let (limiter, _) = unkeyed(policy(log(5, MINUTE)));
    call(&limiter, Err(Reason::CircuitOpen)).await;
    assert_eq!(limiter.peek(&()).remaining, 5);
    call(&limiter, Err(Reason::Panicked)).await;
    call(&limiter, Ok(())).await;
    assert_eq!(limiter.peek(&()).remaining, 3);
}

#[tokio::test]
async fn only_failures_are_charged_where_the_policy_says_so() {
    for algorithm in ALL {
        let quota = Quota::new(2, MINUTE).algorithm(algorithm);
        let (limiter, _) = unkeyed(policy(quota).charge(Charge::Failures));
        for _ in 0..10 {
            call(&limiter, Ok(())).await;
        }
        let fail = || async { Err::<(), _>("wrong password") };
        for _ in 0..2 {
            assert_eq!(
                limiter.call(&(), fail).await,
                Err(Error::Inner("wrong password"))
            );
        }
        let refused = limiter.call(&(), fail).await.unwrap_err();
        assert_eq!(refused.as_rejected().unwrap().reason(), Reason::RateLimited);
    }
}

#[tokio::test]
async fn calls_under_way_cannot_exceed_the_quota_together() {
    let (limiter, _) = unkeyed(policy(log(2, MINUTE)).charge(Charge::Failures));
    let mut context = Context::from_waker(Waker::noop());
    let login = || limiter.call(&(), pending::<Result<(), ()>>);
    let mut calls: Vec<_> = (0..3).map(|_| Box::pin(login())).collect();
    let polls = calls.iter_mut().map(|it| it.as_mut().poll(&mut context));
    let refused = polls.filter(|it| matches!(it, Poll::Ready(Err(_)))).count();
    assert_eq!(refused, 1);
}

#[tokio::test]
async fn a_call_dropped_after_it_was_admitted_keeps_its_units() {
    for charge in [Charge::Every, Charge::Failures] {
        let (limiter, _) = unkeyed(policy(log(5, MINUTE)).charge(charge));
        let inner = service_fn(|(): ()| pending::<Result<(), BoxError>>());
        let mut service = limiter.layer_with(Everybody, Results).layer(inner);
        drop(service.ready().await.unwrap().call(()));
        assert_eq!(limiter.peek(&()).remaining, 4);
    }
}

// --- over HTTP

type Body = Full<Bytes>;

async fn answer(request: Request<Body>) -> Result<Response<Body>, Error<Infallible>> {
    let _ = request;
    Ok(Response::new(Full::default()))
}

fn user(request: &Request<Body>) -> Option<HeaderValue> {
    request.headers().get("user").cloned()
}

fn request(user: Option<&'static str>) -> Request<Body> {
    let mut request = Request::new(Full::default());
    if let Some(user) = user {
        request
            .headers_mut()
            .insert("user", HeaderValue::from_static(user));
    }
    request
}

#[tokio::test]
async fn answers_tell_where_the_quota_stands_also_when_allowed() {
    let (limiter, _) = manual::<HeaderValue>(policy(log(2, MINUTE)));
    let (all, _) = unkeyed(Policy::new("all", Quota::per_second(9)));
    let respond = Respond::with((all.layer(), limiter.layer_by(user)));
    let service = respond.layer(service_fn(|request| async {
        answer(request).await.map_err(|never| match never {
            Error::Inner(never) => never,
            Error::Rejected(_) => unreachable!(),
        })
    }));
    let ask = || service.clone().oneshot(request(Some("alice")));
    let texts = |response: &Response<_>, name: &str| -> Vec<String> {
        let values = response.headers().get_all(name).iter();
        values.map(|it| it.to_str().unwrap().to_owned()).collect()
    };
    let response = ask().await.unwrap();
    assert_eq!(response.status(), 200);
    let policies = [r#""test";q=2;w=60"#, r#""all";q=9;w=1"#];
    assert_eq!(texts(&response.map(drop), "ratelimit-policy"), policies);
    let response = ask().await.unwrap().map(drop);
    assert_eq!(texts(&response, "ratelimit")[0], r#""test";r=0;t=60"#);
    let response = ask().await.unwrap().map(drop);
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "60");
    assert_eq!(texts(&response, "ratelimit"), [r#""test";r=0;t=60"#]);
    // The inner refusal cost the outer quota nothing.
    assert_eq!(all.peek(&()).remaining, 7);
}

#[tokio::test]
async fn a_shadow_policy_tells_clients_nothing() {
    let (limiter, _) = unkeyed(policy(log(2, MINUTE)).mode(Mode::Shadow));
    let service = limiter.layer().layer(service_fn(answer));
    let response = service.oneshot(request(None)).await.unwrap();
    assert!(response.headers().is_empty());
}

#[tokio::test]
async fn a_request_without_a_key_is_treated_as_the_policy_says() {
    let expected = [
        (MissingKey::Shared, vec![true, false]),
        (MissingKey::Refuse, vec![false, false]),
        (MissingKey::Admit, vec![true, true, true, false]),
    ];
    for (missing_key, expected) in expected {
        let quotas = policy(log(1, MINUTE)).global(log(3, MINUTE));
        let (limiter, _) = manual::<HeaderValue>(quotas.missing_key(missing_key));
        let service = limiter.layer_by(user).layer(service_fn(answer));
        for allowed in expected {
            let result = service.clone().oneshot(request(None)).await;
            assert_eq!(result.is_ok(), allowed, "{missing_key:?}");
        }
    }
    let (limiter, _) = manual::<HeaderValue>(policy(log(1, MINUTE)).missing_key(MissingKey::Admit));
    let service = limiter.layer_by(user).layer(service_fn(answer));
    for _ in 0..5 {
        assert!(service.clone().oneshot(request(None)).await.is_ok());
    }
    assert_eq!(limiter.snapshot().allowed, 5);
}

#[tokio::test]
async fn a_request_costs_what_the_closure_says() {
    let (limiter, _) = manual::<HeaderValue>(policy(log(10, MINUTE)));
    let classifier = |_: &Result<Response<Body>, Error<Infallible>>| Outcome::Success;
    let layer = limiter.layer_with(user, classifier);
    let cost = |request: &Request<Body>| if request.method() == "POST" { 6 } else { 0 };
    let service = layer.cost(cost).layer(service_fn(answer));
    for allowed in [true, false] {
        let mut order = request(Some("alice"));
        *order.method_mut() = http::Method::POST;
        assert_eq!(service.clone().oneshot(order).await.is_ok(), allowed);
        assert!(
            service
                .clone()
                .oneshot(request(Some("alice")))
                .await
                .is_ok()
        );
    }
    assert_eq!(
        limiter.peek(&HeaderValue::from_static("alice")).remaining,
        4
    );
}

#[test]
fn everything_may_cross_threads_and_debug_shows_no_key() {
    fn crosses<T: Send + Sync + 'static>(_: &T) {}
    let (limiter, _) = manual::<String>(policy(log(10, MINUTE)));
    crosses(&limiter);
    crosses(&limiter.layer_by(|_: &()| Some(String::new())));
    let reservation = limiter.reserve("secret", 1).unwrap();
    crosses(&reservation);
    let shown = format!("{limiter:?} {reservation:?}");
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn the_error_says_what_to_change() -> Result<(), InvalidPolicy> {
    let error = RateLimiter::<()>::new(policy(Quota::per_second(0))).unwrap_err();
    assert!(error.to_string().contains("`limit` must not be zero"));
    RateLimiter::<()>::new(policy(Quota::per_second(1))).map(drop)
}
