//! A simulated runtime, without threads: its only worker is the simulating thread, which chooses
//! among all runnable goroutines.
//!
//! Woken and spawned goroutines go into the run-next slot and the queues, as always. The simulation
//! gathers them in the private queue of its one processor, from which it can take any. So a census
//! finds each of them in a place that it inspects.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::panic::Location;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::{
    EXECUTORS, Executor, HOOKS, Ids, Place, Processor, START_PATIENCE, Worker, coop, lock,
};
use crate::clock::{self, Time};
use crate::crash::{OnDeadlock, OnPanic};
use crate::header::{Activity, Header, OwnWaker, Task, WaitNote};
use crate::running;
use crate::simulated::{self, Entered, Operation, Outside};
use crate::timer::driver;

/// An executor's state of its simulation.
///
/// | word | meaning | written by |
/// |---|---|---|
/// | `is_on` | the executor has no threads | the simulating thread |
/// | `woken` | another thread has enqueued a goroutine | that thread; the simulating thread |
#[derive(Debug, Default)]
pub(super) struct State {
    is_on: AtomicBool,
    woken: AtomicBool,
}

impl Executor {
    /// Returns true if the executor is simulated, and has no threads.
    pub(super) fn is_simulated(&self) -> bool {
        self.simulated.is_on.load(Ordering::Relaxed)
    }

    /// Returns true if reports on this thread include this executor. A simulation sees only its own
    /// executor, and all others do not see it.
    pub(super) fn is_in_this_world(&self) -> bool {
        if simulated::is_on() {
            Self::current().is_some_and(|own| ptr::eq(own, self))
        } else {
            !self.is_simulated()
        }
    }

    /// Must be called before a goroutine is started on this executor. In a simulation of another
    /// executor, the goroutine would be outside it.
    pub(crate) fn refuse_outside(&self, site: &Location<'_>) {
        if simulated::is_on() && !self.is_in_this_world() {
            simulated::leaves_at(Outside::Runtime, site);
        }
    }

    /// Handles a call of a worker. If another thread calls, it has woken a goroutine.
    pub(super) fn woken_from_outside(&self) {
        self.idle.end_search();
        if !Self::current().is_some_and(|own| ptr::eq(own, self)) {
            self.simulated.woken.store(true, Ordering::SeqCst);
            self.monitor.unpark();
        }
    }
}

/// A runtime that is simulated on this thread.
#[derive(Clone, Copy)]
pub(crate) struct Simulation {
    pub(crate) executor: &'static Executor,
    processor: &'static Processor,
    _of_this_thread: PhantomData<*const ()>,
}

/// The state of the simulating thread before the simulation.
#[must_use = "end the simulation"]
pub(crate) struct Outer {
    entered: Entered,
    executor: Option<&'static Executor>,
    processor: Option<&'static Processor>,
    running: running::Outer,
    was_busy: bool,
    ids: Ids,
    coop: (Option<&'static coop::Hooks>, Option<usize>),
}

/// How a poll ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Polled {
    /// It waits, as its note says.
    Parked(WaitNote),
    /// It has yielded, or waits for a future of another crate.
    Unnoted,
    Ended,
}

/// A goroutine that can run.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) id: u64,
    /// Where it waited before it was woken.
    pub(crate) waits_at: Option<&'static Location<'static>>,
    pub(crate) spawned_at: &'static Location<'static>,
}

