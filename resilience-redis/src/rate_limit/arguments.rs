//! A batch in the words of the scripts.

use redis::{Cmd, RedisWrite as _};

use super::{
    batch::{Batch, Call},
    rules::{Kind, Rule},
};

impl Batch {
    /// Writes what follows the script's name.
    pub(super) fn write(&self, rules: &[Rule], command: &mut Cmd) {
        let keys = self.past.chunks(rules.len()).flat_map(|past| {
            let keys = |(rule, (asked, _)): (&Rule, &_)| 1 + self.before(rule, *asked);
            rules.iter().zip(past).map(keys)
        });
        command.arg(keys.sum::<u64>());
        let mut name = String::new();
        for call in &self.calls {
            let past = &self.past[call.past.clone()];
            for (index, (rule, (asked, _))) in rules.iter().zip(past).enumerate() {
                write_key(command, &mut name, call, &self.suffixes[index]);
                for age in 1..=self.before(rule, *asked) {
                    let suffix = rule.suffix(self.steps[index].saturating_sub(age));
                    write_key(command, &mut name, call, &suffix);
                }
            }
        }
        match rules {
            [
                rule @ Rule {
                    kind: Kind::Window { step },
                    ..
                },
            ] => {
                self.write_window(rule, *step, command);
            }
            _ => self.write_quotas(rules, command),
        }
    }

    /// The arguments of `take_window`.
    fn write_window(&self, rule: &Rule, step: u64, command: &mut Cmd) {
        let limit = signed(rule.limit());
        command.arg(step).arg(self.steps[0]).arg(self.spare);
        command.arg(rule.lives()).arg(self.singles);
        let (singles, others) = self.calls.split_at(self.singles);
        for call in singles {
            let (_, known) = self.past[call.past.start];
            command.arg(limit - signed(known));
        }
        for call in others {
            let (asked, known) = self.past[call.past.start];
            command.arg(asked).arg(limit - signed(known));
            self.write_runs(call, command);
        }
    }

    /// The arguments of `take_quotas`.
    fn write_quotas(&self, rules: &[Rule], command: &mut Cmd) {
        command.arg(self.spare).arg(rules.len());
        for (rule, step) in rules.iter().zip(&self.steps) {
            command.arg(rule.kind.word()).arg(rule.limit());
            match rule.kind {
                Kind::Window { step: length } => command.arg(length).arg(*step),
                Kind::Log { length } => command.arg(length).arg(0),
                Kind::Cells { length } => command.arg(length).arg(rule.burst()),
            };
            command.arg(rule.lives());
        }
        for call in &self.calls {
            for (rule, (asked, known)) in rules.iter().zip(&self.past[call.past.clone()]) {
                if let Kind::Window { .. } = rule.kind {
                    command.arg(*asked).arg(*known);
                }
            }
            self.write_runs(call, command);
        }
    }

    fn write_runs(&self, call: &Call, command: &mut Cmd) {
        let runs = &self.runs[call.runs.clone()];
        command.arg(runs.len());
        for run in runs {
            command.arg(run.cost).arg(run.callers);
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

fn write_key(command: &mut Cmd, name: &mut String, call: &Call, suffix: &str) {
    name.clear();
    name.push_str(call.entry.name());
    name.push_str(suffix);
    command.write_arg(name.as_bytes());
}

/// Units as a number that may become less than zero.
fn signed(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}
