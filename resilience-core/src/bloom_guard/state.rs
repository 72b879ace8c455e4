use std::time::Duration;

use super::{
    filter::Added,
    standing::{Alarm, Standing},
};
use crate::Timestamp;

/// Whether a filter can be believed, how large the next one is, and what to tell.
///
/// ```text
///            commit              keys > capacity × factor
/// Empty ───────────────► Answering ─────────────────────► Overloaded
///   ▲                        │                                │
///   └──── distrust ──────────┴────────── commit: Answering ◄──┘
/// ```
#[derive(Debug)]
pub(super) struct State {
    terms: Terms,
    standing: Standing,
    /// Keys that the filter that is asked is sized for.
    capacity: u64,
    /// About how many keys it holds: those that changed it.
    keys: u64,
    /// How many keys there are where this filter cannot tell: 0 where it can.
    wanted: u64,
    told_full: bool,
    since: Option<Timestamp>,
    /// How old the filter was then.
    aged: Duration,
    /// Keys inserted since a rebuild took over, whether they changed the filter or not.
    inserted: u64,
    /// Whether a rebuild ever took over.
    rebuilt: bool,
    /// Until when no key was inserted elsewhere that is not known here.
    trusted_until: Timestamp,
    rebuild: Option<Rebuild>,
}

/// What does not change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) expected: u64,
    pub(super) most: u64,
    pub(super) overload_factor: f64,
}

#[derive(Clone, Copy, Debug)]
struct Rebuild {
    capacity: u64,
    keys: u64,
    /// Keys that the source gave, some of them perhaps twice.
    given: u64,
    /// How old it is from the beginning.
    aged: Duration,
    source: Source,
}

/// Where the keys of a filter come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// All keys that there are.
    Keys,
    /// A filter of some earlier time or other place, which need not have what was inserted here.
    Snapshot,
}

impl State {
    pub(super) const fn new(terms: Terms) -> Self {
        Self {
            terms,
            standing: Standing::Empty,
            capacity: terms.expected,
            keys: 0,
            wanted: 0,
            told_full: false,
            since: None,
            aged: Duration::ZERO,
            inserted: 0,
            rebuilt: false,
            trusted_until: Timestamp::MAX,
            rebuild: None,
        }
    }

    /// How the filter stands, whether anybody believes it or not.
    pub(super) const fn standing(&self) -> Standing {
        self.standing
    }

    pub(super) fn standing_at(&self, now: Timestamp) -> Standing {
        match self.standing {
            Standing::Answering if now >= self.trusted_until => Standing::OutOfTouch,
            standing => standing,
        }
    }

    /// Until when the filter is asked.
    pub(super) fn asked_until(&self) -> Timestamp {
        match self.standing {
            Standing::Answering => self.trusted_until,
            Standing::Empty | Standing::Overloaded | Standing::OutOfTouch => Timestamp::ZERO,
        }
    }

    /// The keys that others insert are known until `time`.
    pub(super) const fn trust_until(&mut self, time: Timestamp) {
        self.trusted_until = time;
    }

    pub(super) const fn keys(&self) -> u64 {
        self.keys
    }

    pub(super) const fn capacity(&self) -> u64 {
        self.capacity
    }

    /// How old the filter is.
    pub(super) fn age(&self, now: Timestamp) -> Option<Duration> {
        let here = now.saturating_since(self.since?);
        Some(self.aged.saturating_add(here))
    }

    /// Inserts since a rebuild took over.
    pub(super) const fn inserted(&self) -> u64 {
        self.inserted
    }

    /// Whether a rebuild took over: the filter then has keys that nobody else need have.
    pub(super) const fn is_rebuilt(&self) -> bool {
        self.rebuilt
    }

    /// A key was inserted.
    pub(super) fn insert(&mut self, added: Added) -> Option<Alarm> {
        self.inserted = self.inserted.saturating_add(1);
        if let Some(rebuild) = &mut self.rebuild {
            rebuild.keys = rebuild.keys.saturating_add(u64::from(added.staged));
        }
        self.keys = self.keys.saturating_add(u64::from(added.current));
        self.alarm()
    }

    /// A key was removed.
    pub(super) const fn remove(&mut self) {
        self.keys = self.keys.saturating_sub(1);
    }

    /// A rebuild begins: how many keys it is to be sized for; `None` while another is under way.
    pub(super) fn begin(&mut self, source: Source) -> Option<u64> {
        if self.rebuild.is_some() {
            return None;
        }
        let capacity = self.next_capacity();
        let rebuild = Rebuild {
            capacity,
            keys: 0,
            given: 0,
            aged: Duration::ZERO,
            source,
        };
        self.rebuild = Some(rebuild);
        Some(capacity)
    }

    /// How many keys the next filter is to be sized for.
    pub(super) fn next_capacity(&self) -> u64 {
        let wanted = self.keys.max(self.wanted);
        let mut capacity = self.terms.expected;
        while capacity < wanted && capacity < self.terms.most {
            capacity = capacity.saturating_mul(2);
        }
        capacity
    }

