use super::state::MAX_QUOTAS;
use crate::QuotaStatus;

/// Units that a call takes and may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    pub(super) booking: Booking,
    /// Where the tightest quota stands afterwards.
    pub(super) status: QuotaStatus,
}

/// Units that were taken or booked: what it takes to give them back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Booking {
    pub(super) units: u64,
    marks: Marks,
}

#[derive(Clone, Copy, Debug)]
enum Marks {
    /// What the only quota said.
    One(u64),
    /// What each quota said.
    Each([u64; MAX_QUOTAS]),
}

impl Booking {
    /// Units of a key with one quota, which counts them at `mark`.
    pub(super) const fn at(mark: u64, units: u64) -> Self {
        let marks = Marks::One(mark);
        Self { units, marks }
    }

    /// Units that several quotas may count, each at its mark.
    pub(super) const fn each(marks: [u64; MAX_QUOTAS], units: u64) -> Self {
        let marks = Marks::Each(marks);
        Self { units, marks }
    }

    pub(super) fn marks(&self) -> [u64; MAX_QUOTAS] {
        match self.marks {
            Marks::One(mark) => [mark, 0, 0, 0, 0],
            Marks::Each(marks) => marks,
        }
    }
}
