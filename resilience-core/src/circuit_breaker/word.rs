use crossbeam_utils::CachePadded;

use super::terms::Ticket;
use crate::sync::{AtomicU64, Ordering};

/// What a caller reads before anything else.
///
/// ```text
///  63..61   60..32       31..0
/// ┌──────┬────────────┬────────┐
/// │ sign │ generation │ untold │
/// └──────┴────────────┴────────┘
/// ```
///
/// While the circuit is closed, a success takes one from `untold` and is done; the machine hears
/// of it later. Everything else is written by the holder of the machine's lock alone, who first
/// [closes](GateWord::close) the word: with nothing left to take, no success can slip in between
/// what the machine is told and what it says next. The number that may stay untold is in the same
/// word as the generation, so that a success is never kept back by a permission that was meant
/// for another state of the machine.
#[derive(Debug)]
pub(super) struct GateWord(CachePadded<AtomicU64>);

/// One reading of a [`GateWord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Admit = 0,
    Ask = 1,
    Open = 2,
    Probing = 3,
    ForcedOpen = 4,
    Bypass = 5,
}

const UNTOLD_BITS: u32 = u32::BITS;

impl Word {
    pub(super) const fn new(sign: Sign, ticket: Ticket, untold: u32) -> Self {
        let head = ((sign as u64) << Ticket::BITS) | ticket.0;
        Self((head << UNTOLD_BITS) | untold as u64)
    }

    pub(super) const fn sign(self) -> Sign {
        match self.0 >> (UNTOLD_BITS + Ticket::BITS) {
            0 => Sign::Admit,
            1 => Sign::Ask,
            2 => Sign::Open,
            3 => Sign::Probing,
            4 => Sign::ForcedOpen,
            _ => Sign::Bypass,
        }
    }

    pub(super) const fn ticket(self) -> Ticket {
        Ticket((self.0 >> UNTOLD_BITS) & ((1 << Ticket::BITS) - 1))
    }

    #[allow(clippy::cast_possible_truncation, reason = "the low half is meant")]
    pub(super) const fn untold(self) -> u32 {
        self.0 as u32
    }
}

impl GateWord {
    pub(super) fn new(word: Word) -> Self {
        Self(CachePadded::new(AtomicU64::new(word.0)))
    }

    #[inline]
    pub(super) fn load(&self) -> Word {
        Word(self.0.load(Ordering::Acquire))
    }

    /// Keeps one success of a call admitted with `ticket` untold, where that is allowed.
    #[inline]
    pub(super) fn keep_back(&self, ticket: Ticket) -> bool {
        let mut word = self.load();
        while word.sign() == Sign::Admit && word.ticket() == ticket && word.untold() > 0 {
            let next = word.0 - 1;
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            match self.0.compare_exchange_weak(word.0, next, success, failure) {
                Ok(_) => return true,
                Err(now) => word = Word(now),
            }
        }
        false
    }

    /// Lets nothing more be kept back; says what the word was. Only with the lock held.
    pub(super) fn close(&self) -> Word {
        let mask = !u64::from(u32::MAX);
        Word(self.0.fetch_and(mask, Ordering::AcqRel))
    }

    /// Says what holds from now on. Only with the lock held, after [`close`](Self::close).
    pub(super) fn publish(&self, word: Word) {
        self.0.store(word.0, Ordering::Release);
    }
}

#[cfg(all(test, not(resilience_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_word_gives_back_what_was_put_in() {
        let last = Ticket((1 << Ticket::BITS) - 1);
        for sign in [
            Sign::Admit,
            Sign::Ask,
            Sign::Open,
            Sign::Probing,
            Sign::ForcedOpen,
            Sign::Bypass,
        ] {
            for ticket in [Ticket(0), Ticket(1), last] {
                for untold in [0, 1, u32::MAX] {
                    let word = Word::new(sign, ticket, untold);
                    assert_eq!(
                        (word.sign(), word.ticket(), word.untold()),
                        (sign, ticket, untold)
                    );
                }
            }
        }
        assert_eq!(last.next(), Ticket(0));
    }

    #[test]
    fn a_success_is_kept_back_only_in_its_own_generation_and_while_allowed() {
        let word = GateWord::new(Word::new(Sign::Admit, Ticket(3), 2));
        assert!(!word.keep_back(Ticket(2)));
        assert!(word.keep_back(Ticket(3)));
        assert!(word.keep_back(Ticket(3)));
        assert!(!word.keep_back(Ticket(3)));
        assert_eq!(word.close().untold(), 0);
        word.publish(Word::new(Sign::Ask, Ticket(3), 2));
        assert!(!word.keep_back(Ticket(3)));
    }
}
