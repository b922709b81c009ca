//! A hierarchical timer wheel of intrusive entries.
//!
//! Each level has 16 slots; a slot of level n is 16^n nanoseconds. An entry is at the level of the
//! highest group of four bits in which its time differs from the wheel's. When the wheel reaches
//! the entry's slot, the entry moves down; this happens at most once per level, and an entry that
//! is alone in its slot skips levels. Most entries are removed before that. Insertion and removal
//! take a few steps, whatever the number of entries.
//!
//! A slot of level 0 is one nanosecond. So entries become ready in the order of their times, none
//! before its time, and those with the same time in the order of their insertion.
//!
//! The wheel has no lock; its owner must provide one.

use std::array;
use std::cell::Cell;
use std::ptr::NonNull;

use crate::clock::Time;
use crate::loom::UnsafeCell;
use crate::wait::list::{self, Links, List};

/// The slots of a level, as a power of two. Fewer under loom, whose lists are large.
const BITS: u32 = if cfg!(gopark_loom) { 1 } else { 4 };
const SLOTS: usize = 1 << BITS;
/// Together the levels cover every [`Time`].
const LEVELS: usize = 64_u32.div_ceil(BITS) as usize;
/// If a slot has more entries than this, `next_due` returns the slot's beginning instead of
/// searching for the first entry, because that costs less.
const SEARCH: usize = 32;

/// An entry of a wheel.
#[derive(Debug)]
pub(crate) struct Entry {
    links: UnsafeCell<Links<Entry>>,
    /// Written by the owner, and only while the entry is in no wheel.
    pub(crate) due: Cell<Time>,
}

impl Entry {
    pub(crate) fn new(due: Time) -> Self {
        Self { links: UnsafeCell::new(Links::UNLINKED), due: Cell::new(due) }
    }

    fn nanos(&self) -> u64 {
        self.due.get().as_nanos()
    }
}

// SAFETY: the links are the entry's own; while it is in a wheel, only the wheel accesses them.
unsafe impl list::Node for Entry {
    #[inline(always)]
    unsafe fn with_links<R>(this: *mut Self, f: impl FnOnce(&mut Links<Self>) -> R) -> R {
        // SAFETY: passed on to the caller.
        unsafe { (*this).links.with_mut(|links| f(&mut *links)) }
    }
}

/// The entries of one shard.
///
/// Every `unsafe fn` requires that the entries are alive, and that the caller has exclusive access
/// to the wheel.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// The time in nanoseconds to which the wheel has been advanced. The entries up to this time
    /// are in `ready`.
    now: u64,
    ready: List<Entry>,
    /// The number of entries in the slots.
    slotted: usize,
    /// A bit for each slot that is not empty.
    occupied: [u16; LEVELS],
    slots: [[List<Entry>; SLOTS]; LEVELS],
}

impl Wheel {
    pub(crate) fn new() -> Self {
        let slots = array::from_fn(|_| array::from_fn(|_| List::new()));
        Self { now: 0, ready: List::new(), slotted: 0, occupied: [0; LEVELS], slots }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.slotted == 0 && self.ready.front().is_none()
    }

    /// Sets an empty wheel back to the beginning of time.
    #[cfg(feature = "sim")]
    pub(crate) fn rewind(&mut self) {
        assert!(self.is_empty(), "the places of entries depend on the wheel's time");
        self.now = 0;
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        // SAFETY: the caller has exclusive access to the wheel.
        let next = |&entry: &_| unsafe { self.ready.next(entry) };
        self.slotted + std::iter::successors(self.ready.front(), next).count()
    }

    /// Returns the level and the slot of a future time.
    fn place(&self, nanos: u64) -> (usize, usize) {
        let level = (63 - (nanos ^ self.now).leading_zeros()) / BITS;
        (level as usize, (nanos >> (BITS * level)) as usize % SLOTS)
    }

    /// Inserts an entry.
    ///
    /// # Safety
    ///
    /// As required at [`Wheel`]. The entry is in no wheel, and stays alive and at its address until
    /// it is removed or popped.
    pub(crate) unsafe fn insert(&mut self, entry: NonNull<Entry>) {
        // SAFETY: the caller promises that the entry is alive.
        let nanos = unsafe { entry.as_ref() }.nanos();
        if nanos <= self.now {
            // SAFETY: passed on to the caller.
            unsafe { self.ready.push_back(entry.as_ptr()) };
            return;
        }
        let (level, slot) = self.place(nanos);
        self.slotted += 1;
        self.occupied[level] |= 1 << slot;
        // SAFETY: passed on to the caller.
        unsafe { self.slots[level][slot].push_back(entry.as_ptr()) };
    }

