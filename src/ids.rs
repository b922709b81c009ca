//! The numbers of goroutines, unique in the process.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::header::Header;

/// Ids that a thread takes at once.
const BLOCK: u64 = 256;

/// The next id that no thread has taken; 1 is the first main's.
static NEXT: AtomicU64 = AtomicU64::new(2);
/// Whether a main has taken id 1.
static MAIN_TAKEN: AtomicBool = AtomicBool::new(false);

/// The ids that are left of a thread's last block.
#[derive(Debug)]
pub(crate) struct Ids(Cell<(u64, u64)>);

impl Ids {
    pub(crate) const fn new() -> Self {
        Self(Cell::new((0, 0)))
    }

    #[inline(always)]
    pub(crate) fn next(&self) -> u64 {
        let (mut next, mut end) = self.0.get();
        if next == end {
            next = NEXT.fetch_add(BLOCK, Ordering::Relaxed) % Header::IDS;
            end = next + BLOCK;
        }
        self.0.set((next + 1, end));
        next
    }

    /// From here on the ids of this thread are those from 1. Returns the ones that it had left.
    #[cfg(feature = "sim")]
    pub(crate) fn restart(&self) -> Self {
        Self(Cell::new(self.0.replace((1, Header::IDS))))
    }

    /// Back to the ids that were left.
    #[cfg(feature = "sim")]
    pub(crate) fn resume(&self, left: Self) {
        self.0.swap(&left.0);
    }

    /// The id of a `block_on`'s main: 1 is the first one's of the process.
    pub(crate) fn next_main(&self) -> u64 {
        if MAIN_TAKEN.swap(true, Ordering::Relaxed) { self.next() } else { 1 }
    }
}

/// Names a goroutine. Ids start at 1, the first `block_on`'s main, and the first 2^41 of a process
/// (two million million) are distinct.
///
/// ```
/// let handle = gopark::go(async {});
/// assert!(handle.id().to_string().starts_with("goroutine "));
/// # gopark::block_on(handle).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GoroutineId(pub(crate) u64);

impl fmt::Display for GoroutineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "goroutine {}", self.0)
    }
}
