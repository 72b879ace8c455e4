//! Delays between attempts.

use std::time::Duration;

use resilience_core::{
    ManualClock,
    backoff::{Backoff, Jitter},
};

use crate::schema::{Failure, Fields, duration, number, small, text};

/// Delays may differ by this much.
const TOLERANCE: Duration = Duration::from_micros(1);

pub(crate) struct Subject(Backoff);

impl crate::Subject for Subject {
    fn new(config: &Fields<'_>, _clock: &ManualClock) -> Result<Self, Failure> {
        let base = duration(config.required("base")?)?;
        let mut backoff = match text(config.required("kind")?)? {
            "constant" => Backoff::constant(base),
            "linear" => Backoff::linear(base),
            "exponential" => Backoff::exponential(base),
            unknown => return Err(format!("unknown kind `{unknown}`")),
        };
        backoff = backoff.max(duration(config.required("max")?)?);
        if let Some(factor) = config.read("factor", number)? {
            backoff = backoff.factor(factor);
        }
        let jitter = match config.read("jitter", text)?.unwrap_or("none") {
            "none" => Jitter::None,
            "full" => Jitter::Full,
            "equal" => Jitter::Equal,
            unknown => return Err(format!("unknown jitter `{unknown}`")),
        };
        Ok(Self(backoff.jitter(jitter)))
    }

    fn step(&mut self, step: &Fields<'_>) -> Result<(), Failure> {
        let attempt = small(step.required("attempt")?)?;
        let random = step.read("random", number)?.unwrap_or(0.0);
        let expected = duration(step.required("delay")?)?;
        let found = self.0.delay(attempt, random);
        if found.abs_diff(expected) > TOLERANCE {
            return Err(format!("expected {expected:?}, found {found:?}"));
        }
        Ok(())
    }
}
