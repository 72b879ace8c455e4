//! What holds while the server gives no decision.

mod part;
pub(super) mod register;
mod share;
mod stake;

pub(super) use self::{
    share::Share,
    stake::{Parts, Stake, Whose},
};

/// What a limiter does when Redis gives no decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fallback {
    /// Each process allows its part of the quota: the limit divided by the number of processes that
    /// were last seen to have the limiter, but at least one unit. The default.
    ///
    /// A key begins with its part of what the server said last, as far as that counts still. Of a
    /// key of which a process has allowed units like this, both the server and the part must have
    /// room for as long as these count: for a window and a tenth, also in another tier that it moves to.
    /// For others one answer that came too late changes nothing.
    ///
    /// All processes together therefore allow, of each key,
    ///
    /// - in a window without Redis: the limit, or one unit each where that is more;
    /// - in a window in which Redis came back: the same where every process had allowed some,
    ///   although it may have forgotten all counts; else the limit, and beside it the parts of
    ///   those that had;
    /// - in a window in which it went away, for all of them or for some: twice the limit at the most,
    ///   and hardly more than once where all had just heard how much was used. What Redis granted
    ///   in it and has forgotten comes on top: the limit at the most.
    ///
    /// A process that goes away counts for half a minute more. Of a new one the others hear within a
    /// second, and until then its part comes on top.
    #[default]
    LocalShare,
    /// Every call goes on: nothing bounds what the fleet allows.
    Allow,
    /// Every call is refused, as [`Reason::StoreUnavailable`](resilience_core::Reason), which is
    /// answered with 503 and `Retry-After`, never as a quota that is used up. The fleet allows no
    /// more than the limit, unless Redis comes back without its counts.
    Deny,
}
