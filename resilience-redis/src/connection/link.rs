//! The connection to one server, kept up: replaced when it breaks or falls silent.
//!
//! Not the client's own `ConnectionManager`: that one makes callers wait for a reconnect past any
//! timeout of theirs, and never leaves a connection whose packets vanish or whose server turned
//! into a replica.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use resilience_core::{
    Clock, Random, Timestamp,
    backoff::{Backoff, Jitter},
};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::{Start, cluster::Guide, flow::Flow, maker::Maker};
use crate::StoreError;

/// The connection to one server, kept up until the last store is gone.
pub(super) struct Link {
    pub(super) maker: Arc<Maker>,
    pub(super) watchers: Watchers,
    clock: Clock,
    standing: Mutex<Standing>,
}

/// Who hears of what happens to connections.
#[derive(Clone)]
pub(super) struct Watchers {
    /// Whoever keeps copies: a connection was lost or made.
    pub(super) changes: watch::Sender<u64>,
    /// Whoever knows where servers are: this one may not be the one to ask any more.
    pub(super) alarm: Arc<Notify>,
    /// Who knows the servers that this one may send us to.
    pub(super) guide: Option<Guide>,
}

struct Standing {
    state: State,
    since: Timestamp,
    /// Connections in a row that did not last.
    short_lived: u32,
}

enum State {
    Up(Arc<Flow>),
    /// A task is making the next connection; until then this is everyone's answer.
    Down(StoreError),
}

impl Link {
    /// The connection once it stands, or as `start` allows.
    pub(super) async fn open(
        maker: Arc<Maker>,
        watchers: Watchers,
        start: Start,
    ) -> Result<Arc<Self>, StoreError> {
        let link = Self::new(maker, watchers);
        match connect(&link.maker, Arc::downgrade(&link)).await {
            Ok(flow) => link.bring_up(flow),
            Err(reason) => {
                start.accept(Err(reason))?;
                link.maker
                    .runtime()
                    .spawn(reconnect(Arc::downgrade(&link), 1));
            }
        }
        Ok(link)
    }

    /// The connection before it stands.
    pub(super) fn begin(maker: Arc<Maker>, watchers: Watchers) -> Arc<Self> {
        let link = Self::new(maker, watchers);
        link.maker
            .runtime()
            .spawn(reconnect(Arc::downgrade(&link), 0));
        link
    }

    fn new(maker: Arc<Maker>, watchers: Watchers) -> Arc<Self> {
        let clock = Clock::system();
        Arc::new(Self {
            maker,
            watchers,
            standing: Mutex::new(Standing {
                state: State::Down(StoreError::Unavailable),
                since: clock.now(),
                short_lived: 0,
            }),
            clock,
        })
    }

    /// The connection that stands now, or why none does.
    pub(super) fn flow(&self) -> Result<Arc<Flow>, StoreError> {
        match &self.standing().state {
            State::Up(flow) => Ok(Arc::clone(flow)),
            State::Down(reason) => Err(reason.clone()),
        }
    }

    /// A call over `flow` was not answered in time. Many are at once where the server stalls for a
    /// moment, and none ever again where packets vanish: one `PING` tells these apart.
    pub(super) fn suspect(self: &Arc<Self>, flow: &Arc<Flow>) {
        self.watchers.alarm.notify_one();
        if flow.suspect() {
            let look = look_after(Arc::downgrade(self), Arc::clone(flow));
            self.maker.runtime().spawn(look);
        }
    }

    /// Gives up connection `number`, once, and starts to make the next.
    pub(super) fn replace(self: &Arc<Self>, number: u64, reason: &StoreError) {
        let Some(short_lived) = self.take_down(number, reason.as_seen_later()) else {
            return;
        };
        tracing::warn!(%reason, "gave up the connection to a redis server");
        self.watchers.changed();
        self.watchers.alarm.notify_one();
        let next = reconnect(Arc::downgrade(self), short_lived);
        self.maker.runtime().spawn(next);
    }

