//! The limiter in memory and the one in Redis, asked the same.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use resilience_core::{
    Environment, InvalidPolicy, ManualClock, QuotaStatus, Rejected, Timestamp,
    rate_limit::{Algorithm, RateLimiter as MemoryLimiter},
};
use resilience_redis::rate_limit::{
    Decision, Options, Policy, Quota, RateLimiter, Source, Tiers, Untiered,
};

use crate::support::{RedisServer, eventually};

const KEYS: u64 = 3;

/// Both limiters under one policy; the clock of the one in memory shows what the server said last.
struct Pair<T = Untiered> {
    redis: RateLimiter<T>,
    memory: MemoryLimiter<u64>,
    clock: ManualClock,
    refusals: Refusals,
}

/// What refusals of the one in Redis tell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusals {
    /// What those of the other do.
    All,
    /// The same where the server was asked. Of a key that moves from tier to tier what is known in the
    /// one may have been followed by more in another.
    AllThatIsAsked,
    /// Of the first quota that has no room: others may ask for a longer wait.
    One,
}

impl<T: Tiers<u64>> Pair<T> {
    /// `memory` says how the limiter in memory is made.
    fn new(
        redis: RateLimiter<T>,
        memory: impl FnOnce(&Environment) -> Result<MemoryLimiter<u64>, InvalidPolicy>,
    ) -> Self {
        let clock = ManualClock::new();
        let environment = Environment::new().clock(clock.clone());
        let memory = memory(&environment).expect("a valid policy");
        Self {
            redis,
            memory,
            clock,
            refusals: Refusals::All,
        }
    }

    /// Asks both; returns the server's time where it was asked.
    async fn take(&self, key: u64, cost: u64) -> Option<Duration> {
        let decision = self.redis.decide(&key, cost).await;
        let time = decision.time;
        self.compare(&decision, (key, cost));
        time
    }

    /// Asks the one in memory what the other has decided.
    fn compare(&self, decision: &Decision, (key, cost): (u64, u64)) {
        assert_eq!(decision.error, None);
        if let Some(time) = decision.time {
            assert_eq!(decision.source, Source::Redis);
            let nanos = u64::try_from(time.as_nanos()).expect("before 2554");
            self.clock.set(Timestamp::from_nanos(nanos));
        }
        let memory = self.memory.try_take_n(&key, cost);
        match (&decision.outcome, &memory) {
            (Ok(one), Ok(other)) => assert_eq!(one, other),
            (Err(one), Err(other)) => {
                let is_asked = decision.time.is_some();
                // Who wants more than was refused hears of the quota that refused less, and of its wait.
                let is_of_less = !is_asked && cost > 1;
                match self.refusals {
                    _ if is_of_less => assert_sooner(one, other, is_asked),
                    Refusals::AllThatIsAsked if !is_asked => assert_sooner(one, other, is_asked),
                    Refusals::One => assert_sooner(one, other, is_asked),
                    _ => assert_alike(one, other, is_asked),
                }
            }
            _ => panic!("{decision:?} in redis, {memory:?} in memory"),
        }
    }
}

fn assert_sooner(redis: &Rejected, memory: &Rejected, same_time: bool) {
    assert_eq!(redis.reason(), memory.reason());
    let wait = |it: &Rejected| it.retry_after().unwrap_or_default();
    let sooner = if same_time { NEARLY } else { RIGHT_TO };
    assert!(wait(redis) < wait(memory) + sooner, "{redis:?} {memory:?}");
}

fn assert_alike(redis: &Rejected, memory: &Rejected, same_time: bool) {
    let names = |it: &Rejected| (it.reason(), it.policy());
    assert_eq!(
        names(redis),
        names(memory),
        "{redis:?} {memory:?}, at the same time: {same_time}"
    );
    let (Some(wait), Some(other)) = (redis.retry_after(), memory.retry_after()) else {
        return assert_eq!(redis.retry_after(), memory.retry_after());
    };
    let status = |it: &Rejected| it.quota().expect("a quota");
    if same_time {
        assert_eq!(status(redis), status(memory));
        assert!(wait.abs_diff(other) < NEARLY, "{redis:?} {memory:?}");
    } else {
        // Refused here, for what the server said some time ago; the clock of the one in memory
        // stands where the server was asked last.
        assert!(status(redis).remaining <= status(memory).remaining);
        assert!(wait < other + RIGHT_TO, "{redis:?} {memory:?}");
    }
}

/// What may happen beside calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Also {
    Nothing,
    Changes,
    /// Of a single window, [`SHORT`].
    ChangesAndRefunds,
}

/// How many times as long as on a machine that has nothing else to do windows must be, for as many
/// calls to fall into one.
async fn slowness(server: &RedisServer) -> u32 {
    const LOOKS: u32 = 50;
    let limiter = server.limiter(1, LONG).await;
    let look = async || limiter.decide("key", 0).await.time.expect("asked");
    let start = look().await;
    let mut end = start;
    for _ in 0..LOOKS {
        end = look().await;
    }
    let millis = (end - start).as_millis() / u128::from(LOOKS);
    1 + u32::try_from(millis).expect("a server that answers")
}

