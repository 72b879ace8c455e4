//! Several processes that share a limit.

use std::{
    env,
    io::Read as _,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use resilience_core::{Clock, Environment, ManualClock};
use resilience_redis::{
    RedisStore,
    rate_limit::{Options, Policy, Quota, RateLimiter, Source},
};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{interval, sleep},
};

use crate::support::{RedisServer, is_alone, patient};

const LIMIT: usize = 1000;
const WINDOW: Duration = Duration::from_secs(1);
const NODES: u64 = 4;
/// Five times what is allowed.
const CALLS_PER_SECOND: u64 = 5 * LIMIT as u64 / NODES;
/// Microseconds for which a machine may stand still between two looks at its clock.
const MOMENT: u64 = 500_000;
/// Tells a process that it is a node, of what kind, and where the server is.
const ROLE: &str = "RESILIENCE_TEST_NODE";

#[tokio::test]
async fn four_processes_never_pass_the_limit_and_use_nearly_all_of_it() {
    four_processes(10, ["steady"; 4], 0).await;
}

#[tokio::test]
async fn a_clock_that_steps_by_an_hour_changes_nothing() {
    four_processes(10, ["steady", "steady", "steady", "leaps"], 0).await;
}

#[tokio::test]
async fn clocks_that_are_all_wrong_change_nothing() {
    four_processes(3, ["steady", "ahead", "leaps", "falls"], 0).await;
}

#[tokio::test]
async fn four_processes_that_take_units_ahead_never_pass_the_limit() {
    let leased = four_processes(3, ["steady", "steady", "leaps", "falls"], 20).await;
    assert!(leased > LIMIT, "{leased} out of leases");
}

#[tokio::test]
async fn four_processes_whose_callers_wait_never_pass_the_limit() {
    four_processes(3, ["waits"; 4], 0).await;
    four_processes(3, ["waits"; 4], 20).await;
}

/// Lets four nodes ask for five times the limit, for so many seconds, with so many percent of it in
/// leases, and checks when each call was admitted by the server's clock. Returns how many were out of
/// a lease.
async fn four_processes(seconds: u64, clocks: [&str; 4], percent: u64) -> usize {
    // A machine has room for one crowd at a time.
    static ROOM: Semaphore = Semaphore::const_new(1);
    let _place = ROOM.acquire().await.expect("never closed");
    let server = RedisServer::start().await;
    let nodes = clocks.map(|clock| Node::start(clock, &server.url(), seconds, percent));
    let mut admitted: Vec<Admission> = Vec::new();
    for node in nodes {
        admitted.extend(node.admissions().await);
    }
    admitted.sort_unstable_by_key(|it| it.latest);
    for (index, first) in admitted.iter().enumerate() {
        let end = first.earliest + u64::try_from(WINDOW.as_micros()).expect("short");
        let later = &admitted[index..];
        let within = later.iter().take_while(|it| it.latest < end);
        let within = within.filter(|it| it.earliest >= first.earliest).count();
        assert!(within <= LIMIT, "{within} calls within {WINDOW:?}");
    }
    let end = admitted[0].latest + seconds * 1_000_000;
    let used = admitted.iter().filter(|it| it.latest < end).count();
    let share = used as f64 / (LIMIT as u64 * seconds) as f64;
    println!("{used} admitted in {seconds} s, {share:.3} of the limit, {clocks:?}");
    // Each window begins a little later than it could, by as much as the machine lets callers wait.
    let least = if is_alone() { 0.92 } else { 0.5 };
    assert!(share >= least, "{share:.3} of the limit");
    let leased = admitted.iter().filter(|it| it.earliest < it.latest);
    leased.count()
}

/// When a call was admitted, in microseconds of the server's time: known where the server decided,
/// and else between two looks at the clock that the server has as well, this machine's.
#[derive(Clone, Copy, Debug)]
struct Admission {
    earliest: u64,
    latest: u64,
}

/// A process of its own.
struct Node(Child);

impl Node {
    fn start(clock: &str, url: &str, seconds: u64, percent: u64) -> Self {
        let child = Command::new(env::current_exe().expect("this test"))
            .args([
                "rate_limit::fleet::a_node_of_a_fleet",
                "--exact",
                "--nocapture",
            ])
            .env(ROLE, format!("{clock} {seconds} {percent} {url}"))
            .stdout(Stdio::piped())
            .spawn();
        Self(child.expect("a process"))
    }

    /// When its calls were admitted.
    async fn admissions(mut self) -> Vec<Admission> {
        let read = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            let mut output = self.0.stdout.take().expect("piped");
            output.read_to_string(&mut text).expect("text");
            assert!(self.0.wait().expect("our own child").success(), "{text}");
            text
        });
        let text = read.await.expect("it was read");
        let times = text
            .lines()
            .filter_map(|line| line.strip_prefix("admitted "));
        let admission = |times: &str| {
            let (earliest, latest) = times.split_once(' ').expect("two times");
            let number = |time: &str| time.parse().expect("a number");
            let (earliest, latest) = (number(earliest), number(latest));
            Admission { earliest, latest }
        };
        times.map(admission).collect()
    }
}

