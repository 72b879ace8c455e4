//! Whether a run reached what is to be reached.

mod table;

use std::fmt;

pub(crate) use self::table::BARS;

use super::figures::Figures;

/// Something to be reached within one run.
pub(crate) type Bar = (Quantity, Limit);

/// What a bar is about; rows are named by their ids.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Quantity {
    /// Nanoseconds of a call.
    Nanos(&'static str),
    /// Nanoseconds of the first beyond those of the second.
    Above(&'static str, &'static str),
    /// Allocations of a call.
    Allocations(&'static str),
    /// A name for the report, and two rows: the time of the first over that of the second.
    Ratio(&'static str, &'static str, &'static str),
    /// A name for the report, and two rows: the calls per second of the first over the second's.
    Throughput(&'static str, &'static str, &'static str),
    /// A name for the report, and how the layers of some rows of ours begin: the time of the
    /// slowest over that of the quickest.
    Spread(&'static str, &'static str),
    /// A ratio that its benchmark took, and the unit of it.
    Given(&'static str, &'static str),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Reached,
    Missed,
    /// By this run, which left something out.
    NotMeasured,
}

pub(crate) fn verdict((quantity, limit): Bar, figures: &Figures) -> Verdict {
    let Some(value) = quantity.value(figures) else {
        return Verdict::NotMeasured;
    };
    let reached = match limit {
        Limit::AtMost(limit) => value <= limit,
        Limit::AtLeast(limit) => value >= limit,
    };
    if reached {
        Verdict::Reached
    } else {
        Verdict::Missed
    }
}

/// How many bars were reached, and which were not.
pub(crate) fn summary(figures: &Figures) -> String {
    let missed = missed(figures).map(|quantity| format!("\nmissed: {quantity}"));
    format!(
        "{} bars reached, {} missed, {} not measured{}\n",
        with(Verdict::Reached, figures).count(),
        with(Verdict::Missed, figures).count(),
        with(Verdict::NotMeasured, figures).count(),
        missed.collect::<String>()
    )
}

/// The bars that this run did not reach.
pub(crate) fn missed(figures: &Figures) -> impl Iterator<Item = String> {
    with(Verdict::Missed, figures)
}

/// The bars that this run says nothing about.
pub(crate) fn not_measured(figures: &Figures) -> impl Iterator<Item = String> {
    with(Verdict::NotMeasured, figures)
}

fn with(wanted: Verdict, figures: &Figures) -> impl Iterator<Item = String> {
    let bars = BARS.iter().copied();
    bars.filter(move |bar| verdict(*bar, figures) == wanted)
        .map(|(quantity, _)| quantity.to_string())
}

/// The ratios that bars are about, and those that were given.
pub(crate) fn ratios(figures: &Figures) -> impl Iterator<Item = (String, f64)> {
    let given = figures.ratios.iter();
    let given = given.map(|(name, value)| (name.clone(), *value));
    let taken = BARS.iter().filter_map(|(quantity, _)| {
        let name = quantity.ratio()?;
        Some((name.to_owned(), quantity.value(figures)?))
    });
    given.chain(taken)
}

impl Quantity {
    pub(crate) fn value(self, figures: &Figures) -> Option<f64> {
        let ns = |id: &str| figures.row(id).map(|row| row.ns);
        let per_second = |id: &str| figures.row(id)?.per_second;
        match self {
            Self::Nanos(id) => ns(id),
            Self::Above(id, base) => Some(ns(id)? - ns(base)?),
            Self::Allocations(id) => figures.row(id).map(|row| row.allocs),
            Self::Ratio(_, id, base) => Some(ns(id)? / ns(base)?),
            Self::Throughput(_, id, base) => Some(per_second(id)? / per_second(base)?),
            Self::Spread(_, layers) => spread(figures, layers),
            Self::Given(name, _) => figures.ratios.get(name).copied(),
        }
    }

    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::Nanos(_) | Self::Above(..) => "ns",
            Self::Allocations(_) => "allocations",
            Self::Ratio(..) | Self::Throughput(..) | Self::Spread(..) => "×",
            Self::Given(_, unit) => unit,
        }
    }

    /// Its name among the ratios of the report, where it is one that is taken here.
    const fn ratio(self) -> Option<&'static str> {
        match self {
            Self::Ratio(name, ..) | Self::Throughput(name, ..) | Self::Spread(name, _) => {
                Some(name)
            }
            Self::Given(..) | Self::Nanos(_) | Self::Above(..) | Self::Allocations(_) => None,
        }
    }
}

