//! What the scripts answer about a batch.

use redis::Value;
use smallvec::{SmallVec, smallvec};

use super::{Batch, Call, One, packed::numbers};
use crate::rate_limit::quota::{Kind, Reading, Rule};

/// An answer: the server's time, and then what [`Batch::hear`] makes sense of. To a call that comes alone
/// it needs no memory of its own.
#[derive(Debug)]
pub(in crate::rate_limit) struct Reply(SmallVec<[u64; 2]>);

/// What is told of each quota: of most there is one, which needs no memory of its own.
pub(super) type Told<'a> = SmallVec<[Reading<'a>; 1]>;

/// What an answer says of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// What stood before it.
    Told,
    /// There was no room for all of it, and nothing was taken.
    Undone,
    /// A key holds something else.
    Foreign,
}

impl Reply {
    /// What is told of a whole call that comes alone: the server's time, and the count before it.
    pub(super) fn of_one(micros: u64, before: u64) -> Self {
        Self(smallvec![micros, before])
    }

    /// The server's time, microseconds since 1970.
    pub(in crate::rate_limit) fn micros(&self) -> u64 {
        self.0[0]
    }

    /// Whether the server looked at the keys: else it was asked about another time than its own.
    pub(in crate::rate_limit) fn is_decided(&self) -> bool {
        self.0.len() > 1
    }

    /// What it says of the calls, one after the other.
    pub(super) fn rest(&self) -> &[u64] {
        &self.0[1..]
    }
}

impl Batch {
    /// Makes sense of a reply; `None` where it is the answer to something else.
    pub(in crate::rate_limit) fn read(&self, rules: &[Rule], reply: &Value) -> Option<Reply> {
        if let Some(one) = self.one(rules) {
            return read_one(one, reply);
        }
        let Value::BulkString(packed) = reply else {
            return None;
        };
        let mut reply = Reply(numbers(packed, FOREIGN)?.into());
        let (now, rest) = reply.0.split_first_mut()?;
        if *now == FOREIGN {
            return None;
        }
        if rest.is_empty() {
            return Some(reply);
        }
        // Of a whole call the count with its own units is told, granted or not.
        for (count, call) in rest.iter_mut().zip(&self.calls[..self.wholes]) {
            if let Some(whole) = call.whole
                && *count != FOREIGN
            {
                *count = if *count > whole.most {
                    UNDONE
                } else {
                    count.checked_sub(whole.units).unwrap_or(FOREIGN)
                };
            }
        }
        let (mut rest, mut told) = (reply.rest().get(self.wholes..)?, Told::new());
        for call in &self.calls[self.wholes..] {
            self.tell(rules, call, &mut rest, &mut told)?;
        }
        let is_whole = rest.is_empty();
        drop(told);
        is_whole.then_some(reply)
    }

    /// Finds in `rest` what it says of each quota of `call`; `None` where it makes no sense.
    pub(super) fn tell<'a>(
        &self,
        rules: &[Rule],
        call: &Call,
        rest: &mut &'a [u64],
        told: &mut Told<'a>,
    ) -> Option<Word> {
        told.clear();
        let alone = rules.len() == 1 && matches!(rules[0].kind, Kind::Window { .. });
        if !alone && *rest.first()? == FOREIGN {
            rest.split_off_first();
            return Some(Word::Foreign);
        }
        if call.whole.is_some() && *rest.first()? == UNDONE {
            rest.split_off_first();
            return Some(Word::Undone);
        }
        let mut word = Word::Told;
        for (rule, past) in rules.iter().zip(&self.past[call.past.clone()]) {
            told.push(match rule.kind {
                Kind::Window { .. } => {
                    let counts = rest.split_off(..=past.asked)?;
                    if counts.contains(&FOREIGN) {
                        word = Word::Foreign;
                    }
                    Reading::Window(counts)
                }
                Kind::Log { .. } => {
                    let &[used, oldest, cut] = rest.split_off(..3)? else {
                        return None;
                    };
                    let short = rest.split_off(..usize::try_from(cut).ok()?)?;
                    let count = match self.times && cut > 0 {
                        true => usize::try_from(*rest.split_off_first()?).ok()?,
                        false => 0,
                    };
                    Reading::Log {
                        used,
                        oldest,
                        short,
                        times: rest.split_off(..count)?,
                    }
                }
                Kind::Cells { .. } => Reading::Cells(*rest.split_off_first()?),
            });
        }
        Some(word)
    }
}

