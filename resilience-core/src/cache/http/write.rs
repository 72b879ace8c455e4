use http::Response;

use super::HttpCache;
use crate::{Outcome, Rejectable};

/// A request that may change what is stored of its address (RFC 9111, 4.4).
///
/// Dropped, it voids that: whoever hung up before the answer came does not know what was done.
#[derive(Debug)]
pub(super) struct Write {
    cache: HttpCache,
    address: Option<String>,
}

impl Write {
    pub(super) const fn new(cache: HttpCache, address: String) -> Self {
        Self {
            cache,
            address: Some(address),
        }
    }

    /// It is over. An answer that says that it failed voids nothing, or else anybody could empty
    /// the cache with requests that nobody serves.
    pub(super) fn settle<B, E: Rejectable>(mut self, answered: &Result<Response<B>, E>) {
        let changed = match answered {
            Ok(response) => response.status().is_success() || response.status().is_redirection(),
            Err(error) => {
                let rejected = error.as_rejected();
                rejected.is_none_or(|rejected| rejected.outcome() != Outcome::NotCalled)
            }
        };
        if !changed {
            self.address = None;
        }
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        if let Some(address) = self.address.take() {
            self.cache.invalidate_tag(&address);
        }
    }
}
