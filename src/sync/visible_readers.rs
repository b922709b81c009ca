//! The table in which readers of a [`RwMutex`](super::RwMutex) on several processors make themselves visible to writers.
//!
//! Readers that all count in the word of their lock pass its cache line around, and two of them are slower than one. A lock
//! that detects this becomes *shared*: its readers publish themselves in the row of their processor instead, which no other
//! processor writes to. One table serves all locks of the process; a slot holds the number of a lock.
//! (The idea is that of biased locking for readers, "BRAVO", of Dice and Kogan.)
//!
//! | slot | meaning | left by |
//! |---|---|---|
//! | 0 | free | a reader that publishes itself: to the number of its lock, SeqCst |
//! | n | a reader of lock n holds it, or is about to check whether the lock is still shared | a reader of lock n, or a writer |
//!
//! A reader leaves by setting its slot to 0; a writer sets it to 0 once it has counted the reader in the word of the lock.
//! Each change of a slot is a compare-exchange, so either the reader or the writer retracts an entry, never both: a reader
//! that finds its entry retracted knows that it is counted in the word. All readers of a lock are alike, so it does no harm
//! if one retracts the entry of another.
//!
//! No reader is overlooked, by Dekker's argument: the reader publishes itself, then checks whether the lock is shared; the
//! writer ends the sharing, then reads the table; all four are SeqCst. So the reader sees the end, or the writer the entry.

use crate::loom::atomic::{AtomicUsize, Ordering};

/// Processors with a row of their own; beyond that, they share. One under loom, where all threads are one processor.
const ROWS: usize = if cfg!(gopark_loom) { 1 } else { 64 };
/// How many locks can have readers on one processor at the same time before they collide.
const COLUMNS: usize = if cfg!(gopark_loom) { 1 } else { 8 };

/// Aligned to two cache lines, because they are fetched in pairs.
#[repr(align(128))]
struct Row([AtomicUsize; COLUMNS]);

pub(super) struct Table {
    rows: [Row; ROWS],
    /// All rows that have ever been published in are below this.
    used: AtomicUsize,
}

impl Table {
    #[cfg(not(gopark_loom))]
    pub(super) const fn new() -> Self {
        Table { rows: [const { Row([const { AtomicUsize::new(0) }; COLUMNS]) }; ROWS], used: AtomicUsize::new(0) }
    }

    #[cfg(gopark_loom)]
    pub(super) fn new() -> Self {
        Table { rows: [Row([AtomicUsize::new(0)])], used: AtomicUsize::new(0) }
    }

    /// Publishes a reader of `lock` on `processor`. Returns `None` if the slot is taken. The caller must then check that
    /// the lock is still shared.
    #[inline]
    pub(super) fn publish(&self, lock: usize, processor: usize) -> Option<&AtomicUsize> {
        let row = processor % ROWS;
        // SeqCst both: a writer that reads the table afterwards reads this row.
        if row >= self.used.load(Ordering::SeqCst) {
            self.used.fetch_max(row + 1, Ordering::SeqCst);
        }
        let slot = &self.rows[row].0[lock % COLUMNS];
        slot.compare_exchange(0, lock, Ordering::SeqCst, Ordering::Relaxed).is_ok().then_some(slot)
    }

    /// Iterates over the slots with a reader of `lock`. The sharing must have ended before.
    pub(super) fn published(&self, lock: usize) -> impl Iterator<Item = &AtomicUsize> {
        let slots = self.rows[..self.used.load(Ordering::SeqCst)].iter().map(move |row| &row.0[lock % COLUMNS]);
        slots.filter(move |slot| slot.load(Ordering::SeqCst) == lock)
    }
}

/// Stands between the two steps of either side of Dekker's argument. SeqCst accesses need none, but loom treats them as
/// AcqRel.
#[inline(always)]
pub(super) fn model_fence() {
    #[cfg(gopark_loom)]
    crate::loom::atomic::fence(Ordering::SeqCst);
}

/// Retracts an entry. Returns false if it has been retracted already; what its retractor did before is then visible, too
/// (Acquire).
#[inline]
pub(super) fn retract(slot: &AtomicUsize, lock: usize) -> bool {
    slot.compare_exchange(lock, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

#[cfg(not(gopark_loom))]
pub(super) static TABLE: Table = Table::new();

/// The number of the next lock that becomes shared; no number is used twice.
static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(1);

/// Returns a number for a lock.
pub(super) fn next_number() -> usize {
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
