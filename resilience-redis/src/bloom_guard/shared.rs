use std::{
    fmt::{self, Write as _},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{FromRedisValue, ToRedisArgs};
use resilience_core::{
    Environment, InvalidPolicy,
    bloom_guard::{Fingerprint, Policy, Replica},
};
use tokio::sync::watch;

use super::{generation::Generation, names::Names, own::Own, scripts::Scripts};
use crate::{
    RedisStore, StoreError, identity,
    script::{Script, millis},
};

/// What the guard, the task that follows the fleet, and whoever builds have in common.
pub(super) struct Shared {
    pub(super) store: RedisStore,
    pub(super) names: Names,
    pub(super) replica: Replica,
    pub(super) environment: Environment,
    pub(super) scripts: Scripts,
    /// What tells the seed of the fleet from others, and not what it is.
    seed_mark: String,
    known: Mutex<Known>,
    own: Mutex<Own>,
    /// The generation that is being built here, as it is written.
    building: Mutex<String>,
    pub(super) progress: watch::Sender<Progress>,
}

/// How the filter stands in Redis, as far as it told us.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) log: String,
    pub(super) current: Option<Generation>,
    pub(super) staged: Option<Generation>,
}

/// How far this process has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// The log that is followed, and the last record of it that was heard of.
    pub(super) log: String,
    pub(super) heard: u64,
    /// Grows when records were missed: what was loaded before lacks keys.
    pub(super) epoch: u64,
    /// The name of the generation that is loaded here, in this epoch.
    pub(super) loaded: Option<String>,
    /// Everything passes until somebody rebuilds the filter.
    pub(super) wanted: bool,
    /// How many generations were built here: what was asked before one took over knows nothing of it.
    pub(super) built: u64,
    /// Nobody follows the fleet any more.
    pub(super) is_over: bool,
}

impl Shared {
    pub(super) fn new(
        store: &RedisStore,
        policy: &Policy,
        replica: Replica,
        environment: &Environment,
    ) -> Result<Self, InvalidPolicy> {
        let prefix = store.connection().settings().key_prefix();
        Ok(Self {
            names: Names::new(prefix, policy.name())?,
            store: store.clone(),
            seed_mark: hexadecimal(&replica.seed_mark()),
            replica,
            environment: environment.clone(),
            scripts: Scripts::new(),
            known: Mutex::default(),
            own: Mutex::default(),
            building: Mutex::default(),
            progress: watch::Sender::default(),
        })
    }

    /// Adds keys here at once, and then to the filter of the fleet.
    ///
    /// Where that fails, or nobody waits for it, the task that follows the fleet does it later.
    pub(super) async fn insert(&self, keys: &[Fingerprint]) -> Result<(), StoreError> {
        for key in keys {
            self.replica.insert(*key);
            self.own().push(*key);
        }
        let mut telling = Telling {
            shared: self,
            told: false,
        };
        self.tell(keys).await?;
        telling.told = true;
        Ok(())
    }

    /// Adds keys to the filter of the fleet.
    pub(super) async fn tell(&self, keys: &[Fingerprint]) -> Result<(), StoreError> {
        for keys in keys.chunks(KEYS_A_CALL) {
            self.tell_at_once(keys).await?;
        }
        Ok(())
    }

