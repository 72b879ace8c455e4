//! Limits behind Tower, in memory and in Redis.

use std::{
    future::Future as _,
    pin::pin,
    sync::Mutex,
    task::{Context, Waker},
    time::Duration,
};

use http_body_util::BodyExt as _;
use resilience_core::{
    Reason, Rejected, Respond, Results,
    rate_limit::{Charge, MissingKey},
};
use resilience_redis::rate_limit::{Algorithm, Fallback, Mode, Options, Policy, Quota};
use tokio::time::timeout;
use tower::{
    BoxError, Layer as _, Service as _, ServiceExt as _, limit::ConcurrencyLimit, service_fn,
};

use super::alike::{Ask as _, alike, used_up};
use super::kitchen::{Request, kitchen, request, told, user};
use crate::support::{RedisServer, eventually};

const MINUTE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(200);

alike! {
    async fn each_key_has_its_quota_and_answers_tell_where_it_stands(
        limiter: Policy::new("soup", Quota::new(2, MINUTE))
    ) {
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        for (user, status, left) in [
            ("alice", 200, r#""soup";r=1;t="#),
            ("alice", 200, r#""soup";r=0;t="#),
            ("alice", 429, r#""soup";r=0;t="#),
            ("bob", 200, r#""soup";r=1;t="#),
        ] {
            let answer = service.clone().oneshot(request(user)).await.expect("an answer");
            let (code, policy, stands) = told(&answer);
            assert_eq!((code, policy), (status, Some(r#""soup";q=2;w=60"#)), "{user}");
            assert!(stands.is_some_and(|stands| stands.starts_with(left)), "{stands:?}");
            assert_eq!(answer.headers().contains_key("retry-after"), status == 429);
        }
    }

    async fn all_services_of_all_layers_share_the_limit(
        limiter: Policy::new("soup", Quota::new(3, MINUTE))
    ) {
        let mut served = 0;
        for _ in 0..3 {
            for layer in [limiter.layer_by(user), limiter.layer_by(user)] {
                let service = Respond::with((layer,)).layer(service_fn(kitchen));
                let answer = service.oneshot(request("alice")).await.expect("an answer");
                served += u32::from(answer.status() == 200);
            }
        }
        assert_eq!(served, 3);
    }

    async fn a_request_costs_what_it_is_said_to_cost(
        limiter: Policy::new("soup", Quota::new(5, MINUTE))
    ) {
        let cost = |request: &Request| request.body().len() as u64;
        let everyone = |_: &Request| Some("everyone".to_owned());
        let layer = limiter.layer_by(everyone).cost(cost);
        let service = Respond::with((layer,)).layer(service_fn(kitchen));
        let mut statuses = Vec::new();
        for body in ["a", "aaa", "aa", "a", "", "aaaaaa"] {
            let answer = service.clone().oneshot(request(body)).await.expect("an answer");
            statuses.push((answer.status().as_u16(), answer.headers().contains_key("retry-after")));
        }
        let (served, later, never) = ((200, false), (429, true), (429, false));
        assert_eq!(statuses, [served, served, later, served, served, never]);
    }

    async fn of_several_quotas_all_are_taken_from_or_none(
        limiter: Policy::new("soup", Quota::new(2, MINUTE))
            .and(Quota::new(3, 60 * MINUTE).named("hour").algorithm(Algorithm::SlidingLog))
    ) {
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        let mut last = None;
        for (status, policy) in [(200, "soup"), (200, "soup"), (429, "soup"), (429, "soup")] {
            let answer = service.clone().oneshot(request("alice")).await.expect("an answer");
            let (code, _, stands) = told(&answer);
            let named = stands.is_some_and(|it| it.starts_with(&format!("\"{policy}\"")));
            assert!(code == status && named, "{code} {stands:?}");
            last = Some(answer);
        }
        assert!(last.is_some_and(|answer| answer.headers().contains_key("retry-after")));
    }

    async fn a_call_that_was_never_made_costs_nothing(
        limiter: Policy::new("soup", Quota::new(1, MINUTE))
    ) {
        let refuses = service_fn(async |_: Request| {
            let full = Rejected::new(Reason::ConcurrencyLimited, "further in");
            Err::<(), BoxError>(full.into())
        });
        let service = limiter.layer_with(user, Results).layer(refuses);
        for _ in 0..5 {
            // Where the counts are elsewhere, units are on their way back for a moment.
            eventually(async || {
                let answer = service.clone().oneshot(request("alice")).await;
                let error = answer.expect_err("somebody refuses");
                let rejected = error.downcast_ref::<Rejected>().expect("one of ours");
                (rejected.reason() == Reason::ConcurrencyLimited).then_some(())
            })
            .await;
        }
    }

    async fn where_failures_are_charged_a_success_costs_nothing(
        limiter: Policy::new("soup", Quota::new(1, MINUTE)).charge(Charge::Failures)
    ) {
        let everyone = |_: &Request| Some("everyone".to_owned());
        let service = Respond::with((limiter.layer_by(everyone),)).layer(service_fn(kitchen));
        let status = async |body: &str| {
            let answer = service.clone().oneshot(request(body)).await;
            let answer = answer.expect("an answer");
            let status = answer.status().as_u16();
            // The units come back when the body was seen to its end.
            let _ = answer.into_body().collect().await;
            status
        };
        for _ in 0..5 {
            eventually(async || (status("alice").await == 200).then_some(())).await;
        }
        eventually(async || (status("nobody").await == 500).then_some(())).await;
        assert_eq!(status("alice").await, 429);
    }

    async fn requests_of_nobody_share_a_quota(
        limiter: Policy::new("soup", Quota::new(1, MINUTE))
    ) {
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        for (user, status) in [("", 200), ("", 429), ("alice", 200)] {
            let answer = service.clone().oneshot(request(user)).await.expect("an answer");
            assert_eq!(answer.status(), status);
        }
    }

    async fn requests_of_nobody_are_refused_where_the_policy_says_so(
        limiter: Policy::new("soup", Quota::new(1, MINUTE)).missing_key(MissingKey::Refuse)
    ) {
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        for (user, status) in [("", 400), ("alice", 200)] {
            let answer = service.clone().oneshot(request(user)).await.expect("an answer");
            assert_eq!(answer.status(), status);
        }
    }

    async fn requests_of_nobody_meet_no_quota_where_the_policy_says_so(
        limiter: Policy::new("soup", Quota::new(1, MINUTE)).missing_key(MissingKey::Admit)
    ) {
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        for (user, status) in [("", 200), ("", 200), ("alice", 200), ("alice", 429)] {
            let answer = service.clone().oneshot(request(user)).await.expect("an answer");
            assert_eq!(answer.status(), status);
        }
    }

    async fn looks_cost_nothing_and_refunds_give_back(
        limiter: Policy::new("soup", Quota::new(5, MINUTE))
    ) {
        assert_eq!(limiter.left("alice", 0).await, Ok(5));
        assert_eq!(limiter.left("alice", 4).await, Ok(1));
        assert_eq!(limiter.left("alice", 2).await, used_up("soup"));
        assert_eq!(limiter.left("alice", 6).await, Err((Reason::CostExceedsQuota, "soup")));
        limiter.back("alice", 3).await;
        assert_eq!(limiter.left("alice", 4).await, Ok(0));
        limiter.back("alice", 100).await;
        assert_eq!(limiter.left("alice", 0).await, Ok(5));
    }

    async fn a_shadow_policy_counts_and_refuses_nothing_and_tells_clients_nothing(
        limiter: Policy::new("soup", Quota::new(2, MINUTE)).mode(Mode::Shadow)
            .missing_key(MissingKey::Refuse)
    ) {
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        for user in ["alice", "alice", "alice", ""] {
            let answer = service.clone().oneshot(request(user)).await.expect("an answer");
            assert_eq!(told(&answer), (200, None, None), "{user}");
        }
        // What would have been refused has taken nothing.
        assert_eq!(limiter.left("alice", 0).await, Ok(0));
        limiter.back("alice", 1).await;
        for (cost, left) in [(3, 1), (2, 1), (1, 0), (1, 0), (3, 0)] {
            assert_eq!(limiter.left("alice", cost).await, Ok(left), "{cost}");
        }
        assert_eq!(limiter.would_refuse(), 6);

        let policy = Policy::new("soup", Quota::new(2, MINUTE));
        assert_eq!(limiter.change(policy.missing_key(MissingKey::Refuse)), Ok(()));
        assert_eq!(limiter.left("alice", 1).await, used_up("soup"));
        let answer = service.oneshot(request("alice")).await.expect("an answer");
        assert_eq!(answer.status(), 429);
        assert_eq!(limiter.would_refuse(), 6);
    }

    async fn calls_over_the_quota_wait_for_their_turn_and_first_comes_first(
        limiter: Policy::new("soup", Quota::new(1, MOMENT)).max_wait(MINUTE)
    ) {
        let served = Mutex::new(Vec::new());
        let kitchen = service_fn(async |request: Request| {
            let user = request.body().clone();
            served.lock().expect("no panics").push(user);
            kitchen(request).await
        });
        let everyone = |_: &Request| Some("everyone".to_owned());
        let service = Respond::with((limiter.layer_by(everyone),)).layer(kitchen);
        let call = |body| service.clone().oneshot(request(body));
        // Who went away is waited for by nobody.
        let gone = timeout(MOMENT / 100, call("gone"));
        let answers = tokio::join!(call("a"), call("b"), gone, call("c"), call("d"), call("e"));
        for answer in [answers.0, answers.1, answers.3, answers.4, answers.5] {
            assert_eq!(answer.expect("an answer").status(), 200);
        }
        let served = served.lock().expect("no panics");
        let served = served.iter().filter(|user| *user != "gone");
        assert!(served.eq(["a", "b", "c", "d", "e"]));
    }

    async fn a_call_that_would_wait_too_long_is_refused_at_once(
        limiter: Policy::new("soup", Quota::new(1, MINUTE)).max_wait(MINUTE / 2)
    ) {
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        for (user, status) in [("alice", 200), ("alice", 429), ("bob", 200), ("bob", 429)] {
            let answer = service.clone().oneshot(request(user)).await.expect("an answer");
            assert_eq!(answer.status(), status);
            assert_eq!(answer.headers().contains_key("retry-after"), status == 429);
        }
    }

    async fn a_call_that_waits_keeps_no_place_of_the_service_inside(
        limiter: Policy::new("soup", Quota::new(1, MINUTE)).max_wait(2 * MINUTE)
    ) {
        let places = ConcurrencyLimit::new(service_fn(kitchen), 1);
        let mut service = Respond::with((limiter.layer_by(user),)).layer(places);
        let first = service.ready().await.expect("ready").call(request("alice"));
        assert_eq!(first.await.expect("an answer").status(), 200);
        let second = service.ready().await.expect("ready").call(request("alice"));
        let mut second = pin!(second);
        let context = &mut Context::from_waker(Waker::noop());
        assert!(second.as_mut().poll(context).is_pending());
        let other = service.ready().await.expect("ready").call(request("bob"));
        assert_eq!(other.await.expect("an answer").status(), 200);
    }

    async fn limits_change_while_calls_go_on(
        limiter: Policy::new("soup", Quota::new(2, MINUTE))
    ) {
        let service = Respond::with((limiter.layer_by(user),)).layer(service_fn(kitchen));
        for (limit, status) in [(2, 200), (2, 200), (2, 429), (3, 200), (3, 429), (1, 429)] {
            let policy = Policy::new("soup", Quota::new(limit, MINUTE));
            assert_eq!(limiter.change(policy), Ok(()));
            let answer = service.clone().oneshot(request("alice")).await.expect("an answer");
            assert_eq!(answer.status(), status, "{limit}");
        }
    }
}

#[tokio::test]
async fn an_outage_is_answered_with_503_and_never_as_a_used_up_quota() {
    let mut server = RedisServer::start().await;
    let policy = Policy::new("soup", Quota::new(2, MINUTE));
    let deny = Options::new().fallback(Fallback::Deny);
    let limiter = server.store().await.rate_limiter_with(&policy, &deny);
    let limiter = limiter.expect("a valid policy");
    server.kill();
    let service = Respond::with((limiter.layer(),)).layer(service_fn(kitchen));
    let answer = service.oneshot(request("alice")).await.expect("an answer");
    assert_eq!(told(&answer), (503, None, None));
    assert!(answer.headers().contains_key("retry-after"));
}
