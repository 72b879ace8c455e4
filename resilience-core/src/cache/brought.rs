//! What loaders bring, and what callers get of it.

use std::time::Duration;

use super::{
    entry::{Entry, Loaded},
    shared::{Freshness, Lookup},
};
use crate::Rejected;

/// What a loader brings.
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only HTTP has it"))]
#[derive(Debug)]
pub(super) enum Brought<V, P> {
    /// A value for everybody.
    Value(Loaded<V>),
    /// The news that there is none.
    Absent,
    /// Something for the one who asked, and for how long nobody need wait for the like.
    Private(P, Duration),
}

/// What a caller gets.
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only HTTP has it"))]
#[derive(Debug)]
pub(super) enum Fetched<V, P, F> {
    /// What everybody gets.
    Entry(Entry<V>, Source),
    /// What its own loader brought for it alone.
    Private(P),
    /// Its loader, unused: what others get is not for it.
    Alone(F),
}

/// Where an entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// It was there.
    Stored(Freshness),
    /// It was there, and is served in place of what a load did not bring.
    Fallback(Fault),
    /// This caller loaded it.
    Loaded(Need),
    /// Another caller loaded it at the same time.
    Coalesced(Need),
}

/// Why a value is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// There is none.
    Miss,
    /// There is a stale one.
    Stale,
}

/// What is wrong with a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It failed, with this status where it had one.
    Failed(Option<u16>),
    /// It takes too long.
    TooLong,
}

impl Source {
    /// The same as `Cache-Status` has it (RFC 9211, 2).
    #[cfg(feature = "http")]
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Stored(_) => "hit",
            Self::Fallback(_) => Need::Stale.text(),
            Self::Loaded(need) => need.text(),
            Self::Coalesced(Need::Miss) => "fwd=miss; collapsed",
            Self::Coalesced(Need::Stale) => "fwd=stale; collapsed",
        }
    }

    /// As it is for one who asked since he had this `need`.
    pub(super) const fn for_one_in(self, need: Need) -> Self {
        match self {
            Self::Loaded(_) => Self::Loaded(need),
            Self::Coalesced(_) => Self::Coalesced(need),
            Self::Stored(_) | Self::Fallback(_) => self,
        }
    }
}

impl Need {
    pub(super) const fn of<V>(lookup: &Lookup<V>) -> Self {
        match lookup {
            Lookup::Stale(_) | Lookup::Refresh(_, Freshness::Stale) => Self::Stale,
            Lookup::Serve(..) | Lookup::Refresh(_, Freshness::Fresh) | Lookup::Miss => Self::Miss,
        }
    }

    /// Why the service is asked, as `Cache-Status` has it.
    #[cfg(feature = "http")]
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Miss => "fwd=miss",
            Self::Stale => "fwd=stale",
        }
    }
}

/// What becomes of a load that brings nothing to store.
#[derive(Debug)]
pub(super) struct Explain<E> {
    /// What is to be known of a loader's error; all in one, since everybody who waits carries it.
    pub(super) cause: fn(&E) -> Cause,
    /// What a note about its key weighs.
    pub(super) weight: u64,
}

/// Why a loader failed.
#[cfg_attr(
    not(feature = "http"),
    allow(dead_code, reason = "only HTTP has statuses")
)]
#[derive(Debug)]
pub(super) enum Cause {
    /// It was refused, which those who only waited are told.
    Refused(Rejected),
    /// It was answered with this status.
    Answered(u16),
    /// It alone knows.
    Other,
}

impl Cause {
    pub(super) fn of(refusal: Option<&Rejected>) -> Self {
        refusal.map_or(Self::Other, |rejected| Self::Refused(rejected.clone()))
    }

    pub(super) fn refusal(self) -> Option<Rejected> {
        match self {
            Self::Refused(rejected) => Some(rejected),
            Self::Answered(_) | Self::Other => None,
        }
    }

    pub(super) const fn status(&self) -> Option<u16> {
        match self {
            Self::Answered(status) => Some(*status),
            Self::Refused(_) | Self::Other => None,
        }
    }
}

impl<E> Explain<E> {
    /// Where keys are small.
    pub(super) const fn by(cause: fn(&E) -> Cause) -> Self {
        Self { cause, weight: 1 }
    }
}

/// By hand, since errors need not be.
impl<E> Clone for Explain<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Explain<E> {}
