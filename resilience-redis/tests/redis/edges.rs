//! Every script at the edges of its arguments, by a user who may do what the README says and no
//! more: 0, 1, the largest whole number of a double and those of 64 bits, nothing, and long keys.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::BTreeSet;

use redis::{Value, aio::MultiplexedConnection};

use crate::support::{RedisServer, permissions};

/// A script, behind what the scripts of its family have in common.
macro_rules! script {
    ($($file:literal),+) => {
        concat!($(include_str!(concat!("../../src/lua/", $file, ".lua"))),+)
    };
}

const LARGEST: &str = "9007199254740991";
const BEYOND: &str = "9007199254740992";
const LEAST_I64: &str = "-9223372036854775808";
const MOST_I64: &str = "9223372036854775807";
const DAY: &str = "86400000";

/// Whoever may do what the README says.
struct User {
    connection: MultiplexedConnection,
    server: RedisServer,
}

impl User {
    async fn new() -> Self {
        let server = RedisServer::start().await;
        let client = redis::Client::open(server.url()).unwrap();
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        Self { connection, server }
    }

    /// What a script answers, in a short form.
    async fn run(&mut self, script: &str, keys: &[String], arguments: &[&str]) -> String {
        let mut eval = redis::cmd("EVAL");
        eval.arg(script).arg(keys.len()).arg(keys).arg(arguments);
        match eval.query_async(&mut self.connection).await {
            Ok(reply) => short(&reply),
            Err(error) => {
                let text = error.to_string();
                assert!(
                    !text.contains("NOPERM") && !text.contains("permission"),
                    "{text}"
                );
                assert!(!error.is_io_error(), "{text}");
                "error".to_owned()
            }
        }
    }

    /// What the server holds, past the library.
    async fn look(&self, command: &str) -> String {
        short(&self.server.ask::<Value>(command).await)
    }

    /// Keys of one slot: short ones, and ones of 512 bytes.
    fn names(kinds: &[&str]) -> [Vec<String>; 2] {
        let name = |kind: &&str, fill: usize| format!("resilience:{kind}:{{{}}}", "k".repeat(fill));
        [1, 0].map(|is_short| {
            let fill = |kind: &&str| {
                let longest = 512 - name(kind, 0).len();
                // All of one slot have one tag.
                if is_short == 1 { 1 } else { longest.min(480) }
            };
            kinds.iter().map(|kind| name(kind, fill(kind))).collect()
        })
    }
}

