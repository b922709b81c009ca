//! What a thread is for a while: another runtime's, one that waits, or one whose processor keeps its goroutines.

use std::marker::PhantomData;
use std::ptr;

use super::{Executor, Worker};
use crate::processor::Processor;

impl Executor {
    /// Makes `self` this thread's [`current`](Self::current) until the guard is dropped. Until then the thread's own
    /// processor is not used: it may be another runtime's.
    pub(crate) fn make_current(&'static self) -> Entered {
        Worker::with(|w| Entered { executor: w.executor.replace(self), processor: w.processor.replace(ptr::null()) })
    }

    /// If this thread runs a job, another one may take its place until the guard is dropped: it waits for the runtime.
    pub(crate) fn lend_thread() -> Option<Lent> {
        Worker::with(|w| {
            let home = w.home().filter(|_| w.in_job.get())?;
            if w.waits.replace(w.waits.get() + 1) == 0 {
                home.spares.lend_thread(true);
                home.monitor.unpark();
            }
            Some(Lent(PhantomData))
        })
    }

    /// Sets whether thieves leave the goroutines of this thread's processor alone. Reset when the processor gets another worker.
    pub(crate) fn keep_queue(keep: bool) {
        Worker::with(|w| {
            let Some(held) = w.hold() else { return };
            let was_kept = held.processor.set_kept(keep);
            let has_more = !held.processor.queue.is_empty();
            drop(held);
            if let (true, false, true, Some(executor)) = (was_kept, keep, has_more, Self::current()) {
                executor.notify();
            }
        });
    }
}

/// The job of this thread waits for the runtime.
pub(crate) struct Lent(PhantomData<*const ()>);

impl Drop for Lent {
    fn drop(&mut self) {
        Worker::with(|w| {
            w.waits.set(w.waits.get() - 1);
            w.home().filter(|_| w.waits.get() == 0).into_iter().for_each(|home| home.spares.lend_thread(false));
        });
    }
}

/// Restores the thread's current executor, and its processor.
pub(crate) struct Entered {
    executor: *const Executor,
    processor: *const Processor,
}

impl Drop for Entered {
    fn drop(&mut self) {
        Worker::with(|w| {
            w.executor.set(self.executor);
            w.processor.set(self.processor);
        });
    }
}