impl Simulation {
    /// Begins a simulation: until [`end`](Self::end) this thread is the only worker of a new
    /// runtime.
    pub(crate) fn begin(goes_on: fn(Operation) -> bool, allowed: &[Outside]) -> (Self, Outer) {
        crate::lock::prepare();
        Executor::watch_forks();
        let executor =
            EXECUTORS.take(START_PATIENCE, Executor::new).expect("gopark: too many runtimes");
        executor.simulated.is_on.store(true, Ordering::Relaxed);
        executor.simulated.woken.store(false, Ordering::Relaxed);
        executor.block_on_calls.set_policy(OnPanic::Crash, Duration::MAX, OnDeadlock::Ignore);
        executor.closing.store(false, Ordering::SeqCst);
        executor.set_gomaxprocs(1);
        let processor = executor.processors.get(0).expect("there is one");
        // A real runtime, whose clock may be ahead of the virtual one, may have used the executor.
        processor.timers.rewind();
        let entered = simulated::enter(goes_on, allowed);
        clock::forget_look();
        let outer = Worker::with(|w| {
            {
                let mut sched = lock(&executor.sched);
                executor.set_place(&mut sched, processor, w.place());
                sched.workers.enter(w);
            }
            // It still counts as idle, so that a thread outside that enqueues a goroutine calls a
            // worker.
            executor.idle.transition_to_idle();
            Outer {
                entered,
                executor: w.executor.replace(Some(executor)),
                processor: w.processor.replace(Some(processor)),
                running: w.running.begin_nested(ptr::null()),
                was_busy: w.run_next.try_hold().expect("it has no processor that could be revoked"),
                ids: w.ids.restart(),
                coop: coop::replace_executor(HOOKS, processor.id),
            }
        });
        (Self { executor, processor, _of_this_thread: PhantomData }, outer)
    }

    /// Gathers the runnable goroutines, without the running one, and returns their number. They
    /// keep their places until one is polled; goroutines that are woken meanwhile get later places.
    #[inline]
    pub(crate) fn gather(&self) -> usize {
        Worker::with(|w| {
            let Some(mut held) = w.hold() else { return };
            while let Some(task) = self.executor.global.pop() {
                held.queue().push_beyond(task);
            }
            if let Some(task) = held.swap_next(None) {
                held.queue().push_beyond(task);
            }
        });
        self.processor.queue.own_len()
    }

    /// Calls `f` with the runnable goroutines.
    fn inspect<R>(&self, f: impl FnOnce(&VecDeque<Task>) -> R) -> R {
        Worker::with(|w| w.hold().expect(HOLDS).queue().inspect(f))
    }

    /// Returns the id of the runnable goroutine at that place, and where it was started.
    pub(crate) fn peek(&self, place: usize) -> (u64, &'static Location<'static>) {
        self.inspect(|tasks| (tasks[place].metadata().id(), tasks[place].metadata().spawned_at()))
    }

    /// Returns true if the goroutine at that place has been aborted.
    pub(crate) fn is_aborted(&self, place: usize) -> bool {
        self.inspect(|tasks| tasks[place].metadata().flags().is_aborted())
    }

    /// Returns true if the goroutine at that place has waited and was woken; false if it starts or
    /// has yielded.
    pub(crate) fn was_woken(&self, place: usize) -> bool {
        self.inspect(|tasks| matches!(tasks[place].metadata().activity(), Activity::Waits(_)))
    }

    /// Fills `ids` with the ids of the runnable goroutines, by their places.
    pub(crate) fn ready(&self, ids: &mut Vec<u64>) {
        ids.clear();
        self.inspect(|tasks| ids.extend(tasks.iter().map(|task| task.metadata().id())));
    }

    /// Returns true if another thread has woken a goroutine since the last call.
    pub(crate) fn was_woken_outside(&self) -> bool {
        let woken = &self.executor.simulated.woken;
        woken.load(Ordering::Relaxed) && woken.swap(false, Ordering::SeqCst)
    }

    /// Returns the runnable goroutine that was woken last.
    pub(crate) fn last_ready(&self) -> Option<Ready> {
        self.inspect(|tasks| {
            let header = tasks.back()?.metadata();
            let waits_at =
                if let Activity::Waits(note) = header.activity() { note.site } else { None };
            Some(Ready { id: header.id(), waits_at, spawned_at: header.spawned_at() })
        })
    }

    /// Waits until another thread wakes a goroutine.
    pub(crate) fn wait_for_outside(&self) {
        self.executor.monitor.park(Time::NEVER);
    }