    /// The rebuild is not like others: what was made elsewhere brings its own size.
    pub(super) const fn resize(&mut self, capacity: u64) {
        if let Some(rebuild) = &mut self.rebuild {
            rebuild.capacity = capacity;
        }
    }

    /// What was made elsewhere was made so long ago.
    pub(super) const fn made_before(&mut self, age: Duration) {
        if let Some(rebuild) = &mut self.rebuild {
            rebuild.aged = age;
        }
    }

    /// Keys inserted since the rebuild began that were new to it.
    pub(super) fn inserted_meanwhile(&self) -> u64 {
        self.rebuild.map_or(0, |rebuild| rebuild.keys)
    }

    /// The source of the rebuild gave so many keys.
    pub(super) const fn given(&mut self, keys: u64) {
        if let Some(rebuild) = &mut self.rebuild {
            rebuild.given = keys;
        }
    }

    /// The rebuild is given up.
    pub(super) const fn abandon(&mut self) {
        self.rebuild = None;
    }

    /// The rebuild is complete, with `keys` beside those that were inserted meanwhile.
    pub(super) fn commit(&mut self, keys: u64, now: Timestamp) -> Option<Alarm> {
        let rebuild = self.rebuild.take()?;
        self.standing = Standing::Answering;
        self.capacity = rebuild.capacity;
        self.keys = rebuild.keys.saturating_add(keys);
        // What is far too full takes most new keys for known: up to here no more than one in ten.
        let can_tell = self.keys <= self.capacity.saturating_mul(2);
        self.wanted = if can_tell { 0 } else { rebuild.given };
        self.told_full = false;
        self.since = Some(now);
        self.aged = rebuild.aged;
        if rebuild.source == Source::Keys {
            self.inserted = 0;
            self.rebuilt = true;
        }
        self.alarm()
    }

    /// Keys that should be known are not: nothing can be refused until a filter takes over.
    pub(super) const fn distrust(&mut self) {
        self.standing = Standing::Empty;
    }

    fn alarm(&mut self) -> Option<Alarm> {
        let (keys, capacity) = (self.keys, self.capacity);
        let limit = capacity as f64 * self.terms.overload_factor;
        if self.standing == Standing::Answering && keys as f64 > limit {
            self.standing = Standing::Overloaded;
            self.told_full = true;
            return Some(Alarm::Overloaded { keys, capacity });
        }
        if keys > capacity && !self.told_full {
            self.told_full = true;
            return Some(Alarm::Full { keys, capacity });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Added = Added {
        current: true,
        staged: true,
    };

    fn state() -> State {
        State::new(Terms {
            expected: 10,
            most: 40,
            overload_factor: 2.0,
        })
    }

    fn answering(keys: u64) -> State {
        let mut state = state();
        assert_eq!(state.begin(Source::Keys), Some(10));
        state.commit(keys, Timestamp::ZERO);
        state
    }

    #[test]
    fn nothing_answers_before_the_first_rebuild_is_complete() {
        let mut state = state();
        state.insert(NEW);
        assert_eq!(state.standing(), Standing::Empty);
        state.begin(Source::Keys);
        assert_eq!(state.begin(Source::Keys), None);
        state.abandon();
        assert_eq!(
            (state.standing(), state.age(Timestamp::ZERO)),
            (Standing::Empty, None)
        );
        state.begin(Source::Keys);
        state.commit(0, Timestamp::ZERO);
        assert_eq!(state.standing(), Standing::Answering);
    }

    #[test]
    fn each_alarm_is_told_once_a_filter() {
        let mut state = answering(9);
        let told: Vec<Alarm> = (0..40).filter_map(|_| state.insert(NEW)).collect();
        let capacity = 10;
        let full = Alarm::Full { keys: 11, capacity };
        let overloaded = Alarm::Overloaded { keys: 21, capacity };
        assert_eq!(told, [full, overloaded]);
        assert_eq!(state.standing(), Standing::Overloaded);
    }

    #[test]
    fn the_next_filter_is_sized_for_the_keys_of_this_one_and_no_larger_than_can_be() {
        for (keys, capacity) in [(0, 10), (10, 10), (11, 20), (21, 40), (1000, 40)] {
            assert_eq!(
                answering(keys).begin(Source::Keys),
                Some(capacity),
                "{keys}"
            );
        }
    }

    #[test]
    fn keys_inserted_during_a_rebuild_are_counted_in_the_new_filter() {
        let mut state = answering(5);
        state.begin(Source::Keys);
        (0..3).for_each(|_| assert_eq!(state.insert(NEW), None));
        state.commit(4, Timestamp::ZERO);
        assert_eq!((state.keys(), state.inserted()), (7, 0));
    }

    #[test]
    fn what_was_inserted_here_is_remembered_over_any_number_of_snapshots() {
        let mut state = answering(0);
        state.insert(NEW);
        for _ in 0..3 {
            state.begin(Source::Snapshot);
            state.commit(5, Timestamp::ZERO);
            assert_eq!(state.inserted(), 1);
        }
    }
}
