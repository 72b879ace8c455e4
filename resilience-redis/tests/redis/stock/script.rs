//! The scripts of stocks, as a user runs them who may do what the README says and no more.

use crate::support::{BEYOND, LARGEST, User, script};

#[tokio::test]
async fn scripts_bear_the_edges_of_their_arguments() {
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
        assert_eq!(
            user.run(reserve, keys, &order("1", "1")).await,
            "[0 unknown]"
        );
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
            assert_eq!(
                user.run(reserve, keys, &order(id, LARGEST)).await,
                "[0 now]"
            );
            assert_eq!(
                user.run(reserve, keys, &order(id, LARGEST)).await,
                "[0 before]"
            );
            assert_eq!(
                user.run(reserve, keys, &order(id, "1")).await,
                "[0 conflict]"
            );
            assert_eq!(user.run(count, keys, &["add", "soup", "0"]).await, "0");
            assert_eq!(user.run(release, keys, &[id, DAY]).await, "now");
            assert_eq!(user.run(release, keys, &[id, DAY]).await, "before");
            assert_eq!(user.run(count, keys, &["add", "soup", "0"]).await, LARGEST);
        }
        let stew = ["2", DAY, DAY, "259200000", "stew", "1"];
        assert_eq!(user.run(reserve, keys, &stew).await, "[0 sold out 1 0]");
        let nothing = ["2", DAY, DAY, "259200000", "nothing", "1"];
        assert_eq!(user.run(reserve, keys, &nothing).await, "[0 unknown 1]");
        assert_eq!(user.run(count, keys, &["cap", "soup", "1"]).await, "1");
        assert_eq!(user.run(reserve, keys, &order("3", "1")).await, "[0 now]");
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

const DAY: &str = "86400000";