    /// Goes over to where the server is by now, if that is elsewhere: calls under way end where
    /// they began, and none fails for it.
    pub(super) async fn seek(self: &Arc<Self>) {
        let Ok(flow) = self.flow() else {
            // The next connection is being made already.
            return;
        };
        let place = self.maker.locate().await;
        if place.is_ok_and(|address| address != flow.address)
            && let Ok(flow) = connect(&self.maker, Arc::downgrade(self)).await
        {
            self.bring_up(flow);
        }
    }

    /// How many connections in a row did not last, if `number` is the one that stands.
    fn take_down(&self, number: u64, reason: StoreError) -> Option<u32> {
        let mut standing = self.standing();
        if !matches!(&standing.state, State::Up(flow) if flow.number == number) {
            return None;
        }
        standing.state = State::Down(reason);
        let lasted = self.clock.now().saturating_since(standing.since);
        standing.short_lived = if lasted < SHORT_LIFE {
            standing.short_lived.saturating_add(1)
        } else {
            0
        };
        Some(standing.short_lived)
    }

    /// Says why there is still no connection, and tells the operator if that is news.
    fn stay_down(&self, reason: StoreError) {
        if let State::Down(known) = &mut self.standing().state
            && *known != reason
        {
            tracing::error!(%reason, "cannot connect to a redis server");
            *known = reason;
        }
    }

    fn bring_up(&self, flow: Flow) {
        {
            let mut standing = self.standing();
            standing.state = State::Up(Arc::new(flow));
            standing.since = self.clock.now();
        }
        tracing::debug!("connected to a redis server");
        self.watchers.changed();
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watchers {
    /// Of a server that sends us nowhere else.
    pub(super) fn of(changes: &watch::Sender<u64>) -> Self {
        Self {
            changes: changes.clone(),
            alarm: Arc::default(),
            guide: None,
        }
    }

    pub(super) fn changed(&self) {
        self.changes
            .send_modify(|number| *number = number.wrapping_add(1));
    }
}

/// Tries until a connection stands or the last store is gone.
async fn reconnect(link: Weak<Link>, short_lived: u32) {
    let random = Random::default();
    // Jitter, because a whole fleet lost the same server at the same moment.
    let pauses = Backoff::exponential(SHORTEST_PAUSE)
        .max(LONGEST_PAUSE)
        .jitter(Jitter::Equal);
    let Some(maker) = link.upgrade().map(|link| Arc::clone(&link.maker)) else {
        return;
    };
    let mut news = maker.news();
    // A server that lets us in and then fails us must not be asked again and again without end.
    let mut attempt = short_lived;
    loop {
        if attempt > 0 {
            // Either way it is time to go on.
            let pause = pauses.delay(attempt - 1, random.unit());
            let _ = timeout(pause, news.changed()).await;
        }
        let outcome = tokio::select! {
            outcome = connect(&maker, link.clone()) => Some(outcome),
            // We may be waiting for one that hangs while another has taken its place.
            _ = news.changed() => None,
        };
        let Some(link) = link.upgrade() else {
            return;
        };
        match outcome {
            Some(Ok(flow)) => return link.bring_up(flow),
            Some(Err(reason)) => {
                link.stay_down(reason);
                attempt = attempt.saturating_add(1);
            }
            None => attempt = 0,
        }
    }
}

async fn connect(maker: &Maker, link: Weak<Link>) -> Result<Flow, StoreError> {
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let on_lost = move || {
        if let Some(link) = link.upgrade() {
            link.replace(number, &StoreError::Disconnected);
        }
    };
    maker.connect(number, on_lost).await
}

/// Asks over a connection that left a call unanswered whether anything still comes over it.
async fn look_after(link: Weak<Link>, flow: Arc<Flow>) {
    let patience = link
        .upgrade()
        .map(|link| link.maker.settings().longest_silence());
    let Some(patience) = patience else {
        return;
    };
    let ping = redis::cmd("PING");
    let mut connection = flow.connection.clone();
    let answer = timeout(patience, connection.send_packed_command(&ping)).await;
    match (answer, link.upgrade()) {
        (Ok(Ok(_)), _) => flow.clear(),
        (_, Some(link)) => link.replace(flow.number, &StoreError::Unavailable),
        (_, None) => {}
    }
}

static NUMBERS: AtomicU64 = AtomicU64::new(0);
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A connection that stood for longer was good for something.
const SHORT_LIFE: Duration = Duration::from_secs(2);
