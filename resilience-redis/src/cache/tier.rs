use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{Pipeline, PushInfo};
use resilience_core::{
    BoxError, Clock, InvalidPolicy,
    cache::{Claim, Hears, Lease, Listener, Notice, Remembered, Reply, Tier, Unfilled},
};
use tokio::time::timeout;

use super::{
    ear::{self, Ear, Heard, How, Message},
    frame::{self, ServerTime},
    names::{Meant, Names, Part},
    unsent::{Due, Ticket, Unsent},
    waiters::Waiters,
};
use crate::{RedisStore, StoreError, connection::Node, identity, script::Script};

/// The second tier of a [`Cache`](resilience_core::Cache), in Redis; see the [module](super).
///
/// Clones are the same tier.
#[derive(Clone)]
pub struct RedisTier(Arc<Shared>);

pub(super) struct Shared {
    pub(super) store: RedisStore,
    pub(super) names: Names,
    /// Who we are in messages.
    pub(super) origin: String,
    clock: Clock,
    claims: AtomicU64,
    claim: Script,
    fill: Script,
    release: Script,
    listener: OnceLock<Listener>,
    waiters: Waiters,
    unsent: Mutex<Unsent>,
    ears: Mutex<Ears>,
    /// How far the server's clock is ahead of ours, in milliseconds.
    ahead: AtomicI64,
}

#[derive(Default)]
#[allow(
    clippy::mutable_key_type,
    reason = "a node is known by where it is in memory"
)]
struct Ears {
    at: HashMap<Node, Option<Ear>>,
    /// What the servers said of themselves when they were last asked.
    identities: HashMap<Node, String>,
    in_touch: bool,
}

impl RedisTier {
    pub(crate) fn new(store: &RedisStore, name: &str) -> Result<Self, InvalidPolicy> {
        let prefix = store.connection().settings().key_prefix();
        Ok(Self(Arc::new(Shared {
            names: Names::new(prefix, name)?,
            store: store.clone(),
            origin: identity::unique(),
            clock: Clock::system(),
            claims: AtomicU64::new(0),
            claim: Script::new(include_str!("../lua/cache_claim.lua")),
            fill: Script::new(include_str!("../lua/cache_fill.lua")),
            release: Script::new(include_str!("../lua/cache_release.lua")),
            listener: OnceLock::new(),
            waiters: Waiters::default(),
            unsent: Mutex::new(Unsent::new()),
            ears: Mutex::default(),
            ahead: AtomicI64::new(0),
        })))
    }

    /// Whether this process hears what the others change, and what Redis holds is believed. From
    /// the start until the first connection stands it does not.
    #[must_use]
    pub fn is_in_touch(&self) -> bool {
        self.0.ears().in_touch
    }
}

impl Tier for RedisTier {
    fn get<'a>(&'a self, key: &'a [u8]) -> Reply<'a, Option<Remembered>> {
        Box::pin(async { Ok(self.0.get(&Part::of(key)).await?) })
    }

    fn put<'a>(&'a self, key: &'a [u8], entry: Vec<u8>, ttl: Duration) -> Reply<'a, ()> {
        Box::pin(async move { Ok(self.0.put(&Part::of(key), &entry, ttl).await?) })
    }

    fn remove<'a>(&'a self, key: &'a [u8]) -> Reply<'a, ()> {
        Box::pin(async {
            let part = Part::of(key);
            let ticket = self.0.unsent().void(&part);
            Ok(self.0.remove(&part, ticket).await?)
        })
    }

