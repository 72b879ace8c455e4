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
    /// A place so many parts behind another, of which `unit` make one unit: few are ever asked
    /// for, and a division takes longer than to keep three numbers.
    Behind { place: u64, parts: u64, unit: u64 },
}

impl Booking {
    /// Units of a key with one quota, which counts them at `mark`.
    pub(super) const fn at(mark: u64, units: u64) -> Self {
        let marks = Marks::One(mark);
        Self { units, marks }
    }

    /// Units with which a caller joined a line that was [offered](super::cell::Cell::offer) with its end at
    /// `place`.
    pub(super) const fn behind(place: u64, parts: u64, unit: u64, units: u64) -> Self {
        let marks = Marks::Behind { place, parts, unit };
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
            Marks::Behind { place, parts, unit } => {
                [place.wrapping_add(parts / unit.max(1)), 0, 0, 0, 0]
            }
        }
    }
}
