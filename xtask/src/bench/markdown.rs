//! The report for readers: bars and ratios first, for those who compare; then figures.

use std::fmt::Write as _;

use super::{
    bars::{BARS, Limit, Verdict, ratios, verdict},
    digits::{close, perhaps, short},
    figures::{Figures, Row},
    plot::{AXES, places},
    report::Report,
};

pub(crate) fn render(report: &Report) -> String {
    let figures = &report.figures;
    let bars = bars(report);
    let peers = peers(figures);
    let load = load(figures);
    let growth = growth(figures);
    let sizes = table(
        &["name", "value"],
        ratios(figures).map(|(name, value)| vec![name, short(value)]),
    );
    let all = all(figures);
    format!(
        "# What a call costs\n\n{}. Nanoseconds of one call through one layer around a service that \
         does nothing, in each of the threads that share the layer; medians.\n\n\
         ## Bars\n\n{bars}\n\
         ## Peers: how many times as long as ours\n\n![bars](bars.svg)\n\n{peers}\n\
         ## Under load\n\n{LOAD}\n\n{load}\n\
         ## Growth: nanoseconds of a call\n\n![growth](growth.svg)\n\n{growth}\
         ## Ratios and sizes\n\nSizes are in bytes.\n\n{sizes}\n\
         ## All figures\n\nMore threads than there are cores tell what it costs to wait for a \
         place: all of them have to be done.\n\n{all}",
        report.machine.text()
    )
}

/// Each bar, and whether it was reached.
pub(crate) fn bars(report: &Report) -> String {
    let bars = BARS.iter().map(|&(quantity, limit)| {
        let verdict = match verdict((quantity, limit), &report.figures) {
            Verdict::Reached => "reached",
            Verdict::Missed => "**missed**",
            Verdict::NotMeasured => "not measured",
        };
        let unit = quantity.unit();
        let limit = match limit {
            Limit::AtMost(limit) => format!("≤ {} {unit}", close(limit)),
            Limit::AtLeast(limit) => format!("≥ {} {unit}", close(limit)),
        };
        let value = quantity.value(&report.figures);
        let value = value.map_or_else(|| NONE.to_owned(), close);
        vec![quantity.to_string(), limit, value, verdict.to_owned()]
    });
    table(&["bar", "at most / at least", "this run", ""], bars)
}

/// What we do not have is among all figures.
fn peers(figures: &Figures) -> String {
    let peers = figures.calls().filter(|row| !row.is_ours());
    let compared = peers.filter_map(|peer| {
        let times = |times: f64| format!("{} ×", short(times));
        let alone = times(figures.times_ours(peer)?);
        let two = figures.row(&format!("{}/{}/2", peer.layer, peer.who));
        let two = two.and_then(|row| figures.times_ours(row)).map(times);
        let two = two.unwrap_or_else(|| NONE.to_owned());
        Some(vec![peer.layer.clone(), peer.who.clone(), alone, two])
    });
    table(&["layer", "peer", "1 thread", "2 threads"], compared)
}

fn load(figures: &Figures) -> String {
    let rows = figures.rows.iter().filter(|row| row.is_load());
    let cells = |row: &Row| {
        // Where there are no percentiles, a call's part of the time is no half of anything.
        let half = row.p99_ns.and(Some(row.ns));
        let rest = [row.per_second, half, row.p99_ns, row.p999_ns];
        let cells = [row.id()].into_iter().chain(rest.map(perhaps));
        cells.collect()
    };
    table(
        &["who", "per second", "p50 ns", "p99 ns", "p99.9 ns"],
        rows.map(cells),
    )
}

