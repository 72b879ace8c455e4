//! What became of an admitted call.

use std::time::Duration;

/// What became of an admitted call, as a [`Classifier`](crate::Classifier) sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The dependency did its work.
    Success,
    /// The dependency failed: an error, a 5xx answer, a panic.
    Failure,
    /// The dependency refused for its own protection: 429, 503, `RESOURCE_EXHAUSTED`.
    Overload {
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// One of our own layers further in refused: the dependency never saw the call.
    NotCalled,
    /// The caller went away before the answer was complete.
    Canceled,
    /// The classifier has no opinion: as if the call had not been made.
    Ignored,
}
