//! The queues of runnable goroutines: one for each processor, and one for the whole runtime.

use std::collections::VecDeque;
use std::sync::{Mutex, atomic};
use std::time::Duration;
use std::{ptr, thread};

use concurrent_queue::{ConcurrentQueue, PushError};

use crate::header::Task;
use crate::lock::{Claim, Exclusive};
use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::panics::lock;
use crate::platform;

/// A processor's queue: two queues, of which one is in use.
///
/// With several processors it is the `shared` one, which is bounded, and from which any thread may
/// take. With one processor there are no thieves, so the `own` queue is a plain one that costs
/// less. When the number of processors changes, the holder empties the queue that is no longer in
/// use.
#[derive(Debug)]
pub(crate) struct RunQueue<T> {
    shared: ConcurrentQueue<T>,
    capacity: usize,
    /// Claimed by the processor's holder.
    own: Exclusive<VecDeque<T>>,
    /// The length of `own`: written by the holder, a hint for other threads.
    own_len: AtomicUsize,
}

impl<T> RunQueue<T> {
    /// Creates a queue with room for `capacity` items in each of the two.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            shared: ConcurrentQueue::bounded(capacity),
            capacity,
            own: Exclusive::new(VecDeque::with_capacity(capacity)),
            own_len: AtomicUsize::new(0),
        }
    }

    pub(crate) fn shared(&self) -> &ConcurrentQueue<T> {
        &self.shared
    }

    /// Returns the number of items in both queues.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.own_len() + self.shared.len()
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.own_len() == 0 && self.shared.is_empty()
    }

    /// Returns the number of items in the `own` queue, from which other threads cannot take.
    #[inline(always)]
    pub(crate) fn own_len(&self) -> usize {
        self.own_len.load(Ordering::Relaxed)
    }

    /// Enqueues in the `shared` queue, if it has room.
    #[inline(always)]
    pub(crate) fn push_shared(&self, item: T) -> Result<(), T> {
        // This costs two loads; a push that fails has a full fence.
        if self.shared.is_full() {
            return Err(item);
        }
        self.shared.push(item).map_err(PushError::into_inner)
    }

    /// The `own` queue, for the processor's holder to claim.
    #[inline(always)]
    pub(crate) fn own(&self) -> &Exclusive<VecDeque<T>> {
        &self.own
    }

    /// Returns the owner's end, for the holder of the processor, which has claimed the
    /// [`own`](Self::own) queue.
    #[inline(always)]
    pub(crate) fn owner<'a>(&'a self, own: Claim<'a, VecDeque<T>>) -> Owner<'a, T> {
        Owner { queue: self, own }
    }
}

/// The end of a queue that only the holder of the processor uses.
pub(crate) struct Owner<'a, T> {
    queue: &'a RunQueue<T>,
    own: Claim<'a, VecDeque<T>>,
}

impl<T> Owner<'_, T> {
    /// Enqueues in the `own` queue, if it has room.
    #[inline(always)]
    pub(crate) fn push(&mut self, item: T) -> Result<(), T> {
        if self.queue.own_len() >= self.queue.capacity {
            return Err(item);
        }
        self.own.with(|own| {
            own.push_back(item);
            self.queue.own_len.store(own.len(), Ordering::Relaxed);
        });
        Ok(())
    }

    /// Takes the first item. Items that a change of the number of processors left in the `shared`
    /// queue come before those of the `own` queue.
    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<T> {
        // This costs two loads; a pop that fails has a full fence.
        if !self.queue.shared.is_empty() {
            if let Ok(item) = self.queue.shared.pop() {
                return Some(item);
            }
        }
        if self.queue.own_len() == 0 {
            return None;
        }
        self.own.with(|own| {
            let item = own.pop_front();
            self.queue.own_len.store(own.len(), Ordering::Relaxed);
            item
        })
    }

    /// Calls `f` with each item, and `soon`, which may prefetch the item, a few items earlier. The
    /// items of the `shared` queue are taken and pushed back one after the other, so a thread that
    /// looks for work meanwhile may miss some.
    pub(crate) fn each(&mut self, soon: impl Fn(&T), mut f: impl FnMut(&T)) {
        let mut in_hand: [Option<T>; IN_HAND] = [const { None }; IN_HAND];
        let len = self.queue.shared.len();
        for at in 0..len + IN_HAND {
            let place = &mut in_hand[at % IN_HAND];
            if let Some(item) = place.take() {
                f(&item);
                // Other threads only take from the queue.
                assert!(
                    self.queue.shared.push(item).is_ok(),
                    "there is room for an item that was taken"
                );
            }
            *place = if at < len { self.queue.shared.pop().ok() } else { None };
            place.iter().for_each(&soon);
        }
        self.own.with(|own| {
            for (at, item) in own.iter().enumerate() {
                own.get(at + IN_HAND).into_iter().for_each(&soon);
                f(item);
            }
        });
    }

    /// Enqueues in the `own` queue, whatever its length.
    #[cfg(feature = "sim")]
    pub(crate) fn push_beyond(&mut self, item: T) {
        self.own.with(|own| {
            own.push_back(item);
            self.queue.own_len.store(own.len(), Ordering::Relaxed);
        });
    }

    /// Calls `f` with the `own` queue.
    #[cfg(feature = "sim")]
    pub(crate) fn inspect<R>(&mut self, f: impl FnOnce(&VecDeque<T>) -> R) -> R {
        self.own.with(|own| f(own))
    }

    /// Takes the item at that place of the `own` queue.
    #[cfg(feature = "sim")]
    pub(crate) fn remove(&mut self, at: usize) -> Option<T> {
        self.own.with(|own| {
            let item = own.remove(at);
            self.queue.own_len.store(own.len(), Ordering::Relaxed);
            item
        })
    }

    /// Takes all items of the `own` queue.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.queue.own_len.store(0, Ordering::Relaxed);
        self.own.with(std::mem::take).into_iter()
    }
}

