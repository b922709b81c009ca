//! The word that counts idle processors and searching workers, and the protocol that keeps a queued
//! goroutine from being missed.
//!
//! * **Push**: a thread has enqueued a goroutine. It executes a full fence and reads [`Idle`]. If
//!   no worker searches and a processor is idle, it starts a worker on that, *as searching*.
//! * **Announce**: a worker has found nothing. Its processor becomes idle, and it no longer
//!   searches. It executes a full fence and checks every queue once more. If one has a goroutine,
//!   it takes a processor back.
//! * **LastFinds**: the last searching worker has found work. It wakes one more worker before it
//!   runs that work.
//!
//! Proof. Take a Push and the Announce of the last worker that could have run the goroutine. If the
//! fence of Push comes first, the second check of Announce sees the goroutine. If the fence of
//! Announce comes first, Push sees the processor idle and no searching worker, so it wakes one.
//! Either way the goroutine is found.

use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::platform;

/// Counts the idle processors and the workers that search for work, in one word.
///
/// | change | by | condition |
/// |---|---|---|
/// | idle + 1 | Announce, after searching − 1 | holds the scheduler's lock |
/// | idle − 1 | the thread that takes an idle processor | holds the scheduler's lock |
/// | searching 0 → 1 | Push, to wake a worker | compare-exchange, idle > 0 |
/// | searching + 1 | a worker that starts to search | compare-exchange, see `try_begin_search` |
/// | searching + 1 | a call of a worker: for a hand-over, a new runtime, events | – |
/// | searching − 1 | a searching worker that found work, or nothing | – |
#[derive(Debug)]
pub(crate) struct Idle {
    word: AtomicUsize,
}

const SEARCHING: usize = 1 << 16;

impl Idle {
    pub(crate) fn new() -> Self {
        Self { word: AtomicUsize::new(0) }
    }

    fn parts(word: usize) -> (usize, usize) {
        (word / SEARCHING, word % SEARCHING)
    }

    /// Returns the number of idle processors.
    #[cfg(all(test, not(gopark_loom)))]
    pub(crate) fn idle(&self) -> usize {
        Self::parts(self.word.load(Ordering::Relaxed)).1
    }

    /// Returns true if no processor is idle and no worker searches, as in a new word.
    #[cfg(all(test, not(gopark_loom)))]
    pub(crate) fn is_reset(&self) -> bool {
        self.word.load(Ordering::Relaxed) == 0
    }

    /// Returns true if a worker must be woken after a Push.
    #[inline(always)]
    pub(crate) fn should_notify(&self) -> bool {
        // The fence of Push.
        platform::full_fence();
        let word = self.word.load(Ordering::Relaxed);
        word != 0 && word < SEARCHING
    }

    /// Counts the worker that is about to be woken as searching. Returns false if a worker already
    /// searches, or no processor is idle.
    pub(crate) fn try_begin_notify(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word != 0 && word < SEARCHING {
            match self.word.compare_exchange_weak(
                word,
                word + SEARCHING,
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Counts a running worker as searching, unless half of the busy ones among `procs` processors
    /// already search.
    pub(crate) fn try_begin_search(&self, procs: usize) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let (searching, idle) = Self::parts(word);
            if 2 * searching >= procs.saturating_sub(idle) {
                return false;
            }
            match self.word.compare_exchange_weak(
                word,
                word + SEARCHING,
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// Counts a worker as no longer searching. Returns true if it was the last one: if it has found
    /// work, it must wake one more (LastFinds).
    pub(crate) fn end_search(&self) -> bool {
        self.word.fetch_sub(SEARCHING, Ordering::SeqCst) / SEARCHING == 1
    }

    /// Counts a worker that is being called as searching, whatever the others do.
    pub(crate) fn begin_search(&self) {
        self.word.fetch_add(SEARCHING, Ordering::SeqCst);
    }

    /// Announce: counts one more processor as idle. Its worker no longer counts as searching.
    pub(crate) fn transition_to_idle(&self) {
        self.word.fetch_add(1, Ordering::SeqCst);
        // The fence of Announce.
        platform::full_fence();
    }

    /// Counts one processor as no longer idle.
    pub(crate) fn acquire_processor(&self) {
        self.word.fetch_sub(1, Ordering::SeqCst);
    }

    /// Returns true if at least all but one of `procs` processors are idle.
    #[cfg(feature = "net")]
    pub(crate) fn is_all_but_one(&self, procs: usize) -> bool {
        Self::parts(self.word.load(Ordering::Relaxed)).1 + 1 >= procs
    }

    /// Returns true if a worker searches, or has been called.
    pub(crate) fn is_searched(&self) -> bool {
        self.word.load(Ordering::SeqCst) >= SEARCHING
    }

    /// Resets the word, when the executor has no worker. Returns false if a call of a worker is in
    /// progress.
    pub(crate) fn try_reset(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word < SEARCHING {
            match self.word.compare_exchange_weak(word, 0, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
