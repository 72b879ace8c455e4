use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use resilience_core::{
    Timestamp,
    bloom_guard::{Fingerprint, Staged},
};
use tokio::time::sleep;

use super::{
    generation::{Generation, PARTITION_WORDS},
    shared::{KEYS_A_STEP, LIFE, PATIENCE, Shared},
};
use crate::{StoreError, script::millis};

/// Begins to follow what the fleet inserts and builds, for as long as there is a guard.
pub(super) fn follow(shared: &Arc<Shared>) {
    let following = Following(Arc::downgrade(shared));
    shared.store.runtime().spawn(following.run());
}

/// Whoever waits for what this task hears is told where it ends before the guard, as it does with
/// its runtime.
struct Following(Weak<Shared>);

impl Following {
    async fn run(self) {
        let mut follower = Follower::default();
        loop {
            let Some(shared) = self.0.upgrade() else {
                return;
            };
            let pace = follower.step(&shared).await;
            drop(shared);
            match pace {
                Pace::Behind => {}
                Pace::UpToDate => sleep(INTERVAL).await,
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared
                .progress
                .send_modify(|progress| progress.is_over = true);
        }
    }
}

#[derive(Default)]
struct Follower {
    loading: Option<Loading>,
    /// When the partitions were given another life.
    prolonged: Timestamp,
    /// Why the last question had no answer.
    failure: Option<StoreError>,
}

/// A generation on its way here.
struct Loading {
    generation: Generation,
    staged: Staged,
    /// The partition that comes next.
    next: usize,
}

enum Pace {
    Behind,
    UpToDate,
}

/// What the server said.
struct Heard {
    log: String,
    last: u64,
    from: u64,
    records: Vec<(u64, Vec<u8>)>,
}

impl Follower {
    async fn step(&mut self, shared: &Shared) -> Pace {
        match self.catch_up(shared).await {
            Ok(pace) => {
                self.failure = None;
                pace
            }
            Err(reason) => {
                if self.failure.as_ref() != Some(&reason) {
                    tracing::warn!(%reason, "cannot follow a filter in redis");
                    self.failure = Some(reason);
                }
                Pace::UpToDate
            }
        }
    }

    async fn catch_up(&mut self, shared: &Shared) -> Result<Pace, StoreError> {
        // What others inserted before is in the answer.
        let asked = shared.environment.now();
        let built = shared.progress.borrow().built;
        let heard = ask(shared).await?;
        let is_complete = self.hear(shared, &heard);
        if !is_complete {
            return Ok(Pace::Behind);
        }
        let untold = shared.own().take_untold();
        if let Some(keys) = untold {
            shared
                .tell(&keys)
                .await
                .inspect_err(|_| shared.own().doubt())?;
        }
        let known = shared.known();
        self.prolong(shared, known.current.as_ref(), asked).await?;
        let is_loaded = self.load(shared, known.current, built).await?;
        if shared.progress.borrow().loaded.is_some() {
            shared.replica.trust_until(asked.saturating_add(TRUST));
        } else {
            shared.replica.distrust();
        }
        Ok(if is_loaded {
            Pace::UpToDate
        } else {
            Pace::Behind
        })
    }

    /// Takes in what the server said; whether there was nothing more to say.
    fn hear(&mut self, shared: &Shared, heard: &Heard) -> bool {
        let progress = shared.progress.borrow().clone();
        let is_new = progress.log != heard.log;
        let mut last = if is_new { heard.from } else { progress.heard };
        let mut is_whole = !is_new;
        for (number, record) in &heard.records {
            is_whole &= *number == last + 1;
            last = *number;
            for key in record.chunks_exact(16) {
                let mut bytes = [0; 16];
                bytes.copy_from_slice(key);
                shared.replica.insert(Fingerprint::from_bytes(bytes));
            }
        }
        if heard.records.is_empty() && last < heard.last {
            is_whole = false;
            last = heard.last;
        }
        if !is_whole {
            // Keys are missing here: those of a log that nobody has any more, or that went by. All
            // of them are in the partitions, but for those that Redis has forgotten with its log.
            self.loading = None;
            shared.replica.distrust();
        }
        if is_new {
            shared.own().doubt();
        }
        shared.progress.send_modify(|progress| {
            progress.log.clone_from(&heard.log);
            progress.heard = last;
            if !is_whole {
                progress.epoch += 1;
                progress.loaded = None;
            }
        });
        last == heard.last
    }

