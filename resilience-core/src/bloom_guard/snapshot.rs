//! Filters that are saved, and take the place of another.

use std::time::Duration;

use super::{
    bloom::Bloom,
    format::{Saved, SnapshotError, header},
    recent::KEPT,
    shared::Shared,
    standing::Standing,
    state::Source,
};
use crate::sync::lock;

impl Shared<Bloom> {
    /// Puts a snapshot in place of the filter that was saved `age` ago.
    pub(super) fn load(&self, bytes: &[u8], age: Duration) -> Result<(), SnapshotError> {
        let saved = Saved::read(bytes, &self.seed).inspect_err(|_| self.distrust())?;
        if lock(&self.inner).state.begin(Source::Snapshot).is_none() {
            return Err(SnapshotError::RebuildUnderWay);
        }
        let keys = self.filter.stage_saved(&saved);
        // From here on inserts go there as well. Those before must not get lost either: the last
        // are taken along first, so that where there are no more, none was pushed out by others.
        let mut keys = keys.saturating_add(self.stage_recent());
        let knows_more = {
            let state = &lock(&self.inner).state;
            state.is_rebuilt() || state.inserted() > KEPT as u64
        };
        if knows_more {
            if !self.filter.same_geometry(&saved) {
                self.abandon();
                self.distrust();
                return Err(SnapshotError::Resized);
            }
            keys = self.filter.merge_into_staged();
        }
        if !self.filter.same_geometry(&saved) {
            lock(&self.inner).state.resize(saved.capacity());
        }
        lock(&self.inner).state.made_before(age);
        self.commit(keys);
        Ok(())
    }

    pub(super) fn save(&self) -> Option<Vec<u8>> {
        let standing = lock(&self.inner).state.standing();
        match standing {
            Standing::Empty => None,
            Standing::Answering | Standing::Overloaded | Standing::OutOfTouch => {
                Some(self.filter.copy(|geometry| header(geometry, &self.seed)))
            }
        }
    }
}
