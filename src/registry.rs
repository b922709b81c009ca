//! Who is parked, so that a shutdown, or an abort, can wake it.
//!
//! A goroutine is entered when it parks for the first time: one that runs through costs nothing here. It keeps the
//! index of its entry, four bytes, where a list through the goroutines themselves would take twenty-four of each, and
//! touch two strangers' memory to leave.

use std::mem::replace;
use std::sync::Mutex;
use std::task::Waker;

use crate::panics::lock;

/// The parked goroutines of one processor.
#[derive(Debug)]
pub(crate) struct Registry {
    slots: Mutex<Slots>,
}

#[derive(Debug)]
struct Slots {
    entries: Vec<Entry>,
    /// The first vacant one, or as many as there are entries.
    vacant: u32,
    used: u32,
}

#[derive(Debug)]
enum Entry {
    /// The waker that keeps the goroutine's allocation alive.
    Used(Waker),
    /// The next vacant one.
    Vacant(u32),
}

impl Registry {
    pub(crate) const fn new() -> Self {
        Self { slots: Mutex::new(Slots { entries: Vec::new(), vacant: 0, used: 0 }) }
    }

    fn with<R>(&self, f: impl FnOnce(&mut Slots) -> R) -> R {
        f(&mut lock(&self.slots))
    }

    /// Enters a goroutine: the index of its entry.
    pub(crate) fn insert(&self, waker: Waker) -> u32 {
        self.with(|slots| {
            let index = slots.vacant;
            slots.used += 1;
            match slots.entries.get_mut(index as usize) {
                Some(entry) => match replace(entry, Entry::Used(waker)) {
                    Entry::Vacant(next) => slots.vacant = next,
                    Entry::Used(_) => unreachable!("a used entry among the vacant ones"),
                },
                None => {
                    slots.vacant = index.checked_add(1).expect("gopark: 2^32 parked goroutines");
                    slots.entries.push(Entry::Used(waker));
                }
            }
            index
        })
    }

    /// Removes an entry, and calls `removed` before any other thread can look for it. Returns the waker.
    pub(crate) fn remove(&self, index: u32, removed: impl FnOnce()) -> Option<Waker> {
        let (waker, spent) = self.with(|slots| {
            let Entry::Used(waker) = replace(slots.entries.get_mut(index as usize)?, Entry::Vacant(slots.vacant))
            else {
                unreachable!("an entry struck out twice");
            };
            removed();
            slots.vacant = index;
            slots.used -= 1;
            let mut spent = Vec::new();
            if slots.used == 0 {
                // What a crowd needed is given back when the last one has gone.
                slots.vacant = 0;
                if slots.entries.capacity() > KEPT {
                    spent = std::mem::take(&mut slots.entries);
                }
                slots.entries.clear();
            }
            Some((waker, spent))
        })?;
        drop(spent);
        Some(waker)
    }

    /// The waker of an entry, if that `is_there`: while this calls it no entry can be removed.
    pub(crate) fn get(&self, index: u32, is_there: impl FnOnce() -> bool) -> Option<Waker> {
        self.with(|slots| match slots.entries.get(index as usize) {
            // A goroutine's own waker: its clone is a count and runs no foreign code.
            Some(Entry::Used(waker)) if is_there() => Some(waker.clone()),
            _ => None,
        })
    }

    /// The wakers of all entries.
    pub(crate) fn all(&self) -> Vec<Waker> {
        self.with(|slots| {
            let used = slots.entries.iter().filter_map(|entry| match entry {
                Entry::Used(waker) => Some(waker.clone()),
                Entry::Vacant(_) => None,
            });
            used.collect()
        })
    }
}

/// An empty registry gives back what it grew to beyond this.
const KEPT: usize = 1024;

#[cfg(test)]
mod tests;
