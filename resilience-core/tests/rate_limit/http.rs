use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use resilience_core::{
    Error, Outcome, Respond,
    rate_limit::{MissingKey, Mode, Policy, Quota},
};
use tower::{Layer, ServiceExt, service_fn};

use crate::{MINUTE, log, manual, policy, unkeyed};

type Body = Full<Bytes>;

async fn answer(request: Request<Body>) -> Result<Response<Body>, Error<Infallible>> {
    let _ = request;
    Ok(Response::new(Full::default()))
}

fn user(request: &Request<Body>) -> Option<HeaderValue> {
    request.headers().get("user").cloned()
}

fn request(user: Option<&'static str>) -> Request<Body> {
    let mut request = Request::new(Full::default());
    if let Some(user) = user {
        request
            .headers_mut()
            .insert("user", HeaderValue::from_static(user));
    }
    request
}

#[tokio::test]
async fn answers_tell_where_the_quota_stands_also_when_allowed() {
    let (limiter, _) = manual::<HeaderValue>(policy(log(2, MINUTE)));
    let (all, _) = unkeyed(Policy::new("all", Quota::per_second(9)));
    let respond = Respond::with((all.layer(), limiter.layer_by(user)));
    let service = respond.layer(service_fn(|request| async {
        answer(request).await.map_err(|never| match never {
            Error::Inner(never) => never,
            Error::Rejected(_) => unreachable!(),
        })
    }));
    let ask = || service.clone().oneshot(request(Some("alice")));
    let texts = |response: &Response<_>, name: &str| -> Vec<String> {
        let values = response.headers().get_all(name).iter();
        values.map(|it| it.to_str().unwrap().to_owned()).collect()
    };
    let response = ask().await.unwrap();
    assert_eq!(response.status(), 200);
    let policies = [r#""test";q=2;w=60"#, r#""all";q=9;w=1"#];
    assert_eq!(texts(&response.map(drop), "ratelimit-policy"), policies);
    let response = ask().await.unwrap().map(drop);
    assert_eq!(texts(&response, "ratelimit")[0], r#""test";r=0;t=60"#);
    let response = ask().await.unwrap().map(drop);
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "60");
    assert_eq!(texts(&response, "ratelimit"), [r#""test";r=0;t=60"#]);
    // The inner refusal cost the outer quota nothing.
    assert_eq!(all.peek(&()).remaining, 7);
}

#[tokio::test]
async fn a_shadow_policy_tells_clients_nothing() {
    let (limiter, _) = unkeyed(policy(log(2, MINUTE)).mode(Mode::Shadow));
    let service = limiter.layer().layer(service_fn(answer));
    let response = service.oneshot(request(None)).await.unwrap();
    assert!(response.headers().is_empty());
}

#[tokio::test]
async fn a_request_without_a_key_is_treated_as_the_policy_says() {
    let expected = [
        (MissingKey::Shared, vec![true, false]),
        (MissingKey::Refuse, vec![false, false]),
        (MissingKey::Admit, vec![true, true, true, false]),
    ];
    for (missing_key, expected) in expected {
        let quotas = policy(log(1, MINUTE)).global(log(3, MINUTE));
        let (limiter, _) = manual::<HeaderValue>(quotas.missing_key(missing_key));
        let service = limiter.layer_by(user).layer(service_fn(answer));
        for allowed in expected {
            let result = service.clone().oneshot(request(None)).await;
            assert_eq!(result.is_ok(), allowed, "{missing_key:?}");
        }
    }
    let (limiter, _) = manual::<HeaderValue>(policy(log(1, MINUTE)).missing_key(MissingKey::Admit));
    let service = limiter.layer_by(user).layer(service_fn(answer));
    for _ in 0..5 {
        assert!(service.clone().oneshot(request(None)).await.is_ok());
    }
    assert_eq!(limiter.snapshot().allowed, 5);
}

#[tokio::test]
async fn a_request_costs_what_the_closure_says() {
    let (limiter, _) = manual::<HeaderValue>(policy(log(10, MINUTE)));
    let classifier = |_: &Result<Response<Body>, Error<Infallible>>| Outcome::Success;
    let layer = limiter.layer_with(user, classifier);
    let cost = |request: &Request<Body>| if request.method() == "POST" { 6 } else { 0 };
    let service = layer.cost(cost).layer(service_fn(answer));
    for allowed in [true, false] {
        let mut order = request(Some("alice"));
        *order.method_mut() = http::Method::POST;
        assert_eq!(service.clone().oneshot(order).await.is_ok(), allowed);
        assert!(
            service
                .clone()
                .oneshot(request(Some("alice")))
                .await
                .is_ok()
        );
    }
    assert_eq!(
        limiter.peek(&HeaderValue::from_static("alice")).remaining,
        4
    );
}
