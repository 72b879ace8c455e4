use std::sync::Arc;

use http::{HeaderName, StatusCode};

use super::{HttpCache, Service, request::field, rules::Rules};
use crate::KeyExtractor;

/// Puts an [`HttpCache`] in front of an HTTP service. Every service it makes shares the cache.
///
/// Layers with different settings must not share a cache, where they serve the same addresses.
#[derive(Clone, Debug)]
pub struct Layer<I = Nobody> {
    cache: HttpCache,
    rules: Arc<Rules>,
    identity: I,
}

impl HttpCache {
    /// A layer for HTTP that stores what is the same for everybody; see the [module](super).
    #[must_use]
    pub fn layer(&self) -> Layer {
        Layer {
            cache: self.clone(),
            rules: Arc::default(),
            identity: Nobody,
        }
    }
}

impl<I> Layer<I> {
    /// Sets the fields that tell requests apart: their values are part of the key. An answer
    /// whose `Vary` names another is not stored. Default: none.
    #[must_use]
    pub fn vary(mut self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        Arc::make_mut(&mut self.rules).vary = fields.into_iter().collect();
        self
    }

    /// Sets the fields that the service gets to see although they are no part of the key, such as
    /// `traceparent`: the answer must not depend on them. Default: none.
    #[must_use]
    pub fn pass(mut self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        Arc::make_mut(&mut self.rules).pass = fields.into_iter().collect();
        self
    }

    /// Sets which statuses are stored. Default: 200, 203, 300, 301, 404 and 410. Server errors,
    /// 206 and 429 are not, whatever is set.
    #[must_use]
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        Arc::make_mut(&mut self.rules).statuses = statuses.into_iter().collect();
        self
    }

    /// Sets how many bytes a body may have that is stored; a longer one streams through. Default
    /// 256 KiB.
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Self {
        Arc::make_mut(&mut self.rules).max_body = bytes;
        self
    }

    /// Makes whose a request is a part of its key, as `extractor` says, so that answers to
    /// requests with credentials can be stored, for the same identity alone.
    ///
    /// It must be what authentication has found out, and not what the request claims. A request
    /// without an identity is everybody's, as without this. An answer that varies by `Cookie` or
    /// `Authorization` depends on more than whose it is, and is stored where
    /// [`vary`](Self::vary) names that field too.
    #[must_use]
    pub fn identity<X>(self, extractor: X) -> Layer<By<X>> {
        Layer {
            cache: self.cache,
            rules: self.rules,
            identity: By(extractor),
        }
    }
}

impl<S, I: Clone> tower_layer::Layer<S> for Layer<I> {
    type Service = Service<S, I>;

    fn layer(&self, inner: S) -> Self::Service {
        Service::new(
            inner,
            self.cache.clone(),
            self.rules.clone(),
            self.identity.clone(),
        )
    }
}

/// Says whose a request is.
pub trait Identity<Req> {
    /// Adds whose it is to the key, where it is somebody's.
    fn write(&self, request: &Req, key: &mut Vec<u8>) -> bool;
}

/// No request is anybody's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl<Req> Identity<Req> for Nobody {
    fn write(&self, _request: &Req, _key: &mut Vec<u8>) -> bool {
        false
    }
}

/// Requests are whose an extractor says.
#[derive(Clone, Copy, Debug)]
pub struct By<X>(X);

impl<Req, X> Identity<Req> for By<X>
where
    X: KeyExtractor<Req, Key: AsRef<[u8]>>,
{
    fn write(&self, request: &Req, key: &mut Vec<u8>) -> bool {
        let Some(identity) = self.0.key(request) else {
            return false;
        };
        field(key, identity.as_ref());
        true
    }
}
