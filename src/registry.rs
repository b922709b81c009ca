//! Who is parked, so that a shutdown, or an abort, can wake it.
//!
//! A goroutine is entered when it parks for the first time: one that runs through costs nothing here. It keeps the
//! index of its entry, four bytes, where a list through the goroutines themselves would take twenty-four of each, and
//! touch two strangers' memory to leave.
//!
//! An entry cannot move, so the entries are in blocks, and a block gives its room back when it is empty: one goroutine of a crowd
//! that lives on keeps the room of one block. The room of a few blocks is kept for the goroutines that come next.

use std::sync::Mutex;
use std::task::Waker;

use crate::panics::lock;

/// The parked goroutines of one processor.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    /// `None` where all entries are vacant.
    blocks: Vec<Option<Box<Block>>>,
    /// The blocks that are not full. Entries come into the last one.
    open: Vec<u32>,
    /// Room for blocks: of no more than [`KEPT`].
    #[expect(clippy::vec_box, reason = "a block's room moves in and out")]
    spare: Vec<Box<Block>>,
}

/// 64 entries: the wakers, which keep the goroutines' allocations alive.
#[derive(Debug)]
struct Block {
    /// A bit for each entry that is used.
    used: u64,
    wakers: [Option<Waker>; BLOCK],
}

const BLOCK: usize = u64::BITS as usize;
/// 16 KiB.
const KEPT: usize = 16;

impl Block {
    #[cold]
    fn new() -> Box<Self> {
        Box::new(Self { used: 0, wakers: [const { None }; BLOCK] })
    }
}

impl Entries {
    fn insert(&mut self, waker: Waker) -> u32 {
        let Some(&at) = self.open.last() else {
            self.add_block();
            return self.insert(waker);
        };
        let block = self.blocks[at as usize].get_or_insert_with(|| self.spare.pop().unwrap_or_else(Block::new));
        let slot = block.used.trailing_ones();
        block.used |= 1 << slot;
        block.wakers[slot as usize] = Some(waker);
        if block.used == u64::MAX {
            self.open.pop();
        }
        at * u64::BITS + slot
    }

    #[cold]
    fn add_block(&mut self) {
        let at = u32::try_from(self.blocks.len()).ok().filter(|at| *at < u32::MAX / u64::BITS);
        self.open.push(at.expect("gopark: 2^32 parked goroutines"));
        self.blocks.push(None);
    }

    /// Removes an entry. Returns its waker, and the room of the block if that is empty and is not kept.
    fn remove(&mut self, index: u32) -> Option<(Waker, Option<Box<Block>>)> {
        let (at, slot) = split(index);
        let place = self.blocks.get_mut(at)?;
        let block = place.as_mut()?;
        let waker = block.wakers[slot].take().expect("an entry is removed once");
        if block.used == u64::MAX {
            self.open.push(at as u32);
        }
        block.used &= !(1 << slot);
        let mut room = None;
        if block.used == 0 {
            room = place.take();
            if self.spare.len() < KEPT {
                self.spare.extend(room.take());
            }
        }
        Some((waker, room))
    }

    fn get(&self, index: u32) -> Option<&Waker> {
        let (at, slot) = split(index);
        self.blocks.get(at)?.as_ref()?.wakers[slot].as_ref()
    }
}

/// The block of an entry, and its place there.
fn split(index: u32) -> (usize, usize) {
    (index as usize / BLOCK, index as usize % BLOCK)
}

impl Registry {
    /// Enters a goroutine: the index of its entry.
    pub(crate) fn insert(&self, waker: Waker) -> u32 {
        lock(&self.entries).insert(waker)
    }

    /// Removes an entry, and calls `removed` before any other thread can look for it. Returns the waker.
    pub(crate) fn remove(&self, index: u32, removed: impl FnOnce()) -> Option<Waker> {
        let (waker, room) = {
            let mut entries = lock(&self.entries);
            let taken = entries.remove(index)?;
            removed();
            taken
        };
        drop(room);
        Some(waker)
    }

    /// The waker of an entry, if that `is_there`: while this calls it no entry can be removed.
    pub(crate) fn get(&self, index: u32, is_there: impl FnOnce() -> bool) -> Option<Waker> {
        // A goroutine's own waker: its clone is a count and runs no foreign code.
        lock(&self.entries).get(index).filter(|_| is_there()).cloned()
    }

    /// The wakers of all entries.
    pub(crate) fn all(&self) -> Vec<Waker> {
        let blocks = &lock(&self.entries).blocks;
        blocks.iter().flatten().flat_map(|block| &block.wakers).flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
