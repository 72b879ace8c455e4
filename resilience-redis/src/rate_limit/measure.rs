//! How a limiter stands, for operators and their metrics.

use resilience_core::{Instrument, InstrumentKind, Measured, Sample};

use super::{decision::Source, limiter::RateLimiter};
use crate::rate_limit::engine::Engine;

/// How a limiter stands in this process: two levels now, and sums since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Processes that have the limiter, this one included: see [`RateLimiter::nodes`].
    pub nodes: u64,
    /// Calls that wait now until there is room: see [`Policy::max_wait`](super::Policy::max_wait).
    pub waiting: u64,
    /// Calls that could go on. Who only looked is not counted, nor who went away before the answer.
    pub admitted: BySource,
    /// Calls that were refused.
    pub refused: BySource,
    /// Calls that a shadow policy let through, and would have refused.
    pub would_refuse: BySource,
    /// Units that were taken ahead of their callers.
    pub leased: u64,
    /// Of these, units that went back unused.
    pub returned: u64,
    /// Of these, units that nobody used and that could not be given back: they count until their
    /// window is over.
    pub lost: u64,
    /// Times that units were to go back to the server and too many waited to do so already: they
    /// count until their window is over.
    pub dropped_refunds: u64,
}

/// Calls, by the [`Source`] of the decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BySource {
    /// By the server.
    pub redis: u64,
    /// By this process, which knew that there was no room.
    pub denied_locally: u64,
    /// By this process, out of units that it had taken ahead.
    pub lease: u64,
    /// By this process, because the server gave no decision, or had given none a window before.
    pub degraded: u64,
}

impl BySource {
    fn read(count: impl Fn(Source) -> u64) -> Self {
        Self {
            redis: count(Source::Redis),
            denied_locally: count(Source::DeniedLocally),
            lease: count(Source::Lease),
            degraded: count(Source::Degraded),
        }
    }

    fn and(self, other: Self) -> Self {
        Self::read(|source| self.of(source) + other.of(source))
    }

    const fn of(&self, source: Source) -> u64 {
        match source {
            Source::Redis => self.redis,
            Source::DeniedLocally => self.denied_locally,
            Source::Lease => self.lease,
            Source::Degraded => self.degraded,
        }
    }
}

impl<T> RateLimiter<T> {
    /// How the limiter stands.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let nodes = self.nodes();
        // Where two decide, what a call got out of a lease of the one is not what it heard.
        let alone = self.engine.global.is_none();
        let engines = self.engine.engines().map(|engine| engine.count(alone));
        let sum = engines.reduce(Snapshot::and).unwrap_or_default();
        Snapshot { nodes, ..sum }
    }
}

impl Engine {
    /// What became of the calls that came here.
    fn count(&self, alone: bool) -> Snapshot {
        let [leased, returned, lost] = self.lane.leases.counts();
        let decided = self.table.decided();
        let admitted = BySource::read(|source| self.tally.admitted(source));
        let would_refuse = BySource::read(|source| self.tally.spared(source));
        let refused = BySource::read(|source| {
            let elsewhere = match source {
                Source::DeniedLocally => decided.denied,
                Source::Redis | Source::Lease | Source::Degraded => 0,
            };
            let refused = self.tally.refused(source) + elsewhere;
            // They were read before, and each is counted as refused first.
            refused.saturating_sub(would_refuse.of(source))
        });
        Snapshot {
            nodes: 0,
            waiting: self.waiting(),
            admitted: BySource {
                lease: admitted.lease + if alone { decided.leased } else { 0 },
                ..admitted
            },
            refused,
            would_refuse,
            leased,
            returned,
            lost,
            dropped_refunds: self.lane.refunds().dropped(),
        }
    }
}

impl Snapshot {
    /// The sums of both.
    fn and(self, other: Self) -> Self {
        Self {
            nodes: self.nodes,
            waiting: self.waiting + other.waiting,
            admitted: self.admitted.and(other.admitted),
            refused: self.refused.and(other.refused),
            would_refuse: self.would_refuse.and(other.would_refuse),
            leased: self.leased + other.leased,
            returned: self.returned + other.returned,
            lost: self.lost + other.lost,
            dropped_refunds: self.dropped_refunds + other.dropped_refunds,
        }
    }
}

impl<T: Send + Sync> Measured for RateLimiter<T> {
    fn policy(&self) -> &'static str {
        self.engine.name
    }

    fn instruments(&self) -> &'static [&'static Instrument] {
        static ALL: [&Instrument; 7] = [
            &ADMITTED,
            &REFUSED,
            &WOULD_REFUSE,
            &LEASES,
            &DROPPED,
            &NODES,
            &WAITING,
        ];
        &ALL
    }

    fn measure(&self, record: &mut dyn FnMut(Sample)) {
        let Snapshot {
            nodes,
            waiting,
            admitted,
            refused,
            would_refuse,
            leased,
            returned,
            lost,
            dropped_refunds,
        } = self.snapshot();
        let mut tell = |instrument, label, value| {
            record(Sample {
                instrument,
                label,
                value,
            });
        };
        for (instrument, calls) in [
            (&ADMITTED, admitted),
            (&REFUSED, refused),
            (&WOULD_REFUSE, would_refuse),
        ] {
            for source in Source::ALL {
                tell(instrument, Some(source.as_str()), calls.of(source));
            }
        }
        for (event, units) in [("taken", leased), ("returned", returned), ("lost", lost)] {
            tell(&LEASES, Some(event), units);
        }
        tell(&DROPPED, None, dropped_refunds);
        tell(&NODES, None, nodes);
        tell(&WAITING, None, waiting);
    }
}

static ADMITTED: Instrument = Instrument {
    name: "resilience.rate_limit.admitted",
    kind: InstrumentKind::Counter,
    unit: "{call}",
    description: "Calls that a shared rate limit let go on, by who decided.",
    label: Some("source"),
};

static REFUSED: Instrument = Instrument {
    name: "resilience.rate_limit.refused",
    kind: InstrumentKind::Counter,
    unit: "{call}",
    description: "Calls that a shared rate limit refused, by who decided.",
    label: Some("source"),
};

static WOULD_REFUSE: Instrument = Instrument {
    name: "resilience.rate_limit.would_refuse",
    kind: InstrumentKind::Counter,
    unit: "{call}",
    description: "Calls that a shared rate limit in shadow let go on and would have refused, by who decided.",
    label: Some("source"),
};

static LEASES: Instrument = Instrument {
    name: "resilience.rate_limit.leases",
    kind: InstrumentKind::Counter,
    unit: "{unit}",
    description: "Units of a shared rate limit that were taken ahead, and what became of unused ones.",
    label: Some("event"),
};

static DROPPED: Instrument = Instrument {
    name: "resilience.rate_limit.dropped_refunds",
    kind: InstrumentKind::Counter,
    unit: "{refund}",
    description: "Refunds of a shared rate limit for which there was no room among those that waited.",
    label: None,
};

static NODES: Instrument = Instrument {
    name: "resilience.rate_limit.nodes",
    kind: InstrumentKind::Gauge,
    unit: "{process}",
    description: "Processes that share the limit, and would share its quota without Redis.",
    label: None,
};

static WAITING: Instrument = Instrument {
    name: "resilience.rate_limit.waiting",
    kind: InstrumentKind::Gauge,
    unit: "{call}",
    description: "Calls that wait until a shared rate limit has room.",
    label: None,
};
