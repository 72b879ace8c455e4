//! The scripts of shared filters, as a user runs them who may do what the README says and no more.

use crate::support::{BEYOND, LEAST_I64, MOST_I64, User, script};

#[tokio::test]
async fn scripts_bear_the_edges_of_their_arguments() {
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

const DAY: &str = "86400000";
