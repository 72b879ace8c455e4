use http::{HeaderName, HeaderValue, Request};

use super::KeyExtractor;

/// The longest value that is a key; a longer one is none, so that keys stay small.
const MAX_LENGTH: usize = 256;

/// Takes the value of a header, such as a tenant or an API key, for the key.
///
/// Only for headers that were checked before they arrive here: a caller who may write what he
/// likes has as many quotas as he likes. The key shares the request's memory, so that nothing is
/// allocated; an absent header, an empty one and one of more than 256 bytes is no key. Of several
/// lines the first counts.
#[derive(Clone, Debug)]
pub struct HeaderKey(HeaderName);

impl HeaderKey {
    /// The key is the value of `name`.
    #[must_use]
    pub const fn new(name: HeaderName) -> Self {
        Self(name)
    }
}

impl<B> KeyExtractor<Request<B>> for HeaderKey {
    type Key = HeaderValue;

    fn key(&self, request: &Request<B>) -> Option<HeaderValue> {
        let value = request.headers().get(&self.0)?;
        (1..=MAX_LENGTH)
            .contains(&value.len())
            .then(|| value.clone())
    }
}
