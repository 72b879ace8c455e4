use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crossbeam_utils::CachePadded;
use foldhash::quality::RandomState;
use indexmap::IndexMap;

use super::{
    Notice,
    heard::{Heard, Stamp},
};
use crate::sync::{Mutex, lock};

/// What was invalidated, and when.
///
/// "When" is a number that every invalidation raises. A value knows the number that stood when
/// its load began, and is good while nothing that concerns it has been invalidated since. So a
/// tag of a million entries goes away by one write, and a load that was under way at the time is
/// as void as what was stored before it.
#[derive(Debug)]
pub(super) struct Tags {
    epoch: AtomicU64,
    /// When all was invalidated for the last time.
    all: AtomicU64,
    heard: Heard,
    /// Apart from what every hit reads.
    table: CachePadded<Mutex<Table>>,
}

/// When entries with one tag were invalidated for the last time.
#[derive(Debug, Default)]
pub(super) struct Tag(AtomicU64);

#[derive(Debug, Default)]
struct Table {
    tags: IndexMap<Box<str>, Arc<Tag>, RandomState>,
    /// The latest invalidation of a tag that is not in the table. A tag that comes in takes it
    /// for its own, since that is all that is known: at worst a load is made once more.
    floor: u64,
    hand: usize,
}

/// Tags that a new one looks at to clear away those without entries: two for one, so that the
/// table shrinks while it is used.
const SWEEP: usize = 2;

impl Tags {
    pub(super) fn new(heard: Heard) -> Self {
        Self {
            epoch: AtomicU64::new(0),
            all: AtomicU64::new(0),
            heard,
            table: CachePadded::default(),
        }
    }

    /// What has been invalidated so far.
    #[inline]
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// What a load takes note of when it begins, of the key with this mark.
    pub(super) fn stamp(&self, mark: u64) -> Stamp {
        Stamp {
            epoch: self.epoch(),
            slot: self.heard.slot(mark),
        }
    }

    /// Whether a value with these tags is as good as it was when its load began.
    #[inline]
    pub(super) fn allow(&self, stamp: Stamp, tags: &[Arc<Tag>]) -> bool {
        self.allow_here(stamp, tags) && !self.heard.concerns(stamp)
    }

    /// The same, as far as this process itself invalidates.
    #[inline]
    pub(super) fn allow_here(&self, stamp: Stamp, tags: &[Arc<Tag>]) -> bool {
        let since = |last: &AtomicU64| last.load(Ordering::Acquire) > stamp.epoch;
        !since(&self.all) && !tags.iter().any(|tag| since(&tag.0))
    }

    /// Whether others may have changed it since, and nobody heard of it.
    #[inline]
    pub(super) fn doubt(&self, stamp: Stamp) -> bool {
        self.heard.doubts(stamp)
    }

    /// Whether changes by others are heard of; so it is where there are no others.
    pub(super) fn is_in_touch(&self) -> bool {
        self.heard.is_in_touch()
    }

    /// Takes note of what a second tier hears.
    pub(super) fn hear(&self, notice: Notice) {
        let now = || self.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        match notice {
            Notice::Changed(mark) => self.heard.changed(mark, now()),
            Notice::AllChanged => self.invalidate_all(),
            Notice::OutOfTouch => self.heard.touch(false, now),
            Notice::InTouch => self.heard.touch(true, now),
        }
    }

    /// Voids everything that was loaded so far.
    pub(super) fn invalidate_all(&self) {
        let now = self.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        self.all.fetch_max(now, Ordering::AcqRel);
    }

    /// Voids what was loaded so far with the tag `name`.
    pub(super) fn invalidate(&self, name: &str) {
        let mut table = lock(&self.table);
        let now = self.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        match table.tags.get(name) {
            Some(tag) => tag.0.store(now, Ordering::Release),
            None => table.floor = now,
        }
    }

    /// The tag named `name`.
    pub(super) fn tag(&self, name: &str) -> Arc<Tag> {
        let mut table = lock(&self.table);
        if let Some(tag) = table.tags.get(name) {
            return tag.clone();
        }
        table.sweep();
        let tag = Arc::new(Tag(AtomicU64::new(table.floor)));
        table.tags.insert(name.into(), tag.clone());
        tag
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        lock(&self.table).tags.len()
    }
}

impl Table {
    fn sweep(&mut self) {
        for _ in 0..SWEEP.min(self.tags.len()) {
            let index = self.hand % self.tags.len();
            self.hand = index + 1;
            // Only the table hands tags out, and it is locked: nobody can come by this one now.
            let Some((_, tag)) = self.tags.get_index(index) else {
                return;
            };
            if Arc::strong_count(tag) == 1 {
                self.floor = self.floor.max(tag.0.load(Ordering::Acquire));
                self.tags.swap_remove_index(index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_voids_what_was_loaded_before_and_nothing_that_came_after() {
        let tags = Tags::new(Heard::nothing());
        let menu = [tags.tag("menu")];
        let before = tags.stamp(0);
        assert!(tags.allow(before, &menu));
        tags.invalidate("menu");
        assert!(!tags.allow(before, &menu));
        assert!(tags.allow(before, &[tags.tag("other")]));
        assert!(tags.allow(tags.stamp(0), &menu));
        tags.invalidate_all();
        assert!(!tags.allow(before, &[]));
        assert!(tags.allow(tags.stamp(0), &menu));
    }

    #[test]
    fn a_tag_that_nothing_had_yet_voids_a_load_under_way() {
        let tags = Tags::new(Heard::nothing());
        let began = tags.stamp(0);
        tags.invalidate("menu");
        assert!(!tags.allow(began, &[tags.tag("menu")]));
    }

    #[test]
    fn tags_without_entries_go_away_and_their_invalidations_stay_known() {
        let tags = Tags::new(Heard::nothing());
        let began = tags.stamp(0);
        drop(tags.tag("menu"));
        tags.invalidate("menu");
        for number in 0..10_000 {
            drop(tags.tag(&number.to_string()));
        }
        assert!(tags.len() < 10, "{}", tags.len());
        assert!(!tags.allow(began, &[tags.tag("menu")]));
    }
}
