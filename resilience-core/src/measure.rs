//! The engines' own counters, read only when somebody asks.
//!
//! Each engine counts in plain integers and atomics as it goes. An exporter, a status page or a
//! test asks for all of them through [`Measured`]. The attributes are closed sets: the name of the
//! policy and at most one label whose values the library knows; never anything from a request.

/// One figure that engines of a kind give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instrument {
    /// Dotted lower-case name, such as `resilience.rate_limit.decisions`.
    pub name: &'static str,
    /// Whether it only grows.
    pub kind: InstrumentKind,
    /// Unit in UCUM notation, such as `{call}`.
    pub unit: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// Name of the label, where the figure is split by one.
    pub label: Option<&'static str>,
}

impl Instrument {
    /// One reading of it.
    pub(crate) const fn sample(&'static self, label: Option<&'static str>, value: u64) -> Sample {
        Sample {
            instrument: self,
            label,
            value,
        }
    }
}

/// Whether a figure only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstrumentKind {
    /// A sum since the engine was built; never falls.
    Counter,
    /// A level; rises and falls.
    Gauge,
}

/// One reading of an [`Instrument`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// What is read.
    pub instrument: &'static Instrument,
    /// The label's value, where the instrument has a label.
    pub label: Option<&'static str>,
    /// The figure.
    pub value: u64,
}

/// An engine that can be asked for its counters.
pub trait Measured: Send + Sync {
    /// Name of the engine's policy: the attribute `policy` of every sample.
    fn policy(&self) -> &'static str;

    /// Every instrument that [`measure`](Self::measure) may give.
    fn instruments(&self) -> &'static [&'static Instrument];

    /// Hands every figure to `record`, once each.
    fn measure(&self, record: &mut dyn FnMut(Sample));
}