    fn clear(&self) -> Reply<'_, ()> {
        Box::pin(async {
            let ticket = self.0.unsent().void_all();
            // In a task of its own: it looks at every key, and goes on where nobody waits for it.
            let shared = self.0.clone();
            let clear = tokio::spawn(async move { shared.clear(ticket).await });
            Ok(clear.await.map_err(BoxError::from)??)
        })
    }

    fn listen(&self, listener: Listener) -> Hears {
        if self.0.listener.set(listener).is_ok() {
            let runtime = self.0.store.runtime();
            runtime.spawn(hear_all(Arc::downgrade(&self.0)));
        }
        Hears::Later
    }

    fn mark(&self, key: &[u8]) -> u64 {
        Part::of(key).mark()
    }

    fn claim<'a>(&'a self, key: &'a [u8], lease: Duration, patience: Duration) -> Reply<'a, Claim> {
        Box::pin(async move { Ok(self.0.claim(&Part::of(key), lease, patience).await?) })
    }

    fn fill<'a>(
        &'a self,
        key: &'a [u8],
        lease: Lease,
        entry: Vec<u8>,
        ttl: Duration,
    ) -> Reply<'a, ()> {
        Box::pin(async move { Ok(self.0.fill(&Part::of(key), lease, &entry, ttl).await?) })
    }

    fn release<'a>(&'a self, key: &'a [u8], lease: Lease, why: Unfilled) -> Reply<'a, ()> {
        Box::pin(async move { Ok(self.0.release(&Part::of(key), lease, why).await?) })
    }
}

impl fmt::Debug for RedisTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTier")
            .field("names", &self.0.names)
            .field("store", &self.0.store)
            .finish_non_exhaustive()
    }
}

impl Shared {
    async fn get(&self, part: &Part) -> Result<Option<Remembered>, StoreError> {
        if !self.believes(part) {
            return Err(StoreError::Unavailable);
        }
        let name = self.names.value(part);
        let mut get = redis::cmd("GET");
        get.arg(&name);
        let connection = self.store.connection();
        let found: Option<Vec<u8>> = connection
            .run(&name, self.deadline(), async |mut wire| {
                get.query_async(&mut wire).await
            })
            .await?;
        let Some(framed) = found else {
            return Ok(None);
        };
        let Some((entry, end)) = frame::unwrap(&framed) else {
            // The cache finds that it cannot read this, and has it removed.
            return Ok(Some(Remembered {
                entry: framed,
                left: None,
            }));
        };
        let left = end.since(self.server_now());
        Ok((!left.is_zero()).then(|| Remembered {
            entry: entry.to_vec(),
            left: Some(left),
        }))
    }

    async fn put(&self, part: &Part, entry: &[u8], ttl: Duration) -> Result<(), StoreError> {
        // Where it cannot be put, what is there is not to be believed any more.
        let ticket = self.unsent().void(part);
        let end = self.server_now().after(ttl);
        let [value, ..] = self.names.keys(part);
        let mut set = redis::cmd("SET");
        set.arg(value).arg(frame::wrap(entry, end));
        set.arg("PX").arg(frame::millis(ttl));
        self.change(part, ticket, Some(&set)).await
    }

    async fn remove(&self, part: &Part, ticket: Ticket) -> Result<(), StoreError> {
        self.change(part, ticket, None).await
    }

    /// Puts another entry or none in the place of what there is, ends the lease, and lets the
    /// others hear of it.
    async fn change(
        &self,
        part: &Part,
        ticket: Ticket,
        set: Option<&redis::Cmd>,
    ) -> Result<(), StoreError> {
        let [value, lease, void] = self.names.keys(part);
        let ear = self.ear_of(&value)?;
        let meant = Meant::Key(part.clone());
        let with = |set: Option<&redis::Cmd>, how| {
            let mut change = redis::pipe();
            if set.is_some() {
                // Nobody is to find nothing in between. A removal does without: a server that has
                // no memory left takes no transaction.
                change.atomic();
            }
            change.cmd("UNLINK").arg(&value).arg(&lease);
            set.map(|set| change.add_command(set.clone()));
            self.void(&mut change, how, &void, &meant);
            change
        };
        let mut outcome = ear.run(self.deadline(), &with(set, ear.how)).await;
        if outcome.as_ref().is_err_and(|error| !error.may_have_run()) {
            // A server without memory can still forget, and tell.
            let remove = with(None, How::Publishing);
            outcome = ear.run(self.deadline(), &remove).await;
        }
        outcome?;
        self.unsent().done(part, ticket, self.clock.now());
        Ok(())
    }