    /// Polls the runnable goroutine at that place. As [`Executor::poll`], but returns how the poll
    /// ended. With `abort`, the goroutine is polled as if it were not aborted, and then passed to
    /// `abort` unless it has ended.
    pub(crate) fn poll(&self, place: usize, abort: Option<fn(&Header)>) -> Polled {
        Worker::with(|w| {
            let task = w.hold().expect(HOLDS).queue().remove(place);
            let task = task.expect("a place of those gathered");
            if self.executor.closing.load(Ordering::Relaxed) {
                task.metadata().set_aborted();
            }
            if abort.is_some() {
                task.metadata().clear_aborted();
            }
            // Keeps the memory until the end of this function.
            let own = OwnWaker::of_task(&task);
            let header = own.header();
            let epoch = clock::simulated_epoch().unwrap_or_default();
            let (goes_on, polled) = coop::simulate(header, epoch, || {
                w.running.begin(header);
                w.run_next.end_exclusive();
                task.run();
                // A goroutine that continues is no longer recorded as running, see
                // `Executor::parks`.
                let goes_on = w.running.get().is_null();
                let polled = if goes_on { polled(header) } else { Polled::Ended };
                w.running.end();
                w.run_next.begin_exclusive();
                (goes_on, polled)
            });
            if let (true, Some(abort)) = (goes_on, abort) {
                abort(header);
            }
            polled
        })
    }

    /// Advances the time to the next timer, and fires the timers that are due then. Returns false
    /// if there is none.
    pub(crate) fn advance(&self) -> bool {
        let timers = &self.processor.timers;
        if timers.next_due() == Time::NEVER {
            return false;
        }
        // The next timer may have been cancelled since its time was recorded. This call records the
        // time of the one after it.
        if timers.fire(Time::now(), usize::MAX) > 0 {
            return true;
        }
        let due = timers.next_due();
        if due != Time::NEVER {
            simulated::set_now(due.as_nanos());
            timers.fire(due, usize::MAX);
        }
        due != Time::NEVER
    }

    /// Returns a lower bound of the time of the next timer, in nanoseconds of virtual time.
    pub(crate) fn next_due(&self) -> u64 {
        self.processor.timers.next_due().as_nanos()
    }

    /// Ends every goroutine: polls each once more, in the order of their ids, to drop its future.
    pub(crate) fn drop_goroutines(&self) {
        self.executor.closing.store(true, Ordering::SeqCst);
        loop {
            while self.gather() > 0 {
                self.poll(0, None);
            }
            let mut parked: Vec<_> =
                self.executor.processors.shards().flat_map(|shard| shard.registry.all()).collect();
            if parked.is_empty() {
                if self.executor.live() == 0 {
                    return;
                }
                // Another thread is starting a goroutine here, and is about to enqueue it.
                thread::yield_now();
            }
            parked.sort_by_key(|waker| waker.header().id());
            parked.into_iter().for_each(OwnWaker::wake);
        }
    }

    /// Ends the simulation, after every goroutine has ended, and restores the thread's previous
    /// state.
    pub(crate) fn end(self, outer: Outer) {
        let Self { executor, processor, .. } = self;
        // A goroutine that a remaining timer starts is dropped at once.
        processor.timers.fire(Time::from_nanos(Time::NEVER.as_nanos() - 1), FIRE_MOST);
        while !driver::take_over(&processor.timers) {
            thread::yield_now();
        }
        // The next runtime's clock may be behind the virtual one.
        processor.timers.rewind();
        drop(outer.entered);
        clock::forget_look();
        Worker::with(|w| {
            coop::restore_executor(outer.coop);
            w.ids.resume(outer.ids);
            w.running.end_nested(outer.running);
            w.executor.set(outer.executor);
            w.processor.set(outer.processor);
            let mut sched = lock(&executor.sched);
            sched.workers.leave(w);
            executor.set_place(&mut sched, processor, Place::Retired);
            drop(sched);
            w.run_next.release(outer.was_busy);
        });
        // Another thread may be in a wake of a goroutine that has ended.
        while !executor.idle.try_reset() {
            thread::yield_now();
        }
        executor.simulated.is_on.store(false, Ordering::Relaxed);
        while !executor.retire() {
            thread::yield_now();
        }
    }
}

const HOLDS: &str = "the simulating thread holds the processor";

/// Maximum number of timers that are fired when a simulation ends.
const FIRE_MOST: usize = 1 << 20;

fn polled(header: &Header) -> Polled {
    match header.activity() {
        Activity::Waits(note) => Polled::Parked(note),
        Activity::Unnoted { .. } => Polled::Unnoted,
        Activity::Ended => Polled::Ended,
    }
}
