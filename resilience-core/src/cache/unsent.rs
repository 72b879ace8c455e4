//! Changes that a second tier has not heard of.

use indexmap::IndexMap;

use crate::sync::{Mutex, lock};

/// The keys of which a second tier may have something older than what was put or removed here.
///
/// What it has of them is not believed until it has heard. Where there are more than can be kept,
/// nothing that it has is.
#[derive(Debug, Default)]
pub(super) struct Unsent(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// When the last change of each was missed, the longest untried first.
    keys: IndexMap<Vec<u8>, u64>,
    everything: Option<u64>,
    /// When the last change was missed that the tier was not even told of.
    untold: Option<u64>,
    now: u64,
}

/// When a call of the tier began: what was missed since it has not heard by it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Began(u64);

/// What the tier has to hear before it can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// That the key was changed.
    Key,
    /// That everything was.
    Everything,
}

impl Unsent {
    /// A call of the tier begins.
    pub(super) fn begin(&self) -> Began {
        Began(lock(&self.0).now)
    }

    /// The tier was told of a change of `key`, and did not say that it heard.
    pub(super) fn missed(&self, key: &[u8]) {
        lock(&self.0).add(key);
    }

    /// Nobody could tell the tier of a change of `key`.
    pub(super) fn untold(&self, key: &[u8]) {
        let mut table = lock(&self.0);
        table.add(key);
        table.untold = Some(table.now);
    }

    /// The tier heard of a change of `key` by a call that began then.
    pub(super) fn heard(&self, key: &[u8], began: Began) {
        let mut table = lock(&self.0);
        if table.keys.get(key).is_some_and(|missed| *missed <= began.0) {
            table.keys.shift_remove(key);
        }
    }

    /// The tier has forgotten everything that it had then.
    pub(super) fn heard_all(&self, began: Began) {
        let mut table = lock(&self.0);
        table.keys.retain(|_, missed| *missed > began.0);
        table.everything = table.everything.filter(|missed| *missed > began.0);
        table.untold = table.untold.filter(|missed| *missed > began.0);
    }

    /// The tier knows by itself of all that it was told and was missed then. It need not be told
    /// that everything was changed, unless that stands for a change that it was not told of.
    pub(super) fn known(&self, began: Began) {
        let mut table = lock(&self.0);
        if table.untold.is_none() {
            table.everything = table.everything.filter(|missed| *missed > began.0);
        }
    }

    /// What the tier has to hear before it is asked for `key`.
    pub(super) fn due(&self, key: &[u8]) -> Due {
        let table = lock(&self.0);
        if table.everything.is_some() {
            Due::Everything
        } else if table.keys.contains_key(key) {
            Due::Key
        } else {
            Due::Nothing
        }
    }

    /// The key that is to be told next.
    pub(super) fn next(&self) -> Option<Vec<u8>> {
        let table = lock(&self.0);
        table.keys.first().map(|(key, _)| key.clone())
    }
}

impl Table {
    fn add(&mut self, key: &[u8]) {
        self.now += 1;
        if self.everything.is_some() {
            self.everything = Some(self.now);
            return;
        }
        self.keys.shift_remove(key);
        if self.keys.len() < MOST {
            self.keys.insert(key.to_vec(), self.now);
        } else {
            self.keys = IndexMap::new();
            self.everything = Some(self.now);
        }
    }
}

/// About a megabyte of short keys.
const MOST: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_due_until_the_tier_has_heard_that_one() {
        let unsent = Unsent::default();
        let before = unsent.begin();
        unsent.missed(b"7");
        unsent.heard(b"7", before);
        assert_eq!(
            (unsent.due(b"7"), unsent.due(b"8")),
            (Due::Key, Due::Nothing)
        );
        assert_eq!(unsent.next().as_deref(), Some(&b"7"[..]));
        unsent.heard(b"7", unsent.begin());
        assert_eq!((unsent.due(b"7"), unsent.next()), (Due::Nothing, None));
    }

    #[test]
    fn more_than_can_be_kept_is_everything() {
        let unsent = Unsent::default();
        for key in 0..=MOST {
            assert_eq!(unsent.due(b"another"), Due::Nothing);
            unsent.missed(&key.to_le_bytes());
        }
        assert_eq!(unsent.due(b"another"), Due::Everything);
        let began = unsent.begin();
        unsent.missed(b"7");
        unsent.heard_all(began);
        assert_eq!(unsent.due(b"another"), Due::Everything);
        unsent.heard_all(unsent.begin());
        assert_eq!(unsent.due(b"7"), Due::Nothing);
    }

    #[test]
    fn what_the_tier_knows_by_itself_it_is_not_told_again() {
        let unsent = Unsent::default();
        let miss_too_many = || (0..=MOST).for_each(|key| unsent.missed(&key.to_le_bytes()));
        miss_too_many();
        let began = unsent.begin();
        unsent.missed(b"7");
        unsent.known(began);
        assert_eq!(unsent.due(b"another"), Due::Everything);
        unsent.known(unsent.begin());
        assert_eq!(unsent.due(b"7"), Due::Nothing);
        // Nobody could tell it of this one.
        unsent.untold(b"7");
        miss_too_many();
        unsent.known(unsent.begin());
        assert_eq!(unsent.due(b"7"), Due::Everything);
        unsent.heard_all(unsent.begin());
        miss_too_many();
        unsent.known(unsent.begin());
        assert_eq!(unsent.due(b"7"), Due::Nothing);
    }

    #[test]
    fn what_the_tier_does_not_take_holds_back_nothing_else() {
        let unsent = Unsent::default();
        for key in [b"1", b"2", b"1"] {
            unsent.missed(key);
        }
        assert_eq!(unsent.next().as_deref(), Some(&b"2"[..]));
    }
}
