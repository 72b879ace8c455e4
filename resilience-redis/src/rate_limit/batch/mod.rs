//! Questions about many keys in one call of a script.

mod arguments;
mod packed;
mod plain;
mod reply;

use std::{ops::Range, sync::Arc};

use resilience_core::Timestamp;

use self::{
    plain::Plain,
    reply::{Told, Word},
};
use crate::{
    StoreError,
    rate_limit::{
        line::{Aftermath, Asked, Entry, Leasing, Question},
        quota::{Kind, Past, Rule, Run},
    },
};

pub(super) use self::reply::Reply;

/// What is asked about many keys at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) calls: Vec<Call>,
    /// How many of the calls, the first, take their units whole.
    pub(super) wholes: usize,
    pub(super) runs: Vec<Run>,
    pub(super) past: Vec<Past>,
    /// For each rule the last step that may be the present one, and what its keys end with.
    pub(super) steps: Vec<u64>,
    suffixes: Vec<String>,
    /// How many steps before the last may be the present one as well.
    pub(super) spare: u64,
    /// Whether the times of all units of a log are to be told, where somebody could wait for them.
    pub(super) times: bool,
    /// Keys of which somebody must ring at this time for those who wait.
    pub(super) alarms: Vec<(Arc<Entry>, Timestamp)>,
    /// The time on the server, as far as that was known.
    micros: u64,
}

/// The callers of one key, by their places in the batch.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) entry: Arc<Entry>,
    pub(super) runs: Range<usize>,
    pub(super) past: Range<usize>,
    pub(super) whole: Option<Whole>,
}

/// All units of a key's callers, of one window: there is room for them as far as is known, and a
/// script that need not look at each caller is told so in fewer words.
///
/// Where there is none after all nothing is taken, and each of them is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Whole {
    pub(super) units: u64,
    /// What the present step may hold with them: this is room, and there may be more.
    pub(super) most: u64,
}

impl Whole {
    fn of(rule: &Rule, runs: &[Run], past: Past) -> Option<Self> {
        let units = |run: &Run| match run.cost {
            // Who only looks must not leave a count behind.
            0 => None,
            cost => cost.checked_mul(run.callers),
        };
        let mut units = runs.iter().map(units);
        let units = units.try_fold(0_u64, |sum, units| sum.checked_add(units?))?;
        let bound = rule.limit().checked_sub(past.known)?;
        let used = past.present.checked_add(units)?;
        // Calls are alike, which is shorter to tell, if what differs is left out: where it makes no
        // difference, bounds are taken for those that begin alike.
        let rounded = bound & !(u64::MAX.checked_shr(bound.leading_zeros() + 4).unwrap_or(0));
        let most = if used <= rounded { rounded } else { bound };
        (used <= bound).then_some(Self { units, most })
    }
}

/// A whole call that comes alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct One {
    pub(super) whole: Whole,
    /// The step that is thought to be the present one, and how long a step is in microseconds.
    pub(super) number: u64,
    pub(super) length: u64,
}

impl Batch {
    /// Begins anew, at `micros` by the server's clock or up to `spare` steps later.
    pub(super) fn begin(&mut self, rules: &[Rule], micros: u64, spare: u64) {
        self.calls.clear();
        self.runs.clear();
        self.past.clear();
        (self.spare, self.micros) = (spare, micros);
        self.times = false;
        let step = |rule: &Rule| rule.step(micros).saturating_add(spare);
        if !rules.iter().map(step).eq(self.steps.iter().copied()) {
            self.steps.clear();
            self.steps.extend(rules.iter().map(step));
            let steps = rules.iter().zip(&self.steps);
            self.suffixes = steps.map(|(rule, step)| rule.suffix(*step)).collect();
        }
    }

    /// Adds those who wait for `entry`, and says since when the first of them does; `None` where
    /// nobody is there to wait. `limit` is what the [line](Line::ask) has of those who are late.
    pub(super) fn add(
        &mut self,
        rules: &[Rule],
        entry: Arc<Entry>,
        leasing: Option<Leasing>,
        limit: (Timestamp, Timestamp, &StoreError),
        aftermath: &mut Aftermath,
    ) -> Option<Timestamp> {
        let (runs, past) = (self.runs.len(), self.past.len());
        // Whatever happens from here on, it is known for whom nobody else will ask.
        self.calls.push(Call {
            entry,
            runs: runs..runs,
            past: past..past,
            whole: None,
        });
        let asked = self.ask_last(rules, leasing, limit, aftermath);
        let mut call = self.calls.pop().expect("just added");
        self.note_alarm(&call.entry, aftermath);
        let asked = asked?;
        self.times |= asked.has_time();
        (call.runs.end, call.past.end) = (self.runs.len(), self.past.len());
        call.whole = match (rules, &self.past[past..]) {
            ([rule], [known]) if is_window(rule) && self.spare == 0 && known.asked == 0 => {
                Whole::of(rule, &self.runs[runs..], *known)
            }
            _ => None,
        };
        self.calls.push(call);
        Some(asked.since)
    }

    /// Asks those who wait for the entry of the last call what they want.
    fn ask_last(
        &mut self,
        rules: &[Rule],
        leasing: Option<Leasing>,
        limit: (Timestamp, Timestamp, &StoreError),
        aftermath: &mut Aftermath,
    ) -> Option<Asked> {
        let mut line = self.calls.last()?.entry.line();
        // Which counts are the past is for the server to say.
        if self.spare > 0 {
            line.doubt();
        }
        let question = (&mut self.runs, &mut self.past);
        line.ask(rules, &self.steps, question, leasing, limit, aftermath)
    }

