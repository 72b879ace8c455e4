//! Whose quota, breaker or place it is.
//!
//! A key must be something that a caller cannot choose at will, or a limit by it limits nobody:
//! an address that the connection proves, or a header that authentication has checked. Closures
//! `Fn(&Req) -> Option<K>` are extractors.
//!
//! ```
//! # use resilience_core::KeyExtractor;
//! let tenant = |request: &(u32, String)| Some(request.0);
//! assert_eq!(tenant.key(&(7, "soup".into())), Some(7));
//! ```

#[cfg(feature = "http")]
mod address;
#[cfg(feature = "http")]
mod client_ip;
#[cfg(feature = "http")]
mod header;

#[cfg(feature = "http")]
pub use self::{
    client_ip::{ClientIp, PeerAddr},
    header::{HeaderKey, HeaderText},
};

/// Finds the key of a request.
pub trait KeyExtractor<Req> {
    /// What tells one caller from another. Make it cheap to clone.
    ///
    /// It is hashed, compared, cloned and dropped while others wait: nothing of that may ask the
    /// engine that it is a key of.
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
