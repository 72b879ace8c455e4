//! Loads of a fleet: whom a load asks first, and what becomes of what it brings.

use std::{
    fmt,
    hash::Hash,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{runtime::Handle, time::timeout};

use super::{
    Claim, Hears, Lease, Listener, Notice, Tier, Unfilled,
    entry::{Entry, Found, Terms},
    hashed::Hashed,
    heard::Heard,
    second::{Answer, Caught, Second},
    shared::Shared,
    tags::Tags,
    tally::Count,
};

/// The right to load a key for all processes. Dropped, it is given back.
pub(super) struct Held {
    tier: Arc<dyn Tier>,
    timeout: Duration,
    name: Vec<u8>,
    lease: Option<Lease>,
    why: Unfilled,
}

/// What a load asks for first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// What the second tier has.
    Look,
    /// To load: what there is anywhere is to be replaced.
    Claim,
}

/// What a load is to do.
#[derive(Debug)]
pub(super) enum Advice<V> {
    /// Take what others have, and how long its load took.
    Take(Found<V>, Terms, Duration),
    /// Load, for all where there is a lease.
    Load(Option<Held>),
}

impl<K, V> Shared<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Puts a second tier behind this cache, which is going to be shared as `shared_later`.
    pub(super) fn join_fleet(&mut self, mut second: Second<K, V>, shared_later: &Weak<Self>) {
        let shared = shared_later.clone();
        let hears = second.listen(Listener::new(move |notice| {
            let Some(shared) = shared.upgrade() else {
                return;
            };
            shared.tags.hear(notice);
            if let (Notice::InTouch, Some(second)) = (notice, &shared.second) {
                second.is_back();
            }
        }));
        self.tags = Tags::new(match hears {
            Hears::Nothing => Heard::nothing(),
            Hears::Changes => Heard::of(self.storage.expected()),
            Hears::Later => Heard::of(self.storage.expected()).out_of_touch(),
        });
        self.second = Some(second);
    }

    /// Asks the second tier for `key`, and waits for others who load it, for as long as the tier's
    /// policy has patience; not for longer than its [longest wait](Second::longest_wait).
    pub(super) async fn ask(&self, key: &K, first: First) -> Advice<V> {
        let Some(second) = &self.second else {
            return Advice::Load(None);
        };
        let Some(name) = second.name(key) else {
            return Advice::Load(None);
        };
        let began = self.environment.now();
        let lease = self.policy.hard_timeout.min(LONGEST_LEASE);
        let mut next = match second.catch_up(&name).await {
            Caught::Up => first,
            // There is nothing to look for.
            Caught::UpNow => First::Claim,
            Caught::Behind => return Advice::Load(None),
        };
        for round in 0..MOST_ROUNDS {
            if next == First::Look {
                match second.get(&name, &self.policy, &self.tally).await {
                    Answer::Found(found, terms, took) => return Advice::Take(found, terms, took),
                    Answer::Failure => break,
                    Answer::Nothing => {}
                }
            }
            let waited = self.environment.now().saturating_since(began);
            let patience = second.patience().saturating_sub(waited);
            if round > 0 && patience.is_zero() {
                break;
            }
            match second.claim(&name, lease, patience).await {
                Ok(Claim::Granted(lease)) => return Advice::Load(Some(second.hold(name, lease))),
                Ok(Claim::Refused) | Err(_) => break,
                Ok(Claim::Over) => {
                    self.tally.count(Count::TierWait);
                    next = First::Look;
                }
            }
        }
        Advice::Load(None)
    }

    /// Puts what was just inserted into the second tier, in the background; where it was not kept
    /// here, what is there must not outlive it.
    pub(super) fn share(self: &Arc<Self>, key: &Hashed<K>, entry: &Entry<V>) {
        let Some(second) = &self.second else { return };
        if let Ok(runtime) = Handle::try_current() {
            self.share_in(&runtime, key, entry, None);
        } else if let Some(name) = second.name(&key.key) {
            second.distrust(&name);
        }
    }

    /// Puts what was just loaded into the second tier, in the background, where it was loaded for
    /// all.
    pub(super) fn share_loaded(
        self: &Arc<Self>,
        key: &Hashed<K>,
        entry: &Entry<V>,
        held: Option<Held>,
    ) {
        let (Some(held), Ok(runtime)) = (held, Handle::try_current()) else {
            return;
        };
        if self.holds(key, entry) && entry.is_valid(&self.tags) {
            self.share_in(&runtime, key, entry, Some(held));
        }
    }

    fn share_in(
        self: &Arc<Self>,
        runtime: &Handle,
        key: &Hashed<K>,
        entry: &Entry<V>,
        held: Option<Held>,
    ) {
        let (shared, key, entry) = (self.clone(), key.clone(), entry.clone());
        runtime.spawn(async move { shared.put_in_second(&key, entry, held).await });
    }

    async fn put_in_second(&self, key: &Hashed<K>, mut entry: Entry<V>, mut held: Option<Held>) {
        let Some(second) = &self.second else { return };
        let Some(name) = second.name(&key.key) else {
            return;
        };
        for _ in 0..PUTS {
            // It may have been replaced meanwhile, or invalidated, perhaps before it arrived there:
            // what is there is to be what is here.
            let Some(latest) = self.latest(key, &entry) else {
                break;
            };
            entry = latest;
            let left = entry.life().left(self.environment.now());
            let sealed = second.seal(&name, &entry).filter(|_| !left.is_zero());
            let put = match (sealed, held.take()) {
                (Some(sealed), Some(held)) => second.fill(&name, held.spend(), sealed, left).await,
                (Some(sealed), None) => second.put(&name, sealed, left).await,
                (None, Some(held)) => return drop(held.for_nobody_else()),
                // What was put before must not be served instead.
                (None, None) => break,
            };
            if self.holds(key, &entry) {
                if put.is_ok() {
                    second.go_on().await;
                }
                return;
            }
        }
        // It is not kept, or changes too fast to follow; nothing is there rather than what is no
        // more.
        drop(second.remove(&name).await);
    }

    /// `entry`, or what has taken its place since.
    fn latest(&self, key: &Hashed<K>, entry: &Entry<V>) -> Option<Entry<V>> {
        if self.holds(key, entry) {
            return Some(entry.clone());
        }
        let newer = self.storage.peek(key.of(), Entry::clone);
        newer.filter(|newer| newer.is_valid(&self.tags))
    }

    fn holds(&self, key: &Hashed<K>, entry: &Entry<V>) -> bool {
        let stored = self.storage.peek(key.of(), |stored| stored.is(entry));
        // Others' changes are not looked at: what they put since must stay.
        stored == Some(true) && entry.is_valid_here(&self.tags)
    }
}

