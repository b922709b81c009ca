//! The scheduler: every decision about which goroutine runs where, and when.
//!
//! Go's three letters: **G**, a goroutine, is an `async_task` allocation with a [`Header`]; while
//! it can run, its [`Task`] is in exactly one queue. **M** is a [`Worker`], a thread that runs
//! goroutines. **P** is a [`Processor`], the right to run them, of which there are `gomaxprocs`. A
//! worker must hold a processor to run goroutines. The run-next slot belongs to the worker.
//!
//! # Finding work (Go's order)
//!
//! [`Executor::next`] takes, in this order: the run-next goroutine; at every 61st tick one from the
//! global queue; the local queue; a batch from the global queue; half of a random victim's queue; a
//! victim's run-next goroutine. A goroutine that another goroutine wakes goes into the run-next
//! slot and runs in the same slice: no tick begins. After [`RUN_NEXT_LIMIT`] of them in a row, the
//! next one goes to the end of the local queue, and the global queue is checked first, though not
//! at two ticks in a row. The longer polls are, the fewer goroutines a slice has, and the longer
//! ticks are, the more often the global queue is checked first, see [`Processor::adapt`].
//!
//! # Waking
//!
//! A push that must be announced to other workers ends with [`Executor::notify`]; [`Idle`] has the
//! protocol and its proof. Two functions push: [`push_global`](Executor::push_global), which always
//! notifies, and [`enqueue`](Executor::enqueue), which notifies unless its goroutine is the only
//! one queued at the processor. So at most one goroutine per running worker is unannounced: the one
//! that the worker runs next.
//!
//! Proof. Two events leave a goroutine with a worker. (1) The run-next slot is filled. Its previous
//! goroutine, if any, is enqueued, and announced because the slot is full. If the slot was empty,
//! the new goroutine is unannounced. The goroutines in the queue were announced, or there is one
//! that was enqueued alone when it yielded: the worker runs it next, or announces it if the global
//! queue comes first. (2) A goroutine is enqueued. If the slot or the queue has another one, it is
//! announced; otherwise it is the only one. Goroutines that a worker moves into its queue were
//! announced when they were first queued, and a worker that searched announces that it has found
//! work.
//!
//! While polls are short, no worker is woken for the unannounced goroutine, because waking a thread
//! costs more than it gains (tokio shipped that and reverted it). If a poll is long, a thief or the
//! monitor takes it.
//!
//! # Leaving a queue alone
//!
//! Goroutines that share state run faster on one core than on two. A thief watches a short queue
//! for a moment. If its owner runs so many ticks that it will [drain](Processor::is_draining) the
//! queue before a theft pays off, the thief sleeps for a moment and searches again. Meanwhile it
//! counts as searching, so a push wakes no other worker. If locks were contended lately, a thief
//! does the same for a long queue, and does not take from the global queue meanwhile.
//!
//! # Threads
//!
//! The monitor (Go's sysmon) is the one thread that starts, joins and ends the others. While
//! something runs it checks the workers every [`MONITOR_PERIOD`]. If work is queued, it takes the
//! processor from a worker that has slept in one poll, or computed in it for more than [`STUCK`],
//! as [`RunNext`] describes. The worker then has no processor: it submits to the global queue, and
//! becomes a spare when its poll ends.

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once};
use std::time::Duration;

use async_task::ScheduleInfo;

use crate::clock::{self, Time};
use crate::coop;
use crate::crash::{BlockOnCalls, OnDeadlock, OnPanic};
use crate::fork;
use crate::header::{Header, Task};
use crate::idle::Idle;
use crate::ids::Ids;
use crate::loom::const_fn;
use crate::panics::lock;
use crate::parker::Parker;
use crate::platform::{self, Room, ThreadClock};
use crate::processor::{
    EXTERNAL, LOCAL_QUEUE, MAX_PROCESSORS, Place, Processor, Processors, RUN_NEXT_LIMIT,
    RUN_NEXT_LOOK, Shard,
};
use crate::random;
use crate::rest::Rest;
use crate::run_next::RunNext;
use crate::run_queue::{GlobalQueue, Owner, prefetch};
use crate::running::Running;
#[cfg(feature = "net")]
use crate::sources::Slot;
use crate::spares::{Roused, Spares};
use crate::table::Table;
use crate::threads;
use crate::timer::driver;
use crate::timer::shard::{self, Shard as Timers};
use crate::watched::{Doing, STUCK, Watched};
use guards::Held;

/// Maximum number of goroutines taken from the global queue at once. They do not fill the local
/// queue, so that it has room for the goroutines that they spawn.
const GLOBAL_BATCH: usize = LOCAL_QUEUE / 16;
/// How long a thief sleeps after it has left a queue alone.
const NAP: Duration = Duration::from_micros(50);
/// Maximum number of goroutines that continue to compute after they have lost their processor. Each
/// hand-over doubles [`STUCK`].
const MOST_DISPLACED: usize = 2;
/// The period of the monitor's checks while something runs.
const MONITOR_PERIOD: Duration = Duration::from_millis(5);
/// The period after the monitor has found a goroutine that waits for the end of another one's poll,
/// or something that runs after a rest, and the numbers of checks for which it lasts.
const MONITOR_ALERT: Duration = Duration::from_millis(1);
const ALERT_LOOKS: u32 = 200;
const FIRST_LOOKS: u32 = 5;
/// Checks in a row that find nothing running before the monitor sleeps until something runs.
const MONITOR_IDLE_LOOKS: u32 = 10;
/// Maximum number of runtimes at a time.
const MAX_RUNTIMES: usize = Header::EXECUTORS;
/// How long the start of a runtime waits for another one to end if there are that many.
const START_PATIENCE: Duration = Duration::from_secs(1);
/// How long a parked worker is kept, to replace the next blocked one, if there are more parked
/// workers than processors.
const KEEP_PARKED: Duration = Duration::from_secs(1);
/// Checks of all queues before an idle worker parks: a few microseconds.
const SPINS: u32 = 100;
/// The monitor fires a timer once it is this late.
const OVERDUE: Duration = Duration::from_millis(2);
/// How long dropping a runtime waits for goroutines that block their thread.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

// ------------------------------------------------------------------------------------------------
// workers

