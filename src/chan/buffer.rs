//! The buffer of a channel: blocks of values in a circle.
//!
//! A small buffer is one block, whose successor is itself: a ring. A large buffer starts with a
//! small block, grows by blocks, and frees them as it drains. A block that has been read to its end
//! is kept as a spare for the writer while the buffer holds many values.
//!
//! Blocks are allocated and freed by the caller of [`maintain`](Buffer::maintain), outside the
//! channel's lock. A step that needs this returns [`Unready`], and is repeated afterwards.
//!
//! The number of values is stored in the channel, not in the buffer.

use std::alloc::{self, Layout};
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// A buffer of up to this many bytes is allocated with the channel; a larger one grows as it fills.
/// Small under loom, so that the buffers of the models grow.
const UP_FRONT: usize = if cfg!(gopark_loom) { 16 } else { 4096 };
/// The size in bytes of a block of a buffer that grows. A block has room for at least one value.
const BLOCK: usize = if cfg!(gopark_loom) { 8 } else { 1024 };

/// Blocks that are linked in a circle: `head` is read, `tail` is written, and the blocks after the
/// tail and before the head are spares.
pub(super) struct Buffer<T> {
    head: NonNull<Block<T>>,
    tail: NonNull<Block<T>>,
    /// The next place to read in the head. `size` if the head has been read to its end.
    first: usize,
    /// The next place to write in the tail. `size` if the tail is full.
    last: usize,
    /// The number of values in a block. Zero if the channel has no buffer.
    size: usize,
    /// The number of spare blocks.
    spares: usize,
    grows: bool,
}

/// The error of a step that needs [`Buffer::maintain`] first.
#[derive(Debug)]
pub(super) struct Unready;

#[repr(C)]
struct Block<T> {
    next: NonNull<Self>,
    /// The buffer's `size` values follow.
    values: [MaybeUninit<T>; 0],
}

impl<T> Block<T> {
    /// Returns a pointer to the place at `index`, which may be one past the end.
    ///
    /// # Safety
    ///
    /// The block lives, and has at least `index` places.
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

    /// Allocates a block, which is its own successor.
    fn new(size: usize) -> NonNull<Self> {
        let layout = Self::layout(size);
        // SAFETY: the size of the layout is at least that of a pointer.
        let block = unsafe { alloc::alloc(layout) };
        let block = NonNull::new(block).unwrap_or_else(|| alloc::handle_alloc_error(layout)).cast();
        // SAFETY: just allocated.
        unsafe { block.write(Self { next: block, values: [] }) };
        block
    }

    /// Returns the block after `this`.
    ///
    /// # Safety
    ///
    /// The block lives.
    #[inline(always)]
    unsafe fn next(this: NonNull<Self>) -> NonNull<Self> {
        // SAFETY: passed on to the caller.
        unsafe { this.as_ref().next }
    }

    /// Makes `next` the block after `this`.
    ///
    /// # Safety
    ///
    /// The block lives, and the caller has exclusive access to it.
    unsafe fn set_next(mut this: NonNull<Self>, next: NonNull<Self>) {
        // SAFETY: passed on to the caller.
        unsafe { this.as_mut().next = next };
    }

    /// Frees a block.
    ///
    /// # Safety
    ///
    /// The block came from `new` with that size, is not used afterwards, and its values have been
    /// moved out.
    unsafe fn free(this: NonNull<Self>, size: usize) {
        // SAFETY: passed on to the caller.
        unsafe { alloc::dealloc(this.as_ptr().cast(), Self::layout(size)) };
    }
}

/// Blocks without values, which are freed when this is dropped.
pub(super) struct Blocks<T> {
    size: usize,
    /// A block for a step that needs one.
    fresh: Option<NonNull<Block<T>>>,
    /// The blocks that are no longer needed, linked by `next`.
    done: Option<NonNull<Block<T>>>,
}

impl<T> Blocks<T> {
    /// Allocates one block for a buffer with that [`block_size`](Buffer::block_size).
    pub(super) fn one(size: usize) -> Self {
        Self { size, fresh: Some(Block::new(size)), done: None }
    }
}

