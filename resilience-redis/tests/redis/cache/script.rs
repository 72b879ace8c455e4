//! The scripts of caches, as a user runs them who may do what the README says and no more.

use crate::support::{BEYOND, LEAST_I64, MOST_I64, User, script};

#[tokio::test]
async fn scripts_bear_the_edges_of_their_arguments() {
    let mut user = User::new().await;
    let (claim, fill, release) = (
        script!("cache_claim"),
        script!("cache_fill"),
        script!("cache_release"),
    );
    let channel = "res:cache_news:{k}";
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

const DAY: &str = "86400000";
