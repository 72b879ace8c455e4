//! The one place where time is read.
//!
//! Machines never read a clock: they take a [`Timestamp`] as an argument. The shells around them
//! read one from a [`Clock`], which tests replace by a [`ManualClock`] and move by hand.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A point in monotonic time: whole nanoseconds since the origin of the clock that gave it.
///
/// All system clocks of a process share one origin. Arithmetic saturates: a sum past the end of
/// time is [`Timestamp::MAX`], which no clock ever reaches, and a difference that would be negative
/// is zero. 2^64 nanoseconds are 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The origin of the clock.
    pub const ZERO: Self = Self(0);

    /// The end of time: later than every instant a clock gives.
    pub const MAX: Self = Self(u64::MAX);

    /// The instant `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The instant `duration` later, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// How long ago `earlier` was, or zero where it lies ahead.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// `duration` in whole nanoseconds, at most `u64::MAX`.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Where an engine reads the time.
///
/// Cheap to clone. The default is [`Clock::system`].
#[derive(Clone)]
pub struct Clock {
    source: Source,
    calibration: Calibration,
}

#[derive(Clone)]
enum Source {
    Counter(quanta::Clock),
    /// A counter whose ticks are no shorter than nanoseconds, and where it stood at the origin.
    SlowCounter(quanta::Clock, u64),
    Tokio(tokio::time::Instant),
    Manual(ManualClock),
}

static SYSTEM: OnceLock<Clock> = OnceLock::new();

impl Clock {
    /// The machine's monotonic clock: the processor's cycle counter where it is stable (about
    /// 9 ns a reading), else the operating system's clock.
    ///
    /// The first call in a process calibrates the counter, which takes some milliseconds.
    #[must_use]
    pub fn system() -> Self {
        let clock = SYSTEM.get_or_init(|| {
            let counter = quanta::Clock::new();
            let origin = counter.raw();
            match Calibration::of(&counter, origin) {
                Some(calibration) => Self {
                    source: Source::Counter(counter),
                    calibration,
                },
                None => Self::of(Source::SlowCounter(counter, origin)),
            }
        });
        clock.clone()
    }

    /// Tokio's clock, which stands still under `tokio::time::pause`; its origin is this call.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn tokio() -> Self {
        Self::of(Source::Tokio(tokio::time::Instant::now()))
    }

    /// A clock that shows nanoseconds.
    const fn of(source: Source) -> Self {
        let calibration = Calibration::NANOS;
        Self {
            source,
            calibration,
        }
    }

    /// The time now.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.read().time()
    }

    /// What the clock shows now.
    #[inline(always)]
    pub(crate) fn read(&self) -> Reading {
        // Before the counter is: what comes after it is waited for.
        let calibration = self.calibration;
        let ticks = match &self.source {
            Source::Counter(counter) => counter.raw(),
            source => source.nanos(),
        };
        Reading { ticks, calibration }
    }

    /// How its ticks become nanoseconds.
    pub(crate) const fn calibration(&self) -> Calibration {
        self.calibration
    }
}

impl Clock {
    /// What the calendar says, for messages that carry dates; never before 1970. It may jump, and
    /// nothing is measured by it. That of a [`ManualClock`] begins with 1970.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn date(&self) -> SystemTime {
        let date = match &self.source {
            Source::Counter(_) | Source::SlowCounter(..) | Source::Tokio(_) => SystemTime::now(),
            Source::Manual(clock) => UNIX_EPOCH + Duration::from_nanos(clock.now().as_nanos()),
        };
        date.max(UNIX_EPOCH)
    }
}

impl Source {
    /// The nanoseconds it shows. Not inlined, since few machines need it, and tests.
    #[inline(never)]
    fn nanos(&self) -> u64 {
        match self {
            Self::Counter(counter) => counter.raw(),
            Self::SlowCounter(counter, origin) => counter.delta_as_nanos(*origin, counter.raw()),
            Self::Tokio(origin) => nanos(origin.elapsed()),
            Self::Manual(clock) => clock.now().as_nanos(),
        }
    }
}

/// What a clock showed: a time, once somebody asks for it.
///
/// To scale ticks takes longer than to compare them. Whoever only wants to know whether an instant
/// is over compares with [its tick](Calibration::tick_at), and asks for the time where nobody waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) ticks: u64,
    calibration: Calibration,
}

impl Reading {
    /// What the same clock shows so many ticks later.
    #[inline(always)]
    pub(crate) const fn later(self, ticks: u64) -> Self {
        let ticks = self.ticks.saturating_add(ticks);
        Self { ticks, ..self }
    }

    /// What the same clock shows at another tick.
    #[inline(always)]
    pub(crate) const fn at(self, ticks: u64) -> Self {
        Self { ticks, ..self }
    }

    /// The time at which the clock showed this.
    #[inline(always)]
    pub(crate) fn time(self) -> Timestamp {
        self.calibration.time(self.ticks)
    }
}

/// How the ticks of a clock become nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calibration {
    /// The tick at which time begins. No tick comes after that of [`NANOS`](Self::NANOS).
    origin: u64,
    /// How long a tick is, in parts of which a nanosecond has 2^64.
    length: u64,
}

impl Calibration {
    /// Of clocks whose ticks are nanoseconds, which are too long to be told in parts.
    pub(crate) const NANOS: Self = Self {
        origin: u64::MAX,
        length: 0,
    };

