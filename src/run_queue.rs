//! A processor's queue of what can run.

use std::collections::VecDeque;

use concurrent_queue::{ConcurrentQueue, PushError};

use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicUsize, Ordering};

/// Two queues, of which one is in use.
///
/// Where there are several processors it is the `shared` one: bounded, and any thread may take from it. Where there is one,
/// it has no thief, and pays for none: its `own` queue is a plain one. When the number of processors changes, the holder
/// empties the queue that is out of use.
#[derive(Debug)]
pub(crate) struct RunQueue<T> {
    shared: ConcurrentQueue<T>,
    capacity: usize,
    own: UnsafeCell<VecDeque<T>>,
    /// How many are in `own`; written by the holder, a hint for others.
    own_len: AtomicUsize,
}

// SAFETY: `own` is touched by the processor's holder alone, as its functions demand; the rest is `Sync` for `T: Send`.
unsafe impl<T: Send> Sync for RunQueue<T> {}

impl<T> RunQueue<T> {
    /// A queue with room for `capacity`.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            shared: ConcurrentQueue::bounded(capacity),
            capacity,
            own: UnsafeCell::new(VecDeque::with_capacity(capacity)),
            own_len: AtomicUsize::new(0),
        }
    }

    pub(crate) fn shared(&self) -> &ConcurrentQueue<T> {
        &self.shared
    }

    /// How many there are in all.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.own_len() + self.shared.len()
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.own_len() == 0 && self.shared.is_empty()
    }

    /// How many are out of the reach of other threads.
    #[inline(always)]
    pub(crate) fn own_len(&self) -> usize {
        self.own_len.load(Ordering::Relaxed)
    }

    /// Queues at the `shared` queue, if it has room.
    #[inline(always)]
    pub(crate) fn push_shared(&self, item: T) -> Result<(), T> {
        // Two loads, where a push that fails has a full fence.
        if self.shared.is_full() {
            return Err(item);
        }
        self.shared.push(item).map_err(PushError::into_inner)
    }

    /// Queues at the `own` queue, if it has room.
    ///
    /// # Safety
    ///
    /// The caller holds the processor.
    #[inline(always)]
    pub(crate) unsafe fn push_own(&self, item: T) -> Result<(), T> {
        if self.own_len() >= self.capacity {
            return Err(item);
        }
        self.own.with_mut(|own| {
            // SAFETY: the holder's alone.
            let own = unsafe { &mut *own };
            own.push_back(item);
            self.own_len.store(own.len(), Ordering::Relaxed);
        });
        Ok(())
    }

    /// Takes the first one, of what a change left in the `shared` queue before the `own` one's.
    ///
    /// # Safety
    ///
    /// The caller holds the processor.
    #[inline(always)]
    pub(crate) unsafe fn pop(&self) -> Option<T> {
        // Two loads, where a pop that fails has a full fence.
        if !self.shared.is_empty() {
            if let Ok(item) = self.shared.pop() {
                return Some(item);
            }
        }
        if self.own_len() == 0 {
            return None;
        }
        self.own.with_mut(|own| {
            // SAFETY: the holder's alone.
            let own = unsafe { &mut *own };
            let item = own.pop_front();
            self.own_len.store(own.len(), Ordering::Relaxed);
            item
        })
    }

    /// Takes the `own` queue.
    ///
    /// # Safety
    ///
    /// The caller holds the processor.
    pub(crate) unsafe fn take_own(&self) -> VecDeque<T> {
        self.own_len.store(0, Ordering::Relaxed);
        // SAFETY: the holder's alone.
        self.own.with_mut(|own| unsafe { &mut *own }.drain(..).collect())
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
