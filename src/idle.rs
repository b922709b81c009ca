//! The word that counts idle processors and searching workers, and the protocol that keeps a queued
//! goroutine from being missed.
//!
//! | event | thread | what it must do |
//! |---|---|---|
//! | Push | the submitter has enqueued a goroutine | full fence; read [`Idle`]; if no worker searches and a processor is idle, start a worker on it, *as searching* |
//! | Announce | a worker found nothing: its processor becomes idle, it no longer searches | full fence; look at every queue once more; if one has a goroutine, take a processor back |
//! | LastFinds | the last searching worker found work | wake one more worker before running it |
//!
//! Proof. Take a Push and the Announce of the last worker that could have run the goroutine. If the
//! fence of Push comes first, the second look of Announce sees the goroutine. If the fence of
//! Announce comes first, Push sees the processor idle and no searching worker, so it wakes one.
//! Either way the goroutine is found.

use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::platform;

/// How many processors are idle and how many workers search for work, in one word.
///
/// | change | by | condition |
/// |---|---|---|
/// | idle + 1 | a worker that found nothing, after its searching − 1: Announce | holds the scheduler's lock |
/// | idle − 1 | the thread that takes an idle processor | holds the scheduler's lock |
/// | searching 0 → 1 | Push, to wake a worker | compare-exchange, idle > 0 |
/// | searching + 1 | a worker that starts to search | compare-exchange, at most half of the busy processors |
/// | searching + 1 | the thread that calls a worker for a processor that is handed over, or for a new runtime | |
/// | searching − 1 | a searching worker that found work, or nothing | |
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

    /// The number of idle processors.
    #[cfg(all(test, not(gopark_loom)))]
    pub(crate) fn idle(&self) -> usize {
        Self::parts(self.word.load(Ordering::Relaxed)).1
    }

    /// True if no processor is idle and no worker searches, as in a new word.
    #[cfg(all(test, not(gopark_loom)))]
    pub(crate) fn is_reset(&self) -> bool {
        self.word.load(Ordering::Relaxed) == 0
    }

    /// After a Push: true if a worker must be woken.
    #[inline(always)]
    pub(crate) fn should_notify(&self) -> bool {
        // The fence of Push.
        platform::full_fence();
        let word = self.word.load(Ordering::Relaxed);
        word != 0 && word < SEARCHING
    }

    /// Counts the worker that is about to be woken as searching. False if one searches already, or
    /// no processor is idle.
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
    /// search already.
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

    /// A searching worker found work. True if it was the last one: it must wake one more
    /// (LastFinds).
    pub(crate) fn end_search(&self) -> bool {
        self.word.fetch_sub(SEARCHING, Ordering::SeqCst) / SEARCHING == 1
    }

    /// Counts a worker that is being started as searching, whatever the others do.
    pub(crate) fn begin_search(&self) {
        self.word.fetch_add(SEARCHING, Ordering::SeqCst);
    }

    /// Announce: one more processor is idle. Its worker searches no longer.
    pub(crate) fn transition_to_idle(&self) {
        self.word.fetch_add(1, Ordering::SeqCst);
        // The fence of Announce.
        platform::full_fence();
    }

    /// One idle processor is taken into use.
    pub(crate) fn acquire_processor(&self) {
        self.word.fetch_sub(1, Ordering::SeqCst);
    }

    /// True if all of so many processors but one are idle.
    #[cfg(feature = "net")]
    pub(crate) fn is_all_but_one(&self, procs: usize) -> bool {
        Self::parts(self.word.load(Ordering::Relaxed)).1 + 1 >= procs
    }

    /// True if a worker searches, or has been called.
    pub(crate) fn is_searched(&self) -> bool {
        self.word.load(Ordering::SeqCst) >= SEARCHING
    }

    /// Back to the state of a new word. The executor has no worker. False if a call of one is under
    /// way.
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