/// The scheduler's state of one thread. On threads other than workers, `processor` is always null.
///
/// | word | meaning | written by |
/// |---|---|---|
/// | `run_next` | the run-next slot and the right to the processor | see [`RunNext`] |
/// | `processor` | the processor that the thread holds, unless it was revoked | owner |
struct Worker {
    run_next: RunNext,
    /// The runtime whose goroutine this thread is polling.
    executor: Cell<Option<&'static Executor>>,
    /// The runtime to which this thread belongs.
    home: Cell<Option<&'static Executor>>,
    processor: Cell<Option<&'static Processor>>,
    running: Running,
    /// The number of polls of the processor when a goroutine last yielded: it must be enqueued
    /// behind every runnable goroutine.
    yielded: Cell<u32>,
    /// This thread polls a main of its own, or drops a goroutine.
    polling: Cell<bool>,
    room: Room,
    ids: Ids,
    /// The thread's clock, which is on the thread's stack while the worker holds a processor.
    clock: Cell<*const ThreadClock>,
    /// The number of the job that the thread runs, outside every poll.
    job: Cell<Option<u64>>,
    watched: Watched,
}

// As in `coop`: blocking operations also run in destructors of thread-locals.
#[cfg(not(gopark_loom))]
const _: () = assert!(!std::mem::needs_drop::<Worker>());
#[cfg(not(gopark_loom))]
thread_local! {
    static WORKER: Worker = const { Worker::new() };
}
#[cfg(gopark_loom)]
thread_local! {
    static WORKER: Worker = Worker::new();
}

impl Worker {
    const_fn! {
        const fn new() -> Self {
            Worker {
                run_next: RunNext::new(),
                executor: Cell::new(None),
                home: Cell::new(None),
                processor: Cell::new(None),
                running: Running::new(),
                yielded: Cell::new(0),
                polling: Cell::new(false),
                room: Room::new(),
                ids: Ids::new(),
                clock: Cell::new(ptr::null()),
                job: Cell::new(None),
                watched: Watched::new(),
            }
        }
    }

    /// Runs `f` with this thread's worker.
    #[inline(always)]
    fn with<R>(f: impl FnOnce(&Worker) -> R) -> R {
        WORKER.with(f)
    }

    /// Returns true if this thread is polling a goroutine of `executor`.
    #[inline(always)]
    fn polls_for(&self, executor: &Executor) -> bool {
        ptr::eq(self.executor.get().map_or(ptr::null(), ptr::from_ref), executor)
    }

    /// Returns the [`Place`] of the processor that this worker holds.
    fn place(&self) -> Place {
        Place::Held(NonNull::from(self).cast())
    }

    /// Returns the worker that holds a processor.
    fn holder_of<'a>(_: &'a Sched, processor: &Processor) -> Option<&'a Self> {
        // SAFETY: a worker gives its processor up under the lock, which is held, before its thread
        // ends. A field that is not atomic is the owner's, or under the lock.
        processor.owner().map(|worker| unsafe { worker.cast().as_ref() })
    }

    /// Polls a goroutine on this thread, and drops its future if it is ready.
    #[inline(always)]
    fn run_task(&self, task: Task) {
        let outer = self.running.begin_nested(task.metadata());
        task.run();
        self.running.end_nested(outer);
    }

    /// Holds the processor for a few steps. Returns `None` if the thread has no processor, or may
    /// have lost it.
    #[inline(always)]
    fn hold(&self) -> Option<Held<'_>> {
        let processor = self.processor.get()?;
        let was = self.run_next.try_hold()?;
        Some(Held { worker: PhantomData, was, processor })
    }
}

impl Held<'_> {
    /// Replaces the run-next goroutine, and returns the previous one.
    #[inline(always)]
    fn swap_next(&self, next: Option<Task>) -> Option<Task> {
        let next = next.map_or(ptr::null_mut(), |next| next.into_raw().as_ptr());
        // SAFETY: the processor is held.
        Worker::with(|w| unsafe { from_slot(w.run_next.swap(next)) })
    }

    #[inline(always)]
    fn queue(&mut self) -> Owner<'_, Task> {
        // SAFETY: the processor is held.
        self.processor.queue.owner(unsafe { self.processor.queue.own().claim() })
    }
}

/// Converts the raw content of a run-next slot to the goroutine.
///
/// # Safety
///
/// The caller owns the slot's content.
unsafe fn from_slot(next: *mut ()) -> Option<Task> {
    // SAFETY: the slot holds tasks in raw form.
    NonNull::new(next).map(|next| unsafe { Task::from_raw(next) })
}

/// What belongs to a processor whose worker is in a poll, which cannot access it meanwhile. The
/// drop gives it back: if the worker has seen that it was revoked, it checks under the lock, and
/// continues.
#[must_use = "dropping it gives the processor back"]
struct Revoked<'a> {
    worker: &'a Worker,
    next: Option<Task>,
    queue: Owner<'a, Task>,
}

impl<'a> Revoked<'a> {
    /// Revokes a processor. Returns `None`, and changes nothing, if its worker is not in a poll.
    fn take(sched: &'a Sched, processor: &'a Processor) -> Option<Self> {
        let worker = Worker::holder_of(sched, processor)?;
        let next = worker.run_next.revoke()?;
        // SAFETY: while revoked, the slot and the queue belong to this thread.
        let (next, own) = unsafe { (from_slot(next), processor.queue.own().claim()) };
        Some(Self { worker, next, queue: processor.queue.owner(own) })
    }

    /// Keeps the processor, and returns its run-next goroutine.
    fn keep(self) -> Option<Task> {
        ManuallyDrop::new(self).next.take()
    }
}

impl Drop for Revoked<'_> {
    fn drop(&mut self) {
        if let Some(next) = self.next.take() {
            self.worker.run_next.swap(next.into_raw().as_ptr());
        }
        self.worker.run_next.reinstate();
    }
}

/// A list of workers. Each leaves it under the scheduler's lock, before its thread ends.
#[derive(Default)]
struct Workers(Vec<NonNull<Worker>>);

// SAFETY: a listed worker is alive, and is accessed under the lock.
unsafe impl Send for Workers {}

impl Workers {
    fn enter(&mut self, worker: &Worker) {
        self.0.push(NonNull::from(worker));
    }

    fn leave(&mut self, worker: &Worker) {
        self.0.retain(|other| *other != NonNull::from(worker));
    }

    fn iter(&self) -> impl Iterator<Item = &Worker> + Clone {
        // SAFETY: a listed worker is alive.
        self.0.iter().map(|worker| unsafe { worker.as_ref() })
    }
}

// ------------------------------------------------------------------------------------------------
// the executor

/// The scheduler of one runtime. It is reused and never freed, because a waker may access it at any
/// time.
pub(crate) struct Executor {
    /// Its index in [`EXECUTORS`].
    index: u16,
    global: GlobalQueue,
    pub(crate) idle: Idle,
    spares: Spares<Task>,
    /// The number of processors in use: those with a lower id.
    procs: AtomicUsize,
    processors: Processors,
    closing: AtomicBool,
    /// The number of the runtime that uses it now.
    generation: AtomicUsize,
    sched: Mutex<Sched>,
    monitor: Parker,
    /// Signalled when the runtime has ended.
    ended: Condvar,
    block_on_calls: BlockOnCalls,
    #[cfg(feature = "net")]
    io: Slot,
    #[cfg(feature = "sim")]
    simulated: simulation::State,
}

