//! What one key has used, in two words where that is possible.
//!
//! Most keys of most limiters hold so little that a machine of their own is the larger part of
//! them: units that were all taken in one part of a window, or that stand in one line. Such a
//! [`Run`] is an instant and a number, and here it is decided by itself. Everything else is the
//! machine's: it is made of the run for the occasion, and kept on the heap only where what is left
//! is more than a run. Then it lends the slot what counts alike for a while, as it does to
//! [words](super::front).

use super::{
    cell::Cell,
    front::{Offer, Taken},
    keyless::Lending,
    plan::{Form, Plan},
    run::{Answer, Run},
    timeline::Timeline,
};
use crate::keyed::Retention;

/// What one key has used.
#[derive(Debug)]
pub(super) enum Slot {
    /// A [`Run`] of so many units.
    Few {
        units: u32,
        since: u64,
    },
    Many(Box<Machine>),
}

#[derive(Debug)]
pub(super) struct Machine {
    loan: Loan,
    cell: Cell,
}

/// What a machine need not be asked for.
#[derive(Clone, Copy, Debug)]
enum Loan {
    Nothing,
    /// So many of the `lent` units are left, and all count alike until an instant.
    Units {
        left: u64,
        lent: u64,
        until: u64,
    },
    /// No unit is free until an instant.
    Refusal {
        until: u64,
    },
}

impl Default for Slot {
    fn default() -> Self {
        Self::Few { units: 0, since: 0 }
    }
}

impl Slot {
    /// Where a machine is needed from the first call on.
    pub(super) fn of_machine(cell: Cell) -> Self {
        let loan = Loan::Nothing;
        Self::Many(Box::new(Machine { loan, cell }))
    }

    /// Takes `units` now, as far as that can be decided here.
    #[inline(always)]
    pub(super) fn take(&mut self, plan: &Plan, now: u64, units: u64) -> Answer {
        let taken = match self {
            _ if units == 0 => None,
            Self::Many(machine) => machine.loan.take(now, units),
            Self::Few { units: few, since } => {
                let run = Run {
                    since: *since,
                    units: u64::from(*few),
                };
                run.take(plan, now, units).and_then(|(run, answer)| {
                    *few = u32::try_from(run.units).ok()?;
                    *since = run.since;
                    Some(answer)
                })
            }
        };
        taken.unwrap_or(Answer::Unknown)
    }

    /// Lets `act` work on the machine of this key, as it stands after all that was taken before.
    pub(super) fn open<R>(
        &mut self,
        plan: &Plan,
        timeline: Timeline,
        act: impl FnOnce(&mut Cell) -> R,
    ) -> R {
        self.change(plan, plan, timeline, act)
    }

    /// The same, and keeps what becomes of the machine by another plan.
    pub(super) fn change<R>(
        &mut self,
        old: &Plan,
        new: &Plan,
        timeline: Timeline,
        act: impl FnOnce(&mut Cell) -> R,
    ) -> R {
        let result;
        *self = match std::mem::take(self) {
            Self::Few { units, since } => {
                let run = Run {
                    since,
                    units: u64::from(units),
                };
                let mut cell = Cell::of_run(run, old.rule, timeline);
                result = act(&mut cell);
                Self::of_run(new, &cell).unwrap_or_else(|| {
                    let loan = Loan::by(&cell, new);
                    Self::Many(Box::new(Machine { loan, cell }))
                })
            }
            Self::Many(mut machine) => {
                machine.redeem(timeline);
                result = act(&mut machine.cell);
                Self::of_run(new, &machine.cell).unwrap_or_else(|| {
                    machine.loan = Loan::by(&machine.cell, new);
                    Self::Many(machine)
                })
            }
        };
        result
    }

    /// How much would be lost with it now.
    pub(super) fn retention(&mut self, plan: &Plan, timeline: Timeline) -> Retention {
        match self {
            Self::Few { units, since } => {
                let run = Run {
                    since: *since,
                    units: u64::from(*units),
                };
                run.retention(plan, timeline.latest)
            }
            Self::Many(machine) => {
                machine.redeem(timeline);
                machine.cell.retention()
            }
        }
    }

    /// A slot without a machine, where a run is all that `cell` holds.
    fn of_run(plan: &Plan, cell: &Cell) -> Option<Self> {
        if matches!(plan.form, Form::Machine) {
            return None;
        }
        let Run { since, units } = cell.run()?;
        let units = u32::try_from(units).ok()?;
        Some(Self::Few { units, since })
    }
}

impl Machine {
    /// The machine hears of what was taken of its loan.
    fn redeem(&mut self, timeline: Timeline) {
        if let Loan::Units { left, lent, .. } = self.loan {
            let gone = lent - left;
            let taken = (gone > 0).then_some(Taken::Units(gone));
            self.cell.redeem(taken, timeline.latest);
        }
        self.loan = Loan::Nothing;
        self.cell.keep_time(timeline);
    }
}

impl Loan {
    fn by(cell: &Cell, plan: &Plan) -> Self {
        if plan.lending == Lending::BesideAnother {
            return Self::Nothing;
        }
        match cell.offer() {
            Some((_, Offer::Units { units, until, .. })) => Self::Units {
                left: units,
                lent: units,
                until,
            },
            Some((_, Offer::Nothing { until, .. })) => Self::Refusal { until },
            Some((_, Offer::Line { .. })) | None => Self::Nothing,
        }
    }

    #[inline(always)]
    fn take(&mut self, now: u64, units: u64) -> Option<Answer> {
        match self {
            Self::Units { left, until, .. } if now < *until => {
                *left = left.checked_sub(units)?;
                Some(Answer::Taken {
                    mark: now,
                    remaining: *left,
                })
            }
            Self::Refusal { until } if now < *until && units == 1 => Some(Answer::Refused {
                wait: *until - now,
                remaining: 0,
            }),
            Self::Units { .. } | Self::Refusal { .. } | Self::Nothing => None,
        }
    }
}
