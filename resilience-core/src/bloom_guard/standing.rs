/// Whether the filter is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Standing {
    /// Nothing was loaded yet, or a snapshot was no good: everything passes.
    Empty,
    /// The filter answers.
    Answering,
    /// It holds too many keys to be of use: everything passes.
    Overloaded,
    /// The keys of a fleet are loaded, but nobody says whether others were inserted since:
    /// everything passes.
    OutOfTouch,
}

impl Standing {
    pub(super) const ALL: [Self; 4] = [
        Self::Empty,
        Self::Answering,
        Self::Overloaded,
        Self::OutOfTouch,
    ];

    /// A stable lower-case word, as in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Answering => "answering",
            Self::Overloaded => "overloaded",
            Self::OutOfTouch => "out_of_touch",
        }
    }
}

/// What an operator should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    Full { keys: u64, capacity: u64 },
    Overloaded { keys: u64, capacity: u64 },
}
