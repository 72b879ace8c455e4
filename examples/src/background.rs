//! What goes on without anybody asking.

use std::time::Duration;

use resilience_core::{
    InvalidPolicy,
    backoff::{Backoff, Jitter},
    supervise::{self, Supervised, supervise},
};

use crate::{config::FleetSettings, fleet::Fleet, settlement::Settlement, store::Store};

/// Starts each of them, supervised.
pub(crate) fn start(
    settlement: &Settlement,
    store: &Store,
    fleet: Option<&Fleet>,
) -> Result<Vec<Supervised>, InvalidPolicy> {
    let settlement = settlement.clone();
    // A database that was away is back within seconds: no order need wait a minute for a restart.
    let backoff = Backoff::exponential(Duration::from_millis(100))
        .max(Duration::from_secs(5))
        .jitter(Jitter::Equal);
    let task = |name| supervise::Policy::new(name).backoff(backoff);
    let mut tasks = vec![
        supervise(task("settlement"), move || settlement.clone().run())?, // an error or a panic ends one run, not the task
    ];
    let Some(Fleet {
        turns, settings, ..
    }) = fleet
    else {
        return Ok(tasks);
    };
    let FleetSettings {
        recount,
        remind,
        cooks,
        ..
    } = *settings;
    let (listing, missing) = (store.clone(), store.clone());
    let kept = (store.clone(), turns.clone());
    let reminding = kept.clone();
    tasks.extend([
        supervise(task("list-dishes"), move || {
            listing.clone().list_what_is_lost()
        })?, // all numbers pass meanwhile
        supervise(task("count-missing"), move || {
            missing.clone().count_what_is_missing()
        })?, // whoever finds none does
        supervise(task("count-anew"), move || {
            let (store, turns) = kept.clone();
            store.count_regularly(turns, recount)
        })?, // one gateway at a time
        supervise(task("remind-kitchens"), move || {
            let (store, turns) = reminding.clone();
            store.remind_kitchens(turns, remind)
        })?, // of what the queue has not, or has no more
    ]);
    for _ in 0..cooks {
        let store = store.clone();
        tasks.push(supervise(task("cook"), move || store.clone().cook())?); // each gateway has a kitchen
    }
    Ok(tasks)
}
