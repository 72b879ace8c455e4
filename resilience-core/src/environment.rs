//! What an engine takes from its surroundings.

use std::{fmt, sync::Arc};

use crate::{
    Clock, Event, Observer, Random, Rejected, Timestamp,
    clock::{Calibration, Reading},
    foreign::contain,
    observe::Tracing,
};

/// What an engine takes from its surroundings: time, chance, and who listens.
///
/// The default is the system clock, the thread's random generator and [`Tracing`]. Cheap to clone.
#[derive(Clone)]
pub struct Environment {
    clock: Clock,
    random: Random,
    observer: Option<Arc<dyn Observer>>,
}

impl Environment {
    /// The system clock, the thread's random generator and [`Tracing`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            clock: Clock::system(),
            random: Random::default(),
            observer: None,
        }
    }

    /// Sets where time is read.
    #[must_use]
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    /// Sets where jitter is drawn.
    #[must_use]
    pub fn random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }

    /// Sets who hears of events.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// The time now.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What the clock shows now.
    #[inline(always)]
    pub(crate) fn read(&self) -> Reading {
        self.clock.read()
    }

    /// How the ticks of the clock become nanoseconds.
    pub(crate) const fn calibration(&self) -> Calibration {
        self.clock.calibration()
    }

    #[cfg(feature = "http")]
    pub(crate) fn date(&self) -> std::time::SystemTime {
        self.clock.date()
    }

    pub(crate) fn draw(&self) -> f64 {
        self.random.unit()
    }

    /// Tells the observer, whose panics end here: a broken listener must not fail a call.
    pub fn emit(&self, event: &Event<'_>) {
        contain(|| match &self.observer {
            Some(observer) => observer.on_event(event),
            None => Tracing.on_event(event),
        });
    }

    /// Tells the observer of a refusal, as [`emit`](Self::emit) does, at next to no cost where nobody
    /// listens.
    // What is told is a copy, since what is pointed at cannot stay in registers, and to write it
    // down is half of what it costs to refuse.
    #[inline(always)]
    pub fn tell_refusal(&self, rejected: &Rejected) {
        if self.hears_refusals() {
            self.tell_copy(rejected.clone());
        }
    }

    #[cold]
    #[allow(
        clippy::needless_pass_by_value,
        reason = "by reference, it would be written down whether it is told or not"
    )]
    fn tell_copy(&self, rejected: Rejected) {
        self.emit(&Event::Rejected(&rejected));
    }

    /// Whether anybody may listen to refusals.
    #[inline]
    pub(crate) fn hears_refusals(&self) -> bool {
        self.observer.is_some() || Tracing::hears_refusals()
    }

    /// Whether somebody else than [`Tracing`] listens.
    pub(crate) const fn has_observer(&self) -> bool {
        self.observer.is_some()
    }
}

impl Default for Environment {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("clock", &self.clock)
            .field("random", &self.random)
            .finish_non_exhaustive()
    }
}
