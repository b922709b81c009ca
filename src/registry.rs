//! The registry of parked goroutines, so that a shutdown or an abort can wake them.
//!
//! A goroutine is inserted when it parks for the first time: one that never parks costs nothing
//! here. It stores the index of its entry in four bytes. An intrusive list would take twenty-four
//! bytes of each goroutine, and each removal would access the memory of two others.
//!
//! Entries cannot move, so they are in blocks, and a block is freed when it is empty: one
//! long-lived goroutine of many keeps the memory of one block. The memory of a few blocks is kept
//! for later goroutines.

use std::sync::Mutex;

use crate::panics::lock;

/// The parked goroutines of one shard.
#[derive(Debug)]
pub(crate) struct Registry<W> {
    entries: Mutex<Entries<W>>,
}

#[derive(Debug)]
struct Entries<W> {
    /// `None` for a block whose entries are all vacant.
    blocks: Vec<Option<Box<Block<W>>>>,
    /// The blocks that are not full. New entries go into the last one.
    open: Vec<u32>,
    /// Memory for at most [`KEPT`] blocks.
    spare: Vec<Box<Block<W>>>,
}

/// 64 entries: the wakers, which keep the goroutines' allocations alive.
#[derive(Debug)]
struct Block<W> {
    /// A bit for each entry in use.
    used: u64,
    wakers: [Option<W>; BLOCK],
}

pub(crate) const BLOCK: usize = u64::BITS as usize;
/// Maximum number of empty blocks that are kept: 16 KiB.
const KEPT: usize = 16;

impl<W> Block<W> {
    #[cold]
    fn new() -> Box<Self> {
        Box::new(Self { used: 0, wakers: [const { None }; BLOCK] })
    }
}

/// Returns the block of an entry, and its place there.
fn split(index: u32) -> (usize, usize) {
    (index as usize / BLOCK, index as usize % BLOCK)
}

impl<W> Default for Registry<W> {
    fn default() -> Self {
        let entries = Entries { blocks: Vec::new(), open: Vec::new(), spare: Vec::new() };
        Self { entries: Mutex::new(entries) }
    }
}

impl<W: Clone> Registry<W> {
    /// Inserts a goroutine. Returns the index of its entry.
    pub(crate) fn insert(&self, waker: W) -> u32 {
        let Entries { blocks, open, spare } = &mut *lock(&self.entries);
        if open.is_empty() {
            let at = u32::try_from(blocks.len()).ok().filter(|at| *at < u32::MAX / u64::BITS);
            open.push(at.expect("gopark: 2^32 parked goroutines"));
            blocks.push(None);
        }
        let at = open[open.len() - 1];
        let block =
            blocks[at as usize].get_or_insert_with(|| spare.pop().unwrap_or_else(Block::new));
        let slot = block.used.trailing_ones();
        block.used |= 1 << slot;
        block.wakers[slot as usize] = Some(waker);
        if block.used == u64::MAX {
            open.pop();
        }
        at * u64::BITS + slot
    }

    /// Removes an entry, and calls `removed` before any other thread can look the entry up. Returns
    /// the waker.
    pub(crate) fn remove(&self, index: u32, removed: impl FnOnce()) -> Option<W> {
        // Freed after the lock is released.
        let _surplus;
        let Entries { blocks, open, spare } = &mut *lock(&self.entries);
        let (at, slot) = split(index);
        let place = blocks.get_mut(at)?;
        let block = place.as_mut()?;
        let waker = block.wakers[slot].take().expect("an entry is removed once");
        if block.used == u64::MAX {
            open.push(at as u32);
        }
        block.used &= !(1 << slot);
        if block.used == 0 {
            spare.extend(place.take());
        }
        _surplus = if spare.len() > KEPT { spare.pop() } else { None };
        removed();
        Some(waker)
    }

    /// Returns the waker of an entry, if `is_there` returns true. No entry can be removed during
    /// that call.
    pub(crate) fn get(&self, index: u32, is_there: impl FnOnce() -> bool) -> Option<W> {
        let (at, slot) = split(index);
        let blocks = &lock(&self.entries).blocks;
        // This is a goroutine's own waker, whose clone only increments a count, and runs no foreign
        // code.
        blocks.get(at)?.as_ref()?.wakers[slot].as_ref().filter(|_| is_there()).cloned()
    }

    /// Calls `f` with the waker of each entry of block number `at`, under the lock. Returns false
    /// if there is no such block, and no later one.
    pub(crate) fn each_of_block(&self, at: usize, f: impl FnMut(&W)) -> bool {
        let blocks = &lock(&self.entries).blocks;
        let Some(block) = blocks.get(at) else { return false };
        block.iter().flat_map(|block| &block.wakers).flatten().for_each(f);
        true
    }

    /// Returns the wakers of all entries.
    pub(crate) fn all(&self) -> Vec<W> {
        let blocks = &lock(&self.entries).blocks;
        blocks.iter().flatten().flat_map(|block| &block.wakers).flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