/// `quotas` of windows that are so many times as long as they might be.
async fn play(name: &'static str, quotas: impl Fn(u32) -> Vec<Quota>, also: Also) {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let slowness = slowness(&server).await;
    let quotas = quotas(slowness);
    let policy = |share: u64| {
        let (first, rest) = quotas.split_first().expect("a quota");
        let policy = rest
            .iter()
            .fold(Policy::new(name, *first), |all, it| all.and(*it));
        policy.share(share)
    };
    let mut random = fastrand::Rng::with_seed(7);
    let limiter = store.rate_limiter(&policy(1)).expect("a valid policy");
    let memory = |environment: &_| MemoryLimiter::new_in(policy(1), environment);
    let mut pair = Pair::new(limiter, memory);
    let (mut granted, mut refused) = (0, 0);
    for _ in 0..4000 {
        let key = random.u64(..KEYS);
        match random.u8(..40) {
            0 if also != Also::Nothing => {
                let policy = policy(random.u64(1..3));
                pair.redis
                    .reconfigure(policy.clone())
                    .expect("only limits change");
                pair.memory.reconfigure(policy).expect("only limits change");
            }
            1 if also == Also::ChangesAndRefunds => {
                let step = (slowness * SHORT).as_micros() / 10;
                let before = pair.take(key, 0).await.expect("looks are never refused");
                let units = random.u64(1..5);
                pair.redis.refund(&key, units).await.expect("redis is up");
                pair.memory.refund(&key, units);
                // Units may have left a window while some came back: which was first?
                let after = pair.redis.decide(&key, 0).await.time.expect("asked");
                if before.as_micros() / step != after.as_micros() / step {
                    pair.redis.clear_all().await.expect("redis is up");
                    pair = Pair::new(pair.redis.clone(), memory);
                    pair.redis
                        .reconfigure(policy(1))
                        .expect("only limits change");
                }
            }
            _ => {
                let cost = random.u64(0..4);
                let before = pair.memory.snapshot().denied;
                pair.take(key, cost).await;
                granted += u64::from(pair.memory.snapshot().denied == before);
                refused += pair.memory.snapshot().denied - before;
            }
        }
    }
    assert!(
        granted > 100 && refused > 100,
        "{granted} granted, {refused} refused"
    );
}

/// Keys that move from tier to tier, of windows that are as long as the first; what is used in one is
/// used in all of them.
async fn play_in_tiers(name: &'static str, quota: impl Fn(u64, Duration) -> Quota) {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let slowness = slowness(&server).await;
    let beside = Quota::new(40, slowness * LONG);
    let quota = |limit| quota(limit, slowness * SHORT);
    let policy = |more: u64| {
        let policy = Policy::new(name, quota(6 + more)).and(beside.named("beside"));
        let policy = policy.tier("gold", quota(12 + more).named("gold"));
        policy.tier("silver", quota(9 - more).named("silver"))
    };
    let tiers = Arc::new([const { AtomicUsize::new(0) }; 3]);
    let tier_of = || {
        let tiers = Arc::clone(&tiers);
        let all = ["", "gold", "silver", "unheard of"];
        move |key: &u64| all[tiers[usize::try_from(*key).expect("few")].load(Ordering::Relaxed)]
    };
    let limiter = store.rate_limiter_with_tiers(&policy(0), &Options::new(), tier_of());
    let mut pair = Pair::new(limiter.expect("a valid policy"), |environment| {
        MemoryLimiter::with_tiers(policy(0), environment, tier_of())
    });
    pair.refusals = Refusals::AllThatIsAsked;
    let mut random = fastrand::Rng::with_seed(11);
    let stands = || pair.memory.snapshot();
    // Where answers take long, few calls fall into one window.
    while stands().allowed < 1000 || stands().denied < 1000 {
        match random.u8(..30) {
            0 => {
                let policy = policy(random.u64(..3));
                pair.redis
                    .reconfigure(policy.clone())
                    .expect("only limits change");
                pair.memory.reconfigure(policy).expect("only limits change");
            }
            1..4 => tiers[random.usize(..3)].store(random.usize(..4), Ordering::Relaxed),
            // What is left for more than one unit is known of the tier alone that a key is in.
            _ => drop(pair.take(random.u64(..KEYS), random.u64(..2)).await),
        }
    }
}

