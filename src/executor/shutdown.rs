//! The shutdown of a runtime: its workers drop every goroutine, its threads end, and its executor
//! becomes available to the next runtime.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{EXECUTORS, Executor, Sched, Task, Worker};
use crate::coop;
use crate::header::OwnWaker;
use crate::panics::{contain, lock};
use crate::platform::heavy_fence_or_sleep;
use crate::threads;
use crate::timer::driver;

impl Executor {
    /// Returns true if the runtime of that generation has ended, or is shutting down.
    pub(crate) fn is_over(&self, generation: usize) -> bool {
        self.closing.load(Ordering::Relaxed) || self.generation() != generation
    }

    /// Shuts the runtime down: its workers drop every goroutine, and its threads end. Waits for the
    /// end for at most `patience`, and not at all if the end may depend on this thread. Returns the
    /// number of goroutines that are left; the monitor completes the shutdown when they have ended.
    pub(crate) fn shutdown(&'static self, patience: Duration) -> usize {
        let home = Worker::with(|w| w.home.get()).map(|home| home.index);
        let waiting = threads::Waiting::begin(home, self.index);
        let patience = waiting.as_ref().map_or(Duration::ZERO, |_| patience);
        let generation = self.generation();
        let sockets = {
            // Held for the whole step, because after the end the executor belongs to another
            // runtime.
            let _sched = lock(&self.sched);
            self.closing.store(true, Ordering::SeqCst);
            // Pairs with the light fence of a spawn.
            heavy_fence_or_sleep();
            let sockets = self.end_io();
            self.hasten_end();
            sockets
        };
        sockets.end();
        let goes_on = |_: &mut Sched| self.generation() == generation && !self.has_stopped();
        let waited = self.ended.wait_timeout_while(lock(&self.sched), patience, goes_on);
        // The lock is still held: afterwards the executor may belong to another runtime.
        let (_sched, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() && self.generation() == generation { self.live() } else { 0 }
    }

    /// Makes the workers take the next step of a shutdown or, if goroutines are left or all workers
    /// have left, the monitor.
    pub(super) fn hasten_end(&self) {
        let is_last_step = self.live() == 0;
        if is_last_step {
            self.end_workers();
        }
        if !is_last_step || self.spares.all_left() {
            self.monitor.unpark();
        }
    }

    /// Returns true once no goroutine is left after a shutdown, and every worker has left.
    pub(super) fn has_stopped(&self) -> bool {
        self.closing.load(Ordering::Relaxed) && self.live() == 0 && self.spares.all_left()
    }

    /// Takes a step of the shutdown. Returns true if the runtime has ended: no goroutine is left,
    /// and no thread but this one.
    ///
    /// This wakes the goroutines, and workers drop their futures, see [`next`](Self::next). If a
    /// goroutine blocks its thread, [`retake`](Self::retake) calls another worker.
    pub(super) fn end(&'static self) -> bool {
        // Timers of tasks that are not goroutines of the runtime move to the driver.
        let have_moved =
            self.processors.all().all(|processor| driver::take_over(&processor.timers));
        if self.live() != 0 {
            for job in self.spares.take_jobs() {
                job.work.metadata().set_aborted();
                self.push_global(job.work);
            }
            if !self.has_work() {
                // This also wakes those that parked in a poll that had begun before the shutdown.
                self.processors
                    .shards()
                    .flat_map(|shard| shard.registry.all())
                    .for_each(OwnWaker::wake);
            }
            self.block_on_calls.wake_local();
            return false;
        }
        self.end_workers();
        have_moved && self.spares.is_empty() && self.retire()
    }

    /// Makes every worker end. The monitor no longer starts threads for workers that were called.
    pub(super) fn end_workers(&self) {
        (0..self.spares.end()).for_each(|_| _ = self.idle.end_search());
    }

    /// Makes the executor available to the next runtime, after every goroutine and every thread has
    /// ended: every word is as in a new executor. Returns false if a wake is in progress, whose
    /// goroutine has already ended. A later waker does no harm, because it only reads whether a
    /// worker is idle, which it may at any time.
    pub(super) fn retire(&'static self) -> bool {
        // Dropped after the lock is released.
        let hooks;
        {
            let mut sched = lock(&self.sched);
            if !self.idle.try_reset() {
                return false;
            }
            hooks = std::mem::take(&mut *sched).hooks;
            self.spares.reset();
            self.procs.store(0, Ordering::SeqCst);
            self.generation.fetch_add(1, Ordering::SeqCst);
            self.processors.reset();
        }
        self.retire_io();
        #[cfg(all(test, not(gopark_loom)))]
        assert_eq!(self.leftovers(), "", "a retired executor differs from a new one");
        EXECUTORS.put_back(self);
        self.ended.notify_all();
        contain(|| drop(hooks));
        true
    }

    /// Ends a goroutine without polling it again: its future is dropped here.
    pub(crate) fn discard(&'static self, task: Task) {
        let _entered = self.make_current();
        task.metadata().set_aborted();
        let polling = Self::set_polling(true);
        coop::keep_waker(|| Worker::with(|w| w.run_task(task)));
        Self::set_polling(polling);
    }
}
