//! Questions about many keys in one call of a script, and the answer.

use std::{ops::Range, sync::Arc};

use redis::{Cmd, RedisWrite as _, Value};
use resilience_core::Timestamp;

use super::{
    grant::Run,
    line::{Aftermath, Leasing, Question, Told},
    rules::{Kind, Rule},
    table::Entry,
};
use crate::StoreError;

/// What is asked about many keys at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    calls: Vec<Call>,
    /// How many of the calls, the first, ask for one unit and nothing else of one window.
    singles: usize,
    runs: Vec<Run>,
    past: Vec<(usize, u64)>,
    /// For each rule the last step that may be the present one, and what its keys end with.
    steps: Vec<u64>,
    suffixes: Vec<String>,
    /// How many steps before the last may be the present one as well.
    spare: u64,
}

/// The callers of one key, by their places in the batch.
#[derive(Debug)]
struct Call {
    entry: Arc<Entry>,
    runs: Range<usize>,
    past: Range<usize>,
}

/// An answer: the server's time, and then what [`Batch::hear`] makes sense of.
#[derive(Debug)]
pub(super) struct Reply(Vec<u64>);

impl Batch {
    /// Begins anew, at `micros` by the server's clock or up to `spare` steps later.
    pub(super) fn begin(&mut self, rules: &[Rule], micros: u64, spare: u64) {
        self.calls.clear();
        self.runs.clear();
        self.past.clear();
        self.spare = spare;
        self.steps.clear();
        self.steps.extend(
            rules
                .iter()
                .map(|rule| rule.step(micros).saturating_add(spare)),
        );
        let steps = rules.iter().zip(&self.steps);
        self.suffixes = steps.map(|(rule, step)| rule.suffix(*step)).collect();
    }

    /// Adds those who wait for `entry`, and says since when the first of them does; `None` where
    /// nobody is there to wait. Those who have waited since before `deadline` hear of `late`.
    pub(super) fn add(
        &mut self,
        rules: &[Rule],
        entry: Arc<Entry>,
        leasing: Option<Leasing>,
        (deadline, late): (Timestamp, &StoreError),
        aftermath: &mut Aftermath,
    ) -> Option<Timestamp> {
        let (runs, past) = (self.runs.len(), self.past.len());
        let oldest = {
            let mut line = entry.line();
            // Which counts are the past is for the server to say.
            if self.spare > 0 {
                line.doubt();
            }
            loop {
                let question = (&mut self.runs, &mut self.past);
                let oldest = line.ask(rules, &self.steps, question, leasing)?;
                if oldest >= deadline {
                    break oldest;
                }
                line.fail(late, aftermath);
                self.runs.truncate(runs);
                self.past.truncate(past);
            }
        };
        self.calls.push(Call {
            entry,
            runs: runs..self.runs.len(),
            past: past..self.past.len(),
        });
        Some(oldest)
    }

    /// Puts calls of one unit first, which a script for one window is told in fewer words.
    pub(super) fn sort(&mut self, rules: &[Rule]) {
        let Self { runs, past, .. } = self;
        let alone = matches!(
            rules,
            [Rule {
                kind: Kind::Window { .. },
                ..
            }]
        );
        let is_single = |call: &Call| {
            let one = Run {
                cost: 1,
                callers: 1,
            };
            alone && runs[call.runs.clone()] == [one] && past[call.past.start].0 == 0
        };
        self.calls.sort_by_key(|call| !is_single(call));
        self.singles = self.calls.partition_point(is_single);
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// A name with the hash tag of one of the keys, which says what server to ask.
    pub(super) fn name(&self) -> Option<Box<str>> {
        self.calls.first().map(|call| call.entry.name().into())
    }

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

    /// Tells all callers what the server said. `after` has each entry, and whether there is more to
    /// ask for it.
    pub(super) fn hear(
        &mut self,
        rules: &[Rule],
        sent: Timestamp,
        reply: &Reply,
        aftermath: &mut Aftermath,
        mut after: impl FnMut(Arc<Entry>, bool, &mut Aftermath),
    ) {
        let mut rest = &reply.0[1..];
        let mut told = Vec::new();
        let calls = std::mem::take(&mut self.calls);
        for call in calls {
            let ours = self.tell(rules, &call, &mut rest, &mut told);
            let goes_on = {
                let mut line = call.entry.line();
                let question = Question {
                    runs: &self.runs[call.runs.clone()],
                    past: &self.past[call.past.clone()],
                };
                match ours {
                    Some(true) => {
                        line.hear(rules, question, &told, (sent, reply.micros()), aftermath)
                    }
                    Some(false) => line.fail(&StoreError::ForeignValue, aftermath),
                    None => line.fail(&StoreError::Protocol, aftermath),
                }
            };
            after(call.entry, goes_on, aftermath);
        }
    }

    /// Tells all callers that nobody answered.
    pub(super) fn fail(
        &mut self,
        error: &StoreError,
        aftermath: &mut Aftermath,
        mut after: impl FnMut(Arc<Entry>, bool),
    ) {
        for call in std::mem::take(&mut self.calls) {
            let goes_on = call.entry.line().fail(error, aftermath);
            after(call.entry, goes_on);
        }
    }

    /// Lets all callers wait on, since nothing was done for them; gives their entries.
    pub(super) fn unask(&mut self) -> Vec<Arc<Entry>> {
        let entries = std::mem::take(&mut self.calls);
        let entries = entries.into_iter().map(|call| call.entry);
        entries.inspect(|entry| entry.line().unask()).collect()
    }

    /// Finds in `rest` what it says of each quota of `call`; `Some(false)` where a key holds
    /// something else, `None` where it makes no sense.
    fn tell<'a>(
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

/// What stands for a key that holds something else. Numbers of a script are below 2^53.
const FOREIGN: u64 = u64::MAX;
