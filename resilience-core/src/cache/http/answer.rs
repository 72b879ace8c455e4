//! What a caller gets, with what was done in its `Cache-Status`.

use std::future::Future;

use http::{Response, StatusCode};
use http_body::Body;

use super::{
    CacheBody, Page,
    future::Answer,
    load::Failure,
    page::{Keeping, tell, tell_source},
    request::Demand,
};
use crate::{
    Reason, Rejected,
    cache::{
        brought::{Brought, Fault, Fetched, Need, Source},
        shared::Shared,
    },
};

/// The answer to one for whom nobody else's is.
pub(super) async fn alone<F, Fut, B, E>(
    name: &'static str,
    loader: F,
    demand: Demand,
    why: Need,
) -> Result<Answer<B>, E>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<Brought<Page, Answer<B>>, Failure<Answer<B>, E>>>,
    B: Body,
{
    let mut response = match loader().await {
        Ok(Brought::Private(own, _)) => own,
        Ok(Brought::Value(loaded)) => {
            let page = loaded.value;
            let mut response = page.answer_as_it_came(&demand);
            tell_answered(&mut response, name, why, page.status());
            return Ok(response);
        }
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
    why: Need,
) -> Result<Answer<B>, Rejected> {
    let name = shared.policy.name;
    match fetched {
        Fetched::Entry(entry, source) => {
            let is_kept = shared.storage.admits(&entry) && entry.is_valid_here(&shared.tags);
            let keeping = match is_kept {
                true => Keeping::Stored,
                false => Keeping::Passed,
            };
            let life = *entry.life();
            let page = shared.value(entry.found)?;
            let now = shared.environment.now();
            if let Source::Fallback(fault) = source
                && !demand.takes(page.age(&life, now))
            {
                return Err(shared.refuse(match fault {
                    Fault::Failed(_) => Reason::LoadFailed,
                    Fault::TooLong => Reason::LoadTimeout,
                }));
            }
            let mut response = page.answer(demand);
            tell_source(&mut response, name, &page, &life, now, source, keeping);
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
    tell(response.headers_mut(), name, "detail=only-if-cached");
    response
}

/// Says that the service was asked, and what it answered.
pub(super) fn tell_status<B>(response: &mut Response<B>, name: &'static str, why: Need) {
    let status = response.status();
    tell_answered(response, name, why, status);
}

fn tell_answered<B>(response: &mut Response<B>, name: &'static str, why: Need, status: StatusCode) {
    let status = status.as_u16();
    let what = format!("{}; fwd-status={status}", why.text());
    tell(response.headers_mut(), name, &what);
}