    /// That of a counter; `None` where its ticks are no shorter than nanoseconds.
    fn of(counter: &quanta::Clock, origin: u64) -> Option<Self> {
        let is_short = counter.delta_as_nanos(0, 1 << 32) < 1 << 32;
        is_short.then(|| Self {
            origin,
            length: counter.delta_as_nanos(0, 1 << 63) * 2,
        })
    }

    /// Of clocks whose ticks are as long as so many of 2^64 parts of a nanosecond.
    #[cfg(all(test, not(resilience_loom)))]
    pub(crate) const fn of_ticks(length: u64, origin: u64) -> Self {
        Self { origin, length }
    }

    /// What a clock shows at a tick.
    pub(crate) const fn reading(self, ticks: u64) -> Reading {
        let calibration = self;
        Reading { ticks, calibration }
    }

    /// The time at a tick: rounded down, so that it is never ahead.
    #[inline(always)]
    fn time(self, tick: u64) -> Timestamp {
        if tick <= self.origin {
            return self.time_until_origin(tick);
        }
        let parts = u128::from(tick - self.origin) * u128::from(self.length);
        Timestamp(u64::try_from(parts >> u64::BITS).unwrap_or(u64::MAX))
    }

    /// The same for all that is told apart by one comparison: nanoseconds as they are, and a
    /// processor whose counter is a little behind that of the first caller.
    #[cold]
    #[inline(never)]
    const fn time_until_origin(self, tick: u64) -> Timestamp {
        if self.length == 0 {
            return Timestamp(tick);
        }
        Timestamp::ZERO
    }

    /// The first tick at which it is `time`, or later.
    pub(crate) fn tick_at(self, time: Timestamp) -> u64 {
        if self.length == 0 {
            return time.as_nanos();
        }
        self.origin.saturating_add(self.ticks_in(time.as_nanos()))
    }

    /// Ticks that take no less than so many nanoseconds.
    pub(crate) fn ticks_in(self, nanos: u64) -> u64 {
        if self.length == 0 {
            return nanos;
        }
        let parts = u128::from(nanos) << u64::BITS;
        let ticks = parts.div_ceil(u128::from(self.length));
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl From<ManualClock> for Clock {
    fn from(clock: ManualClock) -> Self {
        Self::of(Source::Manual(clock))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            Source::Counter(_) | Source::SlowCounter(..) => "System",
            Source::Tokio(_) => "Tokio",
            Source::Manual(_) => "Manual",
        };
        write!(f, "Clock::{source}({:?})", self.now())
    }
}

/// A clock that stands still until it is moved; clones share it.
///
/// It may be moved back as well, as broken clocks do.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock at its origin.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }

    /// Moves the clock to `now`.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::Relaxed);
    }

    /// Moves the clock `duration` ahead.
    pub fn advance(&self, duration: Duration) {
        self.set(self.now().saturating_add(duration));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let late = Timestamp::from_nanos(u64::MAX - 1);
        assert_eq!(late.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::ZERO.saturating_since(late), Duration::ZERO);
    }

    #[test]
    fn all_system_clocks_of_a_process_share_one_origin() {
        let (first, second) = (Clock::system(), Clock::system());
        let (a, b) = (first.now(), second.now());
        assert!(b.saturating_since(a) < Duration::from_secs(5));
        assert!(second.now() >= a);
    }

    #[test]
    fn ticks_are_as_many_nanoseconds_as_the_counter_says() {
        let counter = quanta::Clock::new();
        let origin = 1 << 40;
        let Some(calibration) = Calibration::of(&counter, origin) else {
            return;
        };
        for ticks in [0, 1, 3_000_000_000, 1 << 45, 1 << 60] {
            let nanos = counter.delta_as_nanos(0, ticks);
            let time = calibration.time(origin + ticks);
            assert!(time.as_nanos().abs_diff(nanos) <= 1);
        }
        assert_eq!(calibration.time(origin - 9), Timestamp::ZERO);
    }

    #[test]
    fn an_instant_is_over_from_its_tick_on_and_not_before() {
        for length in [1, 3, u64::MAX / 5, u64::MAX / 23 * 10, u64::MAX] {
            for origin in [0, 7, 1 << 50] {
                let calibration = Calibration { origin, length };
                for nanos in [1, 2, 99, 1_000_000_007, 1 << 50] {
                    let time = Timestamp::from_nanos(nanos);
                    let tick = calibration.tick_at(time);
                    assert!(calibration.time(tick) >= time || tick == u64::MAX);
                    assert!(calibration.time(tick - 1) < time);
                }
                assert_eq!(
                    calibration.time(calibration.tick_at(Timestamp::ZERO)),
                    Timestamp::ZERO
                );
            }
        }
        for time in [Timestamp::ZERO, Timestamp::from_nanos(7), Timestamp::MAX] {
            assert_eq!(
                Calibration::NANOS.time(Calibration::NANOS.tick_at(time)),
                time
            );
        }
    }

    #[test]
    fn clones_of_a_manual_clock_move_together() {
        let manual = ManualClock::new();
        let clock = Clock::from(manual.clone());
        manual.advance(Duration::from_millis(3));
        assert_eq!(clock.now(), Timestamp::from_nanos(3_000_000));
    }
}