    /// Forgets everything; leases first, so that no load from before fills what is cleared after.
    async fn clear(&self, ticket: Ticket) -> Result<(), StoreError> {
        for pattern in self.names.patterns() {
            self.store.blocking().delete_all(&pattern).await?;
        }
        let name = self.names.void_all();
        let ear = self.ear_of(&name)?;
        let mut tell = redis::pipe();
        self.void(&mut tell, ear.how, &name, &Meant::All);
        ear.run(self.patience(), &tell).await?;
        self.unsent().done_all(ticket);
        Ok(())
    }

    /// Adds what lets the others hear that `meant` is void.
    fn void(&self, commands: &mut Pipeline, how: How, name: &str, meant: &Meant) {
        match how {
            // That it was touched is what tells; nothing of it stays.
            How::Tracking => {
                commands.cmd("SET").arg(name).arg("");
                commands.cmd("UNLINK").arg(name);
            }
            How::Publishing => {
                let message = Message::Void(meant).write(&self.origin);
                commands
                    .cmd("PUBLISH")
                    .arg(&self.names.channel)
                    .arg(message);
            }
        }
    }

    async fn claim(
        &self,
        part: &Part,
        lease: Duration,
        patience: Duration,
    ) -> Result<Claim, StoreError> {
        let name = [self.names.lease(part)];
        if !self.believes(part) {
            return Err(StoreError::Unavailable);
        }
        // From here on no end is missed.
        let mut waiter = self.waiters.wait(part.mark());
        let number = self.claims.fetch_add(1, Ordering::Relaxed);
        let token = self.token(Lease::new(number));
        let connection = self.store.connection();
        let arguments = (&token, frame::millis(lease));
        let left: i64 = self
            .claim
            .call(connection, self.deadline(), &name, arguments)
            .await?;
        let left = match u64::try_from(left) {
            Ok(0) => return Ok(Claim::Granted(Lease::new(number))),
            Ok(left) => Duration::from_millis(left),
            Err(_) => return Ok(Claim::Refused),
        };
        match timeout(patience.min(left), waiter.over()).await {
            Ok(()) => Ok(Claim::Over),
            // Its holder is gone: the lease has ended by itself.
            Err(_) if left < patience => Ok(Claim::Over),
            Err(_) => Ok(Claim::Refused),
        }
    }

    async fn fill(
        &self,
        part: &Part,
        lease: Lease,
        entry: &[u8],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let [value, lease_name, _] = self.names.keys(part);
        let framed = frame::wrap(entry, self.server_now().after(ttl));
        let over = Message::Over(part).write(&self.origin);
        let token = self.token(lease);
        let arguments = (
            &token,
            &framed[..],
            frame::millis(ttl),
            &self.names.channel,
            &over,
        );
        let connection = self.store.connection();
        let _stored: u8 = self
            .fill
            .call(connection, self.deadline(), &[value, lease_name], arguments)
            .await?;
        Ok(())
    }

    async fn release(&self, part: &Part, lease: Lease, why: Unfilled) -> Result<(), StoreError> {
        let alone = match why {
            Unfilled::Failed => Duration::ZERO,
            Unfilled::Private => ALONE,
        };
        let over = Message::Over(part).write(&self.origin);
        let token = self.token(lease);
        let arguments = (&token, frame::millis(alone), &self.names.channel, &over);
        let connection = self.store.connection();
        let name = [self.names.lease(part)];
        let _ended: u8 = self
            .release
            .call(connection, self.deadline(), &name, arguments)
            .await?;
        Ok(())
    }

    /// Hears what the server says by itself.
    pub(super) fn hear(&self, push: &PushInfo) {
        for heard in ear::read(self, push) {
            match heard {
                Heard::Void(Meant::Key(part)) => {
                    let mark = part.mark();
                    self.tell(Notice::Changed(mark));
                    self.waiters.wake(mark);
                }
                Heard::Void(Meant::All) => {
                    self.tell(Notice::AllChanged);
                    self.waiters.wake_all();
                }
                Heard::Over(part) => self.waiters.wake(part.mark()),
                Heard::Nothing => {}
            }
        }
    }

