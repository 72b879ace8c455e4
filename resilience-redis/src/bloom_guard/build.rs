use std::{sync::Arc, time::Duration};

use resilience_core::{
    Timestamp,
    bloom_guard::{Fingerprint, Staged},
};
use tokio::time::{sleep, timeout};

use super::{
    RebuildError,
    generation::{Generation, PARTITION_WORDS},
    shared::{KEYS_A_STEP, LIFE, PATIENCE, Shared},
};
use crate::{StoreError, script::millis};

/// A generation that this process builds.
///
/// It is filled here, beside the filter that is asked, and brought to Redis at the end. What anybody
/// inserts meanwhile is in both from the beginning.
pub(super) struct Build {
    shared: Arc<Shared>,
    generation: Generation,
    state: State,
    begun: Timestamp,
}

enum State {
    /// Nobody knows of it but us.
    Preparing,
    Filling {
        staged: Staged,
        /// What is staged has all keys that were inserted since then, while this is the epoch.
        epoch: u64,
    },
    /// It may be asked already.
    Committing,
    Over,
}

impl Build {
    pub(super) async fn begin<E>(shared: Arc<Shared>) -> Result<Self, RebuildError<E>> {
        let (capacity, geometry) = shared.replica.next_size();
        let generation = Generation::new(capacity, geometry);
        let mut build = Self {
            begun: shared.environment.now(),
            shared,
            generation,
            state: State::Preparing,
        };
        build.create().await?;
        let arguments = (build.generation.write(), millis(LONGEST_SILENCE));
        let names = &build.shared.names.filter_and_log;
        let script = &build.shared.scripts.begin;
        let (log, last, given_up): (String, u64, String) = build
            .shared
            .call(script, names, PATIENCE, &arguments)
            .await?;
        if log.is_empty() {
            return Err(RebuildError::UnderWay);
        }
        *build.shared.building() = build.generation.write();
        build.begun = build.shared.environment.now();
        let staging = timeout(STAGING, build.stage(&log, last)).await;
        let (staged, epoch) = staging.map_err(|_| StoreError::Timeout(STAGING))?;
        build.state = State::Filling { staged, epoch };
        if let Some(given_up) = Generation::read(&given_up) {
            discard(&build.shared, given_up);
        }
        Ok(build)
    }

    pub(super) fn insert(&mut self, key: Fingerprint) {
        if let State::Filling { staged, .. } = &mut self.state {
            staged.insert(key);
        }
    }

    /// Brings it to Redis, where it takes over for all, and then here.
    pub(super) async fn finish<E>(mut self) -> Result<(), RebuildError<E>> {
        let shared = self.shared.clone();
        // A log that is new has lost what was in the one before, and whoever inserted that has
        // to find out and insert it again.
        let since = shared.environment.now().saturating_since(self.begun);
        sleep(SHORTEST_BUILD.saturating_sub(since)).await;
        self.bring().await?;
        let State::Filling { staged, epoch } =
            std::mem::replace(&mut self.state, State::Committing)
        else {
            return Err(RebuildError::Lost);
        };
        let Some(before) = shared.end("commit", &self.generation).await? else {
            return Err(RebuildError::Lost);
        };
        self.state = State::Over;
        staged.finish();
        shared.progress.send_modify(|progress| {
            progress.built += 1;
            progress.wanted = false;
            // Else keys were missed here: all that Redis has are loaded from there.
            if progress.epoch == epoch {
                progress.loaded = Some(self.generation.name.clone());
            }
        });
        if let Some(before) = Generation::read(&before) {
            discard(&shared, before);
        }
        Ok(())
    }

    /// Makes partitions in which no bit is set: keys are only added to those that exist, since one
    /// that was evicted must not come back with a few bits alone.
    async fn create(&self) -> Result<(), StoreError> {
        let (generation, names) = (&self.generation, &self.shared.names);
        let partitions: Vec<_> = (0..generation.partitions()).collect();
        for step in partitions.chunks(KEYS_A_STEP) {
            let mut create = redis::pipe();
            for partition in step {
                let name = names.partition(generation, *partition);
                let last = generation.bytes_of(*partition) - 1;
                create.cmd("SETRANGE").arg(&name).arg(last).arg(&[0][..]);
                create.cmd("PEXPIRE").arg(&name).arg(millis(LIFE));
            }
            let connection = self.shared.store.connection();
            connection
                .run(&names.filter_and_log[0], PATIENCE, async |mut wire| {
                    create.query_async::<redis::Value>(&mut wire).await
                })
                .await?;
        }
        Ok(())
    }

    /// Waits until all is known here that was inserted before the build began, and puts a filter
    /// for it beside.
    async fn stage(&self, log: &str, last: u64) -> (Staged, u64) {
        let (shared, generation) = (&self.shared, &self.generation);
        let mut progress = shared.progress.subscribe();
        loop {
            let now = progress.borrow_and_update().clone();
            if now.log == log
                && now.heard >= last
                && let Some(staged) = shared
                    .replica
                    .stage(generation.capacity, generation.geometry)
            {
                return (staged, now.epoch);
            }
            // It cannot fail: we hold the other end.
            let _ = progress.changed().await;
        }
    }

    async fn bring<E>(&self) -> Result<(), RebuildError<E>> {
        let State::Filling { staged, .. } = &self.state else {
            return Err(RebuildError::Lost);
        };
        let (shared, generation) = (&self.shared, &self.generation);
        let [filter, log] = &shared.names.filter_and_log;
        for partition in 0..generation.partitions() {
            let bits = staged.read(partition * PARTITION_WORDS, PARTITION_WORDS);
            let keys = [
                filter.clone(),
                log.clone(),
                shared.names.partition(generation, partition),
                shared.names.on_the_way(generation),
            ];
            let arguments = (generation.write(), &bits[..]);
            let merged: u8 = shared
                .call(&shared.scripts.merge, &keys, PATIENCE, &arguments)
                .await?;
            if merged == 0 {
                return Err(RebuildError::Lost);
            }
        }
        Ok(())
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        let mut building = self.shared.building();
        if *building == self.generation.write() {
            building.clear();
        }
        drop(building);
        let may_be_asked = match self.state {
            State::Over => return,
            State::Committing => true,
            State::Preparing | State::Filling { .. } => false,
        };
        let (shared, generation) = (self.shared.clone(), self.generation.clone());
        self.shared.store.runtime().spawn(async move {
            let given_up = shared.end("abandon", &generation).await;
            if !may_be_asked || matches!(given_up, Ok(Some(_))) {
                // What stays behind expires.
                let _ = shared.unlink(&generation).await;
            }
        });
    }
}

/// Removes a generation that nobody asks any more, for which nobody waits.
fn discard(shared: &Arc<Shared>, generation: Generation) {
    let this = shared.clone();
    shared.store.runtime().spawn(async move {
        // What stays behind expires.
        let _ = this.unlink(&generation).await;
    });
}

/// A builder that gave no sign of life for so long is given up: a process gives one with each
/// question that it asks, twenty times a second.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);
/// Time for every process to ask how the filter stands, and to insert a few thousand keys.
const SHORTEST_BUILD: Duration = Duration::from_millis(250);
/// A generation that is being loaded here goes first.
const STAGING: Duration = Duration::from_secs(5);
