//! Counts the threads that are blocked: each waits in a blocking form, or in `block_on`, without a
//! limit.
//!
//! A thread counts from the moment it begins to wait until the wake, not until it runs again. So if
//! all threads of the process are blocked, no thread will wake one of them.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::threads;

/// A thread that may block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Thread {
    /// A worker of a runtime.
    Worker,
    /// A service thread. It does not count, because others wait for it.
    Service,
    /// A thread that this crate has not started.
    Other,
}

static WORKERS: AtomicUsize = AtomicUsize::new(0);
static OTHERS: AtomicUsize = AtomicUsize::new(0);
static CHANGES: AtomicUsize = AtomicUsize::new(0);

impl Thread {
    pub(crate) fn this() -> Self {
        match (threads::is_service(), threads::is_own()) {
            (true, _) => Self::Service,
            (false, true) => Self::Worker,
            (false, false) => Self::Other,
        }
    }

    fn count(self) -> Option<&'static AtomicUsize> {
        match self {
            Self::Worker => Some(&WORKERS),
            Self::Service => None,
            Self::Other => Some(&OTHERS),
        }
    }

    /// Records that the thread blocks. Must be called under a lock that its waker needs.
    pub(crate) fn begins(self) {
        self.count().into_iter().for_each(|count| _ = count.fetch_add(1, Ordering::SeqCst));
        CHANGES.fetch_add(1, Ordering::SeqCst);
    }

    /// Records that the thread no longer blocks. Called by its waker, under the same lock: the
    /// waker, which runs, must not end before.
    pub(crate) fn ends(self) {
        CHANGES.fetch_add(1, Ordering::SeqCst);
        self.count().into_iter().for_each(|count| _ = count.fetch_sub(1, Ordering::SeqCst));
    }
}

/// The numbers of blocked threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocked {
    /// How often a thread has blocked, or was woken.
    changes: usize,
    pub(crate) workers: usize,
    pub(crate) others: usize,
}

impl Blocked {
    /// Counts the blocked threads. If two results are equal, the same threads were blocked all the
    /// time in between.
    pub(crate) fn count() -> Self {
        Self {
            changes: CHANGES.load(Ordering::SeqCst),
            workers: WORKERS.load(Ordering::SeqCst),
            others: OTHERS.load(Ordering::SeqCst),
        }
    }
}