    /// Removes an entry.
    ///
    /// # Safety
    ///
    /// As required at [`Wheel`]. The entry is in this wheel.
    pub(crate) unsafe fn remove(&mut self, entry: NonNull<Entry>) {
        // SAFETY: the caller promises that the entry is alive.
        let nanos = unsafe { entry.as_ref() }.nanos();
        if nanos <= self.now {
            // SAFETY: an entry whose time has come is in `ready`.
            return unsafe { self.ready.remove(entry.as_ptr()) };
        }
        let (level, slot) = self.place(nanos);
        self.slotted -= 1;
        let list = &self.slots[level][slot];
        // SAFETY: `place` returns the slot that the entry is in, although the wheel has advanced
        // since: when the wheel's time enters an entry's slot, that slot is emptied.
        unsafe { list.remove(entry.as_ptr()) };
        if list.front().is_none() {
            self.occupied[level] &= !(1 << slot);
        }
    }

    /// Returns the first slot that is not empty, and the time at which it begins. Lower levels come
    /// first, and in a level lower slots, because all occupied slots are ahead of the wheel's time.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        if self.slotted == 0 {
            return None;
        }
        let level = self.occupied.iter().position(|&occupied| occupied != 0)?;
        let slot = self.occupied[level].trailing_zeros() as usize;
        let shift = BITS * level as u32;
        let around = (self.now >> shift >> BITS) << BITS;
        Some((level, slot, (around | slot as u64) << shift))
    }

    /// Advances the wheel to `now`.
    ///
    /// # Safety
    ///
    /// As required at [`Wheel`].
    pub(crate) unsafe fn advance(&mut self, now: Time) {
        let now = now.as_nanos();
        while let Some((level, slot, begin)) = self.first_slot() {
            if begin > now {
                break;
            }
            self.occupied[level] &= !(1 << slot);
            let list = &self.slots[level][slot];
            self.now = match list.front() {
                // SAFETY: passed on to the caller.
                Some(first) if unsafe { list.is_only(first.as_ptr()) } => {
                    // All other entries are later.
                    // SAFETY: an entry of the wheel is alive.
                    unsafe { first.as_ref() }.nanos().min(now)
                }
                _ => begin,
            };
            // The loop ends, because `insert` finds places at lower levels only.
            // SAFETY: passed on to the caller.
            while let Some(entry) = unsafe { self.slots[level][slot].pop_front() } {
                self.slotted -= 1;
                // SAFETY: passed on to the caller; the entry was just taken out of its slot.
                unsafe { self.insert(entry) };
            }
        }
        self.now = self.now.max(now);
    }

    /// Removes the next entry whose time has come. Call it after [`advance`](Self::advance).
    ///
    /// # Safety
    ///
    /// As required at [`Wheel`].
    pub(crate) unsafe fn pop(&mut self) -> Option<NonNull<Entry>> {
        // SAFETY: passed on to the caller.
        unsafe { self.ready.pop_front() }
    }

    /// Removes any entry.
    ///
    /// # Safety
    ///
    /// As required at [`Wheel`].
    pub(crate) unsafe fn pop_any(&mut self) -> Option<NonNull<Entry>> {
        let slotted =
            || self.first_slot().and_then(|(level, slot, _)| self.slots[level][slot].front());
        let entry = self.ready.front().or_else(slotted)?;
        // SAFETY: passed on to the caller.
        unsafe { self.remove(entry) };
        Some(entry)
    }

    /// Returns a time before which no entry is due; mostly an entry is due exactly then. Call it
    /// after `advance`.
    ///
    /// # Safety
    ///
    /// As required at [`Wheel`].
    pub(crate) unsafe fn next_due(&self) -> Time {
        if let Some(first) = self.ready.front() {
            // SAFETY: an entry of the wheel is alive.
            return unsafe { first.as_ref() }.due.get();
        }
        let Some((level, slot, begin)) = self.first_slot() else { return Time::NEVER };
        let list = &self.slots[level][slot];
        let (mut next, mut earliest) = (list.front(), Time::NEVER);
        for _ in 0..SEARCH {
            let Some(entry) = next else { return earliest };
            // SAFETY: an entry of the wheel is alive.
            earliest = earliest.min(unsafe { entry.as_ref() }.due.get());
            // SAFETY: passed on to the caller; the entry is in this list.
            next = unsafe { list.next(entry) };
        }
        Time::from_nanos(begin)
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
