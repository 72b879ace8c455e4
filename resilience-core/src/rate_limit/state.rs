//! The pure machine: the quotas of one key, asked at a time that is an argument.

use std::{array, time::Duration};

use super::{
    booking::Booking,
    cell::{At, Cell},
    usage::Seek,
};
use crate::{QuotaStatus, Timestamp};

/// Quotas that one call can meet: those of its key and the one that all keys share.
pub(super) const MAX_QUOTAS: usize = 5;

/// What a call meets: the quotas of its key, and the quota that all keys share.
pub(super) type Cells<'a> = [Option<&'a mut Cell>; 2];

/// Where the marks of each of the two begin.
const MARKS: [usize; 2] = [0, MAX_QUOTAS - 1];

/// Where the quota stands that leaves the least.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) name: &'static str,
    pub(super) status: QuotaStatus,
    /// How long until there is more.
    #[cfg_attr(not(feature = "http"), allow(dead_code, reason = "answers tell it"))]
    pub(super) next_back: Duration,
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is room after this wait, and not before.
    Wait(Duration),
    /// One of the quotas is smaller than the call.
    NeverFits,
}

/// Takes `units` from every quota of `cells` or from none, with a wait of at most `max_wait`.
///
/// Says how long until they may be used, and where the call stands, refused or not.
pub(super) fn take(
    mut cells: Cells<'_>,
    now: Timestamp,
    units: u64,
    max_wait: Duration,
) -> (Result<(Booking, Duration), Refusal>, Standing) {
    for cell in cells.iter_mut().flatten() {
        cell.move_to(now);
    }
    let (wait, slowest) = match earliest(&cells, units) {
        Ok(found) => found,
        Err(slowest) => return (Err(Refusal::NeverFits), slowest.standing()),
    };
    if wait > 0 && (Duration::from_nanos(wait) > max_wait || !is_reachable(&cells, wait)) {
        let refusal = Refusal::Wait(Duration::from_nanos(wait));
        return (Err(refusal), slowest.standing());
    }
    let mut marks = [0; MAX_QUOTAS];
    if units > 0 {
        for (cell, start) in cells.iter_mut().zip(MARKS) {
            let usages = cell.iter_mut().flat_map(|cell| cell.usages_mut());
            for ((now, usage), mark) in usages.zip(&mut marks[start..]) {
                *mark = usage.book(now, wait, units);
            }
        }
    }
    let booking = Booking::each(marks, units);
    let wait = Duration::from_nanos(wait);
    (Ok((booking, wait)), tightest(&cells).standing())
}

/// How long one unit would have to wait, and where the quotas stand.
pub(super) fn peek(mut cells: Cells<'_>, now: Timestamp) -> (Duration, Standing) {
    for cell in cells.iter_mut().flatten() {
        cell.move_to(now);
    }
    let wait = earliest(&cells, 1).map_or(u64::MAX, |(wait, _)| wait);
    (Duration::from_nanos(wait), tightest(&cells).standing())
}

/// Where the quotas stand.
#[cfg(feature = "http")]
pub(super) fn look(mut cells: Cells<'_>, now: Timestamp) -> Standing {
    for cell in cells.iter_mut().flatten() {
        cell.move_to(now);
    }
    tightest(&cells).standing()
}

/// Gives `booking` back to the quotas it was taken from.
pub(super) fn cancel(mut cells: Cells<'_>, now: Timestamp, booking: &Booking) {
    let marks = booking.marks();
    for (cell, start) in cells.iter_mut().zip(MARKS) {
        let Some(cell) = cell else { continue };
        cell.move_to(now);
        for ((_, usage), &mark) in cell.usages_mut().zip(&marks[start..]) {
            usage.cancel(mark, booking.units);
        }
    }
}

/// Gives `units` back, whichever they were.
pub(super) fn refund(mut cells: Cells<'_>, now: Timestamp, units: u64) {
    for cell in cells.iter_mut().flatten() {
        cell.move_to(now);
        for (now, usage) in cell.usages_mut() {
            usage.refund(now, units);
        }
    }
}

/// The shortest wait in nanoseconds after which `units` have room everywhere, and the quota that
/// is the last to have it; or a quota that never has.
fn earliest<'a>(cells: &'a Cells<'_>, units: u64) -> Result<(u64, At<'a>), At<'a>> {
    let usages = || cells.iter().flatten().flat_map(|cell| cell.usages());
    let first = usages().next().expect("a call meets a quota");
    if let Some(never) = usages().find(|it| units > it.1.rule.most) {
        return Err(never);
    }
    if usages().all(|it| units == 0 || it.1.fits(it.0, units)) {
        return Ok((0, first));
    }
    // Each quota in turn puts the call off until none does. No search ever goes back, so that
    // all of this passes over each entry once.
    let mut searches: [Option<(At<'a>, Seek<'a>)>; MAX_QUOTAS] = array::from_fn(|_| None);
    for (slot, it) in searches.iter_mut().zip(usages()) {
        *slot = Some((it, it.1.seek(it.0, units)));
    }
    let (mut wait, mut slowest) = (0, first);
    loop {
        let before = wait;
        for (at, search) in searches.iter_mut().flatten() {
            let later = search.from(wait);
            if later > wait {
                (wait, slowest) = (later, *at);
            }
        }
        if wait == before {
            return Ok((wait, slowest));
        }
    }
}

/// Whether the instant after `wait` lies before the end of time for every cell.
fn is_reachable(cells: &Cells<'_>, wait: u64) -> bool {
    let mut cells = cells.iter().flatten();
    wait < u64::MAX && cells.all(|cell| cell.reaches(wait))
}

/// The quota that leaves the least, the first of several.
fn tightest<'a>(cells: &'a Cells<'_>) -> At<'a> {
    let usages = cells.iter().flatten().flat_map(|cell| cell.usages());
    let least = usages.min_by_key(|it| it.1.remaining(it.0));
    least.expect("a call meets a quota")
}

impl At<'_> {
    fn standing(self) -> Standing {
        let Self(now, usage) = self;
        Standing {
            name: usage.rule.name,
            status: QuotaStatus {
                limit: usage.rule.limit,
                window: usage.rule.window(),
                remaining: usage.remaining(now),
            },
            next_back: Duration::from_nanos(usage.next_back(now)),
        }
    }
}
