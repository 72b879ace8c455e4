//! One thread's calls as bars, ours and each peer's; the scale is logarithmic.

use std::fmt::Write as _;

use super::{digits::short, figures::Figures};

pub(crate) fn render(figures: &Figures) -> String {
    let shown: Vec<_> = figures.calls().collect();
    let most = shown.iter().map(|row| row.ns).fold(1.0, f64::max);
    let layers = shown.chunk_by(|one, next| one.layer == next.layer);
    let mut svg = open(
        WIDTH,
        shown.len() * LINE + layers.clone().count() * GAP + 2 * LINE,
    );
    let mut top = LINE;
    for rows in layers {
        top += GAP;
        for (place, row) in rows.iter().enumerate() {
            let foot = top + TEXT;
            if place == 0 {
                let title = &row.layer;
                let _ = writeln!(
                    svg,
                    "<text x=\"10\" y=\"{foot}\" class=\"title\">{title}</text>"
                );
            }
            // A nanosecond is the least that is shown.
            let width = 20.0 + SCALE * row.ns.max(1.0).ln() / most.ln().max(1.0);
            let times = figures.times_ours(row).filter(|_| !row.is_ours());
            let times = times.map_or_else(String::new, |times| format!(", {} ×", short(times)));
            let _ = writeln!(
                svg,
                "<text x=\"350\" y=\"{foot}\" class=\"end\">{}</text>\
                 <rect x=\"360\" y=\"{}\" width=\"{width:.1}\" height=\"14\" fill=\"{}\"/>\
                 <text x=\"{:.1}\" y=\"{foot}\">{} ns{times}</text>",
                row.who,
                top + 2,
                colour(&row.who, 1),
                width + 366.0,
                short(row.ns),
            );
            top += LINE;
        }
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

/// The longest bar has its figures beside it.
const WIDTH: usize = 940;
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
            "{\"id\":\"bulkhead/ours/1\",\"ns\":30,\"allocs\":0}\n\
             {\"id\":\"bulkhead/ours/2\",\"ns\":60,\"allocs\":0}\n\
             {\"id\":\"bare/ours/1\",\"ns\":3,\"allocs\":0}\n\
             {\"id\":\"dish_page/ours/1\",\"ns\":3,\"allocs\":0,\"per_second\":7}\n\
             {\"id\":\"bulkhead/tower/1\",\"ns\":300000,\"allocs\":0}\n",
        );
        let svg = render(&figures);
        assert_eq!(svg.matches("<rect x=").count(), 3);
        assert_eq!(svg.matches(">bulkhead<").count(), 1);
        assert!(svg.contains(">300 000 ns, 10 000 ×<"), "{svg}");
    }
}
