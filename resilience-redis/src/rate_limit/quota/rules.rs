//! A policy in the words of the scripts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use resilience_core::{
    InvalidPolicy, QuotaStatus,
    rate_limit::{Algorithm, Term},
};

use super::window::PAST;

/// One quota of every key.
///
/// What it allows can change while it is in use; what its counts mean cannot.
#[derive(Debug)]
pub(in crate::rate_limit) struct Rule {
    pub(in crate::rate_limit) name: &'static str,
    pub(in crate::rate_limit) kind: Kind,
    length: Duration,
    limit: AtomicU64,
    burst: AtomicU64,
    /// What a key of this quota ends with; a window's goes on with the step.
    suffix: String,
}

/// How a quota is counted. Times are microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rate_limit) enum Kind {
    /// A strict sliding window, in steps of a tenth of its length.
    Window { step: u64 },
    /// The time of every unit.
    Log { length: u64 },
    /// The generic cell rate algorithm.
    Cells { length: u64 },
}

/// The rules of quotas that one call meets, or what is wrong with them.
pub(in crate::rate_limit) fn rules<'a>(
    terms: impl IntoIterator<Item = &'a Term>,
) -> Result<Box<[Rule]>, InvalidPolicy> {
    let rules = terms.into_iter().map(Rule::new);
    let rules: Box<[Rule]> = rules.collect::<Result<_, _>>()?;
    for (index, rule) in rules.iter().enumerate() {
        if rules[index + 1..]
            .iter()
            .any(|other| other.kind == rule.kind)
        {
            let problem = "must add another window: of two quotas for one, keep the smaller";
            return Err(InvalidPolicy::new("and", problem));
        }
    }
    Ok(rules)
}

/// What `rules` allow now, and go on to allow here when they change.
pub(in crate::rate_limit) fn as_they_stand(rules: &[Rule]) -> Arc<[Rule]> {
    let rules = rules.iter().map(|rule| Rule {
        name: rule.name,
        kind: rule.kind,
        length: rule.length,
        limit: AtomicU64::new(rule.limit()),
        burst: AtomicU64::new(rule.burst()),
        suffix: rule.suffix.clone(),
    });
    rules.collect()
}

impl Rule {
    fn new(term: &Term) -> Result<Self, InvalidPolicy> {
        check_units(term)?;
        // Rounded up, so that ten steps are never shorter than the window.
        let micros =
            |parts: u128| match u64::try_from(term.window.as_nanos().div_ceil(parts * 1000)) {
                Ok(micros) if u128::from(micros) * parts <= LONGEST => Ok(micros),
                _ => Err(InvalidPolicy::new("per", "must be at most 100 years")),
            };
        let kind = match term.algorithm {
            Algorithm::SlidingWindow if term.window < SHORTEST_WINDOW => {
                let problem = "must be at least 10 ms for a sliding window in a store";
                return Err(InvalidPolicy::new("per", problem));
            }
            Algorithm::SlidingWindow => Kind::Window {
                step: micros(PAST as u128)?,
            },
            Algorithm::SlidingLog => Kind::Log { length: micros(1)? },
            Algorithm::Gcra => Kind::Cells { length: micros(1)? },
            _ => {
                let problem = "is not supported by this store";
                return Err(InvalidPolicy::new("algorithm", problem));
            }
        };
        let rule = Self {
            name: term.name,
            kind,
            length: term.window,
            limit: AtomicU64::new(term.limit),
            burst: AtomicU64::new(term.burst),
            suffix: kind.suffix(),
        };
        rule.check_level()?;
        Ok(rule)
    }

    /// Units in one window.
    #[inline]
    pub(in crate::rate_limit) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Units that an idle key can take at once.
    #[inline]
    pub(in crate::rate_limit) fn burst(&self) -> u64 {
        self.burst.load(Ordering::Relaxed)
    }

    /// Takes over what `other`, which counts alike, allows.
    pub(in crate::rate_limit) fn follow(&self, other: &Self) {
        self.limit.store(other.limit(), Ordering::Relaxed);
        self.burst.store(other.burst(), Ordering::Relaxed);
    }

    #[inline]
    pub(in crate::rate_limit) fn status(&self, remaining: u64) -> QuotaStatus {
        QuotaStatus {
            limit: self.limit(),
            window: self.length,
            remaining,
        }
    }

    /// How long a key that is used up is refused without a question at most.
    pub(in crate::rate_limit) fn pause(&self) -> Duration {
        let step = self.length / 10;
        step.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }

    /// The step that `micros` lies in, which is the present one of a window then; else 0.
    pub(in crate::rate_limit) const fn step(&self, micros: u64) -> u64 {
        match self.kind {
            Kind::Window { step } => micros / step,
            Kind::Log { .. } | Kind::Cells { .. } => 0,
        }
    }

    /// How long a step of a window is; `None` where there are no steps.
    pub(in crate::rate_limit) const fn step_length(&self) -> Option<Duration> {
        match self.kind {
            Kind::Window { step } => Some(Duration::from_micros(step)),
            Kind::Log { .. } | Kind::Cells { .. } => None,
        }
    }