    /// Sees whether the server behind `ear` is well, and tells it what it has not heard of.
    pub(super) async fn beat(&self, node: &Node, ear: &Ear) -> Result<(), StoreError> {
        let sent = self.clock.now();
        let pulse = ear::feel(ear, self.patience()).await?;
        let now = self.clock.now();
        let half = now.saturating_since(sent) / 2;
        let local = sent.saturating_add(half).as_nanos() / 1_000_000;
        self.ahead
            .store(pulse.now.ahead_of(local), Ordering::Relaxed);
        let known = self
            .ears()
            .identities
            .insert(node.clone(), pulse.identity.clone());
        if known.is_some_and(|known| known != pulse.identity) {
            self.unsent().tell_again(now);
        }
        self.ears().at.insert(node.clone(), Some(ear.clone()));
        self.tell_due().await;
        self.settle();
        Ok(())
    }

    /// Nothing is heard of `node` any more.
    pub(super) fn deaf(&self, node: &Node) {
        if let Some(ear) = self.ears().at.get_mut(node) {
            *ear = None;
        }
        self.settle();
    }

    /// Tells Redis what it has not heard of, for as long as that works.
    async fn tell_due(&self) {
        loop {
            let Some(due) = self.unsent().due() else {
                return;
            };
            let told = match &due {
                Due::Key(part, ticket) => self.remove(part, *ticket).await,
                Due::Everything(ticket) => self.clear(*ticket).await,
            };
            if told.is_err() {
                return;
            }
        }
    }

    /// Lets the cache know where it has changed whether all servers are heard.
    fn settle(&self) {
        let mut ears = self.ears();
        let in_touch = !ears.at.is_empty() && ears.at.values().all(Option::is_some);
        if in_touch == std::mem::replace(&mut ears.in_touch, in_touch) {
            return;
        }
        // Told under the lock, so that the last word is the last that was true.
        self.tell(if in_touch {
            Notice::InTouch
        } else {
            Notice::OutOfTouch
        });
        drop(ears);
        if !in_touch {
            self.waiters.wake_all();
        }
    }

    fn tell(&self, notice: Notice) {
        if let Some(listener) = self.listener.get() {
            listener.tell(notice);
        }
    }

    /// Whether what Redis has of this key may be given to anybody.
    fn believes(&self, part: &Part) -> bool {
        self.ears().in_touch && self.unsent().believes(part)
    }

    fn ear_of(&self, name: &str) -> Result<Ear, StoreError> {
        let node = self.store.connection().node_of(name)?;
        let ears = self.ears();
        let ear = ears.at.get(&node).cloned().flatten();
        ear.ok_or(StoreError::Unavailable)
    }

    fn token(&self, lease: Lease) -> String {
        format!("{}-{:x}", self.origin, lease.number())
    }

    fn server_now(&self) -> ServerTime {
        let local = self.clock.now().as_nanos() / 1_000_000;
        ServerTime(local.saturating_add_signed(self.ahead.load(Ordering::Relaxed)))
    }

    fn deadline(&self) -> Duration {
        self.store.connection().settings().time_to_decide()
    }

    /// How long a server may be silent until it is given up.
    pub(super) fn patience(&self) -> Duration {
        self.store.connection().settings().longest_silence()
    }

    fn unsent(&self) -> MutexGuard<'_, Unsent> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ears(&self) -> MutexGuard<'_, Ears> {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps an ear at every server, until the tier is gone.
#[allow(
    clippy::mutable_key_type,
    reason = "a node is known by where it is in memory"
)]
async fn hear_all(tier: Weak<Shared>) {
    let mut keepers = HashMap::new();
    let Some(mut changes) = tier.upgrade().map(|tier| tier.store.connection().changes()) else {
        return;
    };
    loop {
        let Some(this) = tier.upgrade() else { return };
        let nodes = this.store.connection().nodes();
        keepers.retain(|node, keeper: &mut tokio::task::JoinHandle<()>| {
            let stays = nodes.contains(node);
            if !stays {
                keeper.abort();
                let mut ears = this.ears();
                ears.at.remove(node);
                ears.identities.remove(node);
            }
            stays
        });
        for node in nodes {
            keepers.entry(node.clone()).or_insert_with(|| {
                this.ears().at.entry(node.clone()).or_insert(None);
                tokio::spawn(ear::keep(tier.clone(), node))
            });
        }
        this.settle();
        drop(this);
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// For how long nobody waits for loads of what is not for all.
const ALONE: Duration = Duration::from_secs(1);
