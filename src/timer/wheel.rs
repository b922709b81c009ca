//! What is to happen when, in a hierarchical wheel of intrusive entries.
//!
//! Each level has 16 slots; a slot of level n is 16^n nanoseconds. An entry stands at the level of
//! the highest group of four bits in which its time differs from the wheel's. It moves down when
//! the wheel comes to its slot, at most once a level; one that is alone in its slot skips levels.
//! Most are gone before. Insertion and removal take a few steps, whatever the number of entries.
//!
//! A slot of level 0 is one nanosecond, so entries become ready in the order of their times, none
//! before its time, and those of the same time in the order of their insertion.
//!
//! Nothing here is locked: the owner of the wheel sees to that.

use std::array;
use std::cell::Cell;
use std::ptr::NonNull;

use crate::clock::Time;
use crate::loom::UnsafeCell;
use crate::wait::list::{self, Links, List};

/// Slots of a level, as a power of two. Fewer under loom, whose lists are large.
const BITS: u32 = if cfg!(gopark_loom) { 1 } else { 4 };
const SLOTS: usize = 1 << BITS;
/// Together they cover every [`Time`].
const LEVELS: usize = 64_u32.div_ceil(BITS) as usize;
/// A slot with more entries is not searched for the first of them: to look at its beginning costs
/// less.
const SEARCH: usize = 32;

/// What stands in a wheel.
#[derive(Debug)]
pub(crate) struct Entry {
    links: UnsafeCell<Links<Entry>>,
    /// While it is not in a wheel, its owner's to set.
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

// SAFETY: the links are the entry's own, and the wheel's alone while it is in one.
unsafe impl list::Node for Entry {
    #[inline(always)]
    unsafe fn with_links<R>(this: *mut Self, f: impl FnOnce(&mut Links<Self>) -> R) -> R {
        // SAFETY: passed on to the caller.
        unsafe { (*this).links.with_mut(|links| f(&mut *links)) }
    }
}

/// The entries of one shard.
///
/// Every `unsafe fn` wants them alive, and the wheel its caller's alone.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// The time in nanoseconds that the wheel has been turned to. The entries whose time has come
    /// are in `ready`.
    now: u64,
    ready: List<Entry>,
    /// How many are in the slots.
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

    /// Turns a wheel in which there is nothing back to the beginning of time.
    #[cfg(feature = "sim")]
    pub(crate) fn rewind(&mut self) {
        assert!(self.is_empty(), "the place of what is there depends on the wheel's time");
        self.now = 0;
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        // SAFETY: the wheel is the caller's alone.
        let ready =
            std::iter::successors(self.ready.front(), |&entry| unsafe { self.ready.next(entry) });
        self.slotted + ready.count()
    }

    /// Level and slot of a time to come.
    fn place(&self, nanos: u64) -> (usize, usize) {
        let level = (63 - (nanos ^ self.now).leading_zeros()) / BITS;
        (level as usize, (nanos >> (BITS * level)) as usize % SLOTS)
    }

    /// # Safety
    ///
    /// As said at [`Wheel`]; the entry stays alive and in its place until it is removed or popped,
    /// and is in no wheel.
    pub(crate) unsafe fn insert(&mut self, entry: NonNull<Entry>) {
        // SAFETY: passed on to the caller.
        unsafe {
            let nanos = entry.as_ref().nanos();
            if nanos <= self.now {
                return self.ready.push_back(entry.as_ptr());
            }
            let (level, slot) = self.place(nanos);
            self.slotted += 1;
            self.occupied[level] |= 1 << slot;
            self.slots[level][slot].push_back(entry.as_ptr());
        }
    }

    /// # Safety
    ///
    /// As said at [`Wheel`]; the entry is in this wheel.
    pub(crate) unsafe fn remove(&mut self, entry: NonNull<Entry>) {
        // SAFETY: passed on to the caller. As the wheel turns, an entry's place stays the one that
        // `place` gives: the wheel's time comes into the entry's slot only when that is emptied.
        unsafe {
            let nanos = entry.as_ref().nanos();
            if nanos <= self.now {
                return self.ready.remove(entry.as_ptr());
            }
            let (level, slot) = self.place(nanos);
            self.slotted -= 1;
            let list = &self.slots[level][slot];
            list.remove(entry.as_ptr());
            if list.front().is_none() {
                self.occupied[level] &= !(1 << slot);
            }
        }
    }

    /// The first slot that is not empty, and when it begins. Lower levels come first, and so do
    /// lower slots: all that are occupied are ahead of the wheel's own.
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

    /// Turns the wheel to `now`.
    ///
    /// # Safety
    ///
    /// As said at [`Wheel`].
    pub(crate) unsafe fn advance(&mut self, now: Time) {
        let now = now.as_nanos();
        while let Some((level, slot, begin)) = self.first_slot() {
            if begin > now {
                break;
            }
            self.occupied[level] &= !(1 << slot);
            let list = &self.slots[level][slot];
            // SAFETY: passed on to the caller. `insert` finds a place at a lower level, so the slot
            // is emptied.
            unsafe {
                self.now = match list.front() {
                    // All others come after it.
                    Some(first) if list.is_only(first.as_ptr()) => first.as_ref().nanos().min(now),
                    _ => begin,
                };
                while let Some(entry) = self.slots[level][slot].pop_front() {
                    self.slotted -= 1;
                    self.insert(entry);
                }
            }
        }
        self.now = self.now.max(now);
    }

    /// Takes out the next entry whose time has come. To be asked after [`advance`](Self::advance).
    ///
    /// # Safety
    ///
    /// As said at [`Wheel`].
    pub(crate) unsafe fn pop(&mut self) -> Option<NonNull<Entry>> {
        // SAFETY: passed on to the caller.
        unsafe { self.ready.pop_front() }
    }

    /// Takes out any entry.
    ///
    /// # Safety
    ///
    /// As said at [`Wheel`].
    pub(crate) unsafe fn pop_any(&mut self) -> Option<NonNull<Entry>> {
        let slotted =
            || self.first_slot().and_then(|(level, slot, _)| self.slots[level][slot].front());
        let entry = self.ready.front().or_else(slotted)?;
        // SAFETY: passed on to the caller.
        unsafe { self.remove(entry) };
        Some(entry)
    }

    /// No entry is due before this; mostly one is due just then. To be asked after `advance`.
    ///
    /// # Safety
    ///
    /// As said at [`Wheel`].
    pub(crate) unsafe fn next_due(&self) -> Time {
        // SAFETY: passed on to the caller.
        unsafe {
            if let Some(first) = self.ready.front() {
                return first.as_ref().due.get();
            }
            let Some((level, slot, begin)) = self.first_slot() else { return Time::NEVER };
            let list = &self.slots[level][slot];
            let (mut next, mut earliest) = (list.front(), Time::NEVER);
            for _ in 0..SEARCH {
                let Some(entry) = next else { return earliest };
                earliest = earliest.min(entry.as_ref().due.get());
                next = list.next(entry);
            }
            Time::from_nanos(begin)
        }
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
