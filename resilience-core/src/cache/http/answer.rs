//! What a caller gets, with what was done in its `Cache-Status`.

use std::future::Future;

use http::{Response, StatusCode};
use http_body::Body;

use super::{
    CacheBody, Page,
    future::Answer,
    load::Failure,
    page::{tell, tell_source},
    request::Demand,
};
use crate::{
    Rejected,
    cache::{
        load::{Brought, Fetched},
        shared::Shared,
    },
};

/// The answer to one for whom nobody else's is.
pub(super) async fn alone<F, Fut, B, E>(
    name: &'static str,
    loader: F,
    demand: Demand,
) -> Result<Answer<B>, E>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<Brought<Page, Answer<B>>, Failure<Answer<B>, E>>>,
    B: Body,
{
    let mut response = match loader().await {
        Ok(Brought::Private(own, _)) => own,
        Ok(Brought::Value(loaded)) => loaded.value.answer_as_it_came(&demand),
        Ok(Brought::Absent) => unreachable!("an answer is always there"),
        Err(failure) => return failure.answer(name),
    };
    tell(response.headers_mut(), name, "fwd=miss");
    Ok(response)
}

/// What a caller gets of what was fetched.
pub(super) fn answer<B: Body, F>(
    shared: &Shared<Vec<u8>, Page>,
    fetched: Fetched<Page, Answer<B>, F>,
    demand: &Demand,
) -> Result<Answer<B>, Rejected> {
    let name = shared.policy.name;
    match fetched {
        Fetched::Entry(entry, source) => {
            let stored = if shared.storage.admits(&entry) {
                "fwd=miss; stored"
            } else {
                "fwd=miss"
            };
            let life = *entry.life();
            let page = shared.value(entry.found)?;
            let mut response = page.answer(demand.if_none_match.as_ref());
            let now = shared.environment.now();
            let headers = response.headers_mut();
            tell_source(headers, name, &page, &life, now, source, stored);
            Ok(response)
        }
        Fetched::Private(mut own) => {
            tell_status(&mut own, name);
            Ok(own)
        }
        Fetched::Alone(_) => unreachable!("sent on its way before"),
    }
}

/// 504, as `only-if-cached` asks for (RFC 9111, 5.2.1.7).
pub(super) fn nothing_cached<B: Body>(name: &'static str) -> Answer<B> {
    let mut response = Response::new(CacheBody::default());
    *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    tell(
        response.headers_mut(),
        name,
        "fwd=miss; detail=only-if-cached",
    );
    response
}

/// Says that the service was asked, and what it answered.
pub(super) fn tell_status<B>(response: &mut Response<B>, name: &'static str) {
    let status = response.status().as_u16();
    let what = format!("fwd=miss; fwd-status={status}");
    tell(response.headers_mut(), name, &what);
}