/// Both quotas are asked in turn, and where a step of a window ended in between nobody can tell what
/// one question would have heard: then both limiters begin anew.
#[tokio::test]
async fn windows_beside_one_of_all_keys_decide_alike() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let slowness = slowness(&server).await;
    let (of_key, of_all) = (slowness * LONG, slowness * LONGER);
    let policy_of_key = |more: u64| Policy::new("test", Quota::new(8 + more, of_key));
    let policy = |more: u64| policy_of_key(more).global(Quota::new(17 - more, of_all).named("all"));
    let redis = store.rate_limiter(&policy(0)).expect("a valid policy");
    let keys = store
        .rate_limiter(&policy_of_key(0))
        .expect("a valid policy");
    let memory = |environment: &_| MemoryLimiter::new_in(policy(0), environment);
    let mut pair = Pair::new(redis.clone(), memory);
    pair.refusals = Refusals::One;
    let step = |time: Duration| [of_key, of_all].map(|it| 10 * time.as_micros() / it.as_micros());
    let mut random = fastrand::Rng::with_seed(13);
    let (mut granted, mut by_all, mut by_keys, mut begun) = (0, 0, 0, 0);
    while granted < 300 || by_all < 100 || by_keys < 100 {
        if random.u8(..40) == 0 {
            let policy = policy(random.u64(..3));
            redis
                .reconfigure(policy.clone())
                .expect("only limits change");
            pair.memory.reconfigure(policy).expect("only limits change");
        }
        let (key, cost) = (random.u64(..KEYS), random.u64(..4));
        let before = redis.decide(&key, 0).await.time.expect("asked");
        let free = keys.peek(&key).await.expect("redis is up").remaining;
        let decision = redis.decide(&key, cost).await;
        let after = keys.decide(&key, 0).await.time.expect("asked");
        if step(before) != step(after) {
            redis.clear_all().await.expect("redis is up");
            redis.reconfigure(policy(0)).expect("only limits change");
            pair = Pair::new(redis.clone(), memory);
            pair.refusals = Refusals::One;
            begun += 1;
            continue;
        }
        match &decision.outcome {
            Ok(_) => granted += 1,
            Err(rejected) if rejected.policy() == "all" => {
                by_all += 1;
                // What the key gave is on its way back.
                let is_back = async || {
                    let standing = keys.peek(&key).await.expect("redis is up");
                    (standing.remaining >= free).then_some(())
                };
                eventually(is_back).await;
            }
            Err(_) => by_keys += 1,
        }
        pair.compare(&decision, (key, cost));
    }
    assert!(begun > 0, "time goes on");
}

/// One counts in microseconds, the other in nanoseconds.
const NEARLY: Duration = Duration::from_micros(1);
/// A call that comes alone is told the server's time to the millisecond.
const RIGHT_TO: Duration = Duration::from_millis(1);
const SHORT: Duration = Duration::from_millis(60);
const LONG: Duration = Duration::from_millis(400);
const LONGER: Duration = Duration::from_millis(600);

#[tokio::test]
async fn sliding_windows_decide_alike() {
    let window = |times: u32| vec![Quota::new(12, times * SHORT)];
    play("window", window, Also::ChangesAndRefunds).await;
}

#[tokio::test]
async fn several_windows_decide_alike() {
    let quotas = |times: u32| {
        let long = Quota::new(40, times * LONG);
        vec![Quota::new(12, times * SHORT), long.named("long")]
    };
    play("windows", quotas, Also::Changes).await;
}

#[tokio::test]
async fn exact_logs_decide_alike() {
    let log = |times: u32| Quota::new(12, times * SHORT).algorithm(Algorithm::SlidingLog);
    play("log", |times| vec![log(times)], Also::Changes).await;
}

#[tokio::test]
async fn cells_decide_alike() {
    let cells = |times: u32| Quota::new(20, times * SHORT).algorithm(Algorithm::Gcra);
    play("cells", |times| vec![cells(times).burst(6)], Also::Nothing).await;
}

#[tokio::test]
async fn quotas_of_all_kinds_decide_alike() {
    let quotas = |times: u32| {
        let window = Quota::new(12, times * SHORT);
        let log = Quota::new(30, times * LONG).algorithm(Algorithm::SlidingLog);
        let cells = Quota::new(20, times * SHORT).algorithm(Algorithm::Gcra);
        vec![window, log.named("log"), cells.named("cells")]
    };
    play("all", quotas, Also::Nothing).await;
}

#[tokio::test]
async fn windows_of_tiers_decide_alike() {
    play_in_tiers("window", Quota::new).await;
}

#[tokio::test]
async fn logs_of_tiers_decide_alike() {
    let log = |limit, per| Quota::new(limit, per).algorithm(Algorithm::SlidingLog);
    play_in_tiers("log", log).await;
}

#[tokio::test]
async fn a_new_key_stands_alike() {
    let server = RedisServer::start().await;
    let limiter = server.limiter(5, SHORT).await;
    let quota = limiter.peek("key").await.expect("redis is up");
    let all = QuotaStatus {
        limit: 5,
        window: SHORT,
        remaining: 5,
    };
    assert_eq!(quota, all);
}
