//! The scripts of locks, as a user runs them who may do what the README says and no more.

use crate::support::{BEYOND, LARGEST, LEAST_I64, MOST_I64, User, script};

#[tokio::test]
async fn scripts_bear_the_edges_of_their_arguments() {
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

const DAY: &str = "86400000";