    fn note_alarm(&mut self, entry: &Arc<Entry>, aftermath: &mut Aftermath) {
        let alarm = aftermath.alarm.take();
        let alarm = alarm.map(|time| (Arc::clone(entry), time));
        self.alarms.extend(alarm);
    }

    /// Puts first what takes its units whole, and side by side what is alike.
    pub(super) fn sort(&mut self) {
        let order = |call: &Call| (call.whole.is_none(), call.whole);
        self.calls.sort_unstable_by_key(order);
        self.wholes = self.calls.partition_point(|call| call.whole.is_some());
    }

    /// The only call, where it is whole.
    pub(super) fn one(&self, rules: &[Rule]) -> Option<One> {
        let ([call], [rule]) = (&self.calls[..], rules) else {
            return None;
        };
        let (Some(whole), Kind::Window { step: length }) = (call.whole, rule.kind) else {
            return None;
        };
        Some(One {
            whole,
            number: self.steps[0],
            length,
        })
    }

    /// The only call, where it need not be a script that decides: its count is there, as far as is
    /// known, and with it no more than half of what it may be.
    pub(super) fn plain<'a>(&'a self, rules: &'a [Rule]) -> Option<Plain<'a>> {
        let one = self.one(rules)?;
        let call = &self.calls[0];
        let used = self.past[call.past.start].present;
        let is_roomy = used > 0 && used + one.whole.units <= one.whole.most / 2;
        is_roomy.then(|| Plain {
            entry: &call.entry,
            rules,
            one,
            suffix: &self.suffixes[0],
            guess: self.micros,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// One of the keys, which says what server to ask.
    pub(super) fn first(&self) -> Option<Arc<Entry>> {
        self.calls.first().map(|call| Arc::clone(&call.entry))
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
        let mut rest = reply.rest();
        let mut told = Told::new();
        let mut calls = std::mem::take(&mut self.calls);
        for call in calls.drain(..) {
            let ours = self.tell(rules, &call, &mut rest, &mut told);
            let goes_on = {
                let mut line = call.entry.line();
                let question = Question {
                    runs: &self.runs[call.runs.clone()],
                    past: &self.past[call.past.clone()],
                };
                match ours {
                    Some(Word::Told) => line.hear(
                        rules,
                        question,
                        &told,
                        (sent, heard, reply.micros()),
                        aftermath,
                    ),
                    Some(Word::Undone) => {
                        line.ask_again();
                        true
                    }
                    Some(Word::Foreign) => line.fail(&StoreError::ForeignValue, heard, aftermath),
                    None => line.fail(&StoreError::Protocol, heard, aftermath),
                }
            };
            self.note_alarm(&call.entry, aftermath);
            after(call.entry, goes_on, aftermath);
        }
        // For the next ones.
        self.calls = calls;
    }

    /// Tells all callers that nobody answered.
    pub(super) fn fail(
        &mut self,
        error: &StoreError,
        now: Timestamp,
        aftermath: &mut Aftermath,
        mut after: impl FnMut(Arc<Entry>, bool),
    ) {
        let mut calls = std::mem::take(&mut self.calls);
        for call in calls.drain(..) {
            let goes_on = call.entry.line().fail(error, now, aftermath);
            self.note_alarm(&call.entry, aftermath);
            after(call.entry, goes_on);
        }
        self.calls = calls;
    }

    /// Lets all callers wait on, since nothing was done for them; adds their entries to `entries`.
    pub(super) fn unask(&mut self, entries: &mut Vec<Arc<Entry>>) {
        let asked = self.calls.drain(..).map(|call| call.entry);
        entries.extend(asked.inspect(|entry| entry.line().unask()));
    }
}

const fn is_window(rule: &Rule) -> bool {
    matches!(rule.kind, Kind::Window { .. })
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        task::Waker,
        time::Duration,
    };

    use resilience_core::rate_limit::{Policy, Quota};

    use super::*;
    use crate::rate_limit::{
        line::{Answer, Caller, Entered, Line},
        quota::rules,
    };

    #[test]
    fn for_whom_nobody_will_ask_is_known_where_it_ends_in_a_panic() {
        let policy = Policy::new("test", Quota::new(10, Duration::from_secs(1)));
        let rules = rules(&policy.terms().expect("a quota").quotas).expect("a valid policy");
        let entry = Arc::new(Entry::new("test", Line::new(&rules, true)));
        let now = Timestamp::from_nanos(1_000_000_000);
        let caller = Caller {
            cost: 1,
            now,
            until: now,
            waker: None,
        };
        let entered = entry.line().enter(caller);
        assert_eq!(entered, Entered::First(0));
        let (mut batch, mut aftermath) = (Batch::default(), Aftermath::default());
        batch.begin(&rules, 1_000_000, 0);
        // By this a part is divided.
        let (percent, nodes) = (50, 0);
        let leasing = Leasing {
            percent,
            nodes,
            now,
        };
        let limit = (now, now, &StoreError::Unavailable);
        let add = || {
            let entry = Arc::clone(&entry);
            batch.add(&rules, entry, Some(leasing), limit, &mut aftermath)
        };
        catch_unwind(AssertUnwindSafe(add)).expect_err("a panic");
        let mut left = Vec::new();
        batch.unask(&mut left);
        for entry in left {
            let mut line = entry.line();
            line.abandon(&StoreError::Unavailable, now, &mut aftermath);
        }
        let answer = entry.line().poll(0, Waker::noop());
        assert_eq!(answer, Some(Answer::Failed(StoreError::Unavailable)));
    }
}
