//! What comes of every error with which a live server says that it serves nobody, or not us.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{fmt::Debug, fs, path::PathBuf, time::Duration};

use redis::aio::MultiplexedConnection;
use resilience_core::{
    Cache, Environment, Error, Reason,
    cache::{self, Tier as _, TierPolicy},
};
use resilience_redis::{
    RedisStore, StoreError,
    cache::Text,
    lock, queue,
    rate_limit::{Algorithm, Fallback, Options, Policy, Quota, RateLimiter, Source},
    stock,
};

use crate::support::{RedisServer, eventually, patient};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// More than fail in a row until a server is left alone.
const CALLS: usize = 20;

/// A server, and limiters that differ in what they do without it.
struct Served {
    server: RedisServer,
    limiters: [(Fallback, RateLimiter); 3],
}

impl Served {
    async fn start() -> Self {
        Self::by(RedisServer::start().await).await
    }

    async fn by(server: RedisServer) -> Self {
        let store = server.store().await;
        let limiters = [Fallback::Deny, Fallback::Allow, Fallback::LocalShare].map(|fallback| {
            let policy = Policy::new("test", Quota::new(1000, MINUTE));
            let options = Options::new().fallback(fallback);
            let limiter = store.rate_limiter_with(&policy, &options).unwrap();
            (fallback, limiter)
        });
        let served = Self { server, limiters };
        served.is_well().await;
        served
    }

    /// The server decides, from the very first call on.
    async fn is_well(&self) {
        for (_, limiter) in &self.limiters {
            let decision = limiter.decide(&0_u64, 1).await;
            assert_eq!((decision.error, decision.source), (None, Source::Redis));
        }
    }

    /// The server decides, some time.
    async fn heals(&self) {
        let (_, limiter) = &self.limiters[0];
        eventually(async || limiter.try_take(&0_u64).await.ok()).await;
        self.is_well().await;
    }

    /// Makes `CALLS` calls, each other one of a key of which something is known, and gives what was
    /// heard of each; every limiter did as it is told to do without the server.
    async fn hears(&self) -> Vec<StoreError> {
        self.hears_about(|call| call % 2 * call).await
    }

    /// The same, where nothing is known of any key.
    async fn hears_of_the_unknown(&self) -> Vec<StoreError> {
        self.hears_about(|call| call + 1).await
    }

    async fn hears_about(&self, key_of: impl Fn(u64) -> u64) -> Vec<StoreError> {
        let mut heard = Vec::new();
        let limiters = self.limiters.iter().cycle().take(CALLS);
        for (call, (fallback, limiter)) in (0..).zip(limiters) {
            let decision = limiter.decide(&key_of(call), 1).await;
            assert_eq!(decision.source, Source::Degraded);
            match (fallback, decision.outcome) {
                (Fallback::Deny, Err(rejected)) => {
                    assert_eq!(rejected.reason(), Reason::StoreUnavailable);
                }
                (Fallback::Deny, Ok(_)) | (_, Err(_)) => panic!("{fallback:?}"),
                (_, Ok(_)) => {}
            }
            heard.push(decision.error.unwrap());
        }
        heard
    }

    /// Every call hears `code` from the server, which is asked once for each and goes on being
    /// asked.
    async fn says_each_time(&self, code: &str) {
        all_say(code, &self.hears().await);
    }

    /// The first calls hear `code` from the server, which is then left alone for a while.
    async fn says_and_is_left_alone(&self, code: &str) {
        let heard = self.hears().await;
        let (said, rest) = heard.split_at(5);
        assert!(said.iter().all(|error| word(error) == code), "{said:?}");
        let alone = rest
            .iter()
            .filter(|error| **error == StoreError::Unavailable);
        assert!(alone.count() > rest.len() / 2, "{rest:?}");
    }

    /// How often the server was asked for a decision, answered or not, by what it remembers of commands.
    /// That a process is there is said by a script as well.
    async fn asked(&self) -> usize {
        type Remembered = Vec<(u64, u64, u64, Vec<Vec<u8>>, String, String)>;
        let commands: Remembered = self.server.ask("SLOWLOG GET 10000").await;
        let decides =
            |words: &[Vec<u8>]| words[0] == b"EVALSHA" && words[3].starts_with(b"res:rl:");
        let decisions = commands
            .iter()
            .filter(|(_, _, _, words, ..)| decides(words));
        decisions.count()
    }
}

fn all_say(code: &str, heard: &[StoreError]) {
    for error in heard {
        assert_eq!(word(error), code);
        assert!(!error.may_have_run(), "{error}");
    }
}

/// The server's own word for what is wrong.
fn word(error: &StoreError) -> &str {
    match error {
        StoreError::NotServing(code) | StoreError::Unauthorized(code) => code.as_str(),
        other => panic!("{other}"),
    }
}

async fn command(raw: &mut MultiplexedConnection, words: &str) -> redis::RedisResult<redis::Value> {
    let words: Vec<_> = words.split(' ').collect();
    redis::Cmd::new().arg(words).query_async(raw).await
}