    /// When the step of a window ends that `micros` lies in; never where there are no steps.
    pub(in crate::rate_limit) const fn end(&self, micros: u64) -> u64 {
        match self.kind {
            Kind::Window { step } => (micros / step + 1).saturating_mul(step),
            Kind::Log { .. } | Kind::Cells { .. } => u64::MAX,
        }
    }

    /// What a key of this quota ends with; that of a window at `step`.
    pub(in crate::rate_limit) fn suffix(&self, step: u64) -> String {
        let mut suffix = self.suffix.clone();
        if let Kind::Window { .. } = self.kind {
            push_digits(&mut suffix, step);
        }
        suffix
    }

    /// How long units count at most, here or on the server: a window and a tenth.
    pub(super) fn lasts(&self) -> Duration {
        // Cells that hold more than drains in one window take longer.
        let windows = self.burst().div_ceil(self.limit()).max(1);
        let windows = u32::try_from(windows).unwrap_or(u32::MAX);
        let longest = self.length.saturating_mul(windows);
        longest.saturating_add(longest / 10)
    }

    /// Units that a key can take at most before `wait` is over.
    pub(in crate::rate_limit) fn most_within(&self, wait: Duration) -> u64 {
        let (wait, length) = (wait.as_nanos(), self.length.as_nanos().max(1));
        let limit = u128::from(self.limit());
        let later = match self.kind {
            // All that a window holds may come back at its end.
            Kind::Window { .. } | Kind::Log { .. } => (wait / length).saturating_mul(limit),
            Kind::Cells { .. } => wait.saturating_mul(limit) / length,
        };
        let later = u64::try_from(later).unwrap_or(u64::MAX);
        self.burst().saturating_add(later)
    }

    /// Milliseconds that a key lives after it was written, where that is always the same.
    pub(in crate::rate_limit) const fn lives(&self) -> u64 {
        match self.kind {
            Kind::Log { length } => length.div_ceil(1000) + 1,
            Kind::Window { .. } | Kind::Cells { .. } => 0,
        }
    }

    fn check_level(&self) -> Result<(), InvalidPolicy> {
        if let Kind::Cells { length } = self.kind
            && u128::from(length) * u128::from(self.burst()) > u128::from(MOST_UNITS)
        {
            let problem =
                "is too large: with the window in microseconds it must come to 2^52 at most";
            return Err(InvalidPolicy::new("burst", problem));
        }
        Ok(())
    }
}

impl Kind {
    fn suffix(self) -> String {
        let (mark, length) = match self {
            Self::Window { step } => ("", step),
            Self::Log { length } => ("e:", length),
            Self::Cells { length } => ("g:", length),
        };
        let mut suffix = mark.to_owned();
        push_digits(&mut suffix, length);
        if let Self::Window { .. } = self {
            suffix.push('.');
        }
        suffix
    }

    /// What the scripts call it.
    pub(in crate::rate_limit) const fn word(self) -> &'static str {
        match self {
            Self::Window { .. } => "window",
            Self::Log { .. } => "log",
            Self::Cells { .. } => "cells",
        }
    }
}

fn check_units(term: &Term) -> Result<(), InvalidPolicy> {
    if term.limit > MOST_UNITS {
        return Err(InvalidPolicy::new("limit", "must be at most 2^52"));
    }
    if term.algorithm == Algorithm::SlidingLog && term.limit > LONGEST_LOG {
        let problem =
            "must be at most 1000 for an exact log in a store, which writes down every unit";
        return Err(InvalidPolicy::new("limit", problem));
    }
    Ok(())
}

/// When the count of step `number` of a window goes, in milliseconds since 1970; `length` is that of a
/// step in microseconds. The scripts see to it.
pub(in crate::rate_limit) const fn gone_at(number: u64, length: u64) -> u64 {
    (number + PAST as u64 + 1) * length / 1000 + 2
}

/// Writes `number` in as few characters as it takes.
fn push_digits(text: &mut String, number: u64) {
    if number >= RADIX {
        push_digits(text, number / RADIX);
    }
    let digit = match (number % RADIX) as u8 {
        digit @ 0..=9 => b'0' + digit,
        digit @ 10..=35 => b'a' + digit - 10,
        digit => b'A' + digit - 36,
    };
    text.push(char::from(digit));
}
const RADIX: u64 = 62;

/// A question names the step in which the server gets it: steps must be longer than the time that it
/// takes to get there changes.
const SHORTEST_WINDOW: Duration = Duration::from_millis(10);
/// A key that is used up costs ten questions a second at most, and one where windows are long.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Lua counts in doubles, which are exact to 2^53: twice this.
pub(in crate::rate_limit) const MOST_UNITS: u64 = 1 << 52;
/// Arguments that one command of a script can have are some thousand.
const LONGEST_LOG: u64 = 1000;
/// 100 years of 365.25 days. Behind today's date in microseconds since 1970 it is below 2^53, so
/// that the scripts' times stay exact.
const LONGEST: u128 = 100 * 31_557_600 * 1_000_000;
