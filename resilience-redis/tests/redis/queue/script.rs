//! The scripts of queues, as a user runs them who may do what the README says and no more.

use crate::support::{BEYOND, LARGEST, LEAST_I64, MOST_I64, User, script};

#[tokio::test]
async fn scripts_bear_the_edges_of_their_arguments() {
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
            .expect("a message")
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
        let last = second
            .strip_prefix("[now ")
            .expect("a message")
            .trim_end_matches(']');
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
            .expect("a message")
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
        let lag = if user.knows_lag().await { "1" } else { "-1" };
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

const DAY: &str = "86400000";