/// The unbounded queue of the whole runtime: for goroutines that threads without a processor
/// enqueue, and those that do not fit into a processor's queue.
///
/// Threads that push use the input, threads that take use the output, so that they do not contend
/// for one lock. When the output is empty, the two are swapped.
#[derive(Debug, Default)]
pub(crate) struct GlobalQueue {
    input: Side,
    output: Side,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Side {
    /// The length of `tasks`: written under the lock, a hint for threads without it.
    len: atomic::AtomicUsize,
    tasks: Mutex<VecDeque<Task>>,
}

/// An empty side frees its storage if its capacity exceeds this.
const GLOBAL_KEPT: usize = 4096;
/// The number of goroutines of a queue that are being prefetched while `each` visits others.
const IN_HAND: usize = 8;
/// A goroutine is prefetched when it is this many places from being taken.
const AHEAD: usize = 4;

impl GlobalQueue {
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        // The input comes first: a goroutine that has left it is, or was, in the output. Acquire:
        // pairs with the Release store in `take`.
        let input = self.input.len.load(Ordering::Acquire);
        input + self.output.len.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn push(&self, task: Task) {
        let mut tasks = lock(&self.input.tasks);
        tasks.push_back(task);
        self.input.len.store(tasks.len(), Ordering::Relaxed);
    }

    /// Enqueues many at once, in their order.
    pub(crate) fn append(&self, tasks: impl Iterator<Item = Task>) {
        let mut input = lock(&self.input.tasks);
        input.extend(tasks);
        self.input.len.store(input.len(), Ordering::Relaxed);
    }

    pub(crate) fn pop(&self) -> Option<Task> {
        self.take(1, Err)
    }

    /// Sleeps for `nap`. Returns true if the queue has become so little shorter meanwhile that it
    /// will not be empty for a hundred times as long.
    pub(crate) fn lags_after(&self, nap: Duration) -> bool {
        let before = self.len();
        thread::sleep(nap);
        let left = self.len();
        before.saturating_sub(left) * 100 < left
    }

    /// Calls `f` with each goroutine, under a lock that is held for at most `most` of them at a
    /// time. A goroutine that is taken meanwhile may be missed, and one that moves from the input
    /// to the output may be seen twice.
    pub(crate) fn each(&self, most: usize, mut f: impl FnMut(&Task)) {
        // The input comes first, because goroutines move from it to the output. It grows at its
        // end.
        let (mut at, mut more) = (0, true);
        while more {
            let input = lock(&self.input.tasks);
            let end = input.len().min(at + most);
            input.range(at.min(end)..end).for_each(&mut f);
            (at, more) = (end, end < input.len());
        }
        // The output shrinks at its front, so places are counted from its end.
        let (mut seen, mut more) = (0, true);
        while more {
            let output = lock(&self.output.tasks);
            let end = output.len().saturating_sub(seen);
            let start = end.saturating_sub(most);
            output.range(start..end).for_each(&mut f);
            (seen, more) = (seen + most, start > 0);
        }
    }

    /// Takes up to `n` goroutines: returns the first, and passes the others to `keep`. A goroutine
    /// that `keep` rejects goes back to the front of the queue and ends the batch.
    pub(crate) fn take(
        &self,
        n: usize,
        mut keep: impl FnMut(Task) -> Result<(), Task>,
    ) -> Option<Task> {
        if self.is_empty() {
            return None;
        }
        let mut tasks = lock(&self.output.tasks);
        if tasks.is_empty() {
            let mut input = lock(&self.input.tasks);
            std::mem::swap(&mut *tasks, &mut *input);
            self.output.len.store(tasks.len(), Ordering::Relaxed);
            // Release: a thread that sees this length sees the output's.
            self.input.len.store(0, Ordering::Release);
        }
        let first = tasks.pop_front();
        for _ in 1..n {
            let Some(Err(task)) = tasks.pop_front().map(&mut keep) else { continue };
            tasks.push_front(task);
            break;
        }
        if let Some(ahead) = tasks.get(AHEAD) {
            prefetch(ahead);
        }
        self.output.len.store(tasks.len(), Ordering::Relaxed);
        let spent = (tasks.is_empty() && tasks.capacity() > GLOBAL_KEPT)
            .then(|| std::mem::take(&mut *tasks));
        drop(tasks);
        drop(spent);
        first
    }
}

/// Prefetches a goroutine that will soon run on this core, and may have run on another one.
#[inline(always)]
pub(crate) fn prefetch(task: &Task) {
    let header = ptr::from_ref(task.metadata()).cast::<u8>();
    platform::prefetch_write(header);
    platform::prefetch_write(header.wrapping_add(64));
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