impl<T> Drop for Blocks<T> {
    fn drop(&mut self) {
        if let Some(fresh) = self.fresh {
            // SAFETY: the block is not in the circle of a buffer.
            unsafe { Block::free(fresh, self.size) };
        }
        let mut done = self.done;
        while let Some(block) = done {
            // SAFETY: the block was taken out of its buffer, and is freed next.
            let next = unsafe { Block::next(block) };
            // SAFETY: as above.
            unsafe { Block::free(block, self.size) };
            done = (next != block).then_some(next);
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
            // SAFETY: the tail is full.
            unsafe { self.turn_tail()? };
        }
        // SAFETY: this place of the tail holds no value: a ring is not full, and in a buffer that
        // grows no place from `last` on is used.
        unsafe { Block::place(self.tail, self.last).write(value()) };
        self.last += 1;
        Ok(())
    }

    /// Makes room for a value, so that the next `push` succeeds.
    ///
    /// # Safety
    ///
    /// As [`push`](Self::push).
    #[inline(always)]
    pub(super) unsafe fn make_room(&mut self) -> Result<(), Unready> {
        // SAFETY: passed on to the caller.
        if self.last == self.size { unsafe { self.turn_tail() } } else { Ok(()) }
    }

    /// Takes the oldest value out of the buffer, which holds `len` values.
    ///
    /// # Safety
    ///
    /// The buffer holds at least one value.
    #[inline(always)]
    pub(super) unsafe fn pop(&mut self, len: usize) -> Result<T, Unready> {
        if self.first == self.size {
            // SAFETY: the head has been read to its end, and there is a value, which is therefore
            // in the next block.
            unsafe { self.turn_head(len)? };
        }
        self.first += 1;
        // SAFETY: there is a value, and the oldest one is at this place.
        Ok(unsafe { Block::place(self.head, self.first - 1).read() })
    }

    /// Makes the next block the tail.
    ///
    /// # Safety
    ///
    /// The tail is full; the channel's buffer is not.
    #[inline(never)]
    unsafe fn turn_tail(&mut self) -> Result<(), Unready> {
        // SAFETY: the blocks live as long as the buffer.
        let next = unsafe { Block::next(self.tail) };
        if self.grows {
            if self.spares > 0 {
                self.spares -= 1;
            } else if self.first == self.size && self.head == self.tail {
                // The only block has been read to its end, and is used again.
                self.first = 0;
            } else {
                return Err(Unready);
            }
        }
        (self.tail, self.last) = (next, 0);
        Ok(())
    }

    /// Makes the next block the head, unless there would be too many spares.
    ///
    /// # Safety
    ///
    /// The head has been read to its end, and there are values.
    #[inline(never)]
    unsafe fn turn_head(&mut self, len: usize) -> Result<(), Unready> {
        if self.grows && self.spares >= self.most_spares(len) {
            return Err(Unready);
        }
        // SAFETY: passed on to the caller.
        unsafe { self.leave_head() };
        Ok(())
    }

    /// Makes the next block the head. In a buffer that grows, the old head becomes a spare.
    ///
    /// # Safety
    ///
    /// The head has been read to its end. If the buffer grows, the head is not the tail.
    unsafe fn leave_head(&mut self) {
        // SAFETY: the blocks live as long as the buffer.
        (self.head, self.first) = (unsafe { Block::next(self.head) }, 0);
        self.spares += usize::from(self.grows);
    }

    /// The maximum number of spares in a buffer that holds `len` values.
    fn most_spares(&self, len: usize) -> usize {
        usize::from(len > self.size)
    }

    /// Returns the number of values in a block of a buffer that grows; 0 for a buffer that does not
    /// grow, and needs no [`maintain`](Self::maintain).
    pub(super) fn block_size(&self) -> usize {
        if self.grows { self.size } else { 0 }
    }

