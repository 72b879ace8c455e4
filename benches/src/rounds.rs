use std::{env, time::Duration};

use crate::smoke;

/// How often, and for how long at a time, a program looks that no framework tells.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// All that is compared has its turn in each of them.
    pub number: u32,
    /// One turn.
    pub length: Duration,
}

impl Rounds {
    /// So many rounds, with turns of `millis` milliseconds.
    #[must_use]
    pub const fn of(number: u32, millis: u64) -> Self {
        let length = Duration::from_millis(millis);
        Self { number, length }
    }

    /// What the command line asks for; a short look where only a run is to be seen.
    #[must_use]
    pub fn chosen(quick: Self, full: Self) -> Self {
        if smoke() {
            Self::of(1, 50)
        } else if env::args().any(|argument| argument == "--quick") {
            quick
        } else {
            full
        }
    }
}
