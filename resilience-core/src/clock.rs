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
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System(SystemClock),
    Tokio(tokio::time::Instant),
    Manual(ManualClock),
}

#[derive(Clone)]
struct SystemClock {
    counter: quanta::Clock,
    origin: u64,
    /// How long a tick is, in parts of which a nanosecond has 2^64; zero where it is no shorter
    /// than a nanosecond.
    tick: u64,
}

static SYSTEM: OnceLock<SystemClock> = OnceLock::new();

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
            let tick = tick(&counter);
            SystemClock {
                counter,
                origin,
                tick,
            }
        });
        Self(Source::System(clock.clone()))
    }

    /// Tokio's clock, which stands still under `tokio::time::pause`; its origin is this call.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn tokio() -> Self {
        Self(Source::Tokio(tokio::time::Instant::now()))
    }

    /// The time now.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System(clock) => clock.now(),
            Source::Tokio(origin) => elapsed(origin),
            Source::Manual(clock) => clock.now(),
        }
    }
}

impl Clock {
    /// What the calendar says, for messages that carry dates; never before 1970. It may jump, and
    /// nothing is measured by it. That of a [`ManualClock`] begins with 1970.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn date(&self) -> SystemTime {
        let date = match &self.0 {
            Source::System(_) | Source::Tokio(_) => SystemTime::now(),
            Source::Manual(clock) => UNIX_EPOCH + Duration::from_nanos(clock.now().as_nanos()),
        };
        date.max(UNIX_EPOCH)
    }
}

impl SystemClock {
    #[inline]
    fn now(&self) -> Timestamp {
        self.at(self.counter.raw())
    }

    /// The time at which the counter stood so.
    #[inline]
    fn at(&self, counter: u64) -> Timestamp {
        if self.tick == 0 {
            return Timestamp(self.counter.delta_as_nanos(self.origin, counter));
        }
        // The same by one multiplication and a shift that is known: whoever goes on with the time
        // waits some nanoseconds less for it.
        let Some(ticks) = counter.checked_sub(self.origin) else {
            return behind_origin();
        };
        let nanos = (u128::from(ticks) * u128::from(self.tick)) >> u64::BITS;
        Timestamp(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// The time on a processor whose counter is a little behind that of the first caller. Called, since
/// to choose between both would take as long as to add.
#[cold]
#[inline(never)]
const fn behind_origin() -> Timestamp {
    Timestamp::ZERO
}

fn tick(counter: &quanta::Clock) -> u64 {
    let is_short = counter.delta_as_nanos(0, 1 << 32) < 1 << 32;
    let half = is_short.then(|| counter.delta_as_nanos(0, 1 << 63));
    half.unwrap_or(0) * 2
}

/// Not inlined, since it is for tests.
#[inline(never)]
fn elapsed(origin: &tokio::time::Instant) -> Timestamp {
    Timestamp(nanos(origin.elapsed()))
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl From<ManualClock> for Clock {
    fn from(clock: ManualClock) -> Self {
        Self(Source::Manual(clock))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.0 {
            Source::System(_) => "System",
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
        let _ = Clock::system();
        let clock = SYSTEM.get().unwrap();
        for ticks in [0, 1, 3_000_000_000, 1 << 45, 1 << 60] {
            let counter = clock.origin + ticks;
            let nanos = clock.counter.delta_as_nanos(clock.origin, counter);
            assert!(clock.at(counter).as_nanos().abs_diff(nanos) <= 1);
        }
        assert_eq!(clock.at(clock.origin.saturating_sub(9)), Timestamp::ZERO);
    }

    #[test]
    fn clones_of_a_manual_clock_move_together() {
        let manual = ManualClock::new();
        let clock = Clock::from(manual.clone());
        manual.advance(Duration::from_millis(3));
        assert_eq!(clock.now(), Timestamp::from_nanos(3_000_000));
    }
}
