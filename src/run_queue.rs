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
mod tests {
    use super::*;

    fn drain(queue: &RunQueue<usize>) -> Vec<usize> {
        // SAFETY: this thread alone knows the queue.
        std::iter::from_fn(|| unsafe { queue.pop() }).collect()
    }

    #[test]
    fn what_a_change_left_in_the_shared_queue_comes_before_the_own_ones() {
        let queue = RunQueue::new(2);
        assert_eq!((queue.push_shared(1), queue.push_shared(2), queue.push_shared(9)), (Ok(()), Ok(()), Err(9)));
        // SAFETY: this thread alone knows the queue.
        unsafe {
            assert_eq!((queue.push_own(3), queue.push_own(4), queue.push_own(9)), (Ok(()), Ok(()), Err(9)));
        }
        assert_eq!((queue.len(), queue.own_len(), queue.is_empty()), (4, 2, false));
        assert_eq!(drain(&queue), [1, 2, 3, 4]);
        assert_eq!((queue.len(), queue.own_len(), queue.is_empty()), (0, 0, true));
    }

    #[test]
    fn a_queue_with_something_on_one_side_is_not_empty() {
        let (own, shared) = (RunQueue::new(2), RunQueue::new(2));
        // SAFETY: this thread alone knows the queue.
        unsafe { own.push_own(1) }.unwrap();
        shared.push_shared(1).unwrap();
        assert_eq!((own.is_empty(), shared.is_empty()), (false, false));
    }

    #[test]
    fn the_own_queue_can_be_taken_as_a_whole() {
        let queue = RunQueue::new(2);
        // SAFETY: this thread alone knows the queue.
        let taken = unsafe {
            queue.push_own("a").unwrap();
            queue.push_own("b").unwrap();
            queue.take_own()
        };
        assert_eq!((taken, queue.is_empty()), (VecDeque::from(["a", "b"]), true));
    }
}