    /// Prepares a buffer that grows for the step that returned [`Unready`]: adds the fresh block if
    /// the tail needs one, and takes out superfluous spares. `blocks` must be dropped after the
    /// channel's lock has been released.
    pub(super) fn maintain(&mut self, blocks: &mut Blocks<T>, len: usize) {
        if self.first == self.size && self.head != self.tail {
            // SAFETY: the head has been read to its end, and is not the tail.
            unsafe { self.leave_head() };
        }
        let needs_block =
            self.last == self.size && (self.first != self.size || self.head != self.tail);
        while self.spares > self.most_spares(len).max(usize::from(needs_block)) {
            self.spares -= 1;
            // SAFETY: there is a spare after the tail.
            let spare = unsafe { self.unlink_spare() };
            // SAFETY: the spare is no longer in the circle, and lives as long as `blocks`.
            unsafe { Block::set_next(spare, blocks.done.unwrap_or(spare)) };
            blocks.done = Some(spare);
        }
        if needs_block && self.spares == 0 {
            if let Some(fresh) = blocks.fresh.take() {
                // SAFETY: the fresh block is in no circle, and was made with this `size`.
                unsafe { self.link_spare(fresh) };
                self.spares = 1;
            }
        }
    }

    /// Takes the spare after the tail out of the circle.
    ///
    /// # Safety
    ///
    /// The buffer has a spare.
    unsafe fn unlink_spare(&mut self) -> NonNull<Block<T>> {
        // SAFETY: the blocks of the circle live as long as the buffer.
        let spare = unsafe { Block::next(self.tail) };
        // SAFETY: as above.
        let next = unsafe { Block::next(spare) };
        // SAFETY: as above; `&mut self` is exclusive access to them.
        unsafe { Block::set_next(self.tail, next) };
        spare
    }

    /// Puts a block into the circle, after the tail.
    ///
    /// # Safety
    ///
    /// The block lives, has the buffer's `size`, and is in no circle.
    unsafe fn link_spare(&mut self, fresh: NonNull<Block<T>>) {
        // SAFETY: the blocks of the circle live as long as the buffer.
        let next = unsafe { Block::next(self.tail) };
        // SAFETY: passed on to the caller.
        unsafe { Block::set_next(fresh, next) };
        // SAFETY: as above; `&mut self` is exclusive access to the circle.
        unsafe { Block::set_next(self.tail, fresh) };
    }
}

#[cfg(test)]
impl<T> Buffer<T> {
    /// Returns the number of blocks in the circle.
    pub(super) fn blocks(&self) -> usize {
        let next = |block: &NonNull<Block<T>>| {
            // SAFETY: the blocks live as long as the buffer.
            Some(unsafe { Block::next(*block) }).filter(|next| *next != self.head)
        };
        std::iter::successors(Some(self.head), next).count()
    }
}

impl<T> Drop for Buffer<T> {
    /// Frees the blocks. The values must have been taken out.
    fn drop(&mut self) {
        if self.size == 0 {
            return;
        }
        // SAFETY: the blocks live until they are freed here.
        let mut block = unsafe { Block::next(self.head) };
        while block != self.head {
            // SAFETY: this block has not been freed yet.
            let next = unsafe { Block::next(block) };
            // SAFETY: each block but the head is freed here, once, and not used again.
            unsafe { Block::free(block, self.size) };
            block = next;
        }
        // SAFETY: the head is freed last.
        unsafe { Block::free(self.head, self.size) };
    }
}

/// A buffer with its values, which are dropped with it.
pub(super) struct Values<T> {
    buffer: Buffer<T>,
    len: usize,
}

impl<T> Values<T> {
    /// # Safety
    ///
    /// The buffer holds `len` values.
    pub(super) unsafe fn new(mut buffer: Buffer<T>, len: usize) -> Self {
        // Then no step needs `maintain`. The blocks are freed with the buffer.
        buffer.grows = false;
        Self { buffer, len }
    }
}

impl<T> Drop for Values<T> {
    fn drop(&mut self) {
        drop_each(|| {
            let len = self.len;
            self.len = len.checked_sub(1)?;
            // SAFETY: the buffer holds `len` values.
            unsafe { self.buffer.pop(len) }.ok()
        });
    }
}

/// Drops the values that `next` returns, until it returns `None`. If a destructor panics, the rest
/// is dropped, too.
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
