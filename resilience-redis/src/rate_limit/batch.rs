//! Questions about many keys in one call of a script.

use std::{ops::Range, sync::Arc};

use resilience_core::Timestamp;

use super::{
    grant::Run,
    question::{Aftermath, Leasing, Question},
    reply::Reply,
    rules::{Kind, Rule},
    table::Entry,
};
use crate::StoreError;

/// What is asked about many keys at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) calls: Vec<Call>,
    /// How many of the calls, the first, ask for one unit and nothing else of one window.
    pub(super) singles: usize,
    pub(super) runs: Vec<Run>,
    pub(super) past: Vec<(usize, u64)>,
    /// For each rule the last step that may be the present one, and what its keys end with.
    pub(super) steps: Vec<u64>,
    pub(super) suffixes: Vec<String>,
    /// How many steps before the last may be the present one as well.
    pub(super) spare: u64,
}

/// The callers of one key, by their places in the batch.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) entry: Arc<Entry>,
    pub(super) runs: Range<usize>,
    pub(super) past: Range<usize>,
}

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

    /// Tells all callers what the server said. `after` has each entry, and whether there is more to
    /// ask for it.
    pub(super) fn hear(
        &mut self,
        rules: &[Rule],
        (sent, heard): (Timestamp, Timestamp),
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
                    Some(true) => line.hear(
                        rules,
                        question,
                        &told,
                        (sent, heard, reply.micros()),
                        aftermath,
                    ),
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
}
