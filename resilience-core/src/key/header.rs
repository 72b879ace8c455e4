use std::fmt;

use http::{HeaderName, HeaderValue, Request};

use super::KeyExtractor;

/// The longest value that is a key; a longer one is none, so that keys stay small.
const MAX_LENGTH: usize = 256;

/// Takes the value of a header, such as a tenant or an API key, for the key.
///
/// Only for headers that were checked before they arrive here: a caller who may write what he
/// likes has as many quotas as he likes. An absent header, an empty one and one of more than 256
/// bytes is no key. Of several lines the first counts.
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
    type Key = HeaderText;

    fn key(&self, request: &Request<B>) -> Option<HeaderText> {
        let value = request.headers().get(&self.0)?;
        (1..=MAX_LENGTH)
            .contains(&value.len())
            .then(|| HeaderText(value.clone()))
    }
}

/// The value of a header, as a key.
///
/// The one that is taken from a request shares its memory, so that nothing is allocated to ask
/// whether it is known. A clone has memory of its own: the one that is kept would otherwise hold
/// on to the whole buffer that the request was read into, a thousand times its size.
#[derive(PartialEq, Eq, Hash)]
pub struct HeaderText(HeaderValue);

impl HeaderText {
    /// What stands in the header.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl From<HeaderValue> for HeaderText {
    fn from(value: HeaderValue) -> Self {
        Self(value)
    }
}

impl Clone for HeaderText {
    fn clone(&self) -> Self {
        let copy = HeaderValue::from_bytes(self.as_bytes());
        Self(copy.expect("a header's value is one"))
    }
}

/// By hand, since keys are nobody's business.
impl fmt::Debug for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderText").finish_non_exhaustive()
    }
}
