use super::{
    brought::{Need, Source},
    shared::Freshness,
};

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// It was there, and fresh.
    Stored,
    /// It was there, and is past its time to live: it is loaded again meanwhile.
    Stale,
    /// It was there, and is past its time to live: loading it again failed or takes too long.
    Fallback,
    /// This caller's loader brought it, or another process had it; there was none.
    Loaded,
    /// Another caller's load brought it, for which this one waited; there was none.
    Coalesced,
    /// As [`Loaded`](Self::Loaded), in place of one past its time to live.
    Reloaded,
    /// As [`Coalesced`](Self::Coalesced), in place of one past its time to live.
    CoalescedReload,
}

impl Origin {
    /// The same as parameters of a `Cache-Status` field (RFC 9211), after the name of the cache.
    #[must_use]
    pub const fn cache_status(self) -> &'static str {
        match self {
            Self::Stored => "hit",
            Self::Stale => "hit; detail=stale",
            Self::Fallback => "fwd=stale; detail=stale-if-error",
            Self::Loaded => "fwd=miss",
            Self::Coalesced => "fwd=miss; collapsed",
            Self::Reloaded => "fwd=stale",
            Self::CoalescedReload => "fwd=stale; collapsed",
        }
    }
}

impl From<Source> for Origin {
    fn from(source: Source) -> Self {
        match source {
            Source::Stored(Freshness::Fresh) => Self::Stored,
            Source::Stored(Freshness::Stale) => Self::Stale,
            Source::Fallback(_) => Self::Fallback,
            Source::Loaded(Need::Miss) => Self::Loaded,
            Source::Loaded(Need::Stale) => Self::Reloaded,
            Source::Coalesced(Need::Miss) => Self::Coalesced,
            Source::Coalesced(Need::Stale) => Self::CoalescedReload,
        }
    }
}