/// Where the server keeps its files.
async fn directory(server: &RedisServer) -> PathBuf {
    let told: Vec<String> = server.ask("CONFIG GET dir").await;
    PathBuf::from(&told[1])
}

/// Has the server fail to save its data, so that it takes no more.
async fn spoil_saves(server: &RedisServer) {
    // What is to be replaced by a file is a directory.
    fs::create_dir(directory(server).await.join("dump.rdb")).unwrap();
    let mut save = redis::cmd("CONFIG");
    save.arg("SET").arg("save").arg("3600 1");
    let () = save.query_async(&mut server.raw().await).await.unwrap();
    server.tell("BGSAVE").await;
    eventually(async || {
        let info: String = server.ask("INFO persistence").await;
        info.contains("rdb_last_bgsave_status:err").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_asked_once_a_call_until_it_does() {
    let remembers = "--slowlog-log-slower-than 0 --slowlog-max-len 10000";
    let remembers: Vec<_> = remembers.split(' ').collect();
    let served = Served::by(RedisServer::start_with(&remembers).await).await;
    let server = &served.server;
    spoil_saves(server).await;
    for (ill, well, code) in [
        (
            "stop-writes-on-bgsave-error yes",
            "stop-writes-on-bgsave-error no",
            "MISCONF",
        ),
        (
            "min-replicas-to-write 1",
            "min-replicas-to-write 0",
            "NOREPLICAS",
        ),
        ("maxmemory 1", "maxmemory 0", "OOM"),
    ] {
        server.tell(&format!("CONFIG SET {ill}")).await;
        let asked = served.asked().await;
        served.says_each_time(code).await;
        assert_eq!(served.asked().await - asked, CALLS, "{code}");
        server.tell(&format!("CONFIG SET {well}")).await;
        served.is_well().await;
    }
}

#[tokio::test]
async fn a_server_that_is_busy_with_a_script_says_so_to_each_call() {
    let served = Served::start().await;
    served.server.tell("CONFIG SET lua-time-limit 1").await;
    let mut raw = served.server.raw().await;
    let mut other = served.server.raw().await;
    let endless = tokio::spawn(async move {
        let mut endless = redis::cmd("EVAL");
        endless.arg("while true do end").arg(0);
        endless.query_async::<()>(&mut other).await
    });
    eventually(async || command(&mut raw, "PING").await.err()).await;
    served.says_each_time("BUSY").await;
    command(&mut raw, "SCRIPT KILL").await.unwrap();
    assert!(endless.await.unwrap().is_err());
    served.is_well().await;
}

#[tokio::test]
async fn a_replica_that_has_lost_its_primary_and_serves_nothing_old_is_left_alone() {
    let served = Served::start().await;
    let server = &served.server;
    server.tell("CONFIG SET replica-serve-stale-data no").await;
    server.tell("REPLICAOF 127.0.0.1 1").await;
    served.says_and_is_left_alone("MASTERDOWN").await;
    server.tell("REPLICAOF NO ONE").await;
    served.heals().await;
}

#[tokio::test]
async fn a_server_that_is_loading_its_data_is_left_alone_until_it_has() {
    // For each of what it loads it takes a while.
    let delay = ["--key-load-delay", "100000", "--rdbcompression", "no"];
    let mut served = Served::by(RedisServer::start_with(&delay).await).await;
    let server = &mut served.server;
    // Some versions answer nobody before they have read two megabytes.
    for number in 0..50 {
        server.tell(&format!("SETRANGE p:{number} 1000000 x")).await;
    }
    server.tell("SAVE").await;
    server.kill();
    server.start_again().await;
    let (_, limiter) = &served.limiters[0];
    eventually(async || {
        let error = limiter.decide("key", 1).await.error;
        let error = error.expect("it is at it for seconds");
        (error != StoreError::Unavailable && word(&error) == "LOADING").then_some(())
    })
    .await;
    let left = served.hears().await;
    let left = left
        .iter()
        .filter(|error| **error == StoreError::Unavailable);
    assert!(left.count() > 0);
    served.heals().await;
}

#[tokio::test]
async fn whoever_lacks_a_permission_hears_so_each_time_and_is_served_when_it_is_granted() {
    let served = Served::start().await;
    let server = &served.server;
    // What a script is refused has another name, and none in what the server says.
    for lacks in ["-evalsha", "-time", "-incr -incrby"] {
        server.tell(&format!("ACL SETUSER library {lacks}")).await;
        all_say("NOPERM", &served.hears_of_the_unknown().await);
        server
            .tell(&format!("ACL SETUSER library {}", lacks.replace('-', "+")))
            .await;
        served.is_well().await;
    }
}

#[tokio::test]
async fn a_permission_that_several_quotas_lack_is_no_foreign_value() {
    let server = RedisServer::start().await;
    let log = Quota::new(1000, MINUTE).algorithm(Algorithm::SlidingLog);
    // Nothing of it comes back while this runs.
    let cells = Quota::new(1000, DAY).algorithm(Algorithm::Gcra);
    let window = Quota::new(1000, MINUTE);
    for (name, quota, lacks) in [
        ("log", log, "llen"),
        ("cells", cells, "get"),
        ("window", window, "get"),
    ] {
        let policy = Policy::new(name, quota).and(Quota::new(5000, 2 * MINUTE));
        let store = server.store().await;
        let limiter = store.rate_limiter(&policy).unwrap();
        eventually(async || limiter.decide("key", 1).await.error.is_none().then_some(())).await;
        server.tell(&format!("ACL SETUSER library -{lacks}")).await;
        for _ in 0..CALLS {
            let error = limiter.decide("key", 1).await.error.unwrap();
            assert_eq!(word(&error), "NOPERM", "{name}");
            let error = limiter.refund("key", 1).await.unwrap_err();
            assert_eq!(word(&error), "NOPERM", "{name}");
        }
        server.tell(&format!("ACL SETUSER library +{lacks}")).await;
        let decision = limiter.decide("key", 1).await;
        assert_eq!(decision.error, None);
        // What was refused was not counted.
        assert_eq!(decision.outcome.unwrap().remaining, 998, "{name}");
        assert_eq!(limiter.refund("key", 1).await, Ok(()));
    }
}

#[tokio::test]
async fn a_permission_that_a_queue_lacks_is_not_that_it_is_full_or_has_no_groups() {
    let server = RedisServer::start().await;
    let policy = queue::Policy::new("test").capacity(1);
    let queue = server.store().await.queue(&policy).unwrap();
    eventually(async || queue.depth().await.ok()).await;
    queue.push(b"soup").await.unwrap();
    server.tell("ACL SETUSER library -xinfo").await;
    assert_eq!(word(&said(queue.push(b"stew").await)), "NOPERM");
    assert_eq!(word(&queue.depth().await.unwrap_err()), "NOPERM");
    server.tell("ACL SETUSER library +xinfo").await;
    let full = queue.push(b"stew").await;
    assert!(matches!(full, Err(Error::Rejected(_))), "{full:?}");
    assert_eq!(queue.depth().await.unwrap().messages, 1);
}

#[tokio::test]
async fn whoever_has_a_wrong_password_hears_so_until_it_is_the_right_one() {
    let served = Served::start().await;
    let server = &served.server;
    let wrong = server.url().replace(":library@", ":wrong@");
    let refused = RedisStore::connect(&wrong, patient()).await;
    assert_eq!(word(&refused.unwrap_err()), "WRONGPASS");
    // Over RESP2 the client keeps the server's own word to itself.
    let refused = RedisStore::connect(&format!("{wrong}?protocol=resp2"), patient()).await;
    assert_eq!(word(&refused.unwrap_err()), "ERR");

    // A password that is changed costs whoever is logged in nothing.
    server.tell("ACL SETUSER library resetpass >other").await;
    served.is_well().await;
    server.tell("CLIENT KILL USER library").await;
    let (_, limiter) = &served.limiters[0];
    eventually(async || {
        let error = limiter.decide("key", 1).await.error?;
        matches!(error, StoreError::Unauthorized(_)).then_some(())
    })
    .await;
    served.says_each_time("WRONGPASS").await;
    server.tell("ACL SETUSER library >library").await;
    served.heals().await;
}

/// What of `outcome` the server said.
fn said<T: Debug>(outcome: Result<T, Error<StoreError>>) -> StoreError {
    match outcome.unwrap_err() {
        Error::Inner(error) => error,
        Error::Rejected(rejected) => panic!("{rejected}"),
    }
}

#[tokio::test]
async fn locks_stocks_queues_and_caches_name_it_as_well() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let locks = store.locks(&lock::Policy::new("test")).unwrap();
    let queue = store.queue(&queue::Policy::new("test")).unwrap();
    let stocks = store.stocks(&stock::Policy::new("test")).unwrap();
    let tier = store.cache_tier("test").unwrap();
    let second = (TierPolicy::new("tier"), tier.clone(), Text);
    let _cache: Cache<u64, String> = Cache::new_over(
        cache::Policy::new("test", MINUTE),
        second,
        &Environment::new(),
    )
    .unwrap();
    eventually(async || tier.is_in_touch().then_some(())).await;
    spoil_saves(&server).await;
    let taken = locks.try_lock("key").await;
    assert_eq!(word(&said(taken)), "MISCONF");
    assert_eq!(word(&said(queue.push(b"soup").await)), "MISCONF");
    let filled = stocks.stock("kitchen").fill([(7_u64, 1)]).await;
    match filled.unwrap_err() {
        stock::Error::Store(error) => assert_eq!(word(&error), "MISCONF"),
        other => panic!("{other}"),
    }
    let claim = tier.claim(b"7", MINUTE, MINUTE).await;
    let claim = claim.unwrap_err();
    assert_eq!(word(claim.downcast_ref().unwrap()), "MISCONF");
}
