//! A record of sends that failed after a wait because their channel was closed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::coop;
use crate::panics::lock;

/// The number of live [`FailedSends`].
static RECORDS: AtomicUsize = AtomicUsize::new(0);
/// The goroutines whose sends have failed since the first of the live records was made.
static FAILED: Mutex<Vec<u64>> = Mutex::new(Vec::new());

/// Records failed sends while it lives.
#[derive(Debug)]
pub(crate) struct FailedSends(());

impl FailedSends {
    pub(crate) fn record() -> Self {
        RECORDS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }

    /// Returns true if a send of the goroutine has failed.
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

/// Records that a send of the running goroutine has failed after a wait.
#[cold]
pub(super) fn failed() {
    if RECORDS.load(Ordering::Relaxed) != 0 {
        lock(&FAILED).extend(coop::goroutine());
    }
}
