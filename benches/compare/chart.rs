//! Horizontal bars, one chart for each group of cases at each number of processors.

use std::fmt::Write as _;

use crate::common::figures::spread;
use crate::report::{Row, Run, short};
use crate::spec::CONTENDERS;

/// Ours has the strongest color; the others are in the order of the columns. All can be told apart
/// on black and on white.
const COLOURS: [&str; 8] =
    ["#e8590c", "#4c7fb8", "#5f9e6e", "#a07cc5", "#c9a227", "#4aa5a5", "#c06c9b", "#8a8f98"];

const WIDTH: f64 = 760.0;
/// Where bars start; names are to the left.
const LEFT: f64 = 130.0;
const RIGHT: f64 = 90.0;
const BAR: f64 = 14.0;
/// If the maximum is more than this many times the minimum, the scale is logarithmic.
const LINEAR: f64 = 15.0;

/// The charts by their file names.
pub(crate) fn all(run: &Run) -> Vec<(String, String)> {
    let mut groups: Vec<(&str, usize)> = Vec::new();
    for row in &run.rows {
        if !groups.contains(&(row.case.group, row.procs)) {
            groups.push((row.case.group, row.procs));
        }
    }
    let mut charts = Vec::new();
    for (group, procs) in groups {
        let of_it = |row: &&Row| {
            row.case.group == group && row.procs == procs && row.found().next().is_some()
        };
        let rows: Vec<&Row> = run.rows.iter().filter(of_it).collect();
        if rows.is_empty() {
            continue;
        }
        let (name, title) = match procs {
            0 => (format!("{group}-build.svg"), format!("{group}, as built")),
            _ => (format!("{group}-{procs}.svg"), format!("{group}, gomaxprocs {procs}")),
        };
        charts.push((name, chart(&title, &rows, &run.origin)));
    }
    charts
}

/// Maps a figure to the length of its bar, for one row.
struct Scale {
    least: f64,
    most: f64,
    logarithmic: bool,
}

impl Scale {
    fn of(row: &Row) -> Self {
        let figures: Vec<f64> = row.found().flat_map(|(_, sorted)| spread(sorted)).collect();
        let most = figures.iter().copied().fold(0.0, f64::max);
        let least = figures.iter().copied().filter(|figure| *figure > 0.0).fold(most, f64::min);
        Self { least, most, logarithmic: most > LINEAR * least }
    }

    fn length(&self, figure: f64) -> f64 {
        let room = WIDTH - LEFT - RIGHT;
        if figure <= 0.0 || self.most <= 0.0 {
            return 0.0;
        }
        if !self.logarithmic {
            return room * figure / self.most;
        }
        // The shortest bar is a twentieth of the longest, so that it is visible.
        let share = (figure / self.least).ln() / (self.most / self.least).ln();
        room * (0.05 + 0.95 * share)
    }
}

/// A thin line on a bar extends from the minimum to the maximum of the rounds.
fn chart(title: &str, rows: &[&Row], origin: &str) -> String {
    let (mut body, mut y) = (String::new(), 30.0);
    for row in rows {
        let scale = Scale::of(row);
        let kind = if scale.logarithmic { ", logarithmic" } else { "" };
        y += 24.0;
        let caption = escape(&format!("{} ({}{kind})", row.title(), row.case.unit));
        let _ = writeln!(body, r#"<text class="case" x="10" y="{y:.0}">{caption}</text>"#);
        y += 8.0;
        for (at, sorted) in row.found() {
            let (contender, colour, figures) = (CONTENDERS[at], COLOURS[at], spread(sorted));
            let ([least, length, most], base) =
                (figures.map(|figure| scale.length(figure)), y + BAR - 3.0);
            let name = LEFT - 8.0;
            let _ = writeln!(
                body,
                r#"<text class="name" x="{name:.0}" y="{base:.0}">{contender}</text>"#
            );
            let height = BAR - 2.0;
            let size = format!(r#"width="{length:.1}" height="{height:.0}""#);
            let _ =
                writeln!(body, r#"<rect x="{LEFT:.0}" y="{y:.0}" {size} rx="2" fill="{colour}"/>"#);
            if least < most {
                let (from, to, middle) = (LEFT + least, LEFT + most, y + height / 2.0);
                let _ = writeln!(body, r#"<path d="M{from:.1} {middle:.0}H{to:.1}"/>"#);
            }
            let end = LEFT + most + 6.0;
            let _ =
                writeln!(body, r#"<text x="{end:.1}" y="{base:.0}">{}</text>"#, short(figures[1]));
            y += BAR + 2.0;
        }
    }
    let (foot, height) = (y + 20.0, y + 32.0);
    let size = format!(r#"width="{WIDTH:.0}" height="{height:.0}" role="img""#);
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0} {height:.0}" {size}>
<title>{title}: less is better</title>
<style>
text {{ font: 11px sans-serif; fill: #444c56 }}
.head {{ font-size: 15px; font-weight: bold }}
.case {{ font-weight: bold }}
.name {{ text-anchor: end }}
path {{ stroke: #444c56 }}
@media (prefers-color-scheme: dark) {{ text {{ fill: #c3cad2 }} path {{ stroke: #c3cad2 }} }}
</style>
<text class="head" x="10" y="22">{title}: less is better</text>
{body}<text x="10" y="{foot:.0}">{origin}; bar: median, line: least to most</text>
</svg>
"#
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
