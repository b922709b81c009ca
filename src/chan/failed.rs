//! Which sends have failed after they had waited, because their channel was closed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::coop;
use crate::panics::lock;

/// How many [`FailedSends`] there are, and the goroutines whose sends have failed since the first
/// of them.
static RECORDS: AtomicUsize = AtomicUsize::new(0);
static FAILED: Mutex<Vec<u64>> = Mutex::new(Vec::new());

/// Records failed sends as long as it is there.
#[derive(Debug)]
pub(crate) struct FailedSends(());

impl FailedSends {
    pub(crate) fn record() -> Self {
        RECORDS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }

    /// True if a send of the goroutine has failed.
    pub(crate) fn contains(&self, goroutine: u64) -> bool {
        lock(&FAILED).contains(&goroutine)
    }
}

impl Drop for FailedSends {
    fn drop(&mut self) {
        if RECORDS.fetch_sub(1, Ordering::Relaxed) == 1 {
            lock(&FAILED).clear();
        }
    }
}

/// A send of the running goroutine has failed after it had waited.
#[cold]
pub(super) fn failed() {
    if RECORDS.load(Ordering::Relaxed) != 0 {
        lock(&FAILED).extend(coop::goroutine());
    }
}
