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

/// The middle one: whatever else the machine did for a while, it did to a few.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
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
