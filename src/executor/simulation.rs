//! A runtime without threads: its one worker is the thread that simulates, which chooses among all
//! goroutines that can run.
//!
//! Wakes and spawns go where they always go, into the run-next slot and the queues. The simulation
//! gathers them in the own queue of its one processor, out of which it takes any. So a census finds
//! each where it looks for it.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::panic::Location;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use super::{
    EXECUTORS, Executor, HOOKS, Ids, Place, Processor, START_PATIENCE, Worker, coop, driver, lock,
};
use crate::clock::{self, Time};
use crate::crash::{OnDeadlock, OnPanic};
use crate::header::{Activity, Header, Task, WaitNote};
use crate::running;
use crate::simulated::{self, Entered, Operation, Outside};

/// What an executor knows of its simulation.
///
/// | word | meaning | written by |
/// |---|---|---|
/// | `is_on` | the executor has no threads | the thread that simulates |
/// | `woken` | another thread has enqueued a goroutine | that thread; the one that simulates |
#[derive(Debug, Default)]
pub(super) struct State {
    is_on: AtomicBool,
    woken: AtomicBool,
}

impl Executor {
    /// True if a simulation has it, and no threads.
    pub(super) fn is_simulated(&self) -> bool {
        self.simulated.is_on.load(Ordering::Relaxed)
    }

    /// True if reports on this thread are about this executor too: a simulation is a world of its
    /// own.
    pub(super) fn is_in_this_world(&self) -> bool {
        if simulated::is_on() {
            Self::current().is_some_and(|own| ptr::eq(own, self))
        } else {
            !self.is_simulated()
        }
    }

    /// A goroutine is about to be started here: in a simulation of another executor it would be
    /// outside.
    pub(crate) fn refuse_outside(&self, site: &Location<'_>) {
        if simulated::is_on() && !self.is_in_this_world() {
            simulated::leaves_at(Outside::Runtime, site);
        }
    }

    /// A worker is called: if another thread does, it has woken a goroutine.
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

/// What the thread of a simulation was before.
#[must_use = "end the simulation"]
pub(crate) struct Outer {
    entered: Entered,
    executor: *const Executor,
    processor: *const Processor,
    running: running::Outer,
    was_busy: bool,
    ids: Ids,
    coop: (Option<&'static coop::Hooks>, Option<usize>),
}

/// How a poll ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Polled {
    /// It waits there.
    Parked(WaitNote),
    /// It gave way, or waits for a future of another crate.
    Unnoted,
    Ended,
}

/// A goroutine that can run.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) id: u64,
    /// Where it has waited.
    pub(crate) waits_at: Option<&'static Location<'static>>,
    pub(crate) spawned_at: &'static Location<'static>,
}