    async fn tell_at_once(&self, keys: &[Fingerprint]) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            if self.add(&self.known(), keys).await? {
                return Ok(());
            }
        }
        Err(StoreError::Unavailable)
    }

    /// Adds keys to the filter as it was `known` to stand; `false` where it does not any more.
    async fn add(&self, known: &Known, keys: &[Fingerprint]) -> Result<bool, StoreError> {
        let mut names = self.names.filter_and_log.to_vec();
        let mut bits = Vec::new();
        self.place(keys, known.current.as_ref(), &mut names, &mut bits);
        let of_current = names.len() - self.names.filter_and_log.len();
        self.place(keys, known.staged.as_ref(), &mut names, &mut bits);
        let record: Vec<u8> = keys.iter().flat_map(|key| key.to_bytes()).collect();
        let arguments = (
            (&known.log, written(&known.current), written(&known.staged)),
            (of_current, LOG_RECORDS, &record[..], &bits[..]),
        );
        let (log, current, staged, number): (String, String, String, u64) = self
            .call(&self.scripts.add, &names, self.deadline(), &arguments)
            .await?;
        self.learn(log, &current, &staged);
        Ok(number > 0)
    }

    /// Adds the partitions of a generation that keys have bits in, and those bits: the number of
    /// each one's partition among all names, and its offset there.
    fn place(
        &self,
        keys: &[Fingerprint],
        generation: Option<&Generation>,
        names: &mut Vec<String>,
        bits: &mut Vec<u64>,
    ) {
        let Some(generation) = generation else { return };
        let first = names.len();
        let mut partitions = Vec::new();
        for bit in keys.iter().flat_map(|key| generation.bits_of(*key)) {
            let known = partitions.iter().position(|it| *it == bit.partition);
            let place = known.unwrap_or_else(|| {
                partitions.push(bit.partition);
                names.push(self.names.partition(generation, bit.partition));
                partitions.len() - 1
            });
            // Lua counts from one.
            bits.extend([(first + place + 1) as u64, bit.offset]);
        }
    }

    /// Ends a generation in one of the ways that filter_end.lua has; the one that nobody needs any
    /// more, or `None` where it was not so any more.
    pub(super) async fn end(
        &self,
        way: &str,
        generation: &Generation,
    ) -> Result<Option<String>, StoreError> {
        let (done, useless): (u8, String) = self
            .call(
                &self.scripts.end,
                &self.names.filter_and_log,
                PATIENCE,
                &(way, generation.write()),
            )
            .await?;
        Ok((done == 1).then_some(useless))
    }

    /// Runs one of the scripts, which all begin with the same arguments.
    pub(super) async fn call<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        deadline: Duration,
        arguments: &impl ToRedisArgs,
    ) -> Result<T, StoreError> {
        let new_log = identity::unique();
        let all = (&new_log, &self.seed_mark, millis(LIFE), arguments);
        script
            .call(self.store.connection(), deadline, keys, &all)
            .await
    }

    /// Removes the partitions of a generation that nobody needs any more.
    pub(super) async fn unlink(&self, generation: &Generation) -> Result<(), StoreError> {
        for names in self.names.partitions(generation).chunks(KEYS_A_STEP) {
            let mut unlink = redis::cmd("UNLINK");
            unlink.arg(names);
            self.store
                .connection()
                .run(&names[0], PATIENCE, async |mut wire| {
                    unlink.query_async::<()>(&mut wire).await
                })
                .await?;
        }
        Ok(())
    }

    pub(super) fn learn(&self, log: String, current: &str, staged: &str) {
        let [current, staged] = [current, staged].map(Generation::read);
        *lock(&self.known) = Known {
            log,
            current,
            staged,
        };
    }

    pub(super) fn known(&self) -> Known {
        lock(&self.known).clone()
    }

    pub(super) fn own(&self) -> MutexGuard<'_, Own> {
        lock(&self.own)
    }

    pub(super) fn building(&self) -> MutexGuard<'_, String> {
        lock(&self.building)
    }

    fn deadline(&self) -> Duration {
        self.store.connection().settings().time_to_decide()
    }
}

/// Keys on their way to Redis.
struct Telling<'a> {
    shared: &'a Shared,
    told: bool,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.shared.own().doubt();
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("names", &self.names)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

fn written(generation: &Option<Generation>) -> String {
    generation
        .as_ref()
        .map(Generation::write)
        .unwrap_or_default()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A filter that no process asks for is forgotten after this.
pub(super) const LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// For what nobody waits for with a request in hand.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// Names a step in which many are made, prolonged or removed: about 0.1 ms of the server's time.
pub(super) const KEYS_A_STEP: usize = 100;
/// About 0.5 ms of the server's time, with 10 bits for each key in two generations.
const KEYS_A_CALL: usize = 64;
/// 160 KiB, where each has one key: whoever has not asked for so long loads all of the filter anew.
const LOG_RECORDS: u64 = 10_000;
/// A filter changes its generation once in a while, never so often.
const ATTEMPTS: u32 = 4;
