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
//! The wheel has no lock. Its user proves with a [`Lent`] and a [`Member`] that it has one.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Time;
use crate::wait::list::{self, EntryList, Lent, Member};

/// The slots of a level, as a power of two. Fewer under loom, whose lists are large.
const BITS: u32 = if cfg!(gopark_loom) { 1 } else { 4 };
const SLOTS: usize = 1 << BITS;
/// Together the levels cover every [`Time`].
const LEVELS: usize = 64_u32.div_ceil(BITS) as usize;
/// If a slot has more entries than this, `next_due` returns the slot's beginning instead of
/// searching for the first entry, because that costs less.
const SEARCH: usize = 32;

/// The time at which an entry is due. Its owner sets it, and only while the entry is in no wheel.
/// It is atomic because the owner may read it at any time.
#[derive(Debug)]
pub(crate) struct Due(AtomicU64);

impl Due {
    pub(crate) fn new(due: Time) -> Self {
        Self(AtomicU64::new(due.as_nanos()))
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> Time {
        Time::from_nanos(self.0.load(Ordering::Relaxed))
    }

    #[inline(always)]
    pub(crate) fn set(&self, due: Time) {
        self.0.store(due.as_nanos(), Ordering::Relaxed);
    }
}

/// An entry of a wheel.
pub(crate) type Entry = list::Entry<Due>;

/// The entries of one shard.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// The time in nanoseconds to which the wheel has been advanced. The entries up to this time
    /// are in `ready`.
    now: u64,
    ready: EntryList<Due>,
    /// The number of entries in the slots.
    slotted: usize,
    /// A bit for each slot that is not empty.
    occupied: [u16; LEVELS],
    slots: [[EntryList<Due>; SLOTS]; LEVELS],
}

impl Wheel {
    pub(crate) fn new() -> Self {
        let slots = array::from_fn(|_| array::from_fn(|_| EntryList::new()));
        Self { now: 0, ready: EntryList::new(), slotted: 0, occupied: [0; LEVELS], slots }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.slotted == 0 && self.ready.is_empty()
    }

    /// Sets an empty wheel back to the beginning of time.
    #[cfg(feature = "sim")]
    pub(crate) fn rewind(&mut self) {
        assert!(self.is_empty(), "the places of entries depend on the wheel's time");
        self.now = 0;
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slotted + self.ready.iter().count()
    }

    /// Returns the level and the slot of a future time.
    fn place(&self, nanos: u64) -> (usize, usize) {
        let level = (63 - (nanos ^ self.now).leading_zeros()) / BITS;
        (level as usize, (nanos >> (BITS * level)) as usize % SLOTS)
    }

    /// Inserts an entry.
    pub(crate) fn insert(&mut self, entry: Lent<Due>) {
        let nanos = entry.get().as_nanos();
        if nanos <= self.now {
            return self.ready.push_back(entry);
        }
        let (level, slot) = self.place(nanos);
        self.slotted += 1;
        self.occupied[level] |= 1 << slot;
        self.slots[level][slot].push_back(entry);
    }

    /// Removes an entry of this wheel.
    pub(crate) fn remove(&mut self, entry: Member<'_, Due>) {
        let nanos = entry.get().as_nanos();
        if nanos <= self.now {
            // An entry whose time has come is in `ready`.
            return self.ready.remove(entry);
        }
        // This is the slot that the entry is in, although the wheel has advanced since: when the
        // wheel's time enters an entry's slot, that slot is emptied.
        let (level, slot) = self.place(nanos);
        self.slots[level][slot].remove(entry);
        self.count_out(level, slot);
    }

    /// Counts an entry that was removed from its slot.
    fn count_out(&mut self, level: usize, slot: usize) {
        self.slotted -= 1;
        if self.slots[level][slot].is_empty() {
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
    pub(crate) fn advance(&mut self, now: Time) {
        let now = now.as_nanos();
        while let Some((level, slot, begin)) = self.first_slot() {
            if begin > now {
                break;
            }
            self.occupied[level] &= !(1 << slot);
            let list = &self.slots[level][slot];
            self.now = match list.iter().next() {
                // All other entries are later.
                Some(only) if list.is_single() => only.get().as_nanos().min(now),
                _ => begin,
            };
            // The loop ends, because `insert` finds places at lower levels only.
            while let Some(entry) = self.slots[level][slot].pop_front() {
                self.slotted -= 1;
                self.insert(entry);
            }
        }
        self.now = self.now.max(now);
    }

    /// Removes the next entry whose time has come. Call it after [`advance`](Self::advance).
    pub(crate) fn pop(&mut self) -> Option<Lent<Due>> {
        self.ready.pop_front()
    }

    /// Removes any entry.
    pub(crate) fn pop_any(&mut self) -> Option<Lent<Due>> {
        if let Some(entry) = self.ready.pop_front() {
            return Some(entry);
        }
        let (level, slot, _) = self.first_slot()?;
        let entry = self.slots[level][slot].pop_front();
        self.count_out(level, slot);
        entry
    }

    /// Returns a time before which no entry is due; mostly an entry is due exactly then. Call it
    /// after `advance`.
    pub(crate) fn next_due(&self) -> Time {
        if let Some(first) = self.ready.iter().next() {
            return first.get();
        }
        let Some((level, slot, begin)) = self.first_slot() else { return Time::NEVER };
        let (mut dues, mut earliest) = (self.slots[level][slot].iter(), Time::NEVER);
        for _ in 0..SEARCH {
            let Some(due) = dues.next() else { return earliest };
            earliest = earliest.min(due.get());
        }
        Time::from_nanos(begin)
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
