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
        shared::{Freshness, Lookup, Shared},
    },
};

/// Why the service is asked (RFC 9211, 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forward {
    /// There was nothing.
    Miss,
    /// There was something stale.
    Stale,
}

impl Forward {
    pub(super) const fn of(lookup: &Lookup<Page>) -> Self {
        match lookup {
            Lookup::Stale(_) | Lookup::Refresh(_, Freshness::Stale) => Self::Stale,
            Lookup::Serve(..) | Lookup::Refresh(_, Freshness::Fresh) | Lookup::Miss => Self::Miss,
        }
    }

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Miss => "fwd=miss",
            Self::Stale => "fwd=stale",
        }
    }
}

/// The answer to one for whom nobody else's is.
pub(super) async fn alone<F, Fut, B, E>(
    name: &'static str,
    loader: F,
    demand: Demand,
    why: Forward,
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
        Err(failure) => return failure.answer(name, why),
    };
    tell(response.headers_mut(), name, why.text());
    Ok(response)
}

/// What a caller gets of what was fetched.
pub(super) fn answer<B: Body, F>(
    shared: &Shared<Vec<u8>, Page>,
    fetched: Fetched<Page, Answer<B>, F>,
    demand: &Demand,
    why: Forward,
) -> Result<Answer<B>, Rejected> {
    let name = shared.policy.name;
    match fetched {
        Fetched::Entry(entry, source) => {
            let stored = shared.storage.admits(&entry);
            let life = *entry.life();
            let page = shared.value(entry.found)?;
            let mut response = page.answer(demand.if_none_match.as_ref());
            let now = shared.environment.now();
            let headers = response.headers_mut();
            tell_source(headers, name, &page, &life, now, source, (why, stored));
            Ok(response)
        }
        Fetched::Private(mut own) => {
            tell_status(&mut own, name, why);
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
pub(super) fn tell_status<B>(response: &mut Response<B>, name: &'static str, why: Forward) {
    let status = response.status().as_u16();
    let what = format!("{}; fwd-status={status}", why.text());
    tell(response.headers_mut(), name, &what);
}