impl Held {
    pub(super) const fn new(
        tier: Arc<dyn Tier>,
        timeout: Duration,
        name: Vec<u8>,
        lease: Lease,
    ) -> Self {
        Self {
            tier,
            timeout,
            name,
            lease: Some(lease),
            why: Unfilled::Failed,
        }
    }

    /// What was loaded is not for others.
    pub(super) fn for_nobody_else(mut self) -> Self {
        self.why = Unfilled::Private;
        self
    }

    /// The lease, which is ended otherwise.
    fn spend(mut self) -> Lease {
        self.lease.take().unwrap_or(Lease::new(0))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let (Some(lease), Ok(runtime)) = (self.lease.take(), Handle::try_current()) else {
            return;
        };
        let (tier, name) = (self.tier.clone(), std::mem::take(&mut self.name));
        let (limit, why) = (self.timeout, self.why);
        runtime.spawn(async move {
            // Where the tier does not hear of it, the lease ends by itself.
            drop(timeout(limit, tier.release(&name, lease, why)).await);
        });
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// A load that was lost with its process holds others up for no longer than this, however long
/// loads may take.
const LONGEST_LEASE: Duration = Duration::from_secs(60);

/// How often what replaced an entry on its way is put there as well.
const PUTS: u32 = 2;

/// A tier that says "over" without end is not believed.
const MOST_ROUNDS: u32 = 16;
