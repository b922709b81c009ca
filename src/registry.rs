//! Who is parked, so that a shutdown, or an abort, can wake it.
//!
//! A goroutine is entered when it parks for the first time: one that runs through costs nothing here. It keeps the
//! index of its entry, four bytes, where a list through the goroutines themselves would take twenty-four of each, and
//! touch two strangers' memory to leave.
//!
//! An entry cannot move, so the entries are in blocks, and a block gives its room back when it is empty: one goroutine of a crowd
//! that lives on keeps the room of one block. A few empty blocks keep theirs, for those that come next.

use std::array;
use std::mem::replace;
use std::sync::Mutex;
use std::task::Waker;

use crate::panics::lock;

/// The parked goroutines of one processor.
#[derive(Debug)]
pub(crate) struct Registry {
    blocks: Mutex<Blocks>,
}

#[derive(Debug)]
struct Blocks {
    blocks: Vec<Block>,
    /// The first in the list of those that are not full. Entries come into that.
    open: u32,
    /// How many are empty and have kept their room: no more than [`KEPT`].
    kept: u32,
}

/// Its place in the table stays when it is empty: 16 bytes.
#[derive(Debug)]
struct Block {
    /// `None` only if all are vacant.
    entries: Option<Entries>,
    /// The next one that is not full.
    next: u32,
    used: u16,
    /// The first vacant entry, unless the block is full.
    vacant: u8,
}

/// 4 KiB. Their indices are the values of a byte.
type Entries = Box<[Entry; BLOCK]>;
const BLOCK: usize = 1 << u8::BITS;
const FULL: u16 = BLOCK as u16;
const NEARLY_FULL: u16 = FULL - 1;

#[derive(Debug)]
enum Entry {
    /// The waker that keeps the goroutine's allocation alive.
    Used(Waker),
    /// The next vacant one of its block.
    Vacant(u8),
}

/// The end of the list of blocks.
const END: u32 = u32::MAX;
/// Empty blocks that keep their room for the next goroutines: 16 KiB.
const KEPT: u32 = 4;

/// The block of an entry, and its place there.
fn split(index: u32) -> (usize, u8) {
    ((index >> u8::BITS) as usize, index as u8)
}

#[cold]
fn vacant() -> Entries {
    Box::new(array::from_fn(|slot| Entry::Vacant((slot as u8).wrapping_add(1))))
}

impl Blocks {
    fn insert(&mut self, waker: Waker) -> u32 {
        let at = self.open;
        let Some(block) = self.blocks.get_mut(at as usize) else {
            self.add_block();
            return self.insert(waker);
        };
        let slot = block.vacant;
        let entries = block.entries.get_or_insert_with(|| {
            self.kept += 1;
            vacant()
        });
        match replace(&mut entries[usize::from(slot)], Entry::Used(waker)) {
            Entry::Vacant(next) => block.vacant = next,
            Entry::Used(_) => unreachable!("a used entry among the vacant ones"),
        }
        block.used += 1;
        match block.used {
            1 => self.kept -= 1,
            FULL => self.open = block.next,
            _ => {}
        }
        at << u8::BITS | u32::from(slot)
    }

    #[cold]
    fn add_block(&mut self) {
        let at = u32::try_from(self.blocks.len()).ok().filter(|at| *at < END >> u8::BITS);
        self.open = at.expect("gopark: 2^32 parked goroutines");
        self.blocks.push(Block { entries: None, next: END, used: 0, vacant: 0 });
    }

    /// Removes an entry. Returns its waker, and the room of the block if that is empty and does not keep it.
    fn remove(&mut self, index: u32) -> Option<(Waker, Option<Entries>)> {
        let (at, slot) = split(index);
        let block = self.blocks.get_mut(at)?;
        let entry = &mut block.entries.as_mut()?[usize::from(slot)];
        let Entry::Used(waker) = replace(entry, Entry::Vacant(block.vacant)) else {
            unreachable!("an entry removed twice");
        };
        block.vacant = slot;
        block.used -= 1;
        let mut room = None;
        match block.used {
            0 if self.kept == KEPT => {
                block.vacant = 0;
                room = block.entries.take();
            }
            0 => self.kept += 1,
            NEARLY_FULL => block.next = replace(&mut self.open, at as u32),
            _ => {}
        }
        Some((waker, room))
    }

    fn get(&self, index: u32) -> Option<&Waker> {
        let (at, slot) = split(index);
        match &self.blocks.get(at)?.entries.as_ref()?[usize::from(slot)] {
            Entry::Used(waker) => Some(waker),
            Entry::Vacant(_) => None,
        }
    }
}

impl Registry {
    pub(crate) const fn new() -> Self {
        Self { blocks: Mutex::new(Blocks { blocks: Vec::new(), open: END, kept: 0 }) }
    }

    /// Enters a goroutine: the index of its entry.
    pub(crate) fn insert(&self, waker: Waker) -> u32 {
        lock(&self.blocks).insert(waker)
    }

    /// Removes an entry, and calls `removed` before any other thread can look for it. Returns the waker.
    pub(crate) fn remove(&self, index: u32, removed: impl FnOnce()) -> Option<Waker> {
        let (waker, room) = {
            let mut blocks = lock(&self.blocks);
            let taken = blocks.remove(index)?;
            removed();
            taken
        };
        drop(room);
        Some(waker)
    }

    /// The waker of an entry, if that `is_there`: while this calls it no entry can be removed.
    pub(crate) fn get(&self, index: u32, is_there: impl FnOnce() -> bool) -> Option<Waker> {
        // A goroutine's own waker: its clone is a count and runs no foreign code.
        lock(&self.blocks).get(index).filter(|_| is_there()).cloned()
    }

    /// The wakers of all entries.
    pub(crate) fn all(&self) -> Vec<Waker> {
        let blocks = lock(&self.blocks);
        let entries = blocks.blocks.iter().filter_map(|block| block.entries.as_deref()).flatten();
        let used = entries.filter_map(|entry| match entry {
            Entry::Used(waker) => Some(waker.clone()),
            Entry::Vacant(_) => None,
        });
        used.collect()
    }
}

#[cfg(test)]
mod tests;
