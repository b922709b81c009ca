//! The buffer of a channel: blocks of values in a circle.
//!
//! A small buffer is one block, whose successor is itself: a ring. A large one starts with a small
//! block, grows by blocks, and gives them back as it drains. A block that has been read to its end
//! is kept for the writer while there is much to read.
//!
//! Blocks are allocated and freed by [`maintain`](Buffer::maintain)'s caller, outside the channel's
//! lock: a step that would need it refuses, and is tried again after that.
//!
//! The buffer does not know how many values it holds, because the channel does.

use std::alloc::{self, Layout};
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// A buffer of up to this many bytes is allocated with the channel; a larger one grows as it is
/// used. Few under loom, so that the buffers of models grow.
const UP_FRONT: usize = if cfg!(gopark_loom) { 16 } else { 4096 };
/// A block of a larger one has this many bytes, or one value.
const BLOCK: usize = if cfg!(gopark_loom) { 8 } else { 1024 };

/// Blocks that are linked in a circle: `head` is read, `tail` is written, those behind the tail and
/// before the head are spare.
pub(super) struct Buffer<T> {
    head: NonNull<Block<T>>,
    tail: NonNull<Block<T>>,
    /// The next place to read in the head, and to write in the tail. At `size` the block is done
    /// with.
    first: usize,
    last: usize,
    /// Values in a block. Zero if the channel has no buffer.
    size: usize,
    spares: usize,
    grows: bool,
}

/// A step needs [`Buffer::maintain`] first.
#[derive(Debug)]
pub(super) struct Unready;

#[repr(C)]
struct Block<T> {
    next: NonNull<Self>,
    /// As many as the buffer's `size`.
    values: [MaybeUninit<T>; 0],
}

impl<T> Block<T> {
    /// Where the value of that number is, which may be one too many.
    ///
    /// # Safety
    ///
    /// The block lives and has as many places.
    #[inline(always)]
    unsafe fn place(this: NonNull<Self>, index: usize) -> *mut T {
        // SAFETY: the values follow the header, and there are enough of them.
        unsafe { (&raw mut (*this.as_ptr()).values).cast::<T>().add(index) }
    }

    fn layout(size: usize) -> Layout {
        let values = Layout::array::<T>(size).expect("a buffer is at most as large as it can be");
        let (layout, _) = Layout::new::<Self>().extend(values).expect("as above");
        layout
    }

    /// A block that is a circle of its own.
    fn new(size: usize) -> NonNull<Self> {
        let layout = Self::layout(size);
        // SAFETY: the layout has the size of a pointer at least.
        let block = unsafe { alloc::alloc(layout) };
        let block = NonNull::new(block).unwrap_or_else(|| alloc::handle_alloc_error(layout)).cast();
        // SAFETY: just allocated.
        unsafe { block.write(Self { next: block, values: [] }) };
        block
    }

    /// # Safety
    ///
    /// The block came from `new` with that size, is not used afterwards, and its values have been
    /// moved out.
    unsafe fn free(this: NonNull<Self>, size: usize) {
        // SAFETY: passed on to the caller.
        unsafe { alloc::dealloc(this.as_ptr().cast(), Self::layout(size)) };
    }
}

/// Blocks without values, which are freed when this is dropped: one for a step that needs it, and
/// those that are needed no longer.
pub(super) struct Blocks<T> {
    size: usize,
    fresh: Option<NonNull<Block<T>>>,
    /// Linked by `next`.
    done: Option<NonNull<Block<T>>>,
}

impl<T> Blocks<T> {
    /// One block for a buffer with that [`block_size`](Buffer::block_size).
    pub(super) fn one(size: usize) -> Self {
        Self { size, fresh: Some(Block::new(size)), done: None }
    }
}

impl<T> Drop for Blocks<T> {
    fn drop(&mut self) {
        // SAFETY: they are in no circle.
        unsafe {
            if let Some(fresh) = self.fresh {
                Block::free(fresh, self.size);
            }
            let mut done = self.done;
            while let Some(block) = done {
                let next = block.as_ref().next;
                Block::free(block, self.size);
                done = (next != block).then_some(next);
            }
        }
    }
}

