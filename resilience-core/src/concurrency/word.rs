/// How many places are free and how many calls were let in, in one word, so that a call that finds
/// a place takes it and is counted in one step.
///
/// ```text
///   63    62..32       31..0
/// ┌─────┬──────────┬─────────────┐
/// │guard│ admitted │ free + 2^31 │
/// └─────┴──────────┴─────────────┘
/// ```
///
/// Less than none are free where permits were taken away from under running calls. While the word
/// is *guarded* the [`State`] behind the lock has the say, and only its holder changes the word:
/// somebody waits, or something is being changed.
///
/// [`State`]: super::state::State
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts(u64);

/// What the word alone can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Done, once the word has become this one.
    To(Counts),
    /// No place is free, and nobody waits for one.
    Full,
    /// Ask the machine.
    Guarded,
}

impl Counts {
    /// The most that there is room for.
    pub(super) const MAX_PERMITS: u32 = (1 << 31) - 1;
    pub(super) const GUARD: u64 = 1 << 63;
    const FREE_BITS: u32 = 32;
    const NONE_FREE: u64 = 1 << 31;
    const MAX_ADMITTED: u64 = (1 << 31) - 1;

    pub(super) const fn new(permits: u32, running: u32) -> Self {
        Self(Self::NONE_FREE + permits as u64 - running as u64)
    }

    /// The same, where the machine must be asked.
    pub(super) const fn guarded(self) -> Self {
        Self(self.0 | Self::GUARD)
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// Calls that were let in since the machine last had the say.
    pub(super) const fn admitted(self) -> u64 {
        (self.0 & !Self::GUARD) >> Self::FREE_BITS
    }

    /// Of so many permits.
    #[allow(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    pub(super) const fn running(self, permits: u32) -> u32 {
        (Self::NONE_FREE + permits as u64 - self.free_above_none()) as u32
    }

    const fn free_above_none(self) -> u64 {
        self.0 & ((1 << Self::FREE_BITS) - 1)
    }

    pub(super) const fn is_guarded(self) -> bool {
        self.0 & Self::GUARD != 0
    }

    /// One more runs.
    pub(super) const fn enter(self) -> Step {
        if self.is_guarded() {
            Step::Guarded
        } else if self.free_above_none() <= Self::NONE_FREE {
            Step::Full
        } else if self.admitted() == Self::MAX_ADMITTED {
            // The machine takes note, and the count begins anew.
            Step::Guarded
        } else {
            Step::To(Self(self.0 + (1 << Self::FREE_BITS) - 1))
        }
    }

    /// One less runs.
    pub(super) const fn leave(self) -> Step {
        if self.is_guarded() {
            Step::Guarded
        } else {
            Step::To(Self(self.0 + 1))
        }
    }
}

#[cfg(all(test, not(resilience_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_word_says_who_runs_also_where_permits_were_taken_away() {
        for permits in [0, 1, Counts::MAX_PERMITS] {
            for running in [0, 1, Counts::MAX_PERMITS] {
                let counts = Counts::new(permits, running);
                assert_eq!(counts.running(permits), running);
                assert_eq!((counts.admitted(), counts.is_guarded()), (0, false));
                let full = counts.enter() == Step::Full;
                assert_eq!(full, running >= permits);
            }
        }
    }

    #[test]
    fn who_is_let_in_is_counted_until_the_machine_must_take_note() {
        let mut counts = Counts::new(2, 0);
        let to = |step| match step {
            Step::To(counts) => counts,
            Step::Full | Step::Guarded => panic!("no step: {step:?}"),
        };
        for admitted in 1..=3 {
            counts = to(counts.enter());
            assert_eq!((counts.admitted(), counts.running(2)), (admitted, 1));
            counts = to(counts.leave());
        }
        let many = Counts(counts.0 | (Counts::MAX_ADMITTED << Counts::FREE_BITS));
        assert_eq!(many.enter(), Step::Guarded);
        assert!(!many.is_guarded());
    }
}
