use super::CatchPanic;
use crate::{Instrument, InstrumentKind, Measured, Sample};

/// How many panics were caught since the start, and where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// In `call`, before there was a future.
    pub call: u64,
    /// In the future.
    pub future: u64,
    /// In `poll_ready`.
    pub poll_ready: u64,
    /// In the body of an answer.
    pub body: u64,
}

impl Snapshot {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.call + self.future + self.poll_ready + self.body
    }
}

static PANICS: Instrument = Instrument {
    name: "resilience.panics",
    kind: InstrumentKind::Counter,
    unit: "{panic}",
    description: "Panics caught, by where: call, future, poll_ready, body.",
    label: Some("where"),
};

static INSTRUMENTS: [&Instrument; 1] = [&PANICS];

impl Measured for CatchPanic {
    fn policy(&self) -> &'static str {
        self.name()
    }

    fn instruments(&self) -> &'static [&'static Instrument] {
        &INSTRUMENTS
    }

    fn measure(&self, record: &mut dyn FnMut(Sample)) {
        let snapshot = self.snapshot();
        for (label, value) in [
            ("call", snapshot.call),
            ("future", snapshot.future),
            ("poll_ready", snapshot.poll_ready),
            ("body", snapshot.body),
        ] {
            record(PANICS.sample(Some(label), value));
        }
    }
}
