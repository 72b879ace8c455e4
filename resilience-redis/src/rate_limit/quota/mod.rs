//! The quotas of one key as the server counts them: what stands in each, and what follows from it.

mod grant;
mod last_word;
mod outlook;
mod own;
mod reading;
mod rules;
mod server_clock;
mod window;

pub(super) use self::{
    grant::{Before, Run, Verdict, room, tightest, verdicts},
    last_word::LastWord,
    outlook::Outlook,
    own::Own,
    reading::Reading,
    rules::{Kind, MOST_UNITS, Rule, as_they_stand, gone_at, rules},
    server_clock::{ServerClocks, since_1970},
    window::{PAST, Past, Window, Windows},
};
