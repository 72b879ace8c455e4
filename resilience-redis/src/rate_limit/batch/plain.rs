//! A call that comes alone, without a script.
//!
//! To enter a script takes the server longer than all that it does there. A count that is there, with
//! much room, can as well be raised by `INCRBY`. What the script would look at besides is the time,
//! which the count itself tells: it goes at an instant that follows from its step, and `PTTL` says how
//! far off that is. Asked after the units were taken, it is a time at which they count. Where the
//! answers are not what was hoped for the units go back, and the script decides.

use std::sync::Arc;

use redis::{Cmd, Pipeline, RedisResult, Value};

use super::{One, arguments::write_arg, reply::Reply};
use crate::{
    connection::Wire,
    rate_limit::{
        lane::Lane,
        line::Entry,
        quota::{Rule, gone_at},
        refund::{self, Refund},
    },
};

/// A call that comes alone, of a count that is there and has much room.
#[derive(Clone, Copy)]
pub(in crate::rate_limit) struct Plain<'a> {
    pub(super) entry: &'a Arc<Entry>,
    pub(super) rules: &'a [Rule],
    pub(super) one: One,
    /// What the key of that step ends with.
    pub(super) suffix: &'a str,
    /// The time on the server, as far as that is known before it is asked.
    pub(super) guess: u64,
}

impl Plain<'_> {
    /// Takes the units. `None` where that is for the script to decide, and nothing was taken.
    pub(in crate::rate_limit) async fn take(
        &self,
        lane: &Lane,
        wire: &Wire,
    ) -> RedisResult<Option<Reply>> {
        let mut take = Pipeline::with_capacity(2);
        let mut increase = self.command("INCRBY", 1);
        increase.arg(self.one.whole.units);
        take.add_command(increase);
        take.add_command(self.command("PTTL", 0));
        // Where the server refuses, the script is told why.
        let replies = wire.ask_all(&take, 0, 2).await?;
        let taken = read(self.one, self.guess, &replies);
        if taken.is_none()
            && let [Value::Int(count), ..] = replies[..]
        {
            self.give_back(lane, wire, count).await?;
        }
        Ok(taken)
    }

    /// Says when the count goes: one that this began has no end by itself.
    pub(in crate::rate_limit) fn end(&self) -> Cmd {
        let One { number, length, .. } = self.one;
        let mut expire = self.command("PEXPIREAT", 1);
        expire.arg(gone_at(number, length));
        expire
    }

    /// Takes from a count, which came to `count`, what was added, and leaves none behind that would
    /// never go.
    async fn give_back(&self, lane: &Lane, wire: &Wire, count: i64) -> RedisResult<()> {
        let One {
            whole,
            number,
            length,
        } = self.one;
        if count < whole.units.cast_signed() {
            // It was less than nothing: none of ours, which stays as it was.
            let mut decrease = self.command("DECRBY", 1);
            decrease.arg(whole.units);
            return wire.ask(&decrease).await?.extract_error().map(drop);
        }
        wire.ask(&self.end()).await?.extract_error()?;
        let taken = number * length;
        let refunds = [Refund::exact(self.entry, whole.units, self.rules, taken)];
        let write = |command: &mut _| refund::write(self.rules, &refunds, command);
        lane.refund.run_with(wire, (0, 0), write).await.map(drop)
    }

    /// A command about the count, with room for some `words` more.
    fn command(&self, verb: &str, words: usize) -> Cmd {
        let (name, suffix) = (self.entry.name_bytes(), self.suffix.as_bytes());
        let bytes = verb.len() + name.len() + suffix.len() + words * WORD;
        let mut command = Cmd::with_capacity(2 + words, bytes);
        command.arg(verb);
        write_arg(&mut command, &[name, suffix]);
        command
    }
}

/// Makes sense of what the count came to, and of how long it will be there.
fn read(one: One, guess: u64, replies: &[Value]) -> Option<Reply> {
    let One {
        whole,
        number,
        length,
    } = one;
    let &[Value::Int(count), Value::Int(left)] = replies else {
        return None;
    };
    let count = u64::try_from(count).ok().filter(|it| *it <= whole.most)?;
    let before = count.checked_sub(whole.units)?;
    let left = u64::try_from(left).ok()?;
    // It was some time in this millisecond.
    let first = gone_at(number, length).checked_sub(left)? * 1000;
    let last = first + 999;
    let is_present = first / length == number && last / length == number;
    is_present.then(|| Reply::of_one(guess.clamp(first, last), before))
}

/// Digits of a number.
const WORD: usize = 16;

#[cfg(test)]
mod tests {
    use super::{super::Whole, *};

    /// A step of 1.5 ms, which begins in the middle of a millisecond.
    const ONE: One = One {
        whole: Whole { units: 2, most: 9 },
        number: 1_000_001,
        length: 1_500,
    };
    /// In milliseconds, of which this step has one whole.
    const PRESENT: u64 = 1_500_002;

    fn read_at(millis: u64, count: i64, guess: u64) -> Option<(u64, u64)> {
        let left = gone_at(ONE.number, ONE.length) - millis;
        let replies = [count, left.cast_signed()].map(Value::Int);
        let reply = read(ONE, guess, &replies)?;
        Some((reply.micros(), reply.rest()[0]))
    }

    #[test]
    fn a_count_goes_after_the_last_instant_at_which_it_counts() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..10_000 {
            let digits = random.u32(1..48);
            let length = random.u64(1..=1 << digits);
            let number = 1_763_800_000_000_000 / length + random.u64(..20);
            let end = (number + 11) * length;
            let gone = gone_at(number, length) * 1000;
            assert!(
                (end + 1000..end + 2001).contains(&gone),
                "{number} {length}"
            );
        }
    }

    #[test]
    fn the_time_is_what_was_guessed_as_far_as_the_count_bears_it_out() {
        let first = PRESENT * 1000;
        for (guess, time) in [
            (first + 345, first + 345),
            (first - 1, first),
            (0, first),
            (first + 999, first + 999),
            (first + 1000, first + 999),
            (u64::MAX, first + 999),
        ] {
            assert_eq!(read_at(PRESENT, 5, guess), Some((time, 3)));
        }
    }

    #[test]
    fn what_is_not_surely_of_the_step_or_has_no_room_is_for_the_script() {
        assert_eq!(read_at(PRESENT, 2, 0), Some((PRESENT * 1000, 0)));
        assert_eq!(read_at(PRESENT, 9, 0), Some((PRESENT * 1000, 7)));
        for count in [i64::MIN, -1, 0, 1, 10, i64::MAX] {
            assert_eq!(read_at(PRESENT, count, 0), None, "{count}");
        }
        // Those beside it lie in two steps, or in others.
        for millis in [0, PRESENT - 1, PRESENT + 1, PRESENT + 2] {
            assert_eq!(read_at(millis, 5, 0), None, "{millis}");
        }
    }

    #[test]
    fn replies_of_another_shape_are_for_the_script() {
        let (count, left) = (Value::Int(5), Value::Int(16_502));
        for replies in [
            vec![],
            vec![count.clone()],
            vec![count.clone(), Value::Nil],
            vec![Value::Nil, left.clone()],
            vec![count.clone(), Value::Int(-1)],
            vec![count.clone(), Value::Int(-2)],
            vec![count.clone(), Value::Int(i64::MAX)],
            vec![count, left.clone(), left],
        ] {
            assert!(read(ONE, 0, &replies).is_none(), "{replies:?}");
        }
    }
}
