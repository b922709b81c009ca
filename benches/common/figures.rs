//! The summary of several rounds.

pub(crate) fn median(figures: &mut [f64]) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    middle(figures)
}

/// The minimum, the median and the maximum.
pub(crate) fn spread(sorted: &[f64]) -> [f64; 3] {
    [sorted[0], middle(sorted), sorted[sorted.len() - 1]]
}

fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}
