//! Jobs: goroutines that block their threads.

use std::marker::PhantomData;
use std::panic::Location;
use std::ptr;
use std::sync::atomic::Ordering;

use super::{EXTERNAL, Executor, Worker, lock};
use crate::coop;
use crate::header::{Header, OwnWaker, Task};
use crate::spares::Job;

impl Executor {
    /// Creates the header of a goroutine that starts without a processor. The goroutine counts as
    /// live from now on.
    pub(crate) fn start_outside(
        &self,
        spawned_at: &'static Location<'static>,
        is_main: bool,
    ) -> Header {
        self.started_external();
        let id = Worker::with(|w| if is_main { w.ids.next_main() } else { w.ids.next() });
        Header::new(id, EXTERNAL, self.index, spawned_at)
    }

    /// Counts a goroutine that starts on a thread without a processor, or a main that its own
    /// thread polls.
    #[cold]
    pub(crate) fn started_external(&self) {
        // SeqCst: either the shutdown counts the goroutine, or the goroutine sees the shutdown.
        self.processors.external.started.fetch_add(1, Ordering::SeqCst);
    }

    /// As [`start_outside`](Self::start_outside), in the runtime of that generation. Returns `None`
    /// if that has ended, or is shutting down.
    pub(crate) fn start_in(
        &self,
        generation: usize,
        spawned_at: &'static Location<'static>,
        is_main: bool,
    ) -> Option<Header> {
        // A shutdown begins under the lock, and waits for every goroutine that is counted by then.
        let _sched = lock(&self.sched);
        (!self.is_over(generation)).then(|| self.start_outside(spawned_at, is_main))
    }

    /// Enqueues a goroutine that [`start_outside`](Self::start_outside) has counted. A job is
    /// submitted to a worker without a processor; if this thread runs a job, that one waits for it.
    /// If the runtime shuts down the goroutine is dropped here, because there may be no worker to
    /// do it.
    pub(crate) fn submit_outside(&'static self, task: Task, is_job: bool) {
        if self.closing.load(Ordering::SeqCst) {
            self.discard(task);
        } else if is_job {
            let is_here = |w: &Worker| w.home.get().is_some_and(|home| ptr::eq(home, self));
            let outer = Worker::with(|w| w.job.get().filter(|_| is_here(w)));
            if !self.spares.submit(task, outer) {
                self.monitor.unpark();
            }
        } else {
            self.push_global(task);
        }
    }

    /// Runs a job. This is outside every poll, so that it may call `block_on`.
    pub(super) fn run_job(&self, w: &Worker, Job { work, number, outer }: Job<Task>) {
        if self.closing.load(Ordering::Relaxed) {
            work.metadata().set_aborted();
        }
        w.job.set(Some(number));
        // A wait of the job is noted as that of a main which its own thread polls.
        let kept = OwnWaker::of_task(&work);
        coop::on_behalf_of(coop::caller(), Some(kept.header()), || w.run_task(work));
        w.job.set(None);
        self.spares.finish_job(number, outer);
        self.end_rest();
    }

    /// Lets another thread take the place of this one until the guard is dropped, if this one runs
    /// a job, which now waits for the runtime.
    pub(crate) fn lend_thread() -> Option<Lent> {
        Worker::with(|w| {
            let (home, job) = (w.home.get()?, w.job.get()?);
            home.spares.lend_thread(job, true);
            home.monitor.unpark();
            Some(Lent { job, of_this_thread: PhantomData })
        })
    }
}

/// A guard: this thread's job waits for the runtime.
pub(crate) struct Lent {
    job: u64,
    of_this_thread: PhantomData<*const ()>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        let home = Worker::with(|w| w.home.get());
        home.into_iter().for_each(|home| home.spares.lend_thread(self.job, false));
    }
}