fn growth(figures: &Figures) -> String {
    let mut text = String::new();
    for axis in &AXES {
        let lines = axis.lines(figures);
        let places = places(&lines);
        if places.is_empty() {
            continue;
        }
        let labels: Vec<_> = places.iter().map(|at| short(*at)).collect();
        let mut heading = vec![axis.what];
        heading.extend(labels.iter().map(String::as_str));
        let rows = lines.into_iter().map(|(who, points)| {
            let cell = |place: &f64| {
                let point = points.iter().find(|(at, _)| at == place);
                point.map_or_else(|| NONE.to_owned(), |(_, ns)| short(*ns))
            };
            let mut cells = vec![who];
            cells.extend(places.iter().map(cell));
            cells
        });
        text.push_str(&table(&heading, rows));
        text.push('\n');
    }
    text
}

fn all(figures: &Figures) -> String {
    let rows = figures.rows.iter().map(|row| {
        let perhaps = [row.p99_ns, row.p999_ns, row.per_second].map(perhaps);
        let cells = [row.id(), short(row.ns), short(row.allocs)];
        cells.into_iter().chain(perhaps).collect()
    });
    let heading = [
        "figure",
        "ns",
        "allocations",
        "p99 ns",
        "p99.9 ns",
        "per second",
    ];
    table(&heading, rows)
}

fn table(heading: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rule = "| --- ".repeat(heading.len());
    let mut text = format!("| {} |\n{rule}|\n", heading.join(" | "));
    for row in rows {
        // A string takes whatever is written to it.
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

/// Not measured.
const NONE: &str = "–";

const LOAD: &str = "\
`dish_page/ours` is the ordering service's page with all that stands in its `stack.rs`, where it is \
found in the cache; `dish_page/axum` is the same page with no layer at all, read from the database \
each time; `dish_page_in_memory/axum` does not even read it, and shows what all that stands around a \
page costs. Per second: as many as one thread can answer. Percentiles: at half of what the slowest \
of them can, each from when its request was due. Those of the page in memory are what the machine \
takes for anybody, most of it to wake a core that has little to do.";

#[cfg(test)]
mod tests {
    use super::{super::figures::tests::figures, *};

    #[test]
    fn who_grows_stands_below_the_right_number() {
        let figures = figures(
            "{\"id\":\"growth_window_1000/ours/1\",\"ns\":1,\"allocs\":0}\n\
             {\"id\":\"growth_window_10000/ours/1\",\"ns\":2,\"allocs\":0}\n\
             {\"id\":\"growth_window_100000/ours/1\",\"ns\":3,\"allocs\":0}\n\
             {\"id\":\"growth_window_1000/peer/1\",\"ns\":4,\"allocs\":0}\n\
             {\"id\":\"growth_window_100000/peer/1\",\"ns\":5,\"allocs\":0}\n",
        );
        let growth = growth(&figures);
        assert!(growth.contains("| 1 000 | 10 000 | 100 000 |"), "{growth}");
        assert!(growth.contains("| ours | 1 | 2 | 3 |"), "{growth}");
        assert!(growth.contains("| peer | 4 | – | 5 |"), "{growth}");
    }

    #[test]
    fn load_has_every_percentile_and_is_not_compared_by_nanoseconds() {
        let figures = figures(
            "{\"id\":\"dish_page/ours/1\",\"ns\":5,\"allocs\":1,\"p99_ns\":6,\"p999_ns\":7,\
             \"per_second\":8}\n\
             {\"id\":\"dish_page/axum/1\",\"ns\":9,\"allocs\":1,\"p99_ns\":9,\"p999_ns\":9,\
             \"per_second\":4}\n\
             {\"id\":\"bulkhead/ours/1\",\"ns\":20,\"allocs\":0}\n\
             {\"id\":\"bulkhead/tower/1\",\"ns\":50,\"allocs\":0}\n\
             {\"id\":\"limiter_fixed/tower/1\",\"ns\":50,\"allocs\":0}\n",
        );
        let load = load(&figures);
        assert!(
            load.contains("| dish_page/ours/1 | 8 | 5 | 6 | 7 |"),
            "{load}"
        );
        assert_eq!(
            peers(&figures),
            "| layer | peer | 1 thread | 2 threads |\n| --- | --- | --- | --- |\n\
             | bulkhead | tower | 2.5 × | – |\n"
        );
    }
}
