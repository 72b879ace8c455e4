//! How one stage follows another, by itself or by an operator's hand.

use std::time::Duration;

use super::{
    super::{
        IllegalTransition, Mode, Phase, Policy,
        half_open::Probes,
        ramp::Ramp,
        terms::{Change, Counts, Moment, Ticket},
        window::History,
    },
    Stage, State,
};
use crate::Timestamp;

impl State {
    pub(in super::super) const fn phase(&self) -> Phase {
        match self.stage {
            Stage::Closed => Phase::Closed,
            Stage::Open { .. } => Phase::Open,
            Stage::HalfOpen(_) => Phase::HalfOpen,
            Stage::ForcedOpen => Phase::ForcedOpen,
            Stage::Disabled => Phase::Disabled,
        }
    }

    /// The ticket that is given now.
    pub(in super::super) const fn generation(&self) -> Ticket {
        self.generation
    }

    pub(in super::super) const fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(in super::super) const fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(in super::super) fn permits_left(&self) -> u32 {
        match &self.stage {
            Stage::HalfOpen(probes) => probes.permits_left(),
            Stage::Closed | Stage::Open { .. } | Stage::ForcedOpen | Stage::Disabled => 0,
        }
    }

    /// The oldest change that nobody took yet.
    pub(in super::super) fn take_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    pub(in super::super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Opens until an operator says otherwise.
    pub(in super::super) fn force_open(&mut self, moment: Moment) -> Result<(), IllegalTransition> {
        self.look(moment);
        self.check_enforced(Phase::ForcedOpen)?;
        self.enter(Stage::ForcedOpen);
        Ok(())
    }

    pub(in super::super) fn force_closed(
        &mut self,
        moment: Moment,
    ) -> Result<(), IllegalTransition> {
        self.look(moment);
        match self.stage {
            Stage::Disabled => return Err(self.illegal(Phase::Closed)),
            Stage::Closed => self.ramp = None,
            Stage::Open { .. } | Stage::HalfOpen(_) | Stage::ForcedOpen => self.close(moment.now),
        }
        Ok(())
    }

    pub(in super::super) fn force_half_open(
        &mut self,
        moment: Moment,
    ) -> Result<(), IllegalTransition> {
        self.look(moment);
        match self.stage {
            Stage::Closed | Stage::Disabled => return Err(self.illegal(Phase::HalfOpen)),
            Stage::HalfOpen(_) => {}
            Stage::Open { wait, .. } => self.probe(moment.now, wait),
            Stage::ForcedOpen => self.probe(moment.now, Duration::ZERO),
        }
        Ok(())
    }

    /// Opens for exactly `wait`, apart from the waits that grow.
    pub(in super::super) fn open_for(
        &mut self,
        wait: Duration,
        moment: Moment,
    ) -> Result<(), IllegalTransition> {
        self.look(moment);
        self.check_enforced(Phase::Open)?;
        self.enter(Stage::Open {
            until: moment.now.saturating_add(wait),
            wait,
        });
        Ok(())
    }

    /// Ends a forced open by closing.
    pub(in super::super) fn resume(&mut self, moment: Moment) {
        self.look(moment);
        if matches!(self.stage, Stage::ForcedOpen) {
            self.close(moment.now);
        }
    }

    /// Goes on by another policy. An open or half-open stage ends as it began; what a window
    /// holds stays, unless the window is another one.
    pub(in super::super) fn reconfigure(&mut self, policy: Policy, moment: Moment) {
        self.look(moment);
        let old = std::mem::replace(&mut self.policy, policy);
        // The new policy reports on its own what it finds reached.
        self.reached = Default::default();
        if old.window != self.policy.window {
            self.history = History::new(self.policy.window, moment.now);
        }
        match self.policy.mode {
            Mode::Disabled => self.enter(Stage::Disabled),
            Mode::Shadow if !matches!(self.stage, Stage::Closed) => self.close(moment.now),
            Mode::Enforce if matches!(self.stage, Stage::Disabled) => self.close(moment.now),
            Mode::Shadow | Mode::Enforce => {}
        }
    }

    /// Only a breaker that enforces can be opened.
    const fn check_enforced(&self, to: Phase) -> Result<(), IllegalTransition> {
        match self.policy.mode {
            Mode::Enforce => Ok(()),
            Mode::Shadow | Mode::Disabled => Err(self.illegal(to)),
        }
    }

    const fn illegal(&self, to: Phase) -> IllegalTransition {
        IllegalTransition {
            from: self.phase(),
            to,
        }
    }

    /// A half-open that ran out of time has been open since its deadline.
    pub(super) fn pass(&mut self, moment: Moment) {
        if let Stage::HalfOpen(probes) = &self.stage
            && moment.now >= probes.deadline()
        {
            let deadline = probes.deadline();
            self.reopen(deadline, moment.random);
        }
    }

    /// A half-open failed.
    pub(super) fn reopen(&mut self, since: Timestamp, random: f64) {
        self.failed_half_opens = self.failed_half_opens.saturating_add(1);
        self.open(since, random);
    }

    /// Opens for as long as the policy says and the dependency asked for.
    pub(super) fn open(&mut self, since: Timestamp, random: f64) {
        let wait = self.policy.open.wait(self.failed_half_opens, random);
        let until = since.saturating_add(wait).max(self.leave_alone_until);
        self.enter(Stage::Open {
            until,
            wait: until.saturating_since(since),
        });
    }

    /// Asks the dependency, `wait` after it was last asked.
    pub(super) fn probe(&mut self, now: Timestamp, wait: Duration) {
        let wait = match (self.policy.half_open_max_wait, wait) {
            (Some(wait), _) => wait,
            // Nothing was waited for, and probes need some time.
            (None, Duration::ZERO) => self.policy.open.wait(self.failed_half_opens, 0.0),
            (None, wait) => wait,
        };
        let deadline = now.saturating_add(wait);
        let probes = Probes::new(self.policy.half_open_permits, deadline);
        self.enter(Stage::HalfOpen(probes));
    }

    /// The probes went well.
    pub(super) fn recover(&mut self, now: Timestamp) {
        self.close(now);
        if !self.policy.recovery_ramp.is_zero() {
            self.ramp = Some(Ramp::new(now, self.policy.recovery_ramp));
        }
    }

    fn close(&mut self, now: Timestamp) {
        self.history.clear(now);
        self.run = 0;
        self.reached = Default::default();
        self.failed_half_opens = 0;
        self.enter(Stage::Closed);
    }

    fn enter(&mut self, stage: Stage) {
        let from = self.phase();
        self.last_seen = self.evidence();
        self.ramp = None;
        self.stage = stage;
        let to = self.phase();
        if from != to {
            self.generation = self.generation.next();
            self.counts.transitions += 1;
            self.changes.push_back(Change::Phase { from, to });
        }
    }
}
