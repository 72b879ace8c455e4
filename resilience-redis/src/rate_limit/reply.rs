//! What the scripts answer about a batch.

use redis::Value;

use super::{
    batch::{Batch, Call},
    question::Told,
    rules::{Kind, Rule},
};

/// An answer: the server's time, and then what [`Batch::hear`] makes sense of.
#[derive(Debug)]
pub(super) struct Reply(pub(super) Vec<u64>);

impl Reply {
    /// The server's time, microseconds since 1970.
    pub(super) fn micros(&self) -> u64 {
        self.0[0]
    }

    /// Whether the server looked at the keys: else it was asked about another time than its own.
    pub(super) const fn is_decided(&self) -> bool {
        self.0.len() > 1
    }
}

impl Batch {
    /// Makes sense of a reply; `None` where it is the answer to something else.
    pub(super) fn read(&self, rules: &[Rule], reply: &Value) -> Option<Reply> {
        let Value::Array(items) = reply else {
            return None;
        };
        let number = |item: &Value| match item {
            Value::Int(number) => u64::try_from(*number).ok(),
            Value::Nil => Some(FOREIGN),
            _ => None,
        };
        let mut numbers: Vec<u64> = items.iter().map(number).collect::<Option<_>>()?;
        // A single call is told its own unit as well.
        for count in numbers.iter_mut().skip(1).take(self.singles) {
            if *count != FOREIGN {
                *count = count.checked_sub(1)?;
            }
        }
        let (now, mut rest) = numbers.split_first()?;
        if *now == FOREIGN {
            return None;
        }
        if !rest.is_empty() {
            let mut told = Vec::new();
            for call in &self.calls {
                self.tell(rules, call, &mut rest, &mut told)?;
            }
            if !rest.is_empty() {
                return None;
            }
        }
        Some(Reply(numbers))
    }

    /// Finds in `rest` what it says of each quota of `call`; `Some(false)` where a key holds
    /// something else, `None` where it makes no sense.
    pub(super) fn tell<'a>(
        &self,
        rules: &[Rule],
        call: &Call,
        rest: &mut &'a [u64],
        told: &mut Vec<Told<'a>>,
    ) -> Option<bool> {
        told.clear();
        let alone = rules.len() == 1 && matches!(rules[0].kind, Kind::Window { .. });
        if !alone && *rest.first()? == FOREIGN {
            rest.split_off_first();
            return Some(false);
        }
        let mut ours = true;
        for (rule, (asked, _)) in rules.iter().zip(&self.past[call.past.clone()]) {
            told.push(match rule.kind {
                Kind::Window { .. } => {
                    let counts = rest.split_off(..=*asked)?;
                    ours &= !counts.contains(&FOREIGN);
                    Told::Window(counts)
                }
                Kind::Log { .. } => {
                    let &[used, oldest, cut] = rest.split_off(..3)? else {
                        return None;
                    };
                    let short = rest.split_off(..usize::try_from(cut).ok()?)?;
                    Told::Log {
                        used,
                        oldest,
                        short,
                    }
                }
                Kind::Cells { .. } => Told::Cells(*rest.split_off_first()?),
            });
        }
        Some(ours)
    }
}

/// What stands for a key that holds something else. Numbers of a script are below 2^53.
const FOREIGN: u64 = u64::MAX;
