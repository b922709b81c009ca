//! Temporary states of a thread: it belongs to another runtime, it blocks, or its processor keeps
//! its goroutines.

use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::Ordering;

use super::{Executor, HOOKS, Worker, lock, shard};
use crate::clock::Time;
use crate::coop;
use crate::crash::BlockOnCalls;
use crate::header::Task;
use crate::processor::{Place, Processor, RUN_NEXT_LOOK};

impl Executor {
    /// Makes `self` this thread's [`current`](Self::current) until the guard is dropped. Until then
    /// the thread's own processor is not used, because it may belong to another runtime.
    pub(crate) fn make_current(&'static self) -> Entered {
        Worker::with(|w| Entered {
            executor: w.executor.replace(Some(self)),
            processor: w.processor.replace(None),
        })
    }

    /// Polls a goroutine on this thread, which holds no processor.
    pub(crate) fn run_here(task: Task) {
        coop::set_executor(HOOKS);
        Worker::with(|w| w.run_task(task));
    }

    /// Runs `f`, which must not unwind. If this thread's goroutine may have been freed, nothing
    /// refers to it meanwhile.
    pub(super) fn outside(f: &mut dyn FnMut()) {
        Worker::with(|w| {
            if !w.running.is_released() {
                return f();
            }
            let outer = w.running.begin_nested(ptr::null());
            coop::without_header(f);
            w.running.end_nested(outer);
        });
    }

    /// Returns true inside a goroutine's poll.
    pub(crate) fn is_polling() -> bool {
        coop::is_polling() || Worker::with(|w| w.polling.get())
    }

    /// Returns true if goroutines wait for this thread, because it is a worker with a processor, in
    /// a poll or between two.
    pub(crate) fn holds_processor() -> bool {
        Worker::with(|w| {
            let Some(processor) = w.processor.get() else { return false };
            // Under the lock, if a thief or a census is at it for a moment.
            let is_owner = |this: &Self| {
                let _sched = lock(&this.sched);
                processor.place.get() == w.place()
            };
            w.hold().is_some() || Self::current().is_some_and(is_owner)
        })
    }

    /// Sets whether this thread polls a main, or drops a goroutine. Returns the previous value.
    pub(crate) fn set_polling(polling: bool) -> bool {
        Worker::with(|w| w.polling.replace(polling))
    }

    /// Makes the running goroutine go behind every runnable goroutine when it is enqueued next.
    pub(crate) fn yield_now() {
        Worker::with(|w| {
            let polls = |processor: &Processor| processor.polls.load(Ordering::Relaxed);
            w.yielded.set(w.processor.get().map_or(0, polls));
        });
    }

    /// Returns the calls of `block_on` in progress.
    pub(crate) fn block_on_calls(&self) -> &BlockOnCalls {
        &self.block_on_calls
    }

    /// Returns true if the runtime is shutting down.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Runs `f`, which may block, after giving this thread's processor to another worker.
    pub(crate) fn block_in_place<R>(f: impl FnOnce() -> R) -> R {
        coop::note_caught();
        let lent = Worker::with(|w| Self::lend_processor(w, true));
        let result = f();
        Self::take_back(lent);
        result
    }

    /// Runs `f`, which blocks this thread. Otherwise a goroutine that blocks its thread would hide
    /// that the runtime is at rest. If there is work for the processor, or a timer, the monitor
    /// takes it from the worker, unless the thread is woken soon.
    ///
    /// A rest begins anew when the thread blocks and when it no longer does: a thread without a
    /// processor does not show in the polls.
    pub(super) fn blocked(f: &mut dyn FnMut()) {
        let is_goroutine = coop::is_polling();
        let lend = |w: &Worker| if is_goroutine { Self::lend_processor(w, false) } else { None };
        let end_rest = || Worker::with(|w| w.home.get()).into_iter().for_each(Self::end_rest);
        let lent = Worker::with(lend);
        end_rest();
        Worker::with(|w| w.watched.set_blocks(true));
        f();
        Worker::with(|w| w.watched.set_blocks(false));
        end_rest();
        Self::take_back(lent);
    }

