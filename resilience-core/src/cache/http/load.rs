use std::{future::poll_fn, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, response::Parts};
use http_body::Body;
use tower_service::Service;

use super::{
    CacheBody, Page, Tags,
    answer::tell_status,
    body::read,
    request::{address, strip},
    response::{Verdict, is_whole, judge},
    rules::Rules,
};
use crate::{
    Rejectable, Timestamp,
    cache::{
        Loaded,
        brought::{Brought, Cause, Need},
        once::Boxed,
        shared::Shared,
    },
};

/// For how long nobody waits for the like of an answer that was for one alone.
const ALONE_FOR: Duration = Duration::from_secs(10);

/// Why a load brought nothing for the cache.
#[derive(Debug)]
pub(super) enum Failure<R, E> {
    /// The service answered that it failed, or failed within its answer.
    Answered(R),
    /// The service failed.
    Inner(E),
}

impl<B, E: Rejectable> Failure<Response<B>, E> {
    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::Answered(response) => Cause::Answered(response.status().as_u16()),
            Self::Inner(error) => Cause::of(error.as_rejected()),
        }
    }
}

impl<B, E> Failure<Response<B>, E> {
    /// What the one who asked gets.
    pub(super) fn answer(self, name: &'static str, why: Need) -> Result<Response<B>, E> {
        match self {
            Self::Answered(mut response) => {
                tell_status(&mut response, name, why);
                Ok(response)
            }
            Self::Inner(error) => Err(error),
        }
    }
}

/// What a load of `request` brings.
type Outcome<B, E> =
    Result<Brought<Page, Response<CacheBody<B>>>, Failure<Response<CacheBody<B>>, E>>;

/// Asks `inner` for what the cache does not have, with what the key holds of `request` alone.
pub(super) fn loader<S, A, B>(
    inner: S,
    mut request: Request<A>,
    shared: Arc<Shared<Vec<u8>, Page>>,
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
    move || {
        let address = address(&request);
        // Known from here on, so that writes to other addresses do not concern it.
        let tag = shared.tags.tag(&address);
        let asked = Asked {
            address,
            method: request.method().clone(),
            identified,
            key,
        };
        strip(request.headers_mut(), &rules, identified);
        let mut inner = inner;
        Box::pin(async move {
            let ready = poll_fn(|cx| inner.poll_ready(cx)).await;
            ready.map_err(Failure::Inner)?;
            let sent = shared.environment.now();
            let response = inner.call(request).await.map_err(Failure::Inner)?;
            let brought = bring(response, &rules, &shared, asked, sent).await;
            drop(tag);
            brought
        })
    }
}

/// What an answer is for.
struct Asked {
    address: String,
    method: Method,
    identified: bool,
    /// Bytes of its key.
    key: usize,
}

async fn bring<B, E>(
    response: Response<B>,
    rules: &Rules,
    shared: &Shared<Vec<u8>, Page>,
    asked: Asked,
    sent: Timestamp,
) -> Outcome<B, E>
where
    B: Body<Data = Bytes>,
{
    let (mut head, body) = response.into_parts();
    let came = shared.environment.date();
    let terms = match judge(&head, rules, &shared.policy, asked.identified, came) {
        Verdict::Shared(terms) => terms,
        Verdict::Private => return Ok(private(head, CacheBody::inner(body))),
        Verdict::Failed => return Err(failed(head, CacheBody::inner(body))),
    };
    let body = match read(body, rules.max_body).await {
        Ok(body) if is_whole(&asked.method, &head.headers, &body) => body,
        Ok(body) => return Ok(private(head, CacheBody::stored(body))),
        Err(body) if body.is_cut_short() => return Err(failed(head, body)),
        Err(body) => return Ok(private(head, body)),
    };
    let tags = head.extensions.remove().unwrap_or_else(Tags::default);
    // It was made at some time since it was asked for: at the beginning, to be safe.
    let since_sent = shared.environment.now().saturating_since(sent);
    let age = terms.age.saturating_add(since_sent);
    let page = Page::new(&head, body, age, came);
    let weight = page.weight(asked.key);
    let loaded = Loaded::new(page)
        .life(
            Some(terms.ttl(age)),
            terms.stale_while_revalidate,
            terms.stale_if_error,
        )
        .jitter(terms.jitter)
        .weight(weight)
        .tag(asked.address);
    Ok(Brought::Value(tags.0.into_iter().fold(loaded, Loaded::tag)))
}

/// An answer for the one who asked.
fn private<B: Body>(head: Parts, body: CacheBody<B>) -> Brought<Page, Response<CacheBody<B>>> {
    Brought::Private(Response::from_parts(head, body), ALONE_FOR)
}

/// An answer that says that there is none.
fn failed<B: Body, E>(head: Parts, body: CacheBody<B>) -> Failure<Response<CacheBody<B>>, E> {
    Failure::Answered(Response::from_parts(head, body))
}
