use crate::striped::Striped;

/// What became of a call at the limiter.
#[derive(Clone, Copy, Debug)]
pub(super) enum Decision {
    Allowed,
    Waited,
    Denied,
    WouldDeny,
}

impl Decision {
    pub(super) const ALL: [Self; 4] = [Self::Allowed, Self::Waited, Self::Denied, Self::WouldDeny];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Waited => "waited",
            Self::Denied => "denied",
            Self::WouldDeny => "would_deny",
        }
    }
}

/// Counts decisions, so that callers with different keys meet nowhere.
#[derive(Debug, Default)]
pub(super) struct Tally(Striped<4>);

impl Tally {
    pub(super) fn count(&self, decision: Decision) {
        self.0.count(decision as usize);
    }

    /// Counts one call that is counted as so many elsewhere.
    pub(super) fn count_as(&self, decision: Decision, elsewhere: u64) {
        self.0.add(decision as usize, 1_u64.wrapping_sub(elsewhere));
    }

    pub(super) fn read(&self, decision: Decision) -> u64 {
        self.0.read(decision as usize)
    }
}