/// As a heading.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nanos(id) | Self::Allocations(id) => write!(f, "`{id}`"),
            Self::Above(id, base) => write!(f, "`{id}` − `{base}`"),
            Self::Ratio(_, id, base) => write!(f, "`{id}` / `{base}`"),
            Self::Throughput(_, id, base) => {
                write!(f, "`{id}` / `{base}`, calls per second")
            }
            Self::Spread(_, layers) => write!(f, "`{layers}…`, slowest / quickest"),
            Self::Given(name, _) => write!(f, "`{name}`"),
        }
    }
}

fn spread(figures: &Figures, layers: &str) -> Option<f64> {
    let rows = figures.rows.iter();
    let ours = rows.filter(|row| row.is_ours() && row.layer.starts_with(layers));
    let times: Vec<_> = ours.map(|row| row.ns).collect();
    let most = times.iter().copied().reduce(f64::max)?;
    let least = times.iter().copied().reduce(f64::min)?;
    (times.len() > 1).then_some(most / least)
}

#[cfg(test)]
mod tests {
    use super::{super::figures::tests::figures, *};

    #[test]
    fn a_bar_is_reached_missed_or_not_measured() {
        let run = figures(
            "{\"id\":\"bare/ours/1\",\"ns\":3,\"allocs\":0}\n\
             {\"id\":\"full/ours/1\",\"ns\":40,\"allocs\":1,\"per_second\":3}\n\
             {\"id\":\"full/tower/1\",\"ns\":400,\"allocs\":3,\"per_second\":2}\n\
             {\"id\":\"fill_1/ours/1\",\"ns\":40,\"allocs\":0}\n\
             {\"id\":\"fill_1/tower/1\",\"ns\":4000,\"allocs\":0}\n\
             {\"id\":\"fill_2/ours/1\",\"ns\":50,\"allocs\":0}\n\
             {\"ratio\":\"dish_page\",\"value\":0.9}\n",
        );
        let (full, tower) = ("full/ours/1", "full/tower/1");
        for (quantity, value) in [
            (Quantity::Nanos(full), 40.0),
            (Quantity::Above(full, "bare/ours/1"), 37.0),
            (Quantity::Allocations(full), 1.0),
            (Quantity::Ratio("", full, tower), 0.1),
            (Quantity::Throughput("", full, tower), 1.5),
            (Quantity::Spread("", "fill_"), 1.25),
            (Quantity::Given("dish_page", ""), 0.9),
        ] {
            let verdict = |limit| verdict((quantity, limit), &run);
            assert_eq!(verdict(Limit::AtMost(value)), Verdict::Reached);
            assert_eq!(verdict(Limit::AtMost(value * 0.99)), Verdict::Missed);
            assert_eq!(verdict(Limit::AtLeast(value)), Verdict::Reached);
            assert_eq!(verdict(Limit::AtLeast(value * 1.01)), Verdict::Missed);
        }
        let unknown = (Quantity::Nanos("bulkhead/ours/1"), Limit::AtMost(1e9));
        assert_eq!(verdict(unknown, &run), Verdict::NotMeasured);
    }

    #[test]
    fn a_summary_names_what_was_missed() {
        let run = figures(
            "{\"id\":\"bulkhead/ours/1\",\"ns\":31,\"allocs\":0}\n\
             {\"id\":\"bulkhead_full/ours/1\",\"ns\":39,\"allocs\":0}\n",
        );
        let (reached, missed) = (2, 1);
        let rest = BARS.len() - reached - missed;
        assert_eq!(
            summary(&run),
            format!(
                "{reached} bars reached, {missed} missed, {rest} not measured\n\
                 missed: `bulkhead/ours/1`\n"
            )
        );
    }

    #[test]
    fn ratios_have_names_of_their_own() {
        let names: Vec<_> = BARS.iter().filter_map(|(it, _)| it.ratio()).collect();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
    }
}
