//! What is asked about one key, what the server tells, and what follows from that.

use std::task::Waker;

use resilience_core::Timestamp;

use super::{
    grant::{Before, Run},
    lease::Unused,
    window::Window,
};

/// What to ask the server about one line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) runs: &'a [Run],
    /// For each rule.
    pub(super) past: &'a [Past],
}

/// What a question builds on of one window; nothing where the rule is none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Past {
    /// Counts of the past that are asked for.
    pub(super) asked: usize,
    /// Units in the rest of the past.
    pub(super) known: u64,
    /// Units in the present step, as far as heard of.
    pub(super) present: u64,
}

/// What the server tells of one quota of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told<'a> {
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

impl<'a> Told<'a> {
    /// The same, with what was known of a window that is now at `step`.
    pub(super) fn learned(self, mut window: Window, step: u64) -> Before<'a> {
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

/// What must happen after an answer.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    pub(super) wakers: Vec<Waker>,
    /// Units of those who were granted what they wanted and are gone, and when they were taken.
    pub(super) orphans: Vec<(u64, u64)>,
    pub(super) ahead: Ahead,
    /// When somebody must ring for those who wait in the line.
    pub(super) alarm: Option<Timestamp>,
}

/// What an answer means for units that were taken ahead.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    pub(super) granted: u64,
    /// Asked for by a question whose answer nobody heard.
    pub(super) lost: u64,
    pub(super) unused: Vec<Unused>,
    /// Somebody must look after what is held.
    pub(super) begun: bool,
}

/// How many units a question may ask for ahead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leasing {
    /// Of the limit, all processes together.
    pub(super) percent: u64,
    pub(super) nodes: u64,
    pub(super) now: Timestamp,
}

impl Aftermath {
    /// Wakes whoever waits for one of the answers, and says how many do.
    pub(super) fn wake(self) -> usize {
        let count = self.wakers.len();
        for waker in self.wakers {
            waker.wake();
        }
        count
    }
}
