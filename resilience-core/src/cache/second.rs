use std::{fmt, sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::Semaphore};

use super::{
    Claim, Codec, Hears, Lease, Listener, Policy, Reply, Tier, TierPolicy,
    calls::Calls,
    entry::{Entry, Found, Terms},
    envelope::{self, Letter},
    lease::Held,
    tally::{Count, Tally},
    unsent::{Due, Unsent},
};
use crate::{BoxError, CatchPanic, Environment, InvalidPolicy, catch_panic::Place};

/// A second tier behind its deadline and its circuit.
///
/// What is wrong with it, with an entry of it or with a codec ends here: it is no answer.
pub(super) struct Second<K, V> {
    policy: TierPolicy,
    hears: Hears,
    tier: Arc<dyn Tier>,
    codec: Box<dyn Codec<K, V>>,
    calls: Arc<Calls>,
    unsent: Arc<Unsent>,
    /// For the one who has it forget everything in the background.
    clearing: Arc<Semaphore>,
    panics: CatchPanic,
}

/// What a second tier has of a key.
#[derive(Debug)]
pub(super) enum Answer<V> {
    Found(Found<V>, Terms, Duration),
    Nothing,
    Failure,
}

/// Whether a second tier has heard what it has to hear before it is asked for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caught {
    /// It had.
    Up,
    /// It has now, and has nothing of the key.
    UpNow,
    /// Nobody can ask it.
    Behind,
}

impl<K, V> Second<K, V> {
    pub(super) fn new(
        policy: TierPolicy,
        tier: impl Tier,
        codec: impl Codec<K, V> + 'static,
        panics: CatchPanic,
        environment: &Environment,
    ) -> Result<Self, InvalidPolicy> {
        policy.check()?;
        Ok(Self {
            hears: Hears::Nothing,
            calls: Arc::new(Calls::new(&policy, panics.clone(), environment)?),
            policy,
            tier: Arc::new(tier),
            codec: Box::new(codec),
            unsent: Arc::default(),
            clearing: Arc::new(Semaphore::new(1)),
            panics,
        })
    }

    /// Lets the tier tell `listener` what it hears; whether it does.
    pub(super) fn listen(&mut self, listener: Listener) -> Hears {
        self.hears = self.tier.listen(listener);
        self.hears
    }

    /// What stands for `key` in the tier.
    pub(super) fn name(&self, key: &K) -> Option<Vec<u8>> {
        let name = self.panics.catch(Place::Call, || self.codec.key(key));
        name.ok()
    }

    /// What stands for `key` in notices.
    pub(super) fn mark(&self, key: &K) -> u64 {
        match self.hears {
            Hears::Nothing => 0,
            Hears::Changes | Hears::Later => {
                let mark = || self.name(key).map_or(0, |name| self.tier.mark(&name));
                self.panics.catch(Place::Call, mark).unwrap_or(0)
            }
        }
    }

    /// What there is under `name`, fresh for no longer than `policy` and the tier have it, and how
    /// long its load took. An entry that cannot be read is removed.
    pub(super) async fn get(&self, name: &[u8], policy: &Policy, tally: &Tally) -> Answer<V> {
        let Ok(found) = self.calls.ask(|| self.tier.get(name)).await else {
            tally.count(Count::TierFailure);
            return Answer::Failure;
        };
        let Some(remembered) = found else {
            tally.count(Count::TierMiss);
            return Answer::Nothing;
        };
        let Some((found, took, weight)) = self.open(name, &remembered.entry) else {
            tally.count(Count::TierCorrupt);
            drop(self.remove(name).await);
            return Answer::Nothing;
        };
        tally.count(Count::TierHit);
        let (ttl, jitter) = policy.life(&found);
        // Jitter must not make it outlive what the tier has.
        let left = remembered.left.unwrap_or(Duration::MAX).as_secs_f64() / (1.0 + jitter);
        let left = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
        Answer::Found(found, Terms::fresh(left.min(ttl), weight), took)
    }

    /// The bytes of `entry`, where it is for others as well.
    pub(super) fn seal(&self, name: &[u8], entry: &Entry<V>) -> Option<Vec<u8>> {
        // Tags are this process's own: another would serve what was invalidated here.
        if entry.is_tagged() || entry.weight() == 0 {
            return None;
        }
        let payload = match &entry.found {
            Found::Value(value) => {
                let encode = || self.codec.encode(value);
                Some(self.panics.catch(Place::Call, encode).ok()??)
            }
            // Where nobody hears of the value that comes to be, nobody may believe there is none.
            Found::Absent if self.hears != Hears::Nothing => None,
            Found::Absent | Found::Failed(_) | Found::Private => return None,
        };
        if payload
            .as_ref()
            .is_some_and(|it| it.len() > self.policy.max_entry)
        {
            return None;
        }
        let letter = Letter {
            payload: payload.as_deref(),
            took: entry.life().took(),
            weight: entry.weight(),
        };
        Some(envelope::seal(name, letter))
    }

    /// Remembers `sealed` whatever there is, as [`remove`](Self::remove) does.
    pub(super) async fn put(
        &self,
        name: &[u8],
        sealed: Vec<u8>,
        ttl: Duration,
    ) -> Result<(), BoxError> {
        self.change(name, || self.tier.put(name, sealed, ttl)).await
    }

