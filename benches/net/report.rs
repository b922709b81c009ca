//! The table: medians, and their ratios to the first contender's.

use std::fmt::Write as _;

use crate::common::figures::median;
use crate::sockets::sample::{Figures, Outcome, QUIET, others};

pub(crate) struct Row<'a> {
    pub(crate) contender: &'a str,
    pub(crate) outcomes: &'a [Outcome],
}

pub(crate) const HEAD: &str = "\
Microseconds, or bytes: medians of the rounds, and in brackets the ratio to the first contender, of
the medians / of the best rounds. `cpu` is the server's CPU time for a request; `others` is the
share of a processor that other processes used.

| case | procs | contender | figures |
|---|---|---|---|";

/// The results that are shown, if they exist, in this order.
const SHOWN: [&str; 9] = ["time", "p50", "p99", "cpu", "pp50", "pp99", "pp99.9", "bytes", "others"];

pub(crate) fn rows(case: &str, procs: usize, rows: &[Row<'_>]) -> String {
    let lines = rows.iter().map(|row| {
        let figures = match quiet(row.outcomes) {
            Ok(figures) => show(&figures, quiet(rows[0].outcomes).ok().as_deref()),
            Err(reason) => reason.clone(),
        };
        format!("| {case} | {procs} | {} | {figures} |", row.contender)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The samples that no other process disturbed, but at least the less disturbed half.
fn quiet(outcomes: &[Outcome]) -> Result<Vec<&Figures>, &String> {
    let mut figures = outcomes.iter().map(Result::as_ref).collect::<Result<Vec<_>, _>>()?;
    figures.sort_by(|a, b| others(a).total_cmp(&others(b)));
    let undisturbed = figures.iter().filter(|figures| others(figures) <= QUIET).count();
    figures.truncate(undisturbed.max(figures.len().div_ceil(2)));
    Ok(figures)
}

fn show(ours: &[&Figures], first: Option<&[&Figures]>) -> String {
    let mut text = String::new();
    for name in SHOWN {
        let of = |figures: &[&Figures]| {
            figures.iter().filter_map(|figures| figures.get(name).copied()).collect()
        };
        let mut found: Vec<f64> = of(ours);
        if found.is_empty() {
            continue;
        }
        let separator = if text.is_empty() { "" } else { ", " };
        let (middle, best) = (median(&mut found), found[0]);
        let _ = write!(text, "{separator}{name} {}", short(middle));
        let mut first: Vec<f64> = first.map(of).unwrap_or_default();
        if name != "others" && !first.is_empty() {
            let (first_middle, first_best) = (median(&mut first), first[0]);
            let _ = write!(text, " ({:.2} / {:.2})", middle / first_middle, best / first_best);
        }
    }
    text
}

fn short(figure: f64) -> String {
    if figure < 100.0 { format!("{figure:.2}") } else { format!("{figure:.0}") }
}
