//! One thread's calls as bars, ours and each peer's; the scale is logarithmic.

use std::fmt::Write as _;

use super::{figures::Figures, markdown::short};

pub(crate) fn render(figures: &Figures) -> String {
    let rows = figures.rows.iter();
    let shown: Vec<_> = rows
        .filter(|row| row.threads == 1 && !row.layer.starts_with("growth_"))
        .collect();
    let most = shown.iter().map(|row| row.ns).fold(1.0, f64::max);
    let layers = figures.layers().len();
    let mut svg = open(WIDTH, shown.len() * LINE + layers * GAP + 2 * LINE);
    let mut top = LINE;
    let mut layer = "";
    for row in shown {
        if row.layer != layer {
            layer = &row.layer;
            top += GAP;
            let _ = writeln!(
                svg,
                "<text x=\"10\" y=\"{}\" class=\"title\">{layer}</text>",
                top + TEXT
            );
        }
        // A nanosecond is the least that is shown.
        let width = 20.0 + SCALE * row.ns.max(1.0).ln() / most.ln().max(1.0);
        let _ = writeln!(
            svg,
            "<text x=\"350\" y=\"{}\" class=\"end\">{}</text>\
             <rect x=\"360\" y=\"{}\" width=\"{width:.1}\" height=\"14\" fill=\"{}\"/>\
             <text x=\"{:.1}\" y=\"{}\">{} ns</text>",
            top + TEXT,
            row.who,
            top + 2,
            colour(&row.who, 1),
            width + 366.0,
            top + TEXT,
            short(row.ns),
        );
        top += LINE;
    }
    svg.push_str("</svg>\n");
    svg
}

/// The head of a picture, with the styles of all.
pub(crate) fn open(width: usize, height: usize) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <style>.title{{font-weight:bold}}.end{{text-anchor:end}}.middle{{text-anchor:middle}}\
         .grid{{stroke:#ddd}}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    )
}

/// Ours stands out; peers take turns.
pub(crate) fn colour(who: &str, number: usize) -> &'static str {
    const PEERS: [&str; 4] = ["#c2571a", "#888888", "#7b4ea3", "#3a7d44"];
    if who == "ours" {
        return "#1f6fb4";
    }
    PEERS[number % PEERS.len()]
}

const WIDTH: usize = 860;
const LINE: usize = 18;
const GAP: usize = 8;
/// Of a text's foot below the top of its line.
const TEXT: usize = 14;
/// Of the longest bar.
const SCALE: f64 = 380.0;

#[cfg(test)]
mod tests {
    use super::{super::figures::tests::figures, *};

    #[test]
    fn there_is_a_bar_for_each_row_on_one_thread() {
        let figures = figures(
            "{\"id\":\"bare/ours/1\",\"ns\":3,\"allocs\":0}\n\
             {\"id\":\"bulkhead/ours/1\",\"ns\":30,\"allocs\":0}\n\
             {\"id\":\"bulkhead/ours/2\",\"ns\":60,\"allocs\":0}\n\
             {\"id\":\"bulkhead/tower/1\",\"ns\":300000,\"allocs\":0}\n",
        );
        let svg = render(&figures);
        assert_eq!(svg.matches("<rect x=").count(), 3);
        assert!(svg.contains(">300 000 ns<"), "{svg}");
    }
}
