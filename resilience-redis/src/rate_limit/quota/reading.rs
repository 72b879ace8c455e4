//! What the server reads of one quota.

use super::{Before, Window};

/// What stood in one quota of a key, as the server tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rate_limit) enum Reading<'a> {
    /// The count of the present step, and then those of the past that were asked for.
    Window(&'a [u64]),
    /// As in [`Before::Log`].
    Log {
        used: u64,
        oldest: u64,
        short: &'a [u64],
        times: &'a [u64],
    },
    /// The level.
    Cells(u64),
}

impl<'a> Reading<'a> {
    /// The same, with what was known of a window that is now at `step`.
    pub(in crate::rate_limit) fn learned(self, mut window: Window, step: u64) -> Before<'a> {
        match self {
            Self::Window(counts) => {
                if let [present, missing @ ..] = counts {
                    window.learn(step, *present, missing);
                }
                Before::Window(window)
            }
            Self::Log {
                used,
                oldest,
                short,
                times,
            } => Before::Log {
                used,
                oldest,
                short,
                times,
            },
            Self::Cells(level) => Before::Cells { level },
        }
    }
}
