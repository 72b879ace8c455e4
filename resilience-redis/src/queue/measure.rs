use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use resilience_core::{Instrument, InstrumentKind, Measured, Sample};

use super::{Depth, Queue};

/// What this process did to a queue since it was made here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Messages that were accepted.
    pub accepted: u64,
    /// Messages that were known already.
    pub known: u64,
    /// Messages that were refused because the queue was full.
    pub full: u64,
    /// Messages that were given out.
    pub delivered: u64,
    /// Of these, those that had been given out before.
    pub redelivered: u64,
    /// Messages that were acknowledged.
    pub acknowledged: u64,
    /// Messages that became dead letters.
    pub buried: u64,
    /// Messages that should be dead letters and have no room there, each time they came up.
    pub stuck: u64,
    /// Messages that somebody deleted before they were done: this should be none.
    pub lost: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) accepted: AtomicU64,
    pub(super) known: AtomicU64,
    pub(super) full: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) redelivered: AtomicU64,
    pub(super) acknowledged: AtomicU64,
    pub(super) buried: AtomicU64,
    pub(super) stuck: AtomicU64,
    pub(super) lost: AtomicU64,
}

impl Tally {
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            accepted: self.accepted.load(Relaxed),
            known: self.known.load(Relaxed),
            full: self.full.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
            redelivered: self.redelivered.load(Relaxed),
            acknowledged: self.acknowledged.load(Relaxed),
            buried: self.buried.load(Relaxed),
            stuck: self.stuck.load(Relaxed),
            lost: self.lost.load(Relaxed),
        }
    }
}

pub(super) fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Relaxed);
}

impl Measured for Queue {
    fn policy(&self) -> &'static str {
        self.name()
    }

    fn instruments(&self) -> &'static [&'static Instrument] {
        static ALL: [&Instrument; 5] = [&PUSHES, &MESSAGES, &LAG, &PENDING, &DEAD_LETTERS];
        &ALL
    }

    fn measure(&self, record: &mut dyn FnMut(Sample)) {
        let figures = self.snapshot();
        for (instrument, label, value) in [
            (&PUSHES, "accepted", figures.accepted),
            (&PUSHES, "known", figures.known),
            (&PUSHES, "full", figures.full),
            (&MESSAGES, "delivered", figures.delivered),
            (&MESSAGES, "redelivered", figures.redelivered),
            (&MESSAGES, "acknowledged", figures.acknowledged),
            (&MESSAGES, "buried", figures.buried),
            (&MESSAGES, "stuck", figures.stuck),
            (&MESSAGES, "lost", figures.lost),
        ] {
            record(Sample {
                instrument,
                label: Some(label),
                value,
            });
        }
        if let Some(depth) = self.0.seen.last() {
            measure_depth(&depth, self.0.policy.groups, record);
        }
    }
}

/// What waits for each of `groups`, and for nobody any more.
fn measure_depth(depth: &Depth, groups: &[&'static str], record: &mut dyn FnMut(Sample)) {
    let mut tell = |instrument, label, value| {
        record(Sample {
            instrument,
            label,
            value,
        });
    };
    for &name in groups {
        let group = depth.groups.iter().find(|group| group.name == name);
        // One that nobody has opened yet is given all that is there.
        let (lag, pending) = group.map_or((Some(depth.messages), 0), |it| (it.lag, it.pending));
        if let Some(lag) = lag {
            tell(&LAG, Some(name), lag);
        }
        tell(&PENDING, Some(name), pending);
    }
    tell(&DEAD_LETTERS, None, depth.dead_letters);
}

static PUSHES: Instrument = Instrument {
    name: "resilience.queue.pushes",
    kind: InstrumentKind::Counter,
    unit: "{message}",
    description: "Messages that this process wanted to append.",
    label: Some("outcome"),
};

static MESSAGES: Instrument = Instrument {
    name: "resilience.queue.messages",
    kind: InstrumentKind::Counter,
    unit: "{message}",
    description: "What became of messages in the consumers of this process.",
    label: Some("event"),
};

static LAG: Instrument = Instrument {
    name: "resilience.queue.lag",
    kind: InstrumentKind::Gauge,
    unit: "{message}",
    description: "Messages that a group was not given yet; every process tells the same.",
    label: Some("group"),
};

static PENDING: Instrument = Instrument {
    name: "resilience.queue.pending",
    kind: InstrumentKind::Gauge,
    unit: "{message}",
    description: "Messages that a group was given and is not done with; every process tells the same.",
    label: Some("group"),
};

static DEAD_LETTERS: Instrument = Instrument {
    name: "resilience.queue.dead_letters",
    kind: InstrumentKind::Gauge,
    unit: "{message}",
    description: "Messages that nobody could do anything with; every process tells the same.",
    label: None,
};
