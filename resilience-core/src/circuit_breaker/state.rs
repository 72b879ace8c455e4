//! The machine: every decision, and nothing else.

mod threshold;
mod transition;

use std::{collections::VecDeque, time::Duration};

use super::{
    Mode, Policy, Threshold,
    half_open::{Probes, Verdict},
    ramp::Ramp,
    terms::{Answer, Change, Counts, Evidence, Moment, Refusal, Standing, Ticket, Vote},
    window::History,
};
use crate::Timestamp;

/// A circuit breaker, given the time.
///
/// ```text
///            threshold reached                wait over, next caller
///  Closed ─────────────────────▶ Open ───────────────────────────────▶ HalfOpen
///     ▲                            ▲   probes fail, or run out of time    │  │
///     │                            └──────────────────────────────────────┘  │
///     └──────────────────────── all probes settled well ─────────────────────┘
/// ```
///
/// Each stage is entered with a generation of its own, which its tickets carry: one that comes
/// back in another generation changes nothing. A half-open that ran out of time is open since its
/// deadline; whoever asks first finds out.
#[derive(Debug)]
pub(super) struct State {
    policy: Policy,
    stage: Stage,
    generation: Ticket,
    history: History,
    run: u32,
    reached: [bool; Threshold::ALL.len()],
    ramp: Option<Ramp>,
    /// What was seen when the last Closed or Half-Open ended.
    last_seen: Evidence,
    failed_half_opens: u32,
    /// Until when the dependency asked to be left alone.
    leave_alone_until: Timestamp,
    counts: Counts,
    changes: VecDeque<Change>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Closed,
    Open { until: Timestamp, wait: Duration },
    HalfOpen(Probes),
    ForcedOpen,
    Disabled,
}

impl State {
    pub(super) fn new(policy: Policy, now: Timestamp) -> Self {
        let stage = match policy.mode {
            Mode::Enforce | Mode::Shadow => Stage::Closed,
            Mode::Disabled => Stage::Disabled,
        };
        Self {
            history: History::new(policy.window, now),
            policy,
            stage,
            generation: Ticket::default(),
            run: 0,
            reached: Default::default(),
            ramp: None,
            last_seen: Evidence::default(),
            failed_half_opens: 0,
            leave_alone_until: Timestamp::ZERO,
            counts: Counts::default(),
            changes: VecDeque::new(),
        }
    }

    /// A caller asks for admission.
    pub(super) fn ask(&mut self, moment: Moment) -> Result<Ticket, Refusal> {
        self.pass(moment);
        if let Stage::Open { until, wait } = self.stage
            && moment.now >= until
        {
            self.probe(moment.now, wait);
        }
        match &mut self.stage {
            Stage::Closed => self.ask_closed(moment.now)?,
            Stage::Open { until, .. } => {
                let retry_after = until.saturating_since(moment.now);
                return Err(Refusal::Open { retry_after });
            }
            Stage::HalfOpen(probes) => probes.send()?,
            Stage::ForcedOpen => return Err(Refusal::ForcedOpen),
            Stage::Disabled => {}
        }
        Ok(self.generation)
    }

    fn ask_closed(&mut self, now: Timestamp) -> Result<(), Refusal> {
        self.ramp = self.ramp.filter(|ramp| !ramp.is_over(now));
        let Some(ramp) = &mut self.ramp else {
            return Ok(());
        };
        let admitted = ramp.admit(now);
        admitted.map_err(|retry_after| Refusal::Ramping { retry_after })
    }

    /// An admitted call has its answer.
    pub(super) fn vote(&mut self, ticket: Ticket, vote: Vote, moment: Moment) {
        self.pass(moment);
        if matches!(self.stage, Stage::Disabled) {
            return;
        }
        self.counts.count(vote);
        if ticket != self.generation {
            return;
        }
        if let Answer::Overload {
            retry_after: Some(wait),
        } = vote.answer
        {
            let wait = wait.min(self.policy.max_retry_after);
            let until = moment.now.saturating_add(wait);
            self.leave_alone_until = self.leave_alone_until.max(until);
        }
        match &mut self.stage {
            Stage::Closed => self.vote_closed(vote, moment),
            Stage::HalfOpen(probes) => {
                probes.settle(vote.ballot());
                match probes.verdict(&self.policy) {
                    Some(Verdict::Recovered) => self.recover(moment.now),
                    Some(Verdict::StillFailing) => self.reopen(moment.now, moment.random),
                    None => {}
                }
            }
            // No ticket is given here.
            Stage::Open { .. } | Stage::ForcedOpen | Stage::Disabled => {}
        }
    }

    fn vote_closed(&mut self, vote: Vote, moment: Moment) {
        self.forget(moment.now);
        self.history.append(vote.ballot());
        match vote.answer {
            Answer::Success => self.run = 0,
            Answer::Failure => self.run = self.run.saturating_add(1),
            Answer::Overload { .. } => {}
        }
        if self.note_reached() && self.policy.mode == Mode::Enforce {
            self.open(moment.now, moment.random);
        }
    }

    /// As many successes, none of them slow, as [`Standing::Admit`] allowed to keep back.
    pub(super) fn hear_successes(&mut self, calls: u64) {
        if calls > 0 {
            self.counts.successes += calls;
            self.history.append_successes(calls);
            self.run = 0;
            self.note_falls();
        }
    }

    /// An admitted call ends without an answer: its permit comes back.
    pub(super) fn give_back(&mut self, ticket: Ticket, moment: Moment) {
        self.pass(moment);
        if let Stage::HalfOpen(probes) = &mut self.stage
            && ticket == self.generation
        {
            probes.give_back();
        }
    }

    /// Brings everything up to `moment`, as far as it depends on time alone.
    pub(super) fn look(&mut self, moment: Moment) {
        self.pass(moment);
        if matches!(self.stage, Stage::Closed) {
            self.forget(moment.now);
        }
    }

    /// What callers may do now without asking.
    pub(super) fn standing(&self) -> Standing {
        match &self.stage {
            Stage::Closed if self.ramp.is_some() => Standing::Ask,
            Stage::Closed => Standing::Admit {
                untold: self.quiet_successes(),
                until: self.history.stable_until(),
            },
            Stage::Open { until, .. } => Standing::Open { until: *until },
            Stage::HalfOpen(probes) if probes.permits_left() > 0 => Standing::Ask,
            Stage::HalfOpen(probes) => Standing::Probing {
                until: probes.deadline(),
            },
            Stage::ForcedOpen => Standing::ForcedOpen,
            Stage::Disabled => Standing::Bypass,
        }
    }
}
