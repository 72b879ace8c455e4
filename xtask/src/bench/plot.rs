//! How costs grow: one small plot for each axis, both scales logarithmic.

use std::fmt::Write as _;

use super::{digits::short, figures::Figures};

/// Something that can be little or much. Rows of it have layers named `PREFIX` and a number, or
/// are those of one layer on several threads.
pub(crate) struct Axis {
    pub(crate) what: &'static str,
    rows: Rows,
}

enum Rows {
    Numbered(&'static str),
    Threads(&'static str),
}

pub(crate) const AXES: [Axis; 9] = [
    numbered("calls in a breaker's window of time", "growth_window_"),
    numbered("calls that a breaker counts", "growth_count_"),
    numbered("keys of a rate limit", "growth_keys_"),
    numbered("bits of a filter", "growth_bits_"),
    numbered("waiters of one load, each", "growth_waiters_"),
    threads("threads at a breaker", "breaker_time"),
    threads("threads at a rate limit", "limiter_sliding"),
    threads("threads at a bulkhead", "bulkhead"),
    threads("threads at a cache", "cache_hit"),
];

const fn numbered(what: &'static str, prefix: &'static str) -> Axis {
    let rows = Rows::Numbered(prefix);
    Axis { what, rows }
}

const fn threads(what: &'static str, layer: &'static str) -> Axis {
    let rows = Rows::Threads(layer);
    Axis { what, rows }
}

/// Places on an axis and the nanoseconds there.
pub(crate) type Points = Vec<(f64, f64)>;

impl Axis {
    /// Who was measured at more than one place of it; ours first.
    pub(crate) fn lines(&self, figures: &Figures) -> Vec<(String, Points)> {
        let mut lines: Vec<(String, Points)> = Vec::new();
        for row in &figures.rows {
            let at = match self.rows {
                Rows::Threads(layer) => (row.layer == layer).then_some(f64::from(row.threads)),
                Rows::Numbered(prefix) => {
                    let number = row.layer.strip_prefix(prefix).filter(|_| row.threads == 1);
                    number.and_then(|number| number.parse().ok())
                }
            };
            let Some(at) = at else { continue };
            match lines.iter_mut().find(|(who, _)| *who == row.who) {
                Some((_, points)) => points.push((at, row.ns)),
                None => lines.push((row.who.clone(), vec![(at, row.ns)])),
            }
        }
        lines.retain(|(_, points)| points.len() > 1);
        lines.sort_by_key(|(who, _)| who != "ours");
        lines
    }
}

/// All places at which one of `lines` has a point, in order.
pub(crate) fn places(lines: &[(String, Points)]) -> Vec<f64> {
    let points = lines.iter().flat_map(|(_, points)| points);
    let mut places: Vec<_> = points.map(|(at, _)| *at).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    places
}

pub(crate) fn render(figures: &Figures) -> String {
    let measured = AXES.iter().map(|axis| (axis.what, axis.lines(figures)));
    let plots: Vec<_> = measured.filter(|(_, lines)| !lines.is_empty()).collect();
    let rows = plots.len().div_ceil(2);
    let mut svg = super::chart::open(2 * WIDTH, rows * HEIGHT + MARGIN);
    for (place, (what, lines)) in plots.iter().enumerate() {
        let (left, top) = ((place % 2) * WIDTH, (place / 2) * HEIGHT);
        let _ = writeln!(svg, "<g transform=\"translate({left} {top})\">");
        plot(&mut svg, what, lines);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn plot(svg: &mut String, what: &str, lines: &[(String, Points)]) {
    let all = || lines.iter().flat_map(|(_, points)| points);
    let across = Scale::of(all().map(|(at, _)| *at), 60.0, 330.0);
    let mut up = Scale::of(all().map(|(_, ns)| *ns), 200.0, 40.0);
    // What hardly differs is not to look as if it did.
    up.most = up.most.max(4.0 * up.least);
    let _ = writeln!(
        svg,
        "<text x=\"60\" y=\"24\" class=\"title\">ns by {what}</text>"
    );
    for at in places(lines) {
        let x = across.place(at);
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} 40V206\" class=\"grid\"/>\
             <text x=\"{x:.1}\" y=\"222\" class=\"middle\">{}</text>",
            power(at)
        );
    }
    for ns in [up.least, up.most] {
        let y = up.place(ns);
        let label = short(ns);
        let _ = writeln!(
            svg,
            "<text x=\"52\" y=\"{y:.1}\" class=\"end\">{label}</text>"
        );
    }
    let ends = lines.iter().filter_map(|(_, points)| points.last());
    let labels = apart(ends.map(|(_, ns)| up.place(*ns) + 4.0).collect());
    for (number, ((who, points), label)) in lines.iter().zip(labels).enumerate() {
        let colour = super::chart::colour(who, number);
        let mut path = String::new();
        let mut end = 0.0;
        for (place, (at, ns)) in points.iter().enumerate() {
            let step = if place == 0 { 'M' } else { 'L' };
            end = across.place(*at);
            let _ = write!(path, "{step}{end:.1} {:.1}", up.place(*ns));
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{label:.1}\" fill=\"{colour}\">{who}</text>",
            end + 6.0,
        );
    }
}

/// The heights of labels, moved down where two of them would stand on each other.
fn apart(mut heights: Vec<f64>) -> Vec<f64> {
    let mut order: Vec<_> = (0..heights.len()).collect();
    order.sort_by(|one, other| heights[*one].total_cmp(&heights[*other]));
    let mut least = f64::NEG_INFINITY;
    for place in order {
        heights[place] = heights[place].max(least);
        least = heights[place] + LABEL;
    }
    heights
}

/// From values to places, by their logarithms.
struct Scale {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        Self {
            least: values.clone().fold(f64::INFINITY, f64::min),
            most: values.fold(0.0, f64::max),
            from,
            to,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let span = (self.most / self.least).ln();
        if span <= 0.0 {
            return self.from;
        }
        self.from + (self.to - self.from) * (value / self.least).ln() / span
    }
}

/// Powers of ten by their exponents.
fn power(value: f64) -> String {
    let exponent = value.log10();
    if value >= 1000.0 && exponent.fract() == 0.0 {
        return format!("10<tspan dy=\"-4\" font-size=\"9\">{exponent:.0}</tspan>");
    }
    short(value)
}

/// As wide as the longest name at its right end wants it.
const WIDTH: usize = 500;
const HEIGHT: usize = 240;
const MARGIN: usize = 10;
/// Between the feet of two labels.
const LABEL: f64 = 13.0;

#[cfg(test)]
mod tests {
    use super::{super::figures::tests::figures, *};

    #[test]
    fn a_plot_has_a_line_for_each_who_was_measured_twice() {
        let figures = figures(
            "{\"id\":\"growth_keys_100/governor/1\",\"ns\":60,\"allocs\":0}\n\
             {\"id\":\"growth_keys_100/ours/1\",\"ns\":30,\"allocs\":0}\n\
             {\"id\":\"growth_keys_1000/ours/1\",\"ns\":40,\"allocs\":0}\n\
             {\"id\":\"bulkhead/ours/1\",\"ns\":40,\"allocs\":0}\n\
             {\"id\":\"bulkhead/ours/2\",\"ns\":90,\"allocs\":0}\n",
        );
        let svg = render(&figures);
        assert_eq!(svg.matches("ns by ").count(), 2);
        assert_eq!(svg.matches(">ours<").count(), 2);
        assert_eq!(svg.matches(">governor<").count(), 0);
    }

    #[test]
    fn labels_do_not_stand_on_each_other() {
        assert_eq!(apart(vec![50.0, 40.0, 42.0]), [66.0, 40.0, 53.0]);
        assert_eq!(apart(vec![10.0, 90.0]), [10.0, 90.0]);
    }
}
