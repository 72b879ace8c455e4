use super::{load::Source, shared::Freshness};

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// It was there, and fresh.
    Stored,
    /// It was there, and is past its time to live.
    Stale,
    /// This caller's loader brought it, or another process had it.
    Loaded,
    /// Another caller's load brought it, for which this one waited.
    Coalesced,
}

impl Origin {
    /// The same as parameters of a `Cache-Status` field (RFC 9211), after the name of the cache.
    #[must_use]
    pub const fn cache_status(self) -> &'static str {
        match self {
            Self::Stored => "hit",
            Self::Stale => "hit; detail=stale",
            Self::Loaded => "fwd=miss",
            Self::Coalesced => "fwd=miss; collapsed",
        }
    }
}

impl From<Source> for Origin {
    fn from(source: Source) -> Self {
        match source {
            Source::Stored(Freshness::Fresh) => Self::Stored,
            Source::Stored(Freshness::Stale) | Source::Fallback(_) => Self::Stale,
            Source::Loaded => Self::Loaded,
            Source::Coalesced => Self::Coalesced,
        }
    }
}