    /// Gives this thread's processor to another worker, if there is work and a worker for it; if
    /// there is no work, or if not `even_if_busy`, makes it idle. Returns `None` if the thread has
    /// no processor, or keeps it.
    fn lend_processor(
        w: &Worker,
        even_if_busy: bool,
    ) -> Option<(&'static Self, &'static Processor)> {
        let (this, processor) = (Self::current()?, w.processor.get()?);
        if !this.spares.can_call() {
            return None;
        }
        let mut sched = lock(&this.sched);
        if processor.place.get() != w.place() {
            return None;
        }
        let has_work = || {
            !w.run_next.seems_empty()
                || shard::earliest(this.all_timers()) != Time::NEVER
                || this.has_work()
        };
        if !even_if_busy && has_work() {
            return None;
        }
        // A thief or a census, which revokes each processor for a moment, may have been at it.
        w.run_next.reinstate();
        let next = w.hold()?.swap_next(None);
        w.run_next.abandon();
        let is_wanted =
            next.is_some() || shard::earliest(this.all_timers()) != Time::NEVER || this.has_work();
        let is_wanted = is_wanted || this.is_unwatched();
        this.drain(processor, next);
        if is_wanted || processor.id >= this.procs.load(Ordering::Relaxed) {
            this.hand_over(&mut sched, processor);
        } else {
            this.set_place(&mut sched, processor, Place::Idle);
        }
        drop(sched);
        if this.has_work() {
            this.notify();
        }
        Some((this, processor))
    }

    /// Lets the thread, which no longer blocks, continue with its processor if no other worker has
    /// it.
    fn take_back(lent: Option<(&'static Self, &'static Processor)>) {
        let Some((this, processor)) = lent else { return };
        let mut sched = lock(&this.sched);
        if processor.place.get() == Place::Idle {
            Worker::with(|w| {
                this.set_place(&mut sched, processor, w.place());
                w.watched.forget();
                w.run_next.reinstate();
            });
        }
    }

    /// Sets whether thieves leave the goroutines of this thread's processor alone. This is reset
    /// when the processor moves to another worker.
    pub(crate) fn keep_queue(keep: bool) {
        Worker::with(|w| {
            let Some(held) = w.hold() else { return };
            let was_kept = held.processor.set_kept(keep);
            let has_more = !held.processor.queue.is_empty();
            drop(held);
            if let (true, false, true, Some(executor)) = (was_kept, keep, has_more, Self::current())
            {
                executor.notify();
            }
        });
    }
}

impl Worker {
    /// Returns true if the goroutine of the current poll, or of the last one, yields.
    pub(super) fn has_yielded(&self, processor: &Processor) -> bool {
        self.yielded.get() == processor.polls.load(Ordering::Relaxed)
    }

    /// Returns true if a slice that is full has one more goroutine: the last one yields, and comes
    /// behind the run-next one, as in Go.
    #[cold]
    #[inline(never)]
    pub(super) fn goes_behind_next(&self, processor: &Processor, streak: u32) -> bool {
        streak < RUN_NEXT_LOOK - 1 && self.has_yielded(processor) && !self.run_next.seems_empty()
    }
}

/// A guard that restores the thread's current executor and its processor.
pub(crate) struct Entered {
    executor: Option<&'static Executor>,
    processor: Option<&'static Processor>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        Worker::with(|w| {
            w.executor.set(self.executor);
            w.processor.set(self.processor);
        });
    }
}

/// The right to access what belongs to the processor. The holder is always this thread's worker, so
/// the guard has no pointer to it and fits into two registers.
pub(super) struct Held<'a> {
    pub(super) worker: PhantomData<&'a Worker>,
    pub(super) was: bool,
    pub(super) processor: &'static Processor,
}

impl Drop for Held<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        Worker::with(|w| w.run_next.release(self.was));
    }
}
