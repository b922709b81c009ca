//! The trace of a run: its steps, and their text.

use std::fmt::{self, Write};
use std::panic::Location;

use crate::header::WaitReason;

/// A step of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Goroutine {
        id: u64,
        does: Does,
        site: Option<&'static Location<'static>>,
    },
    /// The time moves to this point, in nanoseconds.
    Time(u64),
}

/// The action of a goroutine in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    Starts,
    /// It begins an operation.
    Begins(WaitReason),
    /// Another goroutine runs before it begins the operation.
    GivesWayBefore(WaitReason),
    Parks(WaitReason),
    /// It yields, or waits for a future of another crate.
    Yields,
    /// It runs on although it was aborted.
    Outruns,
    Ends,
}

impl Step {
    fn goroutine(&self) -> Option<u64> {
        if let Step::Goroutine { id, .. } = self { Some(*id) } else { None }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, does, site) = match self {
            Step::Goroutine { id, does, site } => (id, does, site),
            Step::Time(nanos) => return write!(f, "time moves to {:.9} s", *nanos as f64 / 1e9),
        };
        write!(f, "goroutine {id}, ")?;
        match does {
            Does::Starts => f.write_str("starts")?,
            Does::Begins(reason) => reason.fmt(f)?,
            Does::GivesWayBefore(reason) => write!(f, "gives way before {reason}")?,
            Does::Parks(reason) => write!(f, "waits: {reason}")?,
            Does::Yields => f.write_str("yields")?,
            Does::Outruns => f.write_str("goes on: its abort comes a moment too late")?,
            Does::Ends => f.write_str("ends")?,
        }
        match site {
            Some(site) => write!(f, ", {}:{}", site.file(), site.line()),
            None => Ok(()),
        }
    }
}

/// The maximum number of steps that a text has lines for. Earlier steps are left out.
const LINES: usize = 100;

/// Returns the text of a trace.
pub(super) fn text(steps: &[Step]) -> String {
    let mut text = String::new();
    let left_out = steps.len().saturating_sub(LINES);
    // Writing to a string does not fail.
    if left_out > 0 {
        let _ = writeln!(text, "  {left_out} steps before");
    }
    for step in &steps[left_out..] {
        let _ = writeln!(text, "  {step}");
    }
    text
}

/// Returns how often a step is another goroutine's than the step before.
pub(super) fn switches(steps: &[Step]) -> usize {
    let goroutines: Vec<_> = steps.iter().filter_map(Step::goroutine).collect();
    goroutines.windows(2).filter(|pair| pair[0] != pair[1]).count()
}
