//! Which keys wait to be asked about, and who asks.

use std::{collections::VecDeque, sync::Arc};

use crate::rate_limit::line::Entry;

/// The keys with somebody in line, and the flights that take them.
#[derive(Debug, Default)]
pub(super) struct Departures {
    entries: VecDeque<Arc<Entry>>,
    /// Flights under way.
    flights: usize,
    /// Those of them that are about to look for keys.
    boarding: usize,
}

impl Departures {
    /// Adds a key. Says whether one more flight is to depart, which counts from now on; there may be
    /// `most`, each with up to `keys`.
    pub(super) fn add(&mut self, entry: Arc<Entry>, keys: usize, most: usize) -> bool {
        self.entries.push_back(entry);
        self.departs(keys, most)
    }

    /// Gives a flight up to `keys` of those that wait, in `entries`, and says whether one more is to
    /// depart for the others. `None` where there are none, and the flight is under way no more.
    pub(super) fn board(
        &mut self,
        entries: &mut Vec<Arc<Entry>>,
        keys: usize,
        most: usize,
    ) -> Option<bool> {
        self.boarding -= 1;
        if self.entries.is_empty() {
            self.flights -= 1;
            return None;
        }
        let count = self.entries.len().min(keys);
        entries.extend(self.entries.drain(..count));
        Some(self.departs(keys, most))
    }

    /// A flight is back and about to look for keys: what comes now need not send another.
    pub(super) const fn land(&mut self) {
        self.boarding += 1;
    }

    /// A flight goes down. Gives the keys that nobody will ask about any more.
    pub(super) fn go_down(&mut self, was_boarding: bool) -> VecDeque<Arc<Entry>> {
        self.flights -= 1;
        self.boarding -= usize::from(was_boarding);
        if self.flights == 0 {
            std::mem::take(&mut self.entries)
        } else {
            VecDeque::new()
        }
    }

    /// Two depart as soon as somebody waits, so that one is asked while the other is told; more of
    /// them only when they are half full. Many small questions would keep the server longer than few
    /// large ones, and all who wait with it.
    fn departs(&mut self, keys: usize, most: usize) -> bool {
        let may = match self.flights {
            0 | 1 => !self.entries.is_empty(),
            flights => flights < most && self.entries.len() >= keys.div_ceil(2),
        };
        let departs = self.boarding == 0 && may;
        if departs {
            self.flights += 1;
            self.boarding += 1;
        }
        departs
    }
}