impl<T> Buffer<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let grows = capacity.saturating_mul(size_of::<T>()) > UP_FRONT;
        let size = if grows { (BLOCK / size_of::<T>()).max(1) } else { capacity };
        let block = if size == 0 { NonNull::dangling() } else { Block::new(size) };
        Self { head: block, tail: block, first: 0, last: 0, size, spares: 0, grows }
    }

    /// Adds a value.
    ///
    /// # Safety
    ///
    /// The buffer holds fewer values than the channel's capacity; `value` is called at most once.
    #[inline(always)]
    pub(super) unsafe fn push(&mut self, value: impl FnOnce() -> T) -> Result<(), Unready> {
        if self.last == self.size {
            // SAFETY: the tail is done with.
            unsafe { self.turn_tail()? };
        }
        // SAFETY: a place of the tail that holds no value: a ring is not full, and another tail is
        // not read from here on.
        unsafe { Block::place(self.tail, self.last).write(value()) };
        self.last += 1;
        Ok(())
    }

    /// Whether a value can be added.
    ///
    /// # Safety
    ///
    /// As [`push`](Self::push).
    #[inline(always)]
    pub(super) unsafe fn make_room(&mut self) -> Result<(), Unready> {
        // SAFETY: passed on to the caller.
        if self.last == self.size { unsafe { self.turn_tail() } } else { Ok(()) }
    }

    /// Takes out the oldest value. `len` values are in the buffer.
    ///
    /// # Safety
    ///
    /// There is at least one.
    #[inline(always)]
    pub(super) unsafe fn pop(&mut self, len: usize) -> Result<T, Unready> {
        if self.first == self.size {
            // SAFETY: the head is done with, and there is a value, so in the next block.
            unsafe { self.turn_head(len)? };
        }
        self.first += 1;
        // SAFETY: there is a value, and this is its place.
        Ok(unsafe { Block::place(self.head, self.first - 1).read() })
    }

    /// # Safety
    ///
    /// The tail is done with; the channel's buffer is not full.
    #[inline(never)]
    unsafe fn turn_tail(&mut self) -> Result<(), Unready> {
        // SAFETY: the blocks live as long as the buffer.
        let next = unsafe { self.tail.as_ref().next };
        if self.grows {
            if self.spares > 0 {
                self.spares -= 1;
            } else if self.first == self.size && self.head == self.tail {
                // All has been read.
                self.first = 0;
            } else {
                return Err(Unready);
            }
        }
        (self.tail, self.last) = (next, 0);
        Ok(())
    }

    /// # Safety
    ///
    /// The head is done with, and there are values.
    #[inline(never)]
    unsafe fn turn_head(&mut self, len: usize) -> Result<(), Unready> {
        if self.grows && self.spares >= self.most_spares(len) {
            return Err(Unready);
        }
        // SAFETY: passed on to the caller.
        unsafe { self.leave_head() };
        Ok(())
    }

    /// # Safety
    ///
    /// The head is done with. If the buffer grows, it is not the tail.
    unsafe fn leave_head(&mut self) {
        // SAFETY: the blocks live as long as the buffer.
        (self.head, self.first) = (unsafe { self.head.as_ref().next }, 0);
        self.spares += usize::from(self.grows);
    }

    fn most_spares(&self, len: usize) -> usize {
        usize::from(len > self.size)
    }

    /// Values in a block of a buffer that grows; 0 of one that does not, and needs no
    /// [`maintain`](Self::maintain).
    pub(super) fn block_size(&self) -> usize {
        if self.grows { self.size } else { 0 }
    }

    /// Makes the buffer, which grows, ready for the step that was not: adds the fresh block where
    /// the tail needs one, and takes out those that have been read and are not needed. `blocks`
    /// must be dropped after the channel's lock has been released.
    pub(super) fn maintain(&mut self, blocks: &mut Blocks<T>, len: usize) {
        // SAFETY: the blocks of the circle live as long as the buffer, which is the caller's alone;
        // those taken out as long as `blocks`.
        unsafe {
            if self.first == self.size && self.head != self.tail {
                self.leave_head();
            }
            let needs_block =
                self.last == self.size && (self.first != self.size || self.head != self.tail);
            while self.spares > self.most_spares(len).max(usize::from(needs_block)) {
                self.spares -= 1;
                let mut spare = self.tail.as_ref().next;
                self.tail.as_mut().next = spare.as_ref().next;
                spare.as_mut().next = blocks.done.unwrap_or(spare);
                blocks.done = Some(spare);
            }
            if needs_block && self.spares == 0 {
                if let Some(mut fresh) = blocks.fresh.take() {
                    fresh.as_mut().next = self.tail.as_ref().next;
                    self.tail.as_mut().next = fresh;
                    self.spares = 1;
                }
            }
        }
    }
}

#[cfg(test)]
impl<T> Buffer<T> {
    /// Blocks in the circle.
    pub(super) fn blocks(&self) -> usize {
        let next = |block: &NonNull<Block<T>>| {
            // SAFETY: the blocks live as long as the buffer.
            Some(unsafe { block.as_ref().next }).filter(|next| *next != self.head)
        };
        std::iter::successors(Some(self.head), next).count()
    }
}

impl<T> Drop for Buffer<T> {
    /// Frees the blocks. The values have been taken out.
    fn drop(&mut self) {
        if self.size == 0 {
            return;
        }
        // SAFETY: the blocks live; each is freed once, and the head last.
        unsafe {
            let mut block = self.head.as_ref().next;
            while block != self.head {
                let next = block.as_ref().next;
                Block::free(block, self.size);
                block = next;
            }
            Block::free(self.head, self.size);
        }
    }
}

/// All values of a buffer, which are dropped with this.
pub(super) struct Values<T> {
    buffer: Buffer<T>,
    len: usize,
}

impl<T> Values<T> {
    /// # Safety
    ///
    /// The buffer holds so many values.
    pub(super) unsafe fn new(mut buffer: Buffer<T>, len: usize) -> Self {
        // So that none of its steps needs upkeep: it is freed as a whole.
        buffer.grows = false;
        Self { buffer, len }
    }
}

impl<T> Drop for Values<T> {
    fn drop(&mut self) {
        drop_each(|| {
            let len = self.len;
            self.len = len.checked_sub(1)?;
            // SAFETY: there are so many values.
            unsafe { self.buffer.pop(len) }.ok()
        });
    }
}

/// Drops what `next` returns until that is nothing, also the rest if a destructor panics.
pub(super) fn drop_each<T>(next: impl FnMut() -> Option<T>) {
    struct Rest<T, F: FnMut() -> Option<T>>(F);
    impl<T, F: FnMut() -> Option<T>> Drop for Rest<T, F> {
        fn drop(&mut self) {
            while (self.0)().is_some() {}
        }
    }
    let mut rest = Rest(next);
    while (rest.0)().is_some() {}
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
