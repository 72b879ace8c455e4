//! The report for readers: bars and ratios first, for those who compare; then figures.

use std::fmt::Write as _;

use super::{
    bars::{BARS, Limit, Verdict, ratios, verdict},
    figures::{Figures, Row},
    plot::AXES,
    report::Report,
};

pub(crate) fn render(report: &Report) -> String {
    let figures = &report.figures;
    let mut text = format!(
        "# What a call costs\n\n{}. Nanoseconds of one call through one layer around a service that \
         does nothing, in each of the threads that share the layer; medians.\n\n",
        report.machine.text()
    );
    text.push_str("## Bars\n\n");
    text.push_str(&bars(report));
    text.push_str("\n## Peers: how many times as long as ours\n\n![bars](bars.svg)\n\n");
    text.push_str(&peers(figures));
    text.push_str("\n## Growth: nanoseconds of a call\n\n![growth](growth.svg)\n\n");
    text.push_str(&growth(figures));
    text.push_str("\n## Ratios and sizes\n\n| name | value |\n| --- | --- |\n");
    for (name, value) in ratios(figures) {
        line(&mut text, &[&name, &short(value)]);
    }
    text.push_str("\n## All figures\n\n");
    text.push_str(&all(figures));
    text
}

/// Each bar, and whether it was reached.
pub(crate) fn bars(report: &Report) -> String {
    let mut text =
        "| bar | at most / at least | this run | |\n| --- | --- | --- | --- |\n".to_owned();
    for &(quantity, limit) in BARS {
        let verdict = match verdict((quantity, limit), &report.figures) {
            Verdict::Reached => "reached",
            Verdict::Missed => "**missed**",
            Verdict::NotMeasured => "not measured",
        };
        let unit = quantity.unit();
        let limit = match limit {
            Limit::AtMost(limit) => format!("≤ {} {unit}", short(limit)),
            Limit::AtLeast(limit) => format!("≥ {} {unit}", short(limit)),
        };
        let value = quantity.value(&report.figures).map(short);
        line(
            &mut text,
            &[
                &quantity.to_string(),
                &limit,
                value.as_deref().unwrap_or("–"),
                verdict,
            ],
        );
    }
    text
}

fn peers(figures: &Figures) -> String {
    let mut text =
        "| layer | peer | 1 thread | 2 threads |\n| --- | --- | --- | --- |\n".to_owned();
    for peer in figures
        .rows
        .iter()
        .filter(|row| !row.is_ours() && row.threads == 1)
    {
        let times = |threads: u32| {
            let ns = |who: &str| figures.row(&format!("{}/{who}/{threads}", peer.layer));
            let (Some(peer), Some(ours)) = (ns(&peer.who), ns("ours")) else {
                return "–".to_owned();
            };
            format!("{} ×", short(peer.ns / ours.ns))
        };
        line(&mut text, &[&peer.layer, &peer.who, &times(1), &times(2)]);
    }
    text
}

fn growth(figures: &Figures) -> String {
    let mut text = String::new();
    for axis in &AXES {
        let lines = axis.lines(figures);
        let Some((_, points)) = lines.first() else {
            continue;
        };
        let mut heading = vec![axis.what.to_owned()];
        heading.extend(points.iter().map(|(at, _)| short(*at)));
        line(
            &mut text,
            &heading.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        text.push_str(&"| --- ".repeat(heading.len()));
        text.push_str("|\n");
        for (who, points) in &lines {
            let mut cells = vec![who.clone()];
            cells.extend(points.iter().map(|(_, ns)| short(*ns)));
            line(
                &mut text,
                &cells.iter().map(String::as_str).collect::<Vec<_>>(),
            );
        }
        text.push('\n');
    }
    text
}

fn all(figures: &Figures) -> String {
    let mut text = "| figure | ns | allocations | p99 ns | per second |\n\
                    | --- | --- | --- | --- | --- |\n"
        .to_owned();
    let perhaps = |figure: Option<f64>| figure.map_or_else(String::new, short);
    for row in &figures.rows {
        let Row { ns, allocs, .. } = row;
        line(
            &mut text,
            &[
                &row.id(),
                &short(*ns),
                &short(*allocs),
                &perhaps(row.p99_ns),
                &perhaps(row.per_second),
            ],
        );
    }
    text
}

fn line(text: &mut String, cells: &[&str]) {
    // A string takes whatever is written to it.
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// To three digits; thousands apart.
pub(crate) fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if value.abs() < 10.0 {
        let text = format!("{value:.2}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    if value.abs() < 100.0 {
        let text = format!("{value:.1}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let whole = format!("{value:.0}");
    let (sign, digits) = whole
        .strip_prefix('-')
        .map_or(("", whole.as_str()), |it| ("-", it));
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.1666, "0.17"),
            (3.0, "3"),
            (13.96, "14"),
            (24.95, "24.9"),
            (-12.5, "-12.5"),
            (999.6, "1 000"),
            (86_816.4, "86 816"),
            (1e7, "10 000 000"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
