use std::{fmt, future::Future, pin::Pin, time::Duration};

use crate::{BoxError, InvalidPolicy, circuit_breaker};

/// What a tier answers, sooner or later.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

/// A second tier of a cache, shared by many processes: bytes by key, which it may forget.
///
/// The cache gives every call a deadline and stops calling a tier that fails, so an
/// implementation needs neither. A dropped reply is a call that nobody waits for.
///
/// Of what is put and removed a tier hears also while it is not called otherwise, so that it may
/// keep that in mind: such a reply is polled once, and then mostly dropped. One that is `Ok` says
/// that all who ask from then on are answered by it, and never merely that it is kept in mind: it
/// closes the circuit, and what the tier has is believed again.
pub trait Tier: Send + Sync + 'static {
    /// The entry of `key`, where there is one.
    fn get<'a>(&'a self, key: &'a [u8]) -> Reply<'a, Option<Remembered>>;

    /// Remembers an entry for `ttl` at most.
    fn put<'a>(&'a self, key: &'a [u8], entry: Vec<u8>, ttl: Duration) -> Reply<'a, ()>;

    /// Forgets the entry of `key`.
    fn remove<'a>(&'a self, key: &'a [u8]) -> Reply<'a, ()>;

    /// Forgets everything.
    fn clear(&self) -> Reply<'_, ()>;

    /// Tells `listener` from now on what other processes change, where this tier hears of it. It
    /// is asked this once, before all else.
    fn listen(&self, listener: Listener) -> Hears {
        drop(listener);
        Hears::Nothing
    }

    /// Whether it has heard of all that it was told until now and that failed, or keeps that in mind
    /// and gives nobody in this process what it has of it until it has heard.
    ///
    /// Then a cache that saw more changes fail than it can keep need not have everything forgotten.
    /// By default `false`.
    fn knows_what_failed(&self) -> bool {
        false
    }

    /// Asks to load `key` for all processes, where one of them is to do so at a time.
    ///
    /// Whoever is granted that keeps it for at most `lease`, and ends it with [`fill`](Self::fill)
    /// or [`release`](Self::release). While another has it the reply may wait for the end of that
    /// load, for as long as `patience`; the cache gives it so much time more than other calls.
    ///
    /// By default everybody is granted what he asks.
    fn claim<'a>(&'a self, key: &'a [u8], lease: Duration, patience: Duration) -> Reply<'a, Claim> {
        let _ = (key, lease, patience);
        Box::pin(async { Ok(Claim::Granted(Lease::new(0))) })
    }

    /// Remembers what was loaded under `lease`, unless that has ended: by time, or since the key
    /// was put or removed meanwhile. By default as [`put`](Self::put).
    fn fill<'a>(
        &'a self,
        key: &'a [u8],
        lease: Lease,
        entry: Vec<u8>,
        ttl: Duration,
    ) -> Reply<'a, ()> {
        let _ = lease;
        self.put(key, entry, ttl)
    }

    /// Ends `lease` without an entry.
    fn release<'a>(&'a self, key: &'a [u8], lease: Lease, why: Unfilled) -> Reply<'a, ()> {
        let _ = (key, lease, why);
        Box::pin(async { Ok(()) })
    }

    /// The number that stands for `key` in a [`Notice`]: a hash of it, the same at every call.
    fn mark(&self, key: &[u8]) -> u64 {
        let _ = key;
        0
    }
}

/// What became of a [claim](Tier::claim).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    /// Load, and fill the tier under this lease.
    Granted(Lease),
    /// Another's load is over: look again for what it brought.
    Over,
    /// Load, and keep what is loaded: another has been loading for too long, or brings what is not
    /// for all.
    Refused,
}

/// What a tier knows a granted claim by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease(u64);

impl Lease {
    /// The lease that the tier knows by `number`.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// What the tier knows it by.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// Why a load under a lease brought nothing for the tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unfilled {
    /// It failed, or nobody waits for it any more: the next may try.
    Failed,
    /// What it brought is not for all. Others need not wait for one another.
    Private,
}

