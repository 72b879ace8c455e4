//! A quota of all keys, in memory and in Redis.

use std::cell::RefCell;

use http_body_util::BodyExt as _;
use resilience_core::{
    Clock, Reason, Respond,
    rate_limit::{Charge, MissingKey},
};
use resilience_redis::rate_limit::{Mode, Policy, Quota};
use tokio::time::timeout;
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::{
    super::{
        alike::{Ask as _, alike, used_up},
        kitchen::{kitchen, request, told, user},
    },
    MINUTE, SHORT,
};
use crate::support::eventually;

/// Five a minute for each user, and eight for all of them.
fn soup() -> Policy {
    let all = Quota::new(8, MINUTE).named("all");
    Policy::new("soup", Quota::new(5, MINUTE)).global(all)
}

alike! {
    async fn a_call_takes_from_its_key_and_from_all_or_from_none(limiter: soup()) {
        assert_eq!(limiter.left("alice", 0).await, Ok(5));
        assert_eq!(limiter.left("alice", 5).await, Ok(0));
        assert_eq!(limiter.left("alice", 1).await, used_up("soup"));
        assert_eq!(limiter.left("bob", 0).await, Ok(3));
        assert_eq!(limiter.left("bob", 4).await, used_up("all"));
        assert_eq!(limiter.left("bob", 3).await, Ok(0));
        assert_eq!(limiter.left("carol", 1).await, used_up("all"));
        // Of the key of none of them more was taken than they got.
        limiter.back("alice", 5).await;
        eventually(async || (limiter.left("bob", 0).await == Ok(2)).then_some(())).await;
        eventually(async || (limiter.left("carol", 0).await == Ok(5)).then_some(())).await;
    }

    async fn what_is_too_much_for_all_keys_is_for_one(
        limiter: Policy::new("soup", Quota::new(50, MINUTE))
            .global(Quota::new(8, MINUTE).named("all"))
    ) {
        assert_eq!(limiter.left("alice", 9).await, Err((Reason::CostExceedsQuota, "all")));
        assert_eq!(limiter.left("alice", 51).await, Err((Reason::CostExceedsQuota, "soup")));
        assert_eq!(limiter.left("alice", 8).await, Ok(0));
    }

    async fn units_go_back_to_the_key_and_to_all(limiter: soup()) {
        assert_eq!(limiter.left("alice", 5).await, Ok(0));
        assert_eq!(limiter.left("bob", 3).await, Ok(0));
        limiter.back("bob", 2).await;
        assert_eq!(limiter.left("carol", 0).await, Ok(2));
        assert_eq!(limiter.left("bob", 2).await, Ok(0));
        limiter.back("alice", 100).await;
        assert_eq!(limiter.left("alice", 5).await, Ok(0));
    }

    async fn limits_of_all_keys_change_while_calls_go_on(limiter: soup()) {
        assert_eq!(limiter.left("alice", 5).await, Ok(0));
        let all = |limit| soup().global(Quota::new(limit, MINUTE).named("all"));
        assert_eq!(limiter.change(all(6)), Ok(()));
        assert_eq!(limiter.left("bob", 2).await, used_up("all"));
        assert_eq!(limiter.change(all(7)), Ok(()));
        eventually(async || (limiter.left("bob", 2).await == Ok(0)).then_some(())).await;
        let without = Policy::new("soup", Quota::new(5, MINUTE));
        assert_eq!(limiter.change(without), Err("quotas"));
        assert_eq!(limiter.left("carol", 1).await, used_up("all"));
    }

    async fn answers_tell_where_the_tightest_of_all_quotas_stands(limiter: soup()) {
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        let soup = Some(r#""soup";q=5;w=60"#);
        let all = Some(r#""all";q=8;w=60"#);
        for (user, status, policy, left) in [
            ("alice", 200, soup, "r=4"),
            ("bob", 200, soup, "r=4"),
            ("bob", 200, soup, "r=3"),
            ("bob", 200, soup, "r=2"),
            ("carol", 200, all, "r=3"),
            ("dave", 200, all, "r=2"),
            ("bob", 200, soup, "r=1"),
            ("erin", 200, all, "r=0"),
            ("frank", 429, all, "r=0"),
        ] {
            let answer = service.clone().oneshot(request(user)).await.expect("an answer");
            let (answered, named, stands) = told(&answer);
            assert_eq!((answered, named), (status, policy), "{user}");
            assert!(stands.expect("a field").contains(left), "{user} {stands:?}");
        }
    }

    async fn where_failures_are_charged_a_success_costs_neither(
        limiter: Policy::new("soup", Quota::new(1, MINUTE)).charge(Charge::Failures)
            .global(Quota::new(2, MINUTE).named("all"))
    ) {
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        let status = async |body: &str| {
            let answer = service.clone().oneshot(request(body)).await;
            let answer = answer.expect("an answer");
            let status = answer.status().as_u16();
            // The units come back when the body was seen to its end.
            let _ = answer.into_body().collect().await;
            status
        };
        for user in ["alice", "alice", "bob", "carol"] {
            eventually(async || (status(user).await == 200).then_some(())).await;
        }
        eventually(async || (status("nobody").await == 500).then_some(())).await;
        assert_eq!(status("nobody").await, 429);
        eventually(async || (limiter.left("alice", 1).await == Ok(0)).then_some(())).await;
        assert_eq!(status("bob").await, 429);
    }

    async fn requests_of_nobody_share_a_quota_and_meet_that_of_all_keys(
        limiter: Policy::new("soup", Quota::new(1, MINUTE)).global(Quota::new(2, MINUTE))
    ) {
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        for (user, status) in [("", 200), ("", 429), ("alice", 200), ("bob", 429)] {
            let answer = service.clone().oneshot(request(user)).await.expect("an answer");
            assert_eq!(answer.status(), status);
        }
    }

    async fn requests_of_nobody_that_meet_no_other_quota_meet_that_of_all_keys(
        limiter: Policy::new("soup", Quota::new(1, MINUTE)).missing_key(MissingKey::Admit)
            .global(Quota::new(4, MINUTE).named("all"))
    ) {
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        for (user, status) in [
            ("", 200), ("", 200), ("alice", 200), ("alice", 429), ("", 200), ("", 429), ("bob", 429),
        ] {
            let answer = service.clone().oneshot(request(user)).await.expect("an answer");
            assert_eq!(answer.status(), status);
            if user.is_empty() {
                assert_eq!(told(&answer).1, Some(r#""all";q=4;w=60"#));
            }
        }
    }

    async fn requests_of_nobody_are_refused_where_the_policy_says_so(
        limiter: soup().missing_key(MissingKey::Refuse)
    ) {
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        for (user, status) in [("", 400), ("alice", 200)] {
            let answer = service.clone().oneshot(request(user)).await.expect("an answer");
            assert_eq!(answer.status(), status);
        }
        assert_eq!(limiter.left("alice", 3).await, Ok(1));
    }

    async fn who_may_wait_waits_for_room_for_his_key_and_among_all_keys(
        limiter: Policy::new("soup", Quota::new(2, SHORT))
            .global(Quota::new(3, SHORT).named("all")).max_wait(MINUTE)
    ) {
        let (clock, waits) = (Clock::system(), RefCell::new(Vec::new()));
        let start = clock.now();
        let call = async |user| {
            let outcome = limiter.waits(user).await;
            assert!(outcome.is_ok(), "{user} {outcome:?}");
            waits.borrow_mut().push(clock.now().saturating_since(start));
        };
        tokio::join!(
            call("alice"), call("bob"), call("carol"), call("alice"),
            call("dave"), call("erin"), call("alice"), call("frank"),
        );
        // Three at a time.
        let waits = waits.into_inner();
        assert!(waits[3] >= SHORT && waits[6] >= 2 * SHORT, "{waits:?}");
    }

    async fn who_would_wait_too_long_for_room_among_all_keys_is_refused_at_once(
        limiter: soup().max_wait(MINUTE / 2)
    ) {
        assert_eq!(limiter.left("alice", 5).await, Ok(0));
        assert_eq!(limiter.left("bob", 3).await, Ok(0));
        let refused = timeout(MINUTE / 4, limiter.waits("carol")).await;
        assert_eq!(refused.expect("at once"), used_up("all"));
        let refused = timeout(MINUTE / 4, limiter.waits("alice")).await;
        assert!(refused.expect("at once").is_err());
        limiter.back("bob", 1).await;
        eventually(async || (limiter.left("carol", 1).await == Ok(0)).then_some(())).await;
    }

    async fn a_shadow_policy_takes_from_both_or_from_none_and_refuses_nothing(
        limiter: soup().mode(Mode::Shadow)
    ) {
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        assert_eq!(limiter.left("alice", 5).await, Ok(0));
        assert_eq!(limiter.left("alice", 1).await, Ok(0));
        assert_eq!(limiter.would_refuse(), 1);
        // All have three left.
        assert_eq!(limiter.left("bob", 4).await, Ok(3));
        assert!(limiter.left("bob", 9).await.is_ok());
        assert_eq!(limiter.would_refuse(), 3);
        eventually(async || (limiter.left("bob", 0).await == Ok(3)).then_some(())).await;
        assert_eq!(limiter.left("bob", 3).await, Ok(0));
        let answer = service.oneshot(request("carol")).await.expect("an answer");
        assert_eq!(told(&answer), (200, None, None));
        assert_eq!(limiter.would_refuse(), 4);
        assert_eq!(limiter.change(soup()), Ok(()));
        assert_eq!(limiter.left("carol", 1).await, used_up("all"));
        limiter.back("alice", 5).await;
        eventually(async || (limiter.left("carol", 5).await == Ok(0)).then_some(())).await;
    }
}
