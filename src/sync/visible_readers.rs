//! Where the readers of a [`RwMutex`](super::RwMutex) sign in when they come from several processors.
//!
//! Readers that all count in the word of their lock pass its cache line around, and two of them are slower than one. So
//! a lock that notices it is *shared*: its readers then sign a table instead, in the row of their processor, which no
//! other processor writes to. The table is one for all locks of the process; a seat in it holds the number of a lock.
//! (The idea is that of biased locking for readers, "BRAVO", of Dice and Kogan.)
//!
//! | seat | meaning | left by |
//! |---|---|---|
//! | 0 | free | a reader that signs: to the number of its lock, SeqCst |
//! | n | a reader of lock n is in, or about to look whether the lock is shared still | a reader of lock n, or a writer |
//!
//! A reader leaves by making its seat 0; a writer makes it 0 when it has counted the reader in the word of the lock.
//! Each change of a seat is a compare-exchange, so either the reader or the writer takes the signature out, never both:
//! the reader that finds it gone knows that it is counted in the word. All readers of a lock are alike, so it does no
//! harm if one takes out what another has signed.
//!
//! That no reader is overlooked is Dekker's argument: the reader signs, then looks whether the lock is shared; the
//! writer ends the sharing, then looks at the table; all four are SeqCst. So the reader sees the end, or the writer the
//! signature.

use crate::loom::atomic::{AtomicUsize, Ordering};

/// Processors with a row of their own; beyond that, they share. One under loom, where all threads are one processor.
const ROWS: usize = if cfg!(gopark_loom) { 1 } else { 64 };
/// Locks that have readers on one processor at the same time, before they get into each other's way.
const COLUMNS: usize = if cfg!(gopark_loom) { 1 } else { 8 };

/// On cache lines of its own: two, since they are fetched in pairs.
#[repr(align(128))]
struct Row([AtomicUsize; COLUMNS]);

pub(super) struct Table {
    rows: [Row; ROWS],
    /// Rows that have ever been signed in are below this.
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

    /// Signs for a reader of `lock` on `processor`. `None`: the seat is taken. The caller has yet to look whether the
    /// lock is shared.
    #[inline]
    pub(super) fn sign(&self, lock: usize, processor: usize) -> Option<&AtomicUsize> {
        let row = processor % ROWS;
        // SeqCst both: whoever looks for the signature afterwards looks in this row.
        if row >= self.used.load(Ordering::SeqCst) {
            self.used.fetch_max(row + 1, Ordering::SeqCst);
        }
        let seat = &self.rows[row].0[lock % COLUMNS];
        seat.compare_exchange(0, lock, Ordering::SeqCst, Ordering::Relaxed).is_ok().then_some(seat)
    }

    /// Every seat that is signed for `lock`. The sharing has ended before.
    pub(super) fn signed(&self, lock: usize) -> impl Iterator<Item = &AtomicUsize> {
        let seats = self.rows[..self.used.load(Ordering::SeqCst)].iter().map(move |row| &row.0[lock % COLUMNS]);
        seats.filter(move |seat| seat.load(Ordering::SeqCst) == lock)
    }
}

/// Stands between the two steps of either side of Dekker's argument. SeqCst accesses need none, but loom takes them for
/// AcqRel ones.
#[inline(always)]
pub(super) fn model_fence() {
    #[cfg(gopark_loom)]
    crate::loom::atomic::fence(Ordering::SeqCst);
}

/// Takes a signature out. False: it is gone, and who erased it has released what it did (Acquire, also then).
#[inline]
pub(super) fn erase(seat: &AtomicUsize, lock: usize) -> bool {
    seat.compare_exchange(lock, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

#[cfg(not(gopark_loom))]
pub(super) static TABLE: Table = Table::new();

/// The number of the next lock that is shared; none is given twice.
static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(1);

pub(super) fn number() -> usize {
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
