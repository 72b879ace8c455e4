//! Several processes that share a limit.

use std::{
    env,
    io::Read as _,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use resilience_core::{Clock, Environment, ManualClock, Timestamp};
use resilience_redis::{
    RedisStore,
    rate_limit::{Options, Policy, Quota, RateLimiter},
};
use tokio::{
    task::JoinSet,
    time::{interval, sleep},
};

use crate::support::{RedisServer, patient};

const LIMIT: usize = 1000;
const WINDOW: Duration = Duration::from_secs(1);
const NODES: u64 = 4;
/// Five times what is allowed.
const CALLS_PER_SECOND: u64 = 5 * LIMIT as u64 / NODES;
/// Tells a process that it is a node, of what kind, and where the server is.
const ROLE: &str = "RESILIENCE_TEST_NODE";

#[tokio::test]
async fn four_processes_never_pass_the_limit_and_use_nearly_all_of_it() {
    four_processes(3, ["steady"; 4]).await;
}

#[tokio::test]
async fn clocks_that_are_wrong_or_step_by_an_hour_change_nothing() {
    four_processes(3, ["steady", "ahead", "leaps", "falls"]).await;
}

#[tokio::test]
#[ignore = "takes a minute: for whoever wants to see more than the tests above show"]
async fn ten_seconds_of_four_processes() {
    four_processes(10, ["steady"; 4]).await;
    four_processes(10, ["steady", "steady", "steady", "leaps"]).await;
    four_processes(10, ["steady", "ahead", "leaps", "falls"]).await;
}

/// Lets four nodes ask for five times the limit, for so many seconds, and checks when each call was
/// admitted by the server's clock.
async fn four_processes(seconds: u64, clocks: [&str; 4]) {
    let server = RedisServer::start().await;
    let nodes = clocks.map(|clock| Node::start(clock, &server.url(), seconds));
    let mut admitted: Vec<u64> = Vec::new();
    for node in nodes {
        admitted.extend(node.admissions().await);
    }
    admitted.sort_unstable();
    for ends in admitted.windows(LIMIT + 1) {
        let apart = Duration::from_micros(ends[LIMIT] - ends[0]);
        assert!(apart >= WINDOW, "{} calls within {apart:?}", LIMIT + 1);
    }
    let end = admitted[0] + seconds * 1_000_000;
    let used = admitted.iter().filter(|at| **at < end).count();
    let share = used as f64 / (LIMIT as u64 * seconds) as f64;
    println!("{used} admitted in {seconds} s, {share:.3} of the limit, {clocks:?}");
    assert!(share >= 0.92, "{share:.3} of the limit");
}

/// A process of its own.
struct Node(Child);

impl Node {
    fn start(clock: &str, url: &str, seconds: u64) -> Self {
        let child = Command::new(env::current_exe().expect("this test"))
            .args(["fleet::a_node_of_a_fleet", "--exact", "--nocapture"])
            .env(ROLE, format!("{clock} {seconds} {url}"))
            .stdout(Stdio::piped())
            .spawn();
        Self(child.expect("a process"))
    }

    /// When its calls were admitted, in microseconds of the server's time.
    async fn admissions(mut self) -> Vec<u64> {
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
        times.map(|time| time.parse().expect("a number")).collect()
    }
}

/// What a process does that was started by one of the tests above; nothing in the process of the
/// tests themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_fleet() {
    let Ok(role) = env::var(ROLE) else { return };
    let words: Vec<&str> = role.split(' ').collect();
    let [clock, seconds, url] = words[..] else {
        panic!("{role}")
    };
    let seconds: u64 = seconds.parse().expect("a number");
    let store = RedisStore::connect(url, patient()).await.expect("a server");
    let policy = Policy::new("fleet", Quota::new(LIMIT as u64, WINDOW));
    let environment = Environment::new().clock(clock_that(clock));
    let options = Options::new().environment(&environment);
    let limiter = store
        .rate_limiter_with(&policy, &options)
        .expect("a valid policy");
    let admitted = ask(&limiter, seconds).await;
    for time in admitted {
        println!("admitted {time}");
    }
}

/// Asks as often as a node does, and a little longer than the time that is looked at.
async fn ask(limiter: &RateLimiter, seconds: u64) -> Vec<u64> {
    const ROUND: Duration = Duration::from_millis(8);
    let rounds = (seconds * 1000 + 500) / 8;
    let per_round = CALLS_PER_SECOND * 8 / 1000;
    let admitted = Arc::new(Mutex::new(Vec::new()));
    let (mut calls, mut beat) = (JoinSet::new(), interval(ROUND));
    for _ in 0..rounds {
        beat.tick().await;
        for _ in 0..per_round {
            let (limiter, admitted) = (limiter.clone(), Arc::clone(&admitted));
            calls.spawn(async move {
                let decision = limiter.decide("hot", 1).await;
                assert_eq!(decision.error, None);
                if decision.outcome.is_ok() {
                    let micros = decision.time.expect("the server decided").as_micros();
                    let micros = u64::try_from(micros).expect("a time");
                    admitted.lock().expect("no panics").push(micros);
                }
            });
        }
        while calls.try_join_next().is_some() {}
    }
    calls.join_all().await;
    let admitted = Arc::into_inner(admitted).expect("all calls are over");
    admitted.into_inner().expect("no panics")
}

/// A clock that shows the system's time, or has its own idea.
fn clock_that(does: &str) -> Clock {
    const HOUR: Duration = Duration::from_secs(3600);
    let (ahead, after) = match does {
        "steady" => return Clock::system(),
        "ahead" => (HOUR + Duration::from_secs(5), HOUR + Duration::from_secs(5)),
        "leaps" => (HOUR, 2 * HOUR),
        "falls" => (2 * HOUR, HOUR),
        other => panic!("no clock {other}s"),
    };
    let (manual, system) = (ManualClock::new(), Clock::system());
    let start = system.now();
    let shows = move |now: Timestamp| {
        let steps = now.saturating_since(start) > Duration::from_millis(1200);
        now.saturating_add(if steps { after } else { ahead })
    };
    manual.set(shows(start));
    let clock = Clock::from(manual.clone());
    tokio::spawn(async move {
        loop {
            manual.set(shows(system.now()));
            sleep(Duration::from_millis(1)).await;
        }
    });
    clock
}