/// The state that the scheduler's lock guards.
#[derive(Default)]
struct Sched {
    idle: Vec<&'static Processor>,
    /// Set while the runtime is at rest, and the monitor sleeps.
    rest: Option<Rest>,
    /// An earlier rest, and a time. If the runtime is at rest again by then, that rest continues.
    asked: Option<(Rest, Time)>,
    /// Judges whether a runtime at rest can go on.
    observer: Option<fn()>,
    /// The number of checks for which the monitor keeps the shorter period.
    alert: u32,
    /// Workers that compute without a processor.
    displaced: Workers,
    /// All workers.
    workers: Workers,
    /// Hand-overs from computing workers since `displaced` was last empty.
    handed_over: u32,
    thread_name: String,
    hooks: threads::Hooks,
}

/// All executors. A goroutine stores a two-byte index instead of a pointer.
static EXECUTORS: Table<Executor, MAX_RUNTIMES> = Table::new();

/// The functions through which `coop` calls the executor of the running goroutine.
const HOOKS: &coop::Hooks = &coop::Hooks {
    is_alone: Executor::is_alone,
    unwinding: |header| Executor::of(header).block_on_calls.begin_unwinding(header),
    unwound: |id| {
        Executor::current()
            .into_iter()
            .for_each(|executor| executor.block_on_calls.end_unwinding(id))
    },
    outside: Executor::outside,
    blocked: Executor::blocked,
};

/// The settings of a runtime.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) procs: usize,
    pub(crate) max_threads: usize,
    pub(crate) thread_name: String,
    pub(crate) hooks: threads::Hooks,
    pub(crate) on_panic: OnPanic,
    pub(crate) crash_grace: Duration,
    pub(crate) on_deadlock: OnDeadlock,
    pub(crate) observer: fn(),
}

