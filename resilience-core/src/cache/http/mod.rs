//! Whole answers, shared by all who ask the same (RFC 9111), in safe defaults.
//!
//! Shared answers that were meant for one leak accounts; answers that depend on what the key
//! leaves out can be poisoned by whoever asks first. So this layer stores only what is known to
//! be the same for everybody, and shows the service only what its key holds. Not for endpoints
//! that stream: an answer is read to its end before it is sent.
//!
//! ```
//! # fn main() -> Result<(), resilience_core::InvalidPolicy> {
//! use std::time::Duration;
//! use resilience_core::{Respond, cache::{Policy, http::HttpCache}};
//!
//! let pages = HttpCache::new(Policy::new("pages", Duration::from_secs(60)))?;
//! let layer = pages.layer().vary([http::header::ACCEPT_LANGUAGE]);
//! let app: axum::Router = axum::Router::new()
//!     .route("/menu", axum::routing::get(async || "soup"))
//!     .layer(Respond::with((layer,)));
//! # Ok(())
//! # }
//! ```
//!
//! # What is served from the cache
//!
//! GET and HEAD without a body, a range, an upgrade, credentials or a second host. The key is the
//! method, scheme and authority, the path and the query as they came, and the values of the fields
//! that [`vary`](Layer::vary) names. **The service sees no other field of such a request**, but for
//! `Host` and those that [`pass`](Layer::pass) names: what it does not see it cannot put into an
//! answer for others. A request with `Authorization` or `Cookie` passes untouched, unless
//! [`identity`](Layer::identity) makes whose it is a part of the key. Extensions reach the service
//! as they are: where something outside puts the caller into them (an API key, a client
//! certificate), declare the identity and refuse those without one.
//!
//! `Cache-Control` of a request is heeded: `no-store` and `no-cache` pass it by, as `max-age` does
//! where what is stored is older. Whoever sends a `max-age` is served nothing stale, and refused
//! rather than given something older where a load fails. `only-if-cached` is answered with 504
//! where there is nothing.
//!
//! # What is stored
//!
//! Answers of status 200, 203, 300, 301, 404 and 410, up to [`max_body`](Layer::max_body), for as
//! long as `s-maxage`, `max-age` or `Expires` say, or else the policy; 404 and 410 for its
//! negative time to live at most, and stale only where they say so. Never: `no-store`, `no-cache`,
//! `private` (but for its own identity), `Set-Cookie`, a `Vary` with a field that is not declared,
//! a part, trailers, gRPC, event streams, a body of another length than its `Content-Length`.
//!
//! What an answer says of its life counts from the moment the service was asked, or from its `Date`
//! or its `Age` where those are earlier; one without a `Date` is given that of its arrival.
//! `stale-while-revalidate` and `stale-if-error` go before the policy, and `must-revalidate` before
//! all of them. A status of 5xx or 429 is a load that failed: it is never stored, a stale answer is
//! served in its place, and those who waited are refused with
//! [`Reason::LoadFailed`](crate::Reason::LoadFailed). Whoever waited for what turns out to be
//! somebody's own asks the service himself, and for ten seconds nobody waits for its like.
//!
//! Answers weigh their size in KiB. Each has its address as a tag (`example.com/dishes/7?x=1`,
//! without the scheme), which a POST, PUT, PATCH or DELETE of the same address invalidates that
//! succeeds, or of which nobody hears how it ended; [`Tags`] in the extensions of an answer add
//! others.
//!
//! `If-None-Match` and `If-Modified-Since` are answered with 304 from what is stored. Every answer
//! says in `Cache-Status` (RFC 9211) what was done, also that to a load that failed or took too
//! long; stored ones have their `Age`. What a layer inside refuses is no answer yet: whatever makes
//! one of it outside knows of no cache.

mod answer;
mod body;
mod directives;
mod future;
mod layer;
mod load;
mod page;
mod request;
mod response;
mod rules;
mod service;
mod write;

pub use self::{
    body::CacheBody,
    future::ResponseFuture,
    layer::{By, Identity, Layer, Nobody},
    page::Page,
    service::Service,
};

use std::borrow::Cow;

use super::Cache;

/// A cache of whole answers.
pub type HttpCache = Cache<Vec<u8>, Page>;

/// Tags of an answer, for its extensions: [`Cache::invalidate_tag`] forgets it by each of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(pub(super) Vec<Cow<'static, str>>);

impl Tags {
    /// These tags.
    pub fn new<T: Into<Cow<'static, str>>>(tags: impl IntoIterator<Item = T>) -> Self {
        Self(tags.into_iter().map(Into::into).collect())
    }
}