    /// Remembers `sealed`, which was loaded under `lease`.
    pub(super) async fn fill(
        &self,
        name: &[u8],
        lease: Lease,
        sealed: Vec<u8>,
        ttl: Duration,
    ) -> Result<(), BoxError> {
        let fill = || self.tier.fill(name, lease, sealed, ttl);
        self.calls.ask(fill).await
    }

    /// Forgets what there is; the tier hears of it [whatever its circuit says](Calls::tell). Where
    /// it fails, what it has is [not believed](Self::catch_up).
    pub(super) async fn remove(&self, name: &[u8]) -> Result<(), BoxError> {
        self.change(name, || self.tier.remove(name)).await
    }

    /// Forgets everything; the tier hears of it whatever its circuit says.
    pub(super) async fn clear(&self) -> Result<(), BoxError> {
        let (began, time) = (self.unsent.begin(), self.policy.clear_timeout);
        self.calls.tell_within(time, || self.tier.clear()).await?;
        self.unsent.heard_all(began);
        Ok(())
    }

    /// What the tier has under `name` is older than what is here, and nobody can tell it now.
    pub(super) fn distrust(&self, name: &[u8]) {
        self.unsent.untold(name);
    }

    /// Tells the tier what it has to hear before it is asked for `name`.
    pub(super) async fn catch_up(&self, name: &[u8]) -> Caught {
        let began = self.unsent.begin();
        let due = match self.unsent.due(name) {
            Due::Everything if self.knows_what_failed() => {
                self.unsent.known(began);
                self.unsent.due(name)
            }
            due => due,
        };
        match due {
            Due::Nothing => Caught::Up,
            Due::Key => match self.calls.ask(|| self.tier.remove(name)).await {
                Ok(()) => {
                    self.unsent.heard(name, began);
                    Caught::UpNow
                }
                Err(_) => Caught::Behind,
            },
            Due::Everything => {
                self.clear_aside();
                Caught::Behind
            }
        }
    }

    fn knows_what_failed(&self) -> bool {
        let knows = || self.tier.knows_what_failed();
        self.panics.catch(Place::Call, knows).unwrap_or(false)
    }

    /// Has the tier forget everything, unless that is under way: in the background, since it takes
    /// longer than any load can wait.
    fn clear_aside(&self) {
        let (Ok(runtime), Ok(turn)) = (
            Handle::try_current(),
            Arc::clone(&self.clearing).try_acquire_owned(),
        ) else {
            return;
        };
        let (tier, calls) = (Arc::clone(&self.tier), Arc::clone(&self.calls));
        let (unsent, time) = (Arc::clone(&self.unsent), self.policy.clear_timeout);
        runtime.spawn(async move {
            let began = unsent.begin();
            if calls.ask_within(time, || tier.clear()).await.is_ok() {
                unsent.heard_all(began);
            }
            drop(turn);
        });
    }

    /// The tier takes what it is told: it is told one thing more, where it missed some.
    pub(super) async fn go_on(&self) {
        if let Some(name) = self.unsent.next() {
            // If not now, then the next time.
            drop(self.remove(&name).await);
        }
    }

    /// Asks to load for all.
    pub(super) async fn claim(
        &self,
        name: &[u8],
        lease: Duration,
        patience: Duration,
    ) -> Result<Claim, BoxError> {
        let claim = || self.tier.claim(name, lease, patience);
        let time = self.policy.timeout.saturating_add(patience);
        self.calls.ask_within(time, claim).await
    }

    /// What was granted under `name`, to be given back where nothing comes of it.
    pub(super) fn hold(&self, name: Vec<u8>, lease: Lease) -> Held {
        Held::new(self.tier.clone(), self.policy.timeout, name, lease)
    }

    /// The tier says that it is well.
    pub(super) fn is_back(&self) {
        self.calls.resume();
    }

    /// For how long a value is fresh of whose change nobody would hear.
    pub(super) const fn longest_alone(&self) -> Duration {
        self.policy.longest_alone
    }

    /// The longest that it keeps a load waiting: for the loads of others, and for its answers
    /// before, meanwhile and after.
    pub(super) fn longest_wait(&self) -> Duration {
        let answers = self.policy.timeout.saturating_mul(3);
        self.policy.patience.saturating_add(answers)
    }

    /// How long to wait for loads of others.
    pub(super) const fn patience(&self) -> Duration {
        self.policy.patience
    }

    async fn change<'a>(
        &self,
        name: &[u8],
        call: impl FnOnce() -> Reply<'a, ()>,
    ) -> Result<(), BoxError> {
        let began = self.unsent.begin();
        let mut is_told = false;
        let call = || {
            is_told = true;
            call()
        };
        let said = self.calls.tell(call).await;
        match &said {
            Ok(()) => self.unsent.heard(name, began),
            Err(_) if is_told => self.unsent.missed(name),
            Err(_) => self.unsent.untold(name),
        }
        said
    }

    fn open(&self, name: &[u8], entry: &[u8]) -> Option<(Found<V>, Duration, u64)> {
        if entry.len() > self.policy.max_entry.saturating_add(envelope::OVERHEAD) {
            return None;
        }
        let letter = envelope::open(name, entry)?;
        let found = match letter.payload {
            Some(payload) => {
                let decode = || self.codec.decode(payload);
                Found::Value(self.panics.catch(Place::Call, decode).ok()??)
            }
            None => Found::Absent,
        };
        Some((found, letter.took, letter.weight))
    }
}

impl<K, V> fmt::Debug for Second<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Second")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
