//! A batch in the words of the scripts.

use std::io::Write as _;

use redis::{Cmd, RedisWrite as _};

use super::{Batch, Call, One, Whole};
use crate::rate_limit::quota::{Kind, Past, Rule};

impl Batch {
    /// Writes what follows the script's name.
    pub(in crate::rate_limit) fn write(&self, rules: &[Rule], command: &mut Cmd) {
        command.arg(self.keys(rules));
        for call in &self.calls {
            let past = &self.past[call.past.clone()];
            for (index, (rule, past)) in rules.iter().zip(past).enumerate() {
                let suffix = &self.suffixes[index];
                write_arg(command, &[call.entry.name_bytes(), suffix.as_bytes()]);
                for age in 1..=self.before(rule, past.asked) {
                    let suffix = rule.suffix(self.steps[index].saturating_sub(age));
                    write_arg(command, &[call.entry.name_bytes(), suffix.as_bytes()]);
                }
            }
        }
        match rules {
            [
                rule @ Rule {
                    kind: Kind::Window { step },
                    ..
                },
            ] => match self.one(rules) {
                Some(one) => write_one(one, command),
                None => self.write_window(rule, *step, command),
            },
            _ => self.write_quotas(rules, command),
        }
    }

    /// About how many words that is, and how many bytes.
    pub(in crate::rate_limit) fn size(&self, rules: &[Rule]) -> (usize, usize) {
        let keys = usize::try_from(self.keys(rules)).unwrap_or(0);
        let key = |call: &Call| call.entry.name_bytes().len() + self.suffixes[0].len();
        let others = self.calls.len() - self.wholes;
        let arguments = WORDS * (1 + rules.len() + others);
        let bytes = keys * self.calls.first().map_or(0, key) + arguments * WORD;
        (keys + arguments, bytes)
    }

    fn keys(&self, rules: &[Rule]) -> u64 {
        let keys = self.past.chunks(rules.len()).flat_map(|past| {
            let keys = |(rule, past): (&Rule, &Past)| 1 + self.before(rule, past.asked);
            rules.iter().zip(past).map(keys)
        });
        keys.sum()
    }

    /// The arguments of `window_take`.
    fn write_window(&self, rule: &Rule, step: u64, command: &mut Cmd) {
        let limit = signed(rule.limit());
        command.arg(step).arg(self.steps[0]).arg(self.spare);
        let (wholes, others) = self.calls.split_at(self.wholes);
        let groups = || wholes.chunk_by(|one, other| one.whole == other.whole);
        command.arg(groups().count());
        for group in groups() {
            if let Some(Whole { units, most }) = group[0].whole {
                command.arg(units).arg(most).arg(group.len());
            }
        }
        for call in others {
            let past = self.past[call.past.start];
            command.arg(past.asked).arg(limit - signed(past.known));
            self.write_runs(call, command);
        }
    }

    /// The arguments of `quotas_take`.
    fn write_quotas(&self, rules: &[Rule], command: &mut Cmd) {
        command.arg(self.spare).arg(rules.len());
        for (rule, step) in rules.iter().zip(&self.steps) {
            command.arg(rule.kind.word()).arg(rule.limit());
            match rule.kind {
                Kind::Window { step: length } => command.arg(length).arg(*step),
                Kind::Log { length } => command.arg(length).arg(u8::from(self.times)),
                Kind::Cells { length } => command.arg(length).arg(rule.burst()),
            };
            command.arg(rule.lives());
        }
        for call in &self.calls {
            for (rule, past) in rules.iter().zip(&self.past[call.past.clone()]) {
                if let Kind::Window { .. } = rule.kind {
                    command.arg(past.asked).arg(past.known);
                }
            }
            self.write_runs(call, command);
        }
    }

    fn write_runs(&self, call: &Call, command: &mut Cmd) {
        let runs = &self.runs[call.runs.clone()];
        command.arg(runs.len());
        for run in runs {
            command.arg(run.cost);
            match run.holds_up {
                true => command.arg(-signed(run.callers)),
                false => command.arg(run.callers),
            };
        }
    }

    /// How many steps are named before the last one, where `asked` counts of the past are wanted.
    const fn before(&self, rule: &Rule, asked: usize) -> u64 {
        match rule.kind {
            Kind::Window { .. } => self.spare + asked as u64,
            Kind::Log { .. } | Kind::Cells { .. } => 0,
        }
    }
}

/// The arguments of `window_take` for a call that comes alone.
fn write_one(one: One, command: &mut Cmd) {
    let Whole { units, most } = one.whole;
    let numbers = [one.length, one.number, most, units].map(u64::to_le_bytes);
    write_arg(command, &[numbers.as_flattened()]);
}

/// Writes one argument that has these parts.
pub(super) fn write_arg(command: &mut Cmd, parts: &[impl AsRef<[u8]>]) {
    let mut argument = command.writer_for_next_arg();
    for part in parts {
        // Writing to memory cannot fail.
        let _ = argument.write_all(part.as_ref());
    }
}

/// Units as a number that may become less than zero.
fn signed(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

/// Words that a call or a rule takes beside its keys, or all calls together: commonly.
const WORDS: usize = 8;
/// Bytes of such a word.
const WORD: usize = 8;
