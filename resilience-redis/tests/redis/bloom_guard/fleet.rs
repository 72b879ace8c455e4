//! Several processes at random, beside the exact set of what they were told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use resilience_core::Timestamp;
use resilience_redis::bloom_guard::{BloomGuard, Presence};
use tokio::time::sleep;

use super::{BOUND, UNKNOWN, answers, hasty, now, process};
use crate::support::{RedisServer, eventually};

/// A fleet beside the exact set of what it was told.
struct Fleet {
    processes: Vec<BloomGuard<u64>>,
    /// When each key was known to be inserted, and by which process.
    keys: Arc<Mutex<BTreeMap<u64, (Timestamp, usize)>>>,
    absent: u64,
}

impl Fleet {
    /// What a source has of the keys: the last are still to be committed.
    fn committed(&self) -> Vec<u64> {
        let keys = self.keys.lock().unwrap();
        let committed = keys
            .iter()
            .filter(|(_, (since, _))| now().saturating_since(*since) > COMMIT);
        committed.map(|(key, _)| *key).collect()
    }

    /// Nobody takes a key that exists for absent, as soon as he could have heard of it.
    fn check(&mut self) {
        let keys = self.keys.lock().unwrap();
        for (index, process) in self.processes.iter().enumerate() {
            for (key, (since, inserter)) in keys.iter() {
                let asked = now();
                if process.check(key) == Presence::Absent {
                    let excuse = *inserter != index && asked < since.saturating_add(BOUND);
                    assert!(
                        excuse,
                        "{key}, inserted {:?} ago",
                        asked.saturating_since(*since)
                    );
                }
            }
            self.absent += u64::from(process.check(&UNKNOWN) == Presence::Absent);
        }
    }

    async fn insert(&self, key: u64, index: usize) {
        if self.processes[index].insert(&key).await.is_ok() {
            let mut keys = self.keys.lock().unwrap();
            keys.insert(key, (now(), index));
        }
    }
}

#[tokio::test]
async fn whatever_happens_no_key_that_exists_is_taken_for_absent() {
    let seed = 7;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut server = RedisServer::start().await;
    let mut fleet = Fleet {
        processes: Vec::new(),
        keys: Arc::default(),
        absent: 0,
    };
    for _ in 0..3 {
        fleet.processes.push(process(&server.url(), hasty()).await);
    }
    let mut next = 0;
    for round in 0..ROUNDS {
        let builder = random.usize(..fleet.processes.len());
        let rebuild = fleet.processes[builder].rebuild().await;
        let committed = fleet.committed();
        for _ in 0..random.usize(5..30) {
            fleet
                .insert(next, random.usize(..fleet.processes.len()))
                .await;
            next += 1;
            fleet.check();
            sleep(Duration::from_millis(random.u64(..20))).await;
        }
        if let Ok(mut rebuild) = rebuild {
            committed.iter().for_each(|key| rebuild.insert(key));
            // Where it is lost on the way, the next one is not.
            let _ = rebuild.finish().await;
        }
        fleet.check();
        let pause = now().saturating_add(Duration::from_millis(random.u64(..400)));
        while now() < pause {
            fleet.check();
            sleep(Duration::from_millis(7)).await;
        }
        match round % 7 {
            1 => server.tell("FLUSHALL").await,
            2 => server.tell("SCRIPT FLUSH").await,
            3 => server.tell("SAVE").await,
            5 => {
                server.kill();
                server.start_again().await;
            }
            6 => {
                let late = process(&server.url(), hasty()).await;
                fleet.processes[random.usize(..3)] = late;
            }
            _ => {}
        }
    }
    assert!(
        fleet.absent > 20,
        "hardly anything was absent: {}",
        fleet.absent
    );
    let committed = fleet.committed();
    eventually(async || fleet.processes[0].rebuild_from(|| &committed).await.ok()).await;
    for process in &fleet.processes {
        answers(process).await;
    }
    fleet.check();
}

/// Between an insert and the commit of what it stands for.
const COMMIT: Duration = Duration::from_millis(100);
const ROUNDS: usize = 21;
