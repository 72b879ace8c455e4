//! Where a thread runs.

#[cfg(target_os = "linux")]
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that there are for this process, to be shared out.
///
/// Where threads may go from core to core, an answer takes five times as long at one time as at
/// another: on the core where the question was asked it is there at once, and on another one somebody
/// has to be woken. Whoever is compared in turns must not be compared by that.
#[derive(Debug)]
pub struct Cores(Vec<usize>);

#[cfg(target_os = "linux")]
impl Cores {
    /// Those that it may use now.
    #[must_use]
    pub fn of_this_process() -> Self {
        let usable = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        Self(
            (0..CpuSet::MAX_CPU)
                .filter(|core| usable.is_set(*core))
                .collect(),
        )
    }

    /// Keeps this thread, and what it starts from now on, on the core at this place. Where there is no
    /// such core everything stays as it is.
    pub fn stay_on(&self, place: usize) {
        if let Some(core) = self.0.get(place) {
            let mut only = CpuSet::new();
            only.set(*core);
            // Without it the figures are worth less, and that is all.
            let _ = sched_setaffinity(None, &only);
        }
    }
}

/// Other systems have no such call.
#[cfg(not(target_os = "linux"))]
impl Cores {
    /// None of them is known.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self(Vec::new())
    }

    /// Everything stays as it is.
    pub fn stay_on(&self, _: usize) {}
}