/// What a process does that was started by one of the tests above; nothing in the process of the
/// tests themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_fleet() {
    let Ok(role) = env::var(ROLE) else { return };
    let words: Vec<&str> = role.split(' ').collect();
    let [clock, seconds, percent, url] = words[..] else {
        panic!("{role}")
    };
    let seconds: u64 = seconds.parse().expect("a number");
    let store = RedisStore::connect(url, patient()).await.expect("a server");
    let max_wait = if clock == "waits" {
        WINDOW / 5
    } else {
        Duration::ZERO
    };
    let policy = Policy::new("fleet", Quota::new(LIMIT as u64, WINDOW)).max_wait(max_wait);
    let (clock, stepped) = clock_that(clock);
    let environment = Environment::new().clock(clock);
    let percent = percent.parse().expect("a number");
    let options = Options::new()
        .environment(&environment)
        .lease_up_to(percent);
    let limiter = store
        .rate_limiter_with(&policy, &options)
        .expect("a valid policy");
    let admitted = ask(&limiter, seconds, &stepped).await;
    for Admission { earliest, latest } in admitted {
        println!("admitted {earliest} {latest}");
    }
}

/// Asks as often as a node does, and a little longer than the time that is looked at.
async fn ask(limiter: &RateLimiter, seconds: u64, stepped: &Arc<AtomicU64>) -> Vec<Admission> {
    const ROUND: Duration = Duration::from_millis(8);
    let rounds = (seconds * 1000 + 500) / 8;
    let per_round = CALLS_PER_SECOND * 8 / 1000;
    let admitted = Arc::new(Mutex::new(Vec::new()));
    let (mut calls, mut beat) = (JoinSet::new(), interval(ROUND));
    for _ in 0..rounds {
        beat.tick().await;
        for _ in 0..per_round {
            let (limiter, admitted) = (limiter.clone(), Arc::clone(&admitted));
            let stepped = Arc::clone(stepped);
            calls.spawn(async move {
                let earliest = wall_clock();
                let decision = limiter.decide_or_wait("hot", 1).await;
                let latest = wall_clock();
                if decision.error.is_some() {
                    // Whoever waits while an hour passes has waited for an hour.
                    let stepped = stepped.load(Ordering::Acquire);
                    let near = stepped
                        .saturating_sub(latest)
                        .max(earliest.saturating_sub(stepped));
                    return assert!(near < MOMENT, "{decision:?} at {latest}, not {stepped}");
                }
                if decision.outcome.is_ok() {
                    let admission = if decision.source == Source::Lease {
                        Admission { earliest, latest }
                    } else {
                        let micros = decision.time.expect("the server decided").as_micros();
                        let micros = u64::try_from(micros).expect("a time");
                        Admission {
                            earliest: micros,
                            latest: micros,
                        }
                    };
                    admitted.lock().expect("no panics").push(admission);
                }
            });
        }
        while let Some(call) = calls.try_join_next() {
            call.expect("no panics");
        }
    }
    calls.join_all().await;
    let admitted = Arc::into_inner(admitted).expect("all calls are over");
    admitted.into_inner().expect("no panics")
}

/// Microseconds since 1970.
fn wall_clock() -> u64 {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one clock that a server and its clients share on a machine"
    )]
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.expect("after 1970").as_micros()).expect("a time")
}

/// A clock that shows the system's time, or has its own idea; and when it stepped, by the time that
/// it should show.
fn clock_that(does: &str) -> (Clock, Arc<AtomicU64>) {
    let stepped = Arc::new(AtomicU64::new(0));
    const HOUR: Duration = Duration::from_secs(3600);
    let (ahead, after) = match does {
        "steady" | "waits" => return (Clock::system(), stepped),
        "ahead" => (HOUR + Duration::from_secs(5), HOUR + Duration::from_secs(5)),
        "leaps" => (HOUR, 2 * HOUR),
        "falls" => (2 * HOUR, HOUR),
        other => panic!("no clock {other}s"),
    };
    let (manual, system) = (ManualClock::new(), Clock::system());
    let (clock, start) = (Clock::from(manual.clone()), system.now());
    let stepped_at = Arc::clone(&stepped);
    let show = move || {
        let now = system.now();
        let steps = now.saturating_since(start) > Duration::from_millis(1200);
        if steps && ahead != after && stepped_at.load(Ordering::Relaxed) == 0 {
            stepped_at.store(wall_clock(), Ordering::Release);
        }
        manual.set(now.saturating_add(if steps { after } else { ahead }));
    };
    show();
    tokio::spawn(async move {
        loop {
            show();
            sleep(Duration::from_millis(1)).await;
        }
    });
    (clock, stepped)
}
