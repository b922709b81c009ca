//! The ids of goroutines, which are unique in the process.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::header::Header;

/// The number of ids that a thread takes at once.
const BLOCK: u64 = 256;

/// The next id that no thread has taken; 1 is reserved for the first main.
static NEXT: AtomicU64 = AtomicU64::new(2);
/// Whether a main has taken id 1.
static MAIN_TAKEN: AtomicBool = AtomicBool::new(false);

/// The remaining ids of a thread's last block.
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

    /// Restarts the ids of this thread at 1. Returns the remaining ids from before.
    #[cfg(feature = "sim")]
    pub(crate) fn restart(&self) -> Self {
        Self(Cell::new(self.0.replace((1, Header::IDS))))
    }

    /// Restores the remaining ids from before.
    #[cfg(feature = "sim")]
    pub(crate) fn resume(&self, left: Self) {
        self.0.swap(&left.0);
    }

    /// Returns the id of the main of a `block_on`: 1 for the first main of the process.
    pub(crate) fn next_main(&self) -> u64 {
        if MAIN_TAKEN.swap(true, Ordering::Relaxed) { self.next() } else { 1 }
    }
}

/// The id of a goroutine. Ids start at 1, for the main of the first `block_on`, and the first 2^41
/// ids of a process (two million million) are distinct.
///
/// # Examples
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
