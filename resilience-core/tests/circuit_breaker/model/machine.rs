//! Phases: what is admitted, when they end, and what an operator may do.

use resilience_core::{
    Reason,
    circuit_breaker::{Mode, Phase},
};

use super::{Hand, Heard, Model, Setup, Stage};

impl Model {
    pub(super) fn new(setup: Setup) -> Self {
        Self {
            stage: match setup.mode {
                Mode::Disabled => Stage::Disabled,
                _ => Stage::Closed,
            },
            setup,
            now: 0,
            epoch: 0,
            votes: vec![],
            shown: (vec![], 0),
            run: 0,
            noted: [false; 3],
            swept: 0,
            failed_half_opens: 0,
            leave_alone_until: 0,
            ramp: None,
            heard: vec![],
            rejected: 0,
            totals: [0; 7],
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.stage {
            Stage::Closed => Phase::Closed,
            Stage::Open { .. } => Phase::Open,
            Stage::HalfOpen { .. } => Phase::HalfOpen,
            Stage::ForcedOpen => Phase::ForcedOpen,
            Stage::Disabled => Phase::Disabled,
        }
    }

    pub(super) fn pass(&mut self) {
        if let Stage::HalfOpen { deadline, .. } = self.stage
            && self.now >= deadline
        {
            self.failed_half_opens += 1;
            self.open(deadline);
        }
    }

    pub(super) fn look(&mut self) {
        self.pass();
        if matches!(self.stage, Stage::Closed) {
            self.sweep();
        }
    }

    fn enter(&mut self, stage: Stage) {
        let from = self.phase();
        self.shown = self.evidence();
        self.stage = stage;
        self.ramp = None;
        if from != self.phase() {
            self.epoch += 1;
            self.heard.push(Heard::Phase(from, self.phase()));
        }
    }

    pub(super) fn open(&mut self, since: u64) {
        let mut wait = self.setup.first_wait;
        for _ in 0..self.failed_half_opens {
            wait = (wait * u64::from(self.setup.factor)).min(self.setup.longest_wait);
        }
        let until = (since + wait).max(self.leave_alone_until);
        self.enter(Stage::Open {
            until,
            wait: until - since,
        });
    }

    pub(super) fn close(&mut self) {
        self.votes.clear();
        self.run = 0;
        self.noted = [false; 3];
        self.failed_half_opens = 0;
        self.swept = self.bucket(self.now);
        self.enter(Stage::Closed);
    }

    fn probe(&mut self, waited: u64) {
        let mut usual = self.setup.first_wait;
        for _ in 0..self.failed_half_opens {
            usual = (usual * u64::from(self.setup.factor)).min(self.setup.longest_wait);
        }
        let waited = if waited == 0 { usual } else { waited };
        let deadline = self.now + self.setup.max_wait.unwrap_or(waited);
        self.enter(Stage::HalfOpen {
            deadline,
            permits: self.setup.permits,
            out: 0,
        });
        self.votes.clear();
    }

    pub(super) fn permits_left(&self) -> u32 {
        match self.stage {
            Stage::HalfOpen { permits, out, .. } => permits - out - self.votes.len() as u32,
            _ => 0,
        }
    }

    pub(super) fn ask(&mut self) -> Result<(usize, u64), (Reason, Option<u64>)> {
        self.pass();
        if let Stage::Open { until, wait } = self.stage
            && self.now >= until
        {
            self.probe(wait);
        }
        let left = self.permits_left();
        let refusal = match &mut self.stage {
            Stage::Closed => self.refused_by_ramp(),
            Stage::Open { until, .. } => Some((Reason::CircuitOpen, Some(*until - self.now))),
            Stage::HalfOpen { .. } if left == 0 => Some((Reason::CircuitOpen, None)),
            Stage::HalfOpen { out, .. } => {
                *out += 1;
                None
            }
            Stage::ForcedOpen => Some((Reason::CircuitForcedOpen, None)),
            Stage::Disabled => None,
        };
        self.rejected += u64::from(refusal.is_some());
        refusal.map_or(Ok((self.epoch, self.now)), Err)
    }

    /// So many calls are admitted that their number follows the sum of the shares, and one.
    fn refused_by_ramp(&mut self) -> Option<(Reason, Option<u64>)> {
        let ramp = self.ramp.as_mut()?;
        let share = u128::from(self.now - ramp.since);
        if share >= ramp.length {
            self.ramp = None;
            return None;
        }
        ramp.sum += share;
        if (ramp.length + ramp.sum) / ramp.length > ramp.admitted {
            ramp.admitted += 1;
            return None;
        }
        let missing = ramp.admitted * ramp.length - ramp.sum;
        let wait = missing.saturating_sub(share) as u64;
        Some((Reason::CircuitOpen, Some(wait)))
    }

    /// What an operator does; whether it is legal.
    pub(super) fn operate(&mut self, hand: Hand) -> bool {
        self.pass();
        let enforces = self.setup.mode == Mode::Enforce;
        match (hand, self.stage.clone()) {
            (Hand::ForceOpen | Hand::OpenFor(_), _) if !enforces => return false,
            (Hand::ForceOpen, _) => self.enter(Stage::ForcedOpen),
            (Hand::OpenFor(wait), _) => self.enter(Stage::Open {
                until: self.now + wait,
                wait,
            }),
            (Hand::ForceClosed, Stage::Disabled) => return false,
            (Hand::ForceClosed, Stage::Closed) => self.ramp = None,
            (Hand::ForceClosed, _) | (Hand::Resume, Stage::ForcedOpen) => self.close(),
            (Hand::ForceHalfOpen, Stage::Closed | Stage::Disabled) => return false,
            (Hand::ForceHalfOpen, Stage::Open { wait, .. }) => self.probe(wait),
            (Hand::ForceHalfOpen, Stage::ForcedOpen) => self.probe(0),
            (Hand::ForceHalfOpen, Stage::HalfOpen { .. }) | (Hand::Resume, _) => {}
        }
        true
    }

    pub(super) fn reconfigure(&mut self, setup: Setup) {
        self.look();
        let old = std::mem::replace(&mut self.setup, setup);
        self.noted = [false; 3];
        if matches!(self.stage, Stage::Closed) && old.window != self.setup.window {
            self.votes.clear();
        }
        self.swept = self.bucket(self.now);
        match (self.setup.mode, &self.stage) {
            (Mode::Disabled, _) => self.enter(Stage::Disabled),
            (Mode::Shadow, Stage::Closed) => {}
            (Mode::Shadow, _) | (_, Stage::Disabled) => self.close(),
            _ => {}
        }
    }
}