/// Makes sense of what is said of a call that comes alone.
fn read_one(one: One, reply: &Value) -> Option<Reply> {
    let One {
        whole,
        number,
        length,
    } = one;
    let (now, before) = match reply {
        Value::Int(told) if *told < 0 => {
            let now = told.unsigned_abs();
            let undone = (now / length == number).then_some(UNDONE);
            let reply = Reply([now].into_iter().chain(undone).collect());
            return (now < END).then_some(reply);
        }
        Value::Int(told) => {
            let told = told.unsigned_abs();
            let begin = number.checked_mul(length)?;
            (begin.checked_add(told % length)?, told / length)
        }
        Value::Array(list) => match list[..] {
            [Value::Int(now), Value::Int(before)] => {
                (now.try_into().ok()?, before.try_into().ok()?)
            }
            _ => return None,
        },
        _ => return None,
    };
    // Two numbers may as well be the answer to another command.
    let fits = before <= whole.most.checked_sub(whole.units)? && now / length == number;
    fits.then(|| Reply::of_one(now, before))
}

/// Numbers of a script are below this.
const END: u64 = 1 << 53;
/// What stands for a key that holds something else.
const FOREIGN: u64 = u64::MAX;
/// What stands for the count of a whole call that took nothing.
const UNDONE: u64 = FOREIGN - 1;

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use resilience_core::rate_limit::{Algorithm, Policy, Quota};

    use super::{super::Whole, *};
    use crate::rate_limit::{
        line::{Entry, Line},
        quota::{Past, rules},
    };

    const ONE: One = One {
        whole: Whole { units: 2, most: 9 },
        number: 1_000,
        length: 6_000,
    };
    /// When its step begins, in microseconds.
    const BEGIN: i64 = 6_000_000;

    /// The time and the count that are told of the only call; `None` where it makes no sense.
    fn told(reply: &Value) -> Option<(u64, Option<u64>)> {
        let reply = read_one(ONE, reply)?;
        assert!(reply.rest().len() <= 1);
        Some((reply.micros(), reply.rest().first().copied()))
    }

    fn list(numbers: &[i64]) -> Value {
        Value::Array(numbers.iter().copied().map(Value::Int).collect())
    }

    #[test]
    fn a_number_tells_the_count_and_how_old_the_step_is() {
        let time = |age| BEGIN.unsigned_abs() + age;
        for (reply, expected) in [
            (Value::Int(0), (time(0), Some(0))),
            (Value::Int(5_999), (time(5_999), Some(0))),
            (Value::Int(7 * 6_000 + 1), (time(1), Some(7))),
            (list(&[BEGIN + 5, 7]), (time(5), Some(7))),
            (Value::Int(-BEGIN - 5), (time(5), Some(UNDONE))),
            (Value::Int(1 - BEGIN), (time(0) - 1, None)),
            (Value::Int(-BEGIN - 6_000), (time(6_000), None)),
        ] {
            assert_eq!(told(&reply), Some(expected), "{reply:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_of_a_call_is_none() {
        for reply in [
            // More than the call was to leave room for.
            Value::Int(8 * 6_000),
            Value::Int(i64::MAX),
            list(&[BEGIN, 8]),
            list(&[BEGIN, i64::MAX]),
            // Times that no script tells, or of another step.
            Value::Int(i64::MIN),
            Value::Int(-(1 << 53)),
            list(&[BEGIN - 1, 0]),
            list(&[BEGIN + 6_000, 0]),
            list(&[0, 0]),
            list(&[-BEGIN, 0]),
            list(&[BEGIN, -1]),
            // What other commands answer.
            list(&[]),
            list(&[BEGIN]),
            list(&[BEGIN, 0, 0]),
            Value::Array(vec![Value::Int(BEGIN), Value::Nil]),
            Value::Array(vec![list(&[BEGIN, 0])]),
            Value::Nil,
            Value::Okay,
            Value::Boolean(true),
            Value::Double(1.0),
            Value::BulkString(b"0".to_vec()),
            Value::SimpleString("0".to_owned()),
        ] {
            assert_eq!(told(&reply), None, "{reply:?}");
        }
    }

    #[test]
    fn no_reply_is_a_grant_of_more_than_there_is_or_in_another_step() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut number = || random.i64(..) >> random.u32(..64);
        for _ in 0..100_000 {
            for reply in [Value::Int(number()), list(&[number(), number()])] {
                if let Some((now, Some(before))) = told(&reply)
                    && before != UNDONE
                {
                    assert!(before + ONE.whole.units <= ONE.whole.most, "{reply:?}");
                    assert_eq!(now / ONE.length, ONE.number, "{reply:?}");
                }
            }
        }
    }

    #[test]
    fn whatever_a_packed_reply_holds_it_tells_of_every_quota_or_nothing() {
        let quota = Quota::new(10, Duration::from_secs(1));
        let policy = Policy::new("window", quota)
            .and(quota.algorithm(Algorithm::SlidingLog).named("log"))
            .and(quota.algorithm(Algorithm::Gcra).named("cells"));
        let rules = rules(&policy.terms().expect("quotas").quotas).expect("a valid policy");
        let mut random = fastrand::Rng::with_seed(7);
        let (mut read, mut foreign, mut refused) = (0, 0, 0);
        for _ in 0..100_000 {
            let batch = batch(&rules, &mut random);
            let Some(reply) = batch.read(&rules, &packed(&mut random)) else {
                refused += 1;
                continue;
            };
            assert_ne!(reply.micros(), FOREIGN);
            let (mut rest, mut told) = (reply.rest(), Told::new());
            for call in batch.calls.iter().filter(|_| reply.is_decided()) {
                match batch.tell(&rules, call, &mut rest, &mut told) {
                    Some(Word::Foreign) => foreign += 1,
                    word => {
                        assert_eq!((word, told.len()), (Some(Word::Told), rules.len()));
                        read += 1;
                    }
                }
            }
            assert!(rest.is_empty());
        }
        assert!(
            read > 100 && foreign > 100 && refused > 100,
            "{read} {foreign} {refused}"
        );
    }

    /// One or two calls.
    fn batch(rules: &[Rule], random: &mut fastrand::Rng) -> Batch {
        let mut batch = Batch::default();
        for _ in 0..random.usize(1..3) {
            let first = batch.past.len();
            batch.past.extend(rules.iter().map(|_| Past {
                asked: random.usize(..3),
                ..Past::default()
            }));
            batch.calls.push(Call {
                entry: Arc::new(Entry::new("test", Line::new(rules, false))),
                runs: 0..0,
                past: first..batch.past.len(),
                whole: None,
            });
        }
        batch.times = random.bool();
        batch
    }

    /// A list as scripts pack them, of numbers that make little sense.
    fn packed(random: &mut fastrand::Rng) -> Value {
        let length = random.u16(..16);
        let mut packed = vec![0xDC];
        packed.extend(length.to_be_bytes());
        for _ in 0..length {
            match random.u8(..8) {
                // False.
                0 => packed.push(0xC2),
                1 => {
                    packed.push(0xCF);
                    packed.extend(random.u64(..).to_be_bytes());
                }
                _ => packed.push(random.u8(..3)),
            }
        }
        Value::BulkString(packed)
    }
}
