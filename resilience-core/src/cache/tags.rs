use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use foldhash::quality::RandomState;
use indexmap::IndexMap;

use crate::sync::{Mutex, lock};

/// What was invalidated, and when.
///
/// "When" is a number that every invalidation raises. A value knows the number that stood when
/// its load began, and is good while nothing that concerns it has been invalidated since. So a
/// tag of a million entries goes away by one write, and a load that was under way at the time is
/// as void as what was stored before it.
#[derive(Debug, Default)]
pub(super) struct Tags {
    epoch: AtomicU64,
    /// When all was invalidated for the last time.
    all: AtomicU64,
    table: Mutex<Table>,
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
    /// What has been invalidated so far; a load takes note of it when it begins.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether a value whose load began at `epoch`, with these tags, is still good.
    #[inline]
    pub(super) fn allow(&self, epoch: u64, tags: &[Arc<Tag>]) -> bool {
        let since = |last: &AtomicU64| last.load(Ordering::Acquire) > epoch;
        !since(&self.all) && !tags.iter().any(|tag| since(&tag.0))
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
        let tags = Tags::default();
        let menu = [tags.tag("menu")];
        let before = tags.epoch();
        assert!(tags.allow(before, &menu));
        tags.invalidate("menu");
        assert!(!tags.allow(before, &menu));
        assert!(tags.allow(before, &[tags.tag("other")]));
        assert!(tags.allow(tags.epoch(), &menu));
        tags.invalidate_all();
        assert!(!tags.allow(before, &[]));
        assert!(tags.allow(tags.epoch(), &menu));
    }

    #[test]
    fn a_tag_that_nothing_had_yet_voids_a_load_under_way() {
        let tags = Tags::default();
        let began = tags.epoch();
        tags.invalidate("menu");
        assert!(!tags.allow(began, &[tags.tag("menu")]));
    }

    #[test]
    fn tags_without_entries_go_away_and_their_invalidations_stay_known() {
        let tags = Tags::default();
        let began = tags.epoch();
        drop(tags.tag("menu"));
        tags.invalidate("menu");
        for number in 0..10_000 {
            drop(tags.tag(&number.to_string()));
        }
        assert!(tags.len() < 10, "{}", tags.len());
        assert!(!tags.allow(began, &[tags.tag("menu")]));
    }
}
