//! The counts of what keeps a channel.

use crate::loom::atomic::{AtomicBool, AtomicU32, AtomicUsize};

/// | word | meaning | changed by |
/// |---|---|---|
/// | `handles` | live handles of each side | clone, drop of a handle |
/// | `one_side_dropped` | one side has no handles left | a side's last drop |
/// | `shares` | the sides together, and each weak reference | their ends; the last one frees |
pub(super) struct Counts {
    pub(super) handles: [AtomicUsize; 2],
    pub(super) one_side_dropped: AtomicBool,
    pub(super) shares: AtomicU32,
}

impl Counts {
    /// Returns the counts of a channel with one handle of each side.
    pub(super) fn new() -> Self {
        Self {
            handles: [AtomicUsize::new(1), AtomicUsize::new(1)],
            one_side_dropped: AtomicBool::new(false),
            shares: AtomicU32::new(1),
        }
    }
}