impl Executor {
    /// Starts an executor: one worker and the monitor, which starts further workers.
    pub(crate) fn start(settings: Settings) -> io::Result<&'static Self> {
        if settings.thread_name.contains('\0') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "gopark: a thread's name cannot contain a zero byte",
            ));
        }
        crate::lock::prepare();
        Self::watch_forks();
        driver::set_monitors(Self::wake_any_monitor);
        let Some(this) = EXECUTORS.take(START_PATIENCE, Self::new) else {
            return Err(io::Error::other("gopark: too many runtimes"));
        };
        this.block_on_calls.set_policy(
            settings.on_panic,
            settings.crash_grace,
            settings.on_deadlock,
        );
        this.spares.set_most_threads(settings.max_threads);
        this.closing.store(false, Ordering::SeqCst);
        this.set_gomaxprocs(settings.procs);
        let name = format!("{}-monitor", settings.thread_name);
        {
            let mut sched = lock(&this.sched);
            (sched.thread_name, sched.observer) = (settings.thread_name, Some(settings.observer));
            sched.hooks = settings.hooks;
        }
        // The first worker starts here, before the monitor: it has the same attributes, and no
        // goroutine waits until two threads have started.
        this.idle.begin_search();
        this.call_worker();
        this.start_threads();
        match threads::start(name, move || this.run_monitor()) {
            Ok(_) => Ok(this),
            Err(error) => {
                this.end_workers();
                this.spares.join_all();
                this.retire();
                Err(error)
            }
        }
    }

    /// From now on, a fork resets the state of the child's only thread: it has no runtime and, even
    /// if it was a worker, no processor.
    fn watch_forks() {
        extern "C" fn forget() {
            Worker::with(|w| {
                w.executor.set(None);
                w.processor.set(None);
                w.run_next.abandon();
                w.running.forget_look();
            });
        }
        static WATCHING: Once = Once::new();
        WATCHING.call_once(|| platform::in_forked_child(forget));
    }

    fn new(index: u16) -> Self {
        Self {
            index,
            global: GlobalQueue::default(),
            idle: Idle::new(),
            spares: Spares::new(),
            procs: AtomicUsize::new(0),
            processors: Processors::new(),
            closing: AtomicBool::new(false),
            generation: AtomicUsize::new(0),
            sched: Mutex::new(Sched::default()),
            monitor: Parker::new(),
            ended: Condvar::new(),
            block_on_calls: BlockOnCalls::default(),
            #[cfg(feature = "net")]
            io: Slot::default(),
            #[cfg(feature = "sim")]
            simulated: simulation::State::default(),
        }
    }

    /// Returns the executor whose goroutine, or whose `block_on_local`, this thread runs.
    #[inline(always)]
    pub(crate) fn current() -> Option<&'static Self> {
        Worker::with(|w| w.executor.get())
    }

    /// The number of the runtime that uses it now.
    pub(crate) fn generation(&self) -> usize {
        self.generation.load(Ordering::Relaxed)
    }

    // -------------------------------------------------------------------------------- running

    /// The main function of a worker thread.
    fn run_worker(&'static self) {
        threads::when_left(move |thread| {
            self.spares.leave(thread);
            if self.has_stopped() {
                drop(lock(&self.sched));
                self.ended.notify_all();
            }
            self.monitor.unpark();
        });
        let (parker, clock) = (Arc::new(Parker::new()), ThreadClock::of_this_thread());
        Worker::with(|w| {
            w.executor.set(Some(self));
            w.home.set(Some(self));
            w.clock.set(&raw const clock);
            w.run_next.begin_exclusive();
            coop::set_executor(HOOKS);
            let hooks = {
                let mut sched = lock(&self.sched);
                sched.workers.enter(w);
                sched.hooks.clone()
            };
            self.spares.arrive();
            hooks.started();
            let (mut searching, mut for_jobs) = (false, true);
            while let Some(held) = self.acquire_processor(w, &parker, &mut searching, for_jobs) {
                for_jobs = false;
                w.processor.set(Some(held));
                coop::set_worker(Some(held.id));
                self.run(w, held, &mut searching);
                // The processor is idle now, or belongs to another worker.
                w.processor.set(None);
                coop::set_worker(None);
            }
            hooks.stopped();
            w.executor.set(None);
            lock(&self.sched).workers.leave(w);
        });
    }

    /// Runs goroutines until the processor is given up or lost.
    fn run(&'static self, w: &Worker, processor: &'static Processor, searching: &mut bool) {
        if self.fire_late(Duration::ZERO) {
            self.requeue_next(processor);
        }
        self.take_events(processor);
        let mut streak = 0;
        while let Some(task) = self.next(w, processor, &mut streak, searching) {
            self.stop_searching(searching);
            // SAFETY: `next` returned the task in raw form, and passed its ownership on.
            if !self.poll(w, processor, unsafe { Task::from_raw(task) }) {
                return;
            }
        }
    }

    /// Chooses the goroutine that runs next: every goroutine that runs was chosen here. Returns
    /// `None` if the processor was given up.
    ///
    /// `streak` counts the goroutines in a row from the run-next slot: they share a slice, in which
    /// no tick begins. The task is returned in raw form, which the compiler keeps in a register.
    #[inline(always)]
    fn next(
        &'static self,
        w: &Worker,
        processor: &'static Processor,
        streak: &mut u32,
        searching: &mut bool,
    ) -> Option<NonNull<()>> {
        loop {
            let is_full = *streak >= processor.run_next_limit()
                || *streak % RUN_NEXT_LOOK == RUN_NEXT_LOOK - 1 && self.ends_slice(processor);
            if !is_full || w.goes_behind_next(processor, *streak) {
                if let Some(next) = NonNull::new(w.run_next.swap(ptr::null_mut())) {
                    *streak += 1;
                    return Some(next);
                }
            }
            *streak = 0;
            let closing = self.closing.load(Ordering::Relaxed);
            if processor.id >= self.procs.load(Ordering::Relaxed) {
                self.stop_searching(searching);
                self.retire_processor(processor);
                return None;
            }
            let (global_first, look) = processor.begin_tick(is_full);
            let fired = processor.fire_due(look) | (look && self.look_for_events(processor));
            if is_full || fired || closing {
                self.requeue_next(processor);
            }
            if let Some(task) = self.find(processor, global_first, searching) {
                if closing {
                    // Its future is dropped instead of polled. The drop may wake a goroutine into
                    // the run-next slot, which must take this path too.
                    task.metadata().set_aborted();
                    *streak = RUN_NEXT_LIMIT;
                }
                return Some(task.into_raw());
            }
            if self.fire_late(Duration::ZERO) {
                self.requeue_next(processor);
            } else if self.wait_for_events(processor) {
                // The next iteration finds them.
            } else if !(*searching && self.spin_for_work())
                && self.park_processor(processor, searching)
            {
                return None;
            }
        }
    }

    /// Polls a goroutine once. Returns false if the worker lost its processor meanwhile.
    #[inline(always)]
    fn poll(&'static self, w: &Worker, processor: &'static Processor, task: Task) -> bool {
        processor.begin_poll();
        let header = ptr::from_ref(task.metadata());
        // SAFETY: the metadata is used only while the task is being polled.
        unsafe { coop::enter(header, clock::coarse_epoch()) };
        // A worker polls one goroutine at a time, so none must be restored as in `run_task`. This
        // is before the processor can be revoked, so that the revoking thread finds the goroutine.
        w.running.begin(header);
        w.run_next.end_exclusive();
        task.run();
        w.running.end();
        let mine = w.run_next.begin_exclusive();
        coop::leave();
        mine || self.owns_processor(w, processor)
    }

    /// Called if the worker has seen `revoked`. Returns true if it lost only the run-next
    /// goroutine, and still owns the processor.
    #[cold]
    #[inline(never)]
    fn owns_processor(&self, w: &Worker, processor: &Processor) -> bool {
        fork::abort_worker();
        let _sched = lock(&self.sched);
        w.run_next.reinstate();
        processor.place.get() == w.place()
    }

    // -------------------------------------------------------------------------------- finding

    /// Finds a goroutine in the queues, or steals one. Go: `findRunnable`.
    #[inline(always)]
    fn find(
        &self,
        processor: &Processor,
        global_first: bool,
        searching: &mut bool,
    ) -> Option<Task> {
        if global_first && !self.global.is_empty() {
            if let Some(task) = self.global.pop() {
                processor.took_from_global();
                if !processor.queue.is_empty() {
                    // The first goroutine there may be unannounced.
                    self.notify();
                }
                return Some(task);
            }
        }
        let procs = self.procs.load(Ordering::Relaxed);
        if procs != 1 && processor.queue.own_len() != 0 {
            self.publish_private_queue(processor);
        }
        // SAFETY: only the holder calls this.
        if let Some(task) = processor.queue.owner(unsafe { processor.queue.own().claim() }).pop() {
            return Some(task);
        }
        let searches = |searching| searching || procs > 1 && self.idle.try_begin_search(procs);
        // If goroutines share state, those in the global queue may be left alone as well.
        let leaves = processor.shares_state() && searches(*searching);
        let found = if leaves { None } else { self.take_global(processor, procs) };
        if found.is_some() {
            return found;
        }
        *searching = leaves || searches(*searching);
        if *searching { self.steal(processor, procs) } else { None }
    }

    /// Takes one goroutine from the global queue, and this processor's fair share of the others
    /// into its own queue.
    #[inline(never)]
    fn take_global(&self, processor: &Processor, procs: usize) -> Option<Task> {
        if procs == 1 {
            // No other processor takes from the local queue.
            return self.global.pop();
        }
        let share = (self.global.len() / procs).min(GLOBAL_BATCH);
        self.global.take(1 + share, |task| {
            prefetch(&task);
            processor.queue.push_shared(task)
        })
    }

    /// Steals half of a random victim's queue or, in the last pass, a run-next goroutine. A queue
    /// that was left alone is not watched again, because that costs its owner cache misses.
    #[inline(never)]
    fn steal(&self, processor: &Processor, procs: usize) -> Option<Task> {
        let count = self.processors.bound();
        let mut left_alone = false;
        let shares = processor.shares_state();
        let take = |alone| if alone && shares { None } else { self.take_global(processor, procs) };
        for last in [false, true] {
            let first = random::below(count);
            let all = (0..count).filter_map(|n| self.processors.get((first + n) % count));
            for victim in all.filter(|other| other.id != processor.id) {
                let again = left_alone && last && !victim.queue.is_empty();
                let found = if again || victim.is_draining() {
                    left_alone = true;
                    take(left_alone)
                } else {
                    let next = || if last { self.steal_next(victim) } else { None };
                    self.steal_half(victim, processor).or_else(next)
                };
                if found.is_some() {
                    return found;
                }
            }
            if let Some(task) = take(left_alone) {
                return Some(task);
            }
        }
        let lags = left_alone && self.global.lags_after(NAP);
        if lags { self.take_global(processor, procs) } else { None }
    }

    fn steal_half(&self, victim: &Processor, processor: &Processor) -> Option<Task> {
        let queue = victim.queue.shared();
        let half = if victim.is_kept() { return None } else { queue.len().div_ceil(2) };
        let first = queue.pop().ok()?;
        for task in queue.try_iter().take(half.saturating_sub(1)) {
            prefetch(&task);
            if let Err(task) = processor.queue.push_shared(task) {
                self.push_global(task);
                break;
            }
        }
        Some(first)
    }

    /// Steals the run-next goroutine of a worker that is in a long poll. A worker that is about to
    /// run it keeps it.
    fn steal_next(&self, victim: &Processor) -> Option<Task> {
        let has_next = |sched: &MutexGuard<'_, Sched>| {
            Worker::holder_of(sched, victim).is_some_and(|worker| !worker.run_next.seems_empty())
        };
        if !has_next(&self.sched.try_lock().ok()?) {
            return None;
        }
        // Waits, as Go does: the owner is most likely at the end of a short poll.
        if victim.ends_poll() {
            return None;
        }
        let sched = self.sched.try_lock().ok().filter(has_next)?;
        let mut revoked = Revoked::take(&sched, victim)?;
        // If the poll of a main has begun meanwhile, the goroutine stays.
        let next = if victim.is_kept() { None } else { revoked.next.take() };
        // Only the goroutine is taken.
        drop(revoked);
        next
    }

    /// Spins for about one thread wake-up, so that work submitted meanwhile needs no unpark.
    #[inline(never)]
    fn spin_for_work(&self) -> bool {
        self.spin_after_search(|| self.spin(SPINS))
    }

    /// Pauses so many times, and looks for work after each. Returns true if there is some.
    #[inline]
    fn spin(&self, pauses: u32) -> bool {
        (0..pauses).any(|_| {
            std::hint::spin_loop();
            self.has_work()
        })
    }

    fn has_work(&self) -> bool {
        !self.global.is_empty()
            || self.processors.in_use().any(|processor| !processor.queue.is_empty())
    }

    // -------------------------------------------------------------------------------- parking

    /// Makes the processor idle: the step Announce of [`Idle`]'s protocol, whose second check
    /// [`acquire_processor`](Self::acquire_processor) makes. Returns false if the processor is no
    /// longer in use.
    #[inline(never)]
    fn park_processor(&self, processor: &'static Processor, searching: &mut bool) -> bool {
        let mut sched = lock(&self.sched);
        let in_use = processor.id < self.procs.load(Ordering::Relaxed);
        if in_use {
            if std::mem::take(searching) {
                self.idle.end_search();
            }
            self.set_place(&mut sched, processor, Place::Idle);
        }
        in_use
    }

    /// Parks a worker without a processor until it acquires one; meanwhile it runs jobs. Sets
    /// `searching` if the worker was woken to search for work. Returns `None` if the thread must
    /// end.
    fn acquire_processor(
        &'static self,
        w: &Worker,
        parker: &Arc<Parker>,
        searching: &mut bool,
        mut for_jobs: bool,
    ) -> Option<&'static Processor> {
        let mut leave_at = Time::now().after(KEEP_PARKED);
        loop {
            if let Some(job) = self.spares.take_starving_job() {
                self.stop_searching(searching);
                self.run_job(w, job);
            }
            *searching = *searching || self.spares.take_wish();
            let (now, mut earliest) = (Time::now(), shard::earliest(self.all_timers()));
            let poller = {
                let mut sched = lock(&self.sched);
                w.run_next.reinstate();
                sched.displaced.leave(w);
                // If others search, they find the pushed goroutines, or look once more themselves.
                let is_late = earliest <= now || self.has_events();
                let is_needed =
                    || *searching || is_late || !self.idle.is_searched() && self.has_work();
                if let Some(processor) = sched.idle.last().copied().filter(|_| is_needed()) {
                    self.set_place(&mut sched, processor, w.place());
                    return Some(processor);
                }
                if sched.idle.is_empty() {
                    // The workers that hold the processors run the goroutines and check the timers
                    // until they park here.
                    earliest = Time::NEVER;
                }
                self.claim_poller(&sched)
            };
            self.stop_searching(searching);
            if self.closing.load(Ordering::Relaxed) {
                self.hasten_end();
            }
            let is_surplus =
                self.spares.parked() >= self.procs.load(Ordering::Relaxed) && !poller.is_held();
            if is_surplus && leave_at <= now && self.spares.sleeps_until() <= earliest {
                return None;
            }
            let until = if is_surplus { leave_at } else { Time::NEVER };
            let sleep = |parker: &Parker, until| poller.park(parker, until);
            let roused =
                self.spares.park_by(parker, (earliest, until), for_jobs, poller.is_held(), sleep);
            for_jobs = match roused {
                Roused::Called => {
                    *searching = true;
                    false
                }
                Roused::Job(job) => {
                    self.replace_poller(poller);
                    self.run_job(w, job);
                    leave_at = Time::now().after(KEEP_PARKED);
                    true
                }
                Roused::Timeout => false,
                Roused::End => return None,
            };
        }
    }

    /// Retires a processor that is no longer in use: its goroutines move to the global queue.
    #[inline(never)]
    fn retire_processor(&'static self, processor: &'static Processor) {
        // Only the holder pushes to its queue, so the queue stays empty.
        let next = Held { worker: PhantomData, was: true, processor }.swap_next(None);
        self.drain(processor, next);
        self.hand_over(&mut lock(&self.sched), processor);
        if self.has_work() {
            self.notify();
        }
    }

    /// Moves a processor to another place. Only this function does, so that the list and the idle
    /// word agree.
    fn set_place(&self, sched: &mut Sched, processor: &'static Processor, place: Place) {
        processor.set_kept(false);
        if processor.place.replace(place) == Place::Idle {
            let at = sched.idle.iter().rposition(|other| ptr::eq(*other, processor));
            sched.idle.remove(at.expect("an idle processor is in the list"));
            self.idle.acquire_processor();
            if sched.rest.take().is_some() {
                // Perhaps no reading of the clock has advanced the epoch meanwhile, and a goroutine
                // that runs now may park before the monitor is awake.
                clock::advance_epoch();
                self.monitor.unpark();
            }
        }
        match place {
            Place::Idle => {
                processor.timers.open();
                sched.idle.push(processor);
                self.idle.transition_to_idle();
            }
            Place::Retired => {
                let first = self.processors.get(0).filter(|first| !ptr::eq(*first, processor));
                first.into_iter().for_each(|first| processor.timers.close_into(&first.timers));
                self.processors.close();
                // The monitor fires the moved timers if no worker does that.
                self.monitor.unpark();
            }
            Place::Held(_) => {}
        }
    }

    // -------------------------------------------------------------------------- pushing and waking

    /// Enqueues a goroutine that was woken. After the push this accesses only the executor, which
    /// is never freed.
    #[inline(always)]
    pub(crate) fn schedule(task: Task, info: ScheduleInfo) {
        let executor = Self::of(task.metadata());
        Worker::with(|w| {
            if !w.polls_for(executor) {
                return executor.push_global(task);
            }
            coop::note_unwinding();
            let Some(held) = w.hold() else {
                return executor.push_global(task);
            };
            if info.woken_while_running {
                debug_assert!(w.running.get().is_null(), "another worker may end and free it");
                return executor.schedule_behind(held, task);
            }
            match held.swap_next(Some(task)) {
                Some(behind) => executor.enqueue_outlined(held, behind),
                None if held.processor.has_long_polls() => {
                    drop(held);
                    executor.notify();
                }
                None => {}
            }
        });
    }

    /// Enqueues the running goroutine: at the end of the global queue if it yields, that queue is
    /// not empty and ticks are short; otherwise at the end of its processor's queue.
    #[inline(never)]
    fn schedule_behind(&self, held: Held<'_>, task: Task) {
        if !self.global.is_empty()
            && Worker::with(|w| w.has_yielded(held.processor))
            && !held.processor.has_long_ticks()
        {
            drop(held);
            return self.push_global(task);
        }
        self.enqueue(held, task);
    }

    /// Fires the due timers. Returns true if there was one, or the global queue has goroutines.
    #[inline(never)]
    fn ends_slice(&self, processor: &Processor) -> bool {
        processor.fire_due(true) || !self.global.is_empty()
    }

    /// Moves the run-next goroutine to the local queue. Called between polls, when the processor
    /// cannot be revoked.
    #[inline(never)]
    fn requeue_next(&self, processor: &'static Processor) {
        let held = Held { worker: PhantomData, was: true, processor };
        if let Some(next) = held.swap_next(None) {
            self.enqueue_outlined(held, next);
        }
    }

    /// As [`enqueue`](Self::enqueue), for callers that do not justify inlining it.
    #[inline(never)]
    fn enqueue_outlined(&self, held: Held<'_>, task: Task) {
        self.enqueue(held, task);
    }

    /// Enqueues at the processor. This is a Push, unless no other goroutine is queued there: then
    /// the worker runs it next. With one processor there is no worker to wake, and no fence.
    #[inline(always)]
    fn enqueue(&self, mut held: Held<'_>, task: Task) {
        let queue = &held.processor.queue;
        let procs = self.procs.load(Ordering::Relaxed);
        if procs == 1 {
            if let Err(task) = held.queue().push(task) {
                self.global.push(task);
            }
            return;
        }
        let is_alone = Worker::with(|w| w.run_next.seems_empty()) && queue.is_empty();
        if let Err(task) = queue.push_shared(task) {
            // This is while the processor is held, so that the next holder sees it.
            self.global.push(task);
        }
        drop(held);
        if !is_alone {
            self.notify();
        }
    }

    /// Enqueues for every worker. If the runtime shuts down, workers drain the queue. It is never
    /// drained here, because a waker must not run destructors of futures.
    #[inline]
    pub(crate) fn push_global(&self, task: Task) {
        self.global.push(task);
        self.notify();
    }

    /// Moves a processor's goroutines to the global queue: the `next` one, and those of its queue.
    /// The caller owns the processor. Wakes no worker.
    fn drain(&self, processor: &Processor, next: Option<Task>) {
        // SAFETY: the caller owns the processor.
        let own = processor.queue.owner(unsafe { processor.queue.own().claim() }).take();
        self.global.append(next.into_iter().chain(own).chain(processor.queue.shared().try_iter()));
    }

    /// Moves a processor's private queue, from which no thief can steal, to the global one. Only
    /// the holder may call this.
    #[cold]
    fn publish_private_queue(&self, processor: &Processor) {
        // SAFETY: the caller is the holder.
        self.global.append(processor.queue.owner(unsafe { processor.queue.own().claim() }).take());
        self.notify();
    }

    /// Completes a Push: wakes a worker if none searches and a processor is idle.
    #[inline(always)]
    fn notify(&self) {
        if self.idle.should_notify() && self.idle.try_begin_notify() {
            self.call_worker();
        }
    }

    /// Wakes a parked worker, or has one started. The caller has already counted it as searching.
    #[cold]
    #[inline(never)]
    fn call_worker(&self) {
        #[cfg(feature = "sim")]
        if self.is_simulated() {
            return self.woken_from_outside();
        }
        if !self.spares.call() {
            self.monitor.unpark();
        }
    }

    #[inline]
    fn stop_searching(&self, searching: &mut bool) {
        if std::mem::take(searching) && self.idle.end_search() {
            // LastFinds.
            self.notify();
        }
    }

    // -------------------------------------------------------------------------------- goroutines

    /// Returns the executor of a goroutine.
    #[inline(always)]
    pub(crate) fn of(header: &Header) -> &'static Self {
        // SAFETY: no goroutine has the index before the executor is created.
        unsafe { EXECUTORS.get(header.executor_index()) }
    }

    /// Returns the shard whose registry contains the goroutine.
    pub(crate) fn shard_of(header: &Header) -> &'static Shard {
        Self::of(header).processors.shard(header.shard())
    }

    /// Returns the goroutine whose `Runnable` this thread runs.
    ///
    /// # Safety
    ///
    /// The caller is in the poll or the drop of a goroutine's future, and does not use the header
    /// after its end.
    #[inline(always)]
    pub(crate) unsafe fn running<'a>() -> &'a Header {
        // SAFETY: a goroutine's future is polled and dropped by `Runnable::run`, which keeps the
        // header alive. Each caller of that has stored the header before.
        Worker::with(|w| unsafe { &*w.running.get() })
    }

    /// Returns the goroutine whose `Runnable` this thread runs, if it has ended: the thread is
    /// about to drop its result.
    pub(crate) fn ending<'a>() -> Option<&'a Header> {
        // SAFETY: as `running`. Afterwards the header may be freed, and only foreign wakers run, in
        // `outside`.
        Worker::with(|w| unsafe { w.running.get().as_ref() }).filter(|header| header.has_ended())
    }

    // ---------------------------------------------------------------------- spawning and finishing

    /// Starts the goroutine that `allocate` creates with the header.
    #[inline(always)]
    pub(crate) fn spawn_with<R>(
        &'static self,
        spawned_at: &'static Location<'static>,
        allocate: impl FnOnce(Header) -> (Task, R),
    ) -> R {
        Worker::with(|w| {
            let held = if w.polls_for(self) { w.hold() } else { None };
            let shard = match &held {
                Some(held) => {
                    held.processor.shard.count_started();
                    held.processor.id
                }
                None => {
                    self.started_external();
                    EXTERNAL
                }
            };
            let (task, handle) = allocate(Header::new(w.ids.next(), shard, self.index, spawned_at));
            w.room.keep_ahead(ptr::from_ref(task.metadata()).addr());
            // Either the shutdown counts the goroutine, or this sees the shutdown: pairs with the
            // heavy fence there. Between polls no other goroutine may be live.
            platform::light_fence();
            if self.closing.load(Ordering::Relaxed) {
                drop(held);
                self.discard(task);
                return handle;
            }
            match held {
                Some(held) => {
                    if let Some(behind) = held.swap_next(Some(task)) {
                        self.enqueue_outlined(held, behind);
                    }
                }
                None => self.push_global(task),
            }
            handle
        })
    }

    /// Records that the running goroutine parks. From now on another thread may poll it to its end,
    /// so this thread no longer refers to it.
    #[inline(always)]
    pub(crate) fn parks() {
        Worker::with(|w| w.running.end());
    }

    /// Records that the running goroutine's future has been dropped.
    #[inline(always)]
    pub(crate) fn finished_running(&'static self) {
        Worker::with(|w| w.running.release());
        self.finished();
    }

    /// Counts a goroutine, or a main, as finished after its future has been dropped.
    #[inline(always)]
    pub(crate) fn finished(&'static self) {
        Worker::with(|w| {
            if w.polls_for(self) {
                if let Some(held) = w.hold() {
                    return held.processor.shard.count_finished();
                }
            }
            self.processors.external.finished.fetch_add(1, Ordering::Release);
        });
    }

    /// Returns the number of live goroutines.
    pub(crate) fn live(&self) -> usize {
        self.processors.live()
    }

    /// As [`live`](Self::live), in the runtime of that generation; 0 if that has ended.
    pub(crate) fn live_in(&self, generation: usize) -> usize {
        let _sched = lock(&self.sched);
        if self.generation() == generation { self.live() } else { 0 }
    }

    // -------------------------------------------------------------------------------- timers

    /// Runs `f` with the timers of the processor that this thread holds, if any. The worker checks
    /// them when the poll ends.
    #[inline]
    pub(crate) fn with_timers<R>(f: impl FnOnce(Option<&'static Timers>) -> R) -> R {
        Worker::with(|w| {
            let held = w.hold();
            f(held.as_ref().map(|held| &held.processor.timers))
        })
    }

    pub(crate) fn all_timers(&self) -> impl Iterator<Item = &'static Timers> {
        self.processors.in_use().map(|processor| &processor.timers)
    }

    /// Fires those timers of all processors that have been due for at least `late`. Returns true if
    /// there was one.
    #[inline(never)]
    fn fire_late(&self, late: Duration) -> bool {
        if shard::earliest(self.all_timers()) == Time::NEVER {
            return false;
        }
        let now = Time::now();
        shard::fire_due(self.all_timers(), now.before(late), now, LOCAL_QUEUE)
    }

    // -------------------------------------------------------------------------------- the monitor

    /// The main function of the monitor, Go's `sysmon`. It is also the only thread that starts,
    /// joins and ends the others, and it ends the runtime.
    fn run_monitor(&'static self) {
        threads::serve();
        Worker::with(|w| w.home.set(Some(self)));
        let (mut idle_looks, mut seen, mut last) = (0, 0, Time::now());
        lock(&self.sched).alert = FIRST_LOOKS;
        loop {
            self.spares.join_left();
            self.start_threads();
            driver::start_if_wanted();
            if self.closing.load(Ordering::Acquire) && self.end() {
                return;
            }
            self.look_from_monitor();
            let now = Time::now();
            let passed = now.since(std::mem::replace(&mut last, now)).min(MONITOR_PERIOD);
            let waits = self.block_on_calls.check_grace(passed);
            let until = self.look(waits, passed, &mut seen, &mut idle_looks);
            self.monitor.park(until.min(self.judge_rest()));
            while self.fire_late(OVERDUE) {}
        }
    }

    /// Wakes the monitor if it sleeps until something runs.
    pub(crate) fn wake_monitor(&self) {
        self.monitor.unpark();
    }

    /// Starts the threads that were requested. If the system refuses one, the next check tries
    /// again.
    fn start_threads(&'static self) {
        for number in self.spares.begin_starts() {
            let name = format!("{}-{number}", lock(&self.sched).thread_name);
            match threads::start(name, move || self.run_worker()) {
                Ok(thread) => self.spares.started(thread),
                Err(_) => self.spares.refused(),
            }
        }
    }

    /// Checks the workers. The last check was `passed` ago, and `seen` is the number of polls that
    /// it found. Returns the time until which the monitor sleeps.
    fn look(
        &'static self,
        waits: bool,
        passed: Duration,
        seen: &mut u32,
        idle_looks: &mut u32,
    ) -> Time {
        let mut sched = lock(&self.sched);
        // Under the lock: a worker that has left `idle` since the last check, and is back, has
        // polled.
        let polls = self.polls();
        let moved = std::mem::replace(seen, polls) != polls || waits;
        // In every period, because it also advances the clock's epoch.
        let now = Time::now();
        let is_busy =
            self.processors.in_use().any(|p| p.owner().is_some()) || self.spares.has_wish();
        *idle_looks = if is_busy || moved { 0 } else { MONITOR_IDLE_LOOKS.min(*idle_looks + 1) };
        if is_busy {
            self.retake(&mut sched, now, passed);
        }
        if *idle_looks < MONITOR_IDLE_LOOKS || self.closing.load(Ordering::Relaxed) {
            sched.rest = None;
            sched.alert = sched.alert.saturating_sub(1);
            let is_alert = is_busy && sched.alert > 0;
            return now.after(if is_alert { MONITOR_ALERT } else { MONITOR_PERIOD });
        }
        if self.is_unwatched() {
            // A worker must sleep in the poller.
            if self.idle.try_begin_notify() {
                self.call_worker();
            }
            return now.after(MONITOR_PERIOD);
        }
        self.rest(&mut sched, now);
        let earliest = shard::earliest(self.all_timers());
        if self.spares.sleeps_until() <= earliest { Time::NEVER } else { earliest.after(OVERDUE) }
    }

    /// Retakes processors from workers that have been in one poll for too long, if there is work
    /// for the processors, or if the workers are in a blocking form.
    ///
    /// A worker that sleeps in a system call loses its processor. A worker that computes loses it
    /// later, and only if no other worker makes progress. Otherwise one more worker would only
    /// compete for the same cores, and the others get the goroutines queued at the processor.
    fn retake(&'static self, sched: &mut Sched, now: Time, passed: Duration) {
        // A worker that has begun to sleep no longer computes.
        sched.displaced.0.retain(|worker| {
            // SAFETY: a worker, with its clock, leaves the list under the lock before it ends.
            unsafe { &*worker.as_ref().clock.get() }.is_asleep() != Some(true)
        });
        sched.handed_over = if sched.displaced.0.is_empty() { 0 } else { sched.handed_over };
        let (mut progress, mut wants_thief) = (!sched.idle.is_empty(), false);
        let (mut stuck, mut starving) = (Vec::new(), self.spares.is_starving());
        for processor in self.processors.in_use() {
            let Some(worker) = Worker::holder_of(sched, processor) else { continue };
            // SAFETY: it is on the stack of the worker, which holds a processor.
            let clock = unsafe { &*worker.clock.get() };
            let has_next = !worker.run_next.seems_empty();
            let work_waits = has_next || !processor.queue.is_empty() || !self.global.is_empty();
            let is_wanted = work_waits || worker.watched.blocks();
            let is_polling = !worker.running.get().is_null();
            let doing = worker.watched.look(processor, clock, (now, passed), is_polling, is_wanted);
            match doing {
                Doing::Progress if starving && self.revoke(sched, processor) => {
                    // The worker, whose poll is short, runs the job.
                    self.hand_over(sched, processor);
                    (progress, starving) = (true, false);
                }
                Doing::Progress => progress = true,
                _ if !is_wanted || processor.stays_kept() => {}
                Doing::Busy => wants_thief |= has_next,
                Doing::Sleeps => stuck.push((processor, None)),
                Doing::Computes(waited) => stuck.push((processor, Some(waited))),
            }
            if doing != Doing::Progress && work_waits {
                sched.alert = ALERT_LOOKS;
            }
        }
        for (processor, computes) in stuck {
            let Some(worker) = Worker::holder_of(sched, processor) else { continue };
            if computes.is_some()
                && progress
                && worker.run_next.seems_empty()
                && processor.queue.is_empty()
            {
                continue;
            }
            let hands_over = computes.is_none() || !progress;
            let too_early = |waited| waited < STUCK * (1 << sched.handed_over.min(10));
            let too_many = computes.is_some_and(|waited| {
                sched.displaced.0.len() == MOST_DISPLACED || too_early(waited)
            });
            if hands_over && (too_many || !self.spares.can_call()) {
                continue;
            }
            if !self.revoke(sched, processor) {
                continue;
            }
            if hands_over {
                if computes.is_some() {
                    let worker = NonNull::from(worker);
                    sched.displaced.0.push(worker);
                    sched.handed_over += 1;
                }
                self.hand_over(sched, processor);
            } else {
                worker.run_next.reinstate();
            }
            (progress, wants_thief) = (true, true);
        }
        // A run-next goroutine waits for the end of a long poll; or work was enqueued and, against
        // the protocol, no worker was woken.
        if (wants_thief || self.has_work()) && self.idle.try_begin_notify() {
            self.call_worker();
        }
    }

    /// Takes a processor from its worker, if that is in a poll, and moves its goroutines to the
    /// global queue.
    fn revoke(&self, sched: &Sched, processor: &Processor) -> bool {
        let Some(revoked) = Revoked::take(sched, processor) else { return false };
        self.drain(processor, revoked.keep());
        true
    }

    /// Gives a processor that its worker has lost, and that is empty, to another worker.
    fn hand_over(&'static self, sched: &mut Sched, processor: &'static Processor) {
        if processor.id < self.procs.load(Ordering::Relaxed) {
            self.set_place(sched, processor, Place::Idle);
            self.idle.begin_search();
            self.call_worker();
        } else {
            self.set_place(sched, processor, Place::Retired);
        }
    }

    // --------------------------------------------------------------------------- used by `runtime`

    /// Sets the number of processors, unless `procs` is 0. Returns the previous number.
    pub(crate) fn set_gomaxprocs(&'static self, procs: usize) -> usize {
        if procs == 0 {
            return self.procs.load(Ordering::Relaxed);
        }
        self.set_gomaxprocs_in(self.generation(), procs)
    }

    /// As [`set_gomaxprocs`](Self::set_gomaxprocs), in a runtime of that generation; 0 if it ended.
    pub(crate) fn set_gomaxprocs_in(&'static self, generation: usize, procs: usize) -> usize {
        let mut sched = lock(&self.sched);
        // The generation changes a moment after the last worker has left.
        if self.generation() != generation || self.has_stopped() {
            return 0;
        }
        if procs == 0 {
            return self.procs.load(Ordering::Relaxed);
        }
        let procs = procs.min(MAX_PROCESSORS);
        let before = self.procs.load(Ordering::Relaxed);
        self.processors.open(procs);
        self.procs.store(procs, Ordering::SeqCst);
        self.spares.set_procs(procs);
        for processor in
            (before.min(procs)..before.max(procs)).filter_map(|id| self.processors.get(id))
        {
            match processor.place.get() {
                Place::Retired if processor.id < procs => {
                    self.set_place(&mut sched, processor, Place::Idle)
                }
                Place::Idle if processor.id >= procs => {
                    self.set_place(&mut sched, processor, Place::Retired)
                }
                // Its worker or the monitor retires it; if it is in use again, it continues.
                _ => {}
            }
        }
        drop(sched);
        Worker::with(|w| match w.hold() {
            // Do this at once, not when this poll ends.
            Some(held) if procs > 1 && w.polls_for(self) => {
                self.publish_private_queue(held.processor)
            }
            _ => {}
        });
        for _ in before..procs {
            if self.has_work() {
                self.notify();
            }
        }
        for processor in (procs..before).filter_map(|id| self.processors.get(id)) {
            // Its worker moves the remaining goroutines when it sees the new number.
            while let Ok(task) = processor.queue.shared().pop() {
                self.push_global(task);
            }
        }
        before
    }

    /// Returns true if this thread's processor could run no other goroutine than the running one.
    fn is_alone() -> bool {
        Worker::with(|w| {
            let (Some(held), Some(executor)) = (w.hold(), w.executor.get()) else { return false };
            w.run_next.seems_empty()
                && held.processor.queue.is_empty()
                && executor.global.is_empty()
                && !executor.closing.load(Ordering::Relaxed)
        })
    }
}

pub(crate) mod census;
#[cfg_attr(not(feature = "net"), path = "executor/no_events.rs")]
mod events;
mod guards;
mod jobs;
mod rest;
mod shutdown;
#[cfg(feature = "sim")]
pub(crate) mod simulation;
#[cfg(all(test, not(gopark_loom)))]
mod tests;