    /// Brings the generation that is asked here, a step at a time; whether it is, or there is none.
    /// When the server was asked for it, so many had been built here.
    async fn load(
        &mut self,
        shared: &Shared,
        current: Option<Generation>,
        built: u64,
    ) -> Result<bool, StoreError> {
        if !note(shared, current.is_some(), built) {
            return Ok(false);
        }
        let loaded = shared.progress.borrow().loaded.clone();
        let Some(current) = current.filter(|it| loaded.as_ref() != Some(&it.name)) else {
            self.loading = None;
            return Ok(true);
        };
        let loading = match self.loading.take() {
            Some(loading) if loading.generation == current => loading,
            earlier => {
                drop(earlier);
                let Some(staged) = shared.replica.stage(current.capacity, current.geometry) else {
                    // Here another one is being built.
                    return Ok(true);
                };
                Loading {
                    generation: current,
                    staged,
                    next: 0,
                }
            }
        };
        self.loading = loading.step(shared).await?;
        Ok(self.loading.is_none())
    }

    /// Gives the partitions another life, now and then.
    async fn prolong(
        &mut self,
        shared: &Shared,
        current: Option<&Generation>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(current) = current.filter(|_| now.saturating_since(self.prolonged) >= LIFE / 24)
        else {
            return Ok(());
        };
        for names in shared.names.partitions(current).chunks(KEYS_A_STEP) {
            let mut prolong = redis::pipe();
            for name in names {
                prolong.cmd("PEXPIRE").arg(name).arg(millis(LIFE));
            }
            let connection = shared.store.connection();
            connection
                .run(&names[0], PATIENCE, async |mut wire| {
                    prolong.query_async::<redis::Value>(&mut wire).await
                })
                .await?;
        }
        self.prolonged = now;
        Ok(())
    }
}

/// Notes whether there is a generation. Says `false` where another was built since so many had been
/// `built`: one that took over meanwhile stands in no answer yet.
fn note(shared: &Shared, is_there: bool, built: u64) -> bool {
    let is_overloaded = shared.replica.is_overloaded();
    let mut is_present = false;
    shared.progress.send_modify(|progress| {
        is_present = progress.built == built;
        if !is_present {
            return;
        }
        progress.wanted = !is_there || is_overloaded;
        if !is_there {
            progress.loaded = None;
        }
    });
    is_present
}

impl Loading {
    /// Brings the next partitions; `None` when that was all, or when some are gone.
    async fn step(mut self, shared: &Shared) -> Result<Option<Self>, StoreError> {
        let generation = &self.generation;
        let end = (self.next + PARTITIONS_A_STEP).min(generation.partitions());
        let names: Vec<_> = (self.next..end)
            .map(|partition| shared.names.partition(generation, partition))
            .collect();
        let mut get = redis::pipe();
        for name in &names {
            get.cmd("GET").arg(name);
        }
        let connection = shared.store.connection();
        let partitions: Vec<Option<Vec<u8>>> = connection
            .run(&names[0], PATIENCE, async |mut wire| {
                get.query_async(&mut wire).await
            })
            .await?;
        for bits in partitions {
            let bits = bits.unwrap_or_default();
            if bits.len() != generation.bytes_of(self.next) {
                tracing::warn!("a part of a filter in redis is gone");
                shared.end("lose", generation).await?;
                return Ok(None);
            }
            self.staged.add(self.next * PARTITION_WORDS, &bits);
            self.next += 1;
        }
        if self.next < generation.partitions() {
            return Ok(Some(self));
        }
        let name = self.generation.name;
        self.staged.finish();
        shared
            .progress
            .send_modify(|progress| progress.loaded = Some(name));
        Ok(None)
    }
}

async fn ask(shared: &Shared) -> Result<Heard, StoreError> {
    let progress = shared.progress.borrow().clone();
    let building = shared.building().clone();
    let arguments = (
        (&progress.log, progress.heard, RECENT),
        (RECORDS_A_STEP, &building),
    );
    let names = &shared.names.filter_and_log;
    let script = &shared.scripts.poll;
    type Reply = (String, String, String, u64, u64, Vec<(u64, Vec<u8>)>);
    let (log, current, staged, last, from, records): Reply =
        shared.call(script, names, TRUST, &arguments).await?;
    shared.learn(log.clone(), &current, &staged);
    Ok(Heard {
        log,
        last,
        from,
        records,
    })
}

/// For how long after a question nobody is absent who was inserted before it.
const TRUST: Duration = Duration::from_millis(200);
/// Three questions can fail before that is over.
const INTERVAL: Duration = Duration::from_millis(50);
/// What a rebuild here takes along of what others inserted before this process was there.
const RECENT: u64 = 4096;
const RECORDS_A_STEP: u64 = 500;
/// 256 KiB: on the connection that decisions of others go over as well.
const PARTITIONS_A_STEP: usize = 4;
