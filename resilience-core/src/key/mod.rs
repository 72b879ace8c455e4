//! Whose quota, breaker or place it is.

/// Finds the key of a request.
///
/// Closures `Fn(&Req) -> Option<K>` are extractors.
pub trait KeyExtractor<Req> {
    /// What tells one caller from another. Make it cheap to clone.
    type Key;

    /// The key of `request`, or `None` where it names none.
    fn key(&self, request: &Req) -> Option<Self::Key>;
}

impl<F, Req, K> KeyExtractor<Req> for F
where
    F: Fn(&Req) -> Option<K>,
{
    type Key = K;

    fn key(&self, request: &Req) -> Option<K> {
        self(request)
    }
}