/// Whether a tier tells of what other processes change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hears {
    /// It does not: what a process holds it serves to its end.
    Nothing,
    /// It does, and says so when it cannot.
    Changes,
    /// It does from the moment on that it says [`InTouch`](Notice::InTouch) for the first time.
    Later,
}

/// What a tier hears of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// Entries with this [mark](Tier::mark) were put or removed: what is held of them is void, and
    /// so is what is being loaded.
    Changed(u64),
    /// All were.
    AllChanged,
    /// From here on changes may be missed, so that nothing that is held is fresh any more.
    OutOfTouch,
    /// From here on changes are heard again. What was loaded since is not fresh either. The tier is
    /// called again at once, whatever its circuit had learned.
    InTouch,
}

/// Where a tier tells what it hears; at once, and without waiting.
pub struct Listener(Box<dyn Fn(Notice) + Send + Sync>);

impl Listener {
    pub(super) fn new(tell: impl Fn(Notice) + Send + Sync + 'static) -> Self {
        Self(Box::new(tell))
    }

    /// Tells the cache.
    pub fn tell(&self, notice: Notice) {
        (self.0)(notice);
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

/// What a [`Tier`] has of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The bytes that were put.
    pub entry: Vec<u8>,
    /// For how long it will be there, where the tier knows.
    pub left: Option<Duration>,
}

/// How keys and values become bytes, and bytes values.
pub trait Codec<K, V>: Send + Sync {
    /// The bytes of a key, different for every key.
    fn key(&self, key: &K) -> Vec<u8>;

    /// The bytes of a value; `None` for one that stays in this process.
    fn encode(&self, value: &V) -> Option<Vec<u8>>;

    /// The value of these bytes; `None` where they are none. They may have been written by an
    /// older or a newer version of the program.
    fn decode(&self, bytes: &[u8]) -> Option<V>;
}

/// How a cache deals with its second tier.
#[derive(Clone, Debug)]
pub struct TierPolicy {
    pub(super) timeout: Duration,
    pub(super) clear_timeout: Duration,
    pub(super) max_entry: usize,
    pub(super) longest_alone: Duration,
    pub(super) patience: Duration,
    pub(super) breaker: circuit_breaker::Policy,
}

impl TierPolicy {
    /// At most 50 ms a call, a minute to forget everything, and a circuit that opens after five failures in a row. `name` stands
    /// in the metrics and events of that circuit.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self {
            timeout: Duration::from_millis(50),
            clear_timeout: Duration::from_secs(60),
            max_entry: 1024 * 1024,
            longest_alone: Duration::from_secs(30),
            patience: Duration::from_secs(1),
            breaker: circuit_breaker::Policy::new(name).consecutive_failures(5),
        }
    }

    /// Sets how long a call may take, [`Tier::clear`] excepted. Default 50 ms.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long [`Tier::clear`] may take, which looks at every key. Default one minute.
    #[must_use]
    pub const fn clear_timeout(mut self, timeout: Duration) -> Self {
        self.clear_timeout = timeout;
        self
    }

    /// Sets how many bytes an entry may have, in either direction. Default 1 MiB.
    #[must_use]
    pub const fn max_entry(mut self, bytes: usize) -> Self {
        self.max_entry = bytes;
        self
    }

    /// Sets how long to wait for the load of another process before loading as well, where the tier
    /// lets [one load for all](Tier::claim). Zero is not to wait. Default 1 s.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets for how long at most a value is fresh that was loaded while the tier
    /// [could not hear](Notice::OutOfTouch) of changes. Default 30 s.
    #[must_use]
    pub const fn longest_alone(mut self, ttl: Duration) -> Self {
        self.longest_alone = ttl;
        self
    }

    /// Sets when the tier is not called any more, and for how long.
    #[must_use]
    pub fn breaker(mut self, breaker: circuit_breaker::Policy) -> Self {
        self.breaker = breaker;
        self
    }

    pub(super) fn check(&self) -> Result<(), InvalidPolicy> {
        for (field, timeout) in [
            ("timeout", self.timeout),
            ("clear_timeout", self.clear_timeout),
        ] {
            if timeout.is_zero() {
                return Err(InvalidPolicy::new(field, "must leave a call some time"));
            }
        }
        Ok(())
    }
}