impl Simulation {
    /// Begins a simulation: until [`end`](Self::end) this thread is the one worker of a new
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
        let entered = simulated::enter(goes_on, allowed);
        clock::forget_look();
        let outer = Worker::with(|w| {
            {
                let mut sched = lock(&executor.sched);
                executor.set_place(&mut sched, processor, w.place());
                sched.workers.push(w.into());
            }
            // It counts as idle all the same, so that who enqueues a goroutine from outside calls a
            // worker.
            executor.idle.transition_to_idle();
            Outer {
                entered,
                executor: w.executor.replace(executor),
                processor: w.processor.replace(processor),
                running: w.running.begin_nested(ptr::null()),
                was_busy: w.run_next.try_hold().expect("it has no processor that could be revoked"),
                ids: w.ids.restart(),
                coop: coop::replace_executor(HOOKS, processor.id),
            }
        });
        (Self { executor, processor, _of_this_thread: PhantomData }, outer)
    }

    /// The number of goroutines that can run, the running one left out. Their places stay as they
    /// are until one is polled; what is woken meanwhile comes behind them.
    #[inline]
    pub(crate) fn gather(&self) -> usize {
        let queue = &self.processor.queue;
        Worker::with(|w| {
            let Some(held) = w.hold() else { return };
            while let Some(task) = self.executor.global.pop() {
                // SAFETY: the processor is held.
                unsafe { queue.push_own_beyond(task) };
            }
            if let Some(task) = held.swap_next(None) {
                // SAFETY: as above.
                unsafe { queue.push_own_beyond(task) };
            }
        });
        queue.own_len()
    }

    /// Calls `f` with the goroutines that can run.
    fn inspect<R>(&self, f: impl FnOnce(&VecDeque<Task>) -> R) -> R {
        // SAFETY: this thread holds the processor.
        unsafe { self.processor.queue.inspect_own(f) }
    }

    /// The goroutine at that place of those that can run, and where it was started.
    pub(crate) fn peek(&self, place: usize) -> (u64, &'static Location<'static>) {
        self.inspect(|tasks| (tasks[place].metadata().id(), tasks[place].metadata().spawned_at()))
    }

    /// True if the goroutine at that place has been aborted.
    pub(crate) fn is_aborted(&self, place: usize) -> bool {
        self.inspect(|tasks| tasks[place].metadata().flags().is_aborted())
    }

    /// True if the goroutine at that place has waited, and was woken; false of one that starts or
    /// has given way.
    pub(crate) fn was_woken(&self, place: usize) -> bool {
        self.inspect(|tasks| matches!(tasks[place].metadata().activity(), Activity::Waits(_)))
    }

    /// The ids of the goroutines that can run, by their places.
    pub(crate) fn ready(&self, ids: &mut Vec<u64>) {
        ids.clear();
        self.inspect(|tasks| ids.extend(tasks.iter().map(|task| task.metadata().id())));
    }

    /// True if another thread has woken a goroutine since the last call.
    pub(crate) fn was_woken_outside(&self) -> bool {
        let woken = &self.executor.simulated.woken;
        woken.load(Ordering::Relaxed) && woken.swap(false, Ordering::SeqCst)
    }

    /// The goroutine that was woken last of those that can run.
    pub(crate) fn last_ready(&self) -> Option<Ready> {
        self.inspect(|tasks| {
            let header = tasks.back()?.metadata();
            let waits_at =
                if let Activity::Waits(note) = header.activity() { note.site } else { None };
            Some(Ready { id: header.id(), waits_at, spawned_at: header.spawned_at() })
        })
    }

    /// Waits for another thread to wake a goroutine.
    pub(crate) fn wait_for_outside(&self) {
        self.executor.monitor.park(Time::NEVER);
    }

    /// Polls the goroutine at that place of those that can run. As [`Executor::poll`], with a look
    /// at how the poll ends. A goroutine that outruns its abort is polled as if there was none, and
    /// then aborted by `abort`.
    pub(crate) fn poll(&self, place: usize, abort: Option<fn(&Header)>) -> Polled {
        Worker::with(|w| {
            // SAFETY: this thread holds the processor.
            let task = unsafe { self.processor.queue.remove_own(place) }
                .expect("a place of those gathered");
            if self.executor.closing.load(Ordering::Relaxed) {
                task.metadata().set_aborted();
            }
            if abort.is_some() {
                task.metadata().clear_aborted();
            }
            let header = ptr::from_ref(task.metadata());
            // SAFETY: the metadata is used only while the task is being polled.
            unsafe { coop::enter_simulated(header, clock::simulated_epoch().unwrap_or_default()) };
            w.running.begin(header);
            w.run_next.end_exclusive();
            task.run();
            // One that goes on has taken itself out, see `Executor::parks`.
            let goes_on = w.running.get().is_null();
            let polled = if goes_on {
                // SAFETY: it is registered, and so lives until it is polled again.
                polled(unsafe { &*header })
            } else {
                Polled::Ended
            };
            w.running.end();
            w.run_next.begin_exclusive();
            coop::leave();
            if let (true, Some(abort)) = (goes_on, abort) {
                // SAFETY: as above.
                abort(unsafe { &*header });
            }
            polled
        })
    }

    /// Moves the time to the next timer, and fires what is due then. False if there is none.
    pub(crate) fn advance(&self) -> bool {
        let timers = &self.processor.timers;
        if timers.next_due() == Time::NEVER {
            return false;
        }
        // The next one may have been taken out since it was noted. This notes the one after it.
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

    /// No timer is due before this, nanoseconds of virtual time.
    pub(crate) fn next_due(&self) -> u64 {
        self.processor.timers.next_due().as_nanos()
    }

    /// Ends every goroutine: each is polled once more, to drop its future, in the order of their
    /// ids.
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
                // Another thread has begun to start one here, and is about to enqueue it.
                thread::yield_now();
            }
            // SAFETY: the wakers of the registry are those of goroutines.
            parked.sort_by_key(|waker| unsafe { Header::of_waker(waker) }.id());
            parked.into_iter().for_each(Waker::wake);
        }
    }

    /// Ends the simulation, after every goroutine has ended. The thread is again what it was
    /// before.
    pub(crate) fn end(self, outer: Outer) {
        let Self { executor, processor, .. } = self;
        // What a timer starts that is left is dropped at once.
        processor.timers.fire(Time::from_nanos(Time::NEVER.as_nanos() - 1), FIRE_MOST);
        while !driver::take_over(&processor.timers) {
            thread::yield_now();
        }
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
            sched.workers.retain(|other| *other != w.into());
            executor.set_place(&mut sched, processor, Place::Retired);
            drop(sched);
            w.run_next.release(outer.was_busy);
        });
        // Another thread may just be waking a goroutine that has ended.
        while !executor.idle.try_reset() {
            thread::yield_now();
        }
        executor.simulated.is_on.store(false, Ordering::Relaxed);
        while !executor.retire() {
            thread::yield_now();
        }
    }
}

/// Most timers that are fired when a simulation ends.
const FIRE_MOST: usize = 1 << 20;

fn polled(header: &Header) -> Polled {
    match header.activity() {
        Activity::Waits(note) => Polled::Parked(note),
        Activity::Unnoted { .. } => Polled::Unnoted,
        Activity::Ended => Polled::Ended,
    }
}