fn short(reply: &Value) -> String {
    match reply {
        Value::Nil => "nil".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(short).collect();
            format!("[{}]", items.join(" "))
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn the_readme_grants_what_the_documentation_asks_for_and_nothing_else() {
    let of = |text| permissions(text).into_iter().collect::<BTreeSet<_>>();
    let documentation = include_str!("../../src/lib.rs");
    let (_, documentation) = documentation
        .split_once("# What the server must allow")
        .unwrap();
    let (documentation, _) = documentation
        .split_once("To the user of the sentinels")
        .unwrap();
    let granted = of(include_str!("../../../README.md"));
    assert!(granted.len() > 50, "{granted:?}");
    assert_eq!(granted, of(documentation));
}

#[tokio::test]
async fn scripts_of_locks() {
    let mut user = User::new().await;
    let (acquire, renew, release) = (
        script!("lock_acquire"),
        script!("lock_renew"),
        script!("lock_release"),
    );
    for keys in User::names(&["lock", "fence"]) {
        // What cannot be a time or a number takes nothing.
        for (life, seen) in [
            ("0", "0"),
            ("", "0"),
            (MOST_I64, "0"),
            (LEAST_I64, "0"),
            (DAY, ""),
            (DAY, LARGEST),
            (DAY, BEYOND),
            (DAY, MOST_I64),
        ] {
            assert_eq!(user.run(acquire, &keys, &["a", life, seen]).await, "error");
            assert_eq!(user.look(&format!("EXISTS {}", keys[0])).await, "0");
        }
        user.look(&format!("DEL {}", keys[1])).await;
        let taken = user.run(acquire, &keys, &["a", DAY, LEAST_I64]).await;
        assert!(
            taken.ends_with(" 0]") && taken.len() == "[1763800000000000 0]".len(),
            "{taken}"
        );
        for other in ["b", "", "aa"] {
            let left = user.run(acquire, &keys, &[other, "1", "0"]).await;
            assert!(
                left.starts_with("[0 86") || left.starts_with("[0 85"),
                "{left}"
            );
            assert_eq!(user.run(renew, &keys[..1], &[other, "1"]).await, "0");
            assert_eq!(user.run(release, &keys[..1], &[other]).await, "0");
        }
        for life in ["", MOST_I64] {
            assert_eq!(user.run(renew, &keys[..1], &["a", life]).await, "error");
        }
        assert_eq!(user.run(renew, &keys[..1], &["a", BEYOND]).await, "1");
        assert_eq!(user.run(release, &keys[..1], &["a"]).await, "1");
        // The last fence that there is, and nothing after it.
        let last = user
            .run(acquire, &keys, &["", DAY, "9007199254740990"])
            .await;
        assert_eq!(last, format!("[{LARGEST} 0]"));
        assert_eq!(user.run(acquire, &keys, &["", DAY, "0"]).await, "error");
        assert_eq!(user.run(renew, &keys[..1], &["", "0"]).await, "1");
        assert_eq!(user.look(&format!("EXISTS {}", keys[0])).await, "0");
    }
}

#[tokio::test]
async fn scripts_of_caches() {
    let mut user = User::new().await;
    let (claim, fill, release) = (
        script!("cache_claim"),
        script!("cache_fill"),
        script!("cache_release"),
    );
    let channel = "resilience:cache_news:{k}";
    for keys in User::names(&["cache", "cache_lease"]) {
        let lease = &keys[1..];
        for life in ["0", "", LEAST_I64, MOST_I64] {
            assert_eq!(user.run(claim, lease, &["a", life]).await, "error");
        }
        assert_eq!(user.look(&format!("EXISTS {}", lease[0])).await, "0");
        assert_eq!(user.run(claim, lease, &["a", "1000000"]).await, "0");
        assert_eq!(user.run(claim, lease, &["a", "1"]).await, "0");
        let left: u64 = user.run(claim, lease, &["b", "1"]).await.parse().unwrap();
        assert!((1..=1_000_000).contains(&left));
        for token in ["", "b", "aa"] {
            let words = [token, "soup", DAY, channel, "over"];
            assert_eq!(user.run(fill, &keys, &words).await, "0");
            assert_eq!(
                user.run(release, lease, &[token, "0", channel, ""]).await,
                "0"
            );
        }
        for life in ["0", "", LEAST_I64, MOST_I64] {
            let words = ["a", "soup", life, channel, "over"];
            assert_eq!(user.run(fill, &keys, &words).await, "error");
            assert_eq!(user.look(&format!("EXISTS {}", keys[0])).await, "0");
        }
        assert_eq!(
            user.run(fill, &keys, &["a", "", BEYOND, channel, ""]).await,
            "1"
        );
        assert_eq!(user.look(&format!("STRLEN {}", keys[0])).await, "0");
        assert_eq!(
            user.look(&format!("EXISTS {} {}", keys[0], lease[0])).await,
            "1"
        );
        // Private ones: nobody need wait, for so long.
        assert_eq!(user.run(claim, lease, &["a", BEYOND]).await, "0");
        for alone in ["", LEAST_I64, MOST_I64] {
            let words = ["a", alone, channel, "over"];
            assert_eq!(user.run(release, lease, &words).await, "error");
        }
        assert_eq!(
            user.run(release, lease, &["a", BEYOND, channel, "over"])
                .await,
            "1"
        );
        assert_eq!(user.run(claim, lease, &["b", "1"]).await, "-1");
        user.look(&format!("DEL {}", lease[0])).await;
        assert_eq!(user.run(claim, lease, &["b", DAY]).await, "0");
        assert_eq!(
            user.run(release, lease, &["b", "0", channel, "over"]).await,
            "1"
        );
        assert_eq!(user.look(&format!("EXISTS {}", lease[0])).await, "0");
    }
}

#[tokio::test]
async fn scripts_of_stocks() {
    let mut user = User::new().await;
    let fill = script!("stock", "stock_fill");
    let count = script!("stock", "stock_count");
    let reserve = script!("stock", "stock_reserve");
    let confirm = script!("stock", "stock_confirm");
    let release = script!("stock", "stock_release");
    let reap = script!("stock", "stock_reap");
    let long = "o".repeat(512);
    for keys in User::names(&["counts", "orders", "due"]) {
        let keys = &keys[..];
        let order = |id, units| [id, DAY, DAY, "259200000", "soup", units];
        assert_eq!(user.run(reserve, keys, &order("1", "1")).await, "[unknown]");
        let generation = user
            .run(fill, keys, &["absent", DAY, "soup", LARGEST, "stew", "0"])
            .await;
        assert_eq!(generation.len(), "1763800000000000".len(), "{generation}");
        assert_eq!(user.run(fill, keys, &["absent", DAY]).await, "");
        assert_eq!(user.run(fill, keys, &["0", DAY, "soup", "1"]).await, "");
        // As many as there can be, and one of none.
        assert_eq!(
            user.run(count, keys, &["add", "soup", LARGEST]).await,
            LARGEST
        );
        assert_eq!(
            user.run(count, keys, &["cap", "soup", LARGEST]).await,
            LARGEST
        );
        for id in ["", "1", &long] {
            assert_eq!(user.run(reserve, keys, &order(id, LARGEST)).await, "[now]");
            assert_eq!(
                user.run(reserve, keys, &order(id, LARGEST)).await,
                "[before]"
            );
            assert_eq!(user.run(reserve, keys, &order(id, "1")).await, "[conflict]");
            assert_eq!(user.run(count, keys, &["add", "soup", "0"]).await, "0");
            assert_eq!(user.run(release, keys, &[id, DAY]).await, "now");
            assert_eq!(user.run(release, keys, &[id, DAY]).await, "before");
            assert_eq!(user.run(count, keys, &["add", "soup", "0"]).await, LARGEST);
        }
        let stew = ["2", DAY, DAY, "259200000", "stew", "1"];
        assert_eq!(user.run(reserve, keys, &stew).await, "[sold out 1 0]");
        let nothing = ["2", DAY, DAY, "259200000", "nothing", "1"];
        assert_eq!(user.run(reserve, keys, &nothing).await, "[unknown 1]");
        assert_eq!(user.run(count, keys, &["cap", "soup", "1"]).await, "1");
        assert_eq!(user.run(reserve, keys, &order("3", "1")).await, "[now]");
        assert_eq!(user.run(confirm, keys, &["3", "1"]).await, "now");
        assert_eq!(user.run(confirm, keys, &["3", "1"]).await, "before");
        assert_eq!(user.run(release, keys, &["3", "1"]).await, "confirmed");
        assert_eq!(user.run(confirm, keys, &["4", "1"]).await, "not reserved");
        // What is no number leaves the counts as they were.
        for units in ["", "many"] {
            assert_eq!(
                user.run(count, keys, &["add", "soup", units]).await,
                "error"
            );
            assert_eq!(user.run(reserve, keys, &order("5", units)).await, "error");
        }
        assert_eq!(user.run(count, keys, &["cap", "soup", "0"]).await, "0");
        for steps in ["0", "1", "1000"] {
            let reaped = user.run(reap, keys, &[steps, DAY]).await;
            assert!(reaped.starts_with("[0 "), "{reaped}");
        }
        let anew = user.run(fill, keys, &["anew", BEYOND, "soup", "1"]).await;
        assert!(anew > generation, "{anew} after {generation}");
        assert_eq!(user.run(count, keys, &["set", "stew", "0"]).await, "0");
    }
}

#[tokio::test]
async fn scripts_of_queues() {
    let mut user = User::new().await;
    let push = script!("queue", "queue_push");
    let open = script!("queue", "queue_open");
    let claim = script!("queue", "queue_claim");
    let give = script!("queue", "queue_give");
    let bury = script!("queue", "queue_bury");
    let revive = script!("queue", "queue_revive");
    let acknowledge = script!("queue", "queue_acknowledge");
    let depth = script!("queue", "queue_depth");
    let drop_group = script!("queue", "queue_drop");
    let payload = "p".repeat(512);
    let long = "g".repeat(512);
    for keys in User::names(&["queue", "dead", "known"]) {
        let (all, two) = (&keys[..], &keys[..2]);
        assert_eq!(user.run(depth, two, &[]).await, "[0 0 []]");
        assert_eq!(user.run(drop_group, two, &["g", "h"]).await, "0");
        for capacity in ["0", LEAST_I64] {
            assert_eq!(
                user.run(push, two, &[capacity, "x", DAY, "g"]).await,
                "[full ]"
            );
        }
        assert_eq!(user.run(push, two, &["", "x", DAY, "g"]).await, "error");
        for life in ["0", "", MOST_I64] {
            let _ = user.run(push, all, &[LARGEST, "x", life, "g"]).await;
            assert_eq!(user.look(&format!("EXISTS {}", keys[2])).await, "0");
            user.look(&format!("DEL {}", keys[0])).await;
        }
        assert_eq!(user.run(open, two, &["g", "0"]).await, "0");
        assert_eq!(user.run(open, two, &["g", MOST_I64]).await, "0");
        let first = user.run(push, all, &["1", "", BEYOND, "g"]).await;
        let id = first
            .strip_prefix("[now ")
            .unwrap()
            .trim_end_matches(']')
            .to_owned();
        assert_eq!(
            user.run(push, all, &["1", "y", DAY, "g"]).await,
            format!("[before {id}]")
        );
        assert_eq!(user.run(push, two, &["1", "y", DAY, "g"]).await, "[full ]");
        let second = user.run(push, two, &[LARGEST, &payload, DAY, "g"]).await;
        assert!(second.starts_with("[now "), "{second}");
        let read = format!("XREADGROUP GROUP g one COUNT 2 STREAMS {} >", keys[0]);
        assert!(user.look(&read).await.contains(&payload));
        // Nobody has abandoned them for so long, or is asked to take none.
        let taken = user
            .run(claim, two, &["g", "two", MOST_I64, "0-0", "64"])
            .await;
        assert_eq!(taken, "[0-0 [] 0]");
        let none = user.run(claim, two, &["g", "two", "0", "0-0", "0"]).await;
        assert_eq!(none, "error");
        let last = second.strip_prefix("[now ").unwrap().trim_end_matches(']');
        // However often they are taken over, they were given out once.
        for _ in 0..3 {
            let taken = user.run(claim, two, &["g", "two", "0", "0-0", "64"]).await;
            assert_eq!(taken, format!("[0-0 [[{id} 1] [{last} 1]] 0]"));
        }
        for most in ["0", LEAST_I64] {
            assert_eq!(
                user.run(bury, two, &["g", &id, "", most, DAY]).await,
                "full"
            );
        }
        assert_eq!(
            user.run(bury, two, &["g", &id, "", "1", BEYOND]).await,
            "now"
        );
        assert_eq!(
            user.run(bury, two, &["g", &id, "", "1", DAY]).await,
            "before"
        );
        for (owner, ids, given) in [
            ("one", &[last][..], "[0]"),
            ("two", &[last, &id], "[2 0]"),
            ("two", &[last], "[3]"),
            ("", &[last], "[0]"),
            ("two", &[], "[]"),
        ] {
            let words = [&["g", owner], ids].concat();
            assert_eq!(user.run(give, two, &words).await, given, "{owner}");
        }
        for gone in ["0-0", "18446744073709551615-18446744073709551615"] {
            assert_eq!(
                user.run(revive, two, &[LARGEST, gone, "g"]).await,
                "[gone ]"
            );
            assert_eq!(
                user.run(bury, two, &["g", gone, "", "1", DAY]).await,
                "before"
            );
            assert_eq!(
                user.run(acknowledge, two, &["g", "1", "g", gone]).await,
                "0"
            );
            assert_eq!(user.run(give, two, &["g", "two", gone]).await, "[0]");
        }
        let dead = user.look(&format!("XRANGE {} - +", keys[1])).await;
        let letter = dead
            .trim_start_matches('[')
            .split(' ')
            .next()
            .unwrap()
            .to_owned();
        assert_eq!(user.run(revive, two, &["0", &letter, "g"]).await, "[full ]");
        let revived = user.run(revive, two, &[LARGEST, &letter, "g"]).await;
        assert!(revived.starts_with("[now "), "{revived}");
        assert_eq!(
            user.run(revive, two, &[LARGEST, &letter, "g"]).await,
            "[gone ]"
        );
        assert_eq!(
            user.run(acknowledge, two, &["g", "1", "g", last]).await,
            "1"
        );
        let lag = if user.server.knows_lag().await {
            "1"
        } else {
            "-1"
        };
        assert_eq!(
            user.run(depth, two, &[]).await,
            format!("[1 0 [[g 2 0 {lag}]]]")
        );
        for (gone, dropped) in [("", "0"), (&long, "0"), ("g", "1"), ("g", "0")] {
            assert_eq!(user.run(drop_group, two, &[gone, "h"]).await, dropped);
        }
        assert_eq!(user.run(depth, two, &[]).await, "[1 0 []]");
    }
}

#[tokio::test]
async fn scripts_of_filters() {
    let mut user = User::new().await;
    let poll = script!("filter", "filter_poll");
    let add = script!("filter", "filter_add");
    let begin = script!("filter", "filter_begin");
    let merge = script!("filter", "filter_merge");
    let end = script!("filter", "filter_end");
    for keys in User::names(&["filter", "filter_log", "filter_bits", "filter_new"]) {
        let two = &keys[..2];
        for life in ["", MOST_I64] {
            assert_eq!(
                user.run(poll, two, &["l", "s", life, "", "0", "0", "1", ""])
                    .await,
                "error"
            );
        }
        user.look(&format!("DEL {} {}", keys[0], keys[1])).await;
        let with = |words: &[&'static str]| [&["new", "s", BEYOND][..], words].concat();
        let first = user
            .run(poll, two, &["l", "s", BEYOND, "", "0", "0", "1", ""])
            .await;
        assert_eq!(first, "[l   0 0 []]");
        let strange = user
            .run(poll, two, &["l", "", DAY, "", "0", "0", "1", ""])
            .await;
        assert_eq!(strange, "error", "another seed");
        // A builder is given up after no time, and after no other.
        assert_eq!(user.run(begin, two, &with(&["g1", DAY])).await, "[l 0 ]");
        for patience in [DAY, BEYOND, MOST_I64] {
            assert_eq!(
                user.run(begin, two, &with(&["g2", patience])).await,
                "[ 0 ]"
            );
        }
        for patience in ["0", LEAST_I64] {
            let taken = user.run(begin, two, &with(&["g1", patience])).await;
            assert_eq!(taken, "[l 0 g1]");
        }
        // Nothing is added to a partition that is gone, or has another length.
        let bits = with(&["g1", "\u{1}\u{2}"]);
        assert_eq!(user.run(merge, &keys, &bits).await, "0");
        user.look(&format!("SET {} x", keys[2])).await;
        assert_eq!(user.run(merge, &keys, &bits).await, "0");
        assert_eq!(user.run(merge, &keys, &with(&["g2", "\u{1}"])).await, "0");
        user.look(&format!("SETRANGE {} 65535 \u{4}", keys[2]))
            .await;
        let whole = "\u{2}".repeat(65_536);
        let words = ["new", "s", DAY, "g1", &whole];
        assert_eq!(user.run(merge, &keys, &words).await, "1");
        assert_eq!(
            user.look(&format!("GETRANGE {} 65534 -1", keys[2])).await,
            "\u{2}\u{6}"
        );
        assert_eq!(user.look(&format!("GETRANGE {} 0 0", keys[2])).await, "z");
        assert_eq!(user.look(&format!("EXISTS {}", keys[3])).await, "0");
        for way in ["commit", "abandon", "lose"] {
            assert_eq!(user.run(end, two, &with(&[way, "g2"])).await, "[0 ]");
        }
        assert_eq!(user.run(end, two, &with(&["commit", "g1"])).await, "[1 ]");
        // The first bit and the last of a partition.
        let three = &keys[..3];
        let words = with(&[
            "l",
            "g1",
            "",
            "1",
            "10000",
            "0123456789abcdef",
            "3",
            "0",
            "3",
            "524287",
        ]);
        assert_eq!(user.run(add, three, &words).await, "[l g1  1]");
        assert_eq!(user.look(&format!("GETBIT {} 0", keys[2])).await, "1");
        assert_eq!(user.look(&format!("GETBIT {} 524287", keys[2])).await, "1");
        for stale in [["", "g1", ""], ["l", "", ""], ["l", "g1", "g1"]] {
            let words = [&with(&stale)[..], &["1", "1", "k", "3", "7"]].concat();
            assert_eq!(user.run(add, three, &words).await, "[l g1  0]");
        }
        assert_eq!(user.look(&format!("GETBIT {} 7", keys[2])).await, "0");
        // No bits at all are a record all the same, and an empty log is none.
        assert_eq!(
            user.run(add, two, &with(&["l", "g1", "", "0", "10000", ""]))
                .await,
            "[l g1  2]"
        );
        let record = "[l g1  2 0 [1 0123456789abcdef 2 ]]";
        for (number, answer) in [
            ("0", record),
            ("1", "[l g1  2 1 [2 ]]"),
            ("2", "[l g1  2 2 []]"),
            (BEYOND, "[l g1  2 9007199254740992 []]"),
        ] {
            let words = with(&["l", number, "0", "1000", ""]);
            assert_eq!(user.run(poll, two, &words).await, answer);
        }
        assert_eq!(
            user.run(poll, two, &with(&["l", "", "0", "1000", ""]))
                .await,
            "error"
        );
        for (recent, answer) in [
            ("0", "[l g1  2 2 []]"),
            ("1", "[l g1  2 1 [2 ]]"),
            (BEYOND, record),
            (MOST_I64, record),
        ] {
            let words = with(&["other", MOST_I64, recent, "1000", ""]);
            assert_eq!(user.run(poll, two, &words).await, answer);
        }
        // A partition that is gone takes its generation along.
        user.look(&format!("DEL {}", keys[2])).await;
        let words = with(&["l", "g1", "", "1", "1", "k", "3", "7"]);
        assert_eq!(user.run(add, three, &words).await, "[l   0]");
        assert_eq!(user.look(&format!("EXISTS {}", keys[2])).await, "0");
    }
}
