use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    CacheBody, Page, Tags,
    body::read,
    page::tell,
    request::{address, strip},
    response::{Verdict, judge},
    rules::Rules,
};
use crate::{
    Rejectable, Rejected,
    cache::{
        Loaded, Policy,
        load::Brought,
        once::{Boxed, Once},
        shared::Shared,
    },
};

/// For how long nobody waits for the like of an answer that was for one alone.
const ALONE_FOR: Duration = Duration::from_secs(10);

/// Why a load brought nothing for the cache.
#[derive(Debug)]
pub(super) enum Failure<R, E> {
    /// The service answered that it failed.
    Answered(R),
    /// The service failed.
    Inner(E),
}

impl<R, E: Rejectable> Failure<R, E> {
    /// The refusal inside, where it is one.
    pub(super) fn explain(&self) -> Option<Rejected> {
        match self {
            Self::Answered(_) => None,
            Self::Inner(error) => error.as_rejected().cloned(),
        }
    }
}

impl<B, E> Failure<Response<B>, E> {
    /// What the one who asked gets.
    pub(super) fn answer(self, name: &'static str) -> Result<Response<B>, E> {
        match self {
            Self::Answered(mut response) => {
                tell_status(&mut response, name);
                Ok(response)
            }
            Self::Inner(error) => Err(error),
        }
    }
}

/// Says that the service was asked, and what it answered.
pub(super) fn tell_status<B>(response: &mut Response<B>, name: &'static str) {
    let status = response.status().as_u16();
    let what = format!("fwd=miss; fwd-status={status}");
    tell(response.headers_mut(), name, &what);
}

/// What a load of `request` brings.
type Outcome<B, E> =
    Result<Brought<Page, Response<CacheBody<B>>>, Failure<Response<CacheBody<B>>, E>>;

/// Asks `inner` for what the cache does not have, with what the key holds of `request` alone.
pub(super) fn loader<S, A, B>(
    inner: S,
    mut request: Request<A>,
    shared: &Shared<Vec<u8>, Page>,
    rules: Arc<Rules>,
    identified: bool,
    key: usize,
) -> impl FnOnce() -> Boxed<Outcome<B, S::Error>> + Send + 'static
where
    S: Service<Request<A>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    A: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Send,
{
    let policy = shared.policy;
    move || {
        let address = address(&request);
        strip(request.headers_mut(), &rules, identified);
        let call = Once::new(inner, request);
        Box::pin(async move {
            let response = call.await.map_err(Failure::Inner)?;
            bring(response, &rules, &policy, identified, key, address).await
        })
    }
}

async fn bring<B, E>(
    response: Response<B>,
    rules: &Rules,
    policy: &Policy,
    identified: bool,
    key: usize,
    address: String,
) -> Outcome<B, E>
where
    B: Body<Data = Bytes>,
{
    let (mut head, body) = response.into_parts();
    let terms = match judge(&head, rules, policy, identified) {
        Verdict::Shared(terms) => terms,
        Verdict::Private => {
            let own = Response::from_parts(head, CacheBody::inner(body));
            return Ok(Brought::Private(own, ALONE_FOR));
        }
        Verdict::Failed => {
            let own = Response::from_parts(head, CacheBody::inner(body));
            return Err(Failure::Answered(own));
        }
    };
    let body = match read(body, rules.max_body).await {
        Ok(body) => body,
        Err(body) => {
            let own = Response::from_parts(head, body);
            return Ok(Brought::Private(own, ALONE_FOR));
        }
    };
    let tags = head.extensions.remove().unwrap_or_else(Tags::default);
    let page = Page::new(&head, body, terms.age);
    let weight = page.weight(key);
    let loaded = Loaded::new(page)
        .life(
            terms.ttl,
            terms.stale_while_revalidate,
            terms.stale_if_error,
        )
        .weight(weight)
        .tag(address);
    Ok(Brought::Value(tags.0.into_iter().fold(loaded, Loaded::tag)))
}
