//! The scheduler: every decision about which goroutine runs where, and when.
//!
//! # Vocabulary
//!
//! Go's three letters, with Go's meaning:
//!
//! * **G**, a goroutine: an `async_task` allocation with a [`Header`]. While it can run, its [`Task`] is in exactly one
//!   queue.
//! * **M**, a [`Worker`]: a thread that runs goroutines.
//! * **P**, a [`Processor`]: the right to run goroutines, of which there are `gomaxprocs`. It has a [`RunQueue`],
//!   timers, and a share of the registry. A worker must hold a processor to run goroutines; the run-next slot is the
//!   worker's.
//!
//! # Finding work (Go's order)
//!
//! [`Executor::next`] takes, in this order: the run-next goroutine; at every 61st tick one from the global queue; the
//! local queue; a batch from the global queue; half of a random victim's queue, in up to four passes, and in the last
//! one a run-next goroutine. A goroutine that is woken by another one goes into the run-next slot, and runs in the same
//! slice: no tick begins. After [`RUN_NEXT_LIMIT`] of them in a row the next one goes to the end of the local queue,
//! and the global queue comes first. Where ticks are long the global queue comes first more often, see
//! [`GLOBAL_LOOKS`].
//!
//! # Going idle, and waking (no lost parallelism, no thrash)
//!
//! [`Idle`] has the protocol and its proof.
//!
//! Filling the run-next slot of a running worker wakes no other: the goroutine runs next, and waking a thread for it
//! costs more than it brings (tokio shipped that and reverted it). If the running goroutine does not end its poll, a
//! thief or the monitor takes the run-next goroutine. A goroutine that yields wakes no worker either, because there is
//! no more work than before. A thief leaves a short queue alone if its owner [drains it](Executor::victim_is_draining)
//! faster than the theft would take.
//!
//! # Blocked threads
//!
//! The monitor (Go's sysmon) looks every [`MONITOR_PERIOD`] and takes the processor from a worker that has been in one
//! poll for more than [`STUCK`] while work waits, as [`RunNext`] describes. The worker then has no processor: it
//! submits to the global queue, and becomes a spare when its poll ends. The monitor alone starts and joins threads, and
//! ends the runtime.
//!
//! # What was rejected
//!
//! * An atomic swap for the run-next slot: simple, and a quarter of a context switch.
//! * A lock-free global queue. It is a list of blocks that one thread allocates and another frees, at the price of the
//!   allocator's locks: a million goroutines spawned at once took half as long again as with a ring under a lock.
//! * A local queue without a bound where there is no thief. What does not fit goes to the global queue and waits until
//!   the local one is empty, so trees are walked more in depth than in breadth: half of the time for a tree of 100 000.
//! * Moving half of a full local queue to the global one, as Go does. Its linked batch costs nothing to move, ours
//!   would cost a pop and a push each. The newcomer alone goes to the global queue, which is also the fairer order.
//! * A reference count from each goroutine to its executor: two locked instructions a goroutine. Executors are never
//!   freed instead, but used again ([`Executor::retire`]); a waker that is late by a runtime finds one that lives.
//! * Registering a goroutine when it is spawned. Until it parks for the first time it is in a queue, where a shutdown
//!   finds it; many never park.

use std::cell::Cell;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::{self, JoinHandle, Thread, ThreadId};
use std::time::Duration;
use std::{fmt, io};

use async_task::ScheduleInfo;

use crate::clock::{self, Time};
use crate::coop;
use crate::crash::{BlockOnCalls, OnPanic};
use crate::header::{Flags, Header, Task};
use crate::idle::Idle;
use crate::loom::const_fn;
use crate::panics::lock;
use crate::platform::{self, Room};
use crate::random;
use crate::registry::Registry;
use crate::run_next::RunNext;
use crate::run_queue::{GlobalQueue, RunQueue, prefetch};
use crate::threads;
use crate::timer::driver::{self, sleep_until};
use crate::timer::shard::{self, Shard as Timers};

/// Capacity of a processor's queue (Go: 256).
const LOCAL_QUEUE: usize = 256;
/// Ticks between two looks at the global queue before the local one (Go: 61), while ticks are short.
const GLOBAL_INTERVAL: u32 = 61;
/// The same if ticks are as long as they get.
const LONG_TICKS: u32 = 2;
/// The monitor shortens the interval so that there are as many looks in each of its periods: one every 80 microseconds.
const GLOBAL_LOOKS: u32 = 64;
/// Most goroutines taken from the global queue at once: the local queue needs room for those that they spawn.
const GLOBAL_BATCH: usize = LOCAL_QUEUE / 16;
/// Most goroutines out of the run-next slot in a row.
const RUN_NEXT_LIMIT: u32 = 32;
/// How long a thief waits for the victim to drain its own queue, if that has no more than [`SHORT_QUEUE`] goroutines.
const STEAL_DELAY: Duration = Duration::from_micros(5);
const SHORT_QUEUE: usize = 16;
/// Passes over the victims before a thief gives up.
const STEAL_PASSES: usize = 4;
/// A poll that takes longer may lose its processor.
const STUCK: Duration = Duration::from_millis(10);
/// How often the monitor looks while something runs.
const MONITOR_PERIOD: Duration = Duration::from_millis(5);
/// Looks in a row at which nothing ran before the monitor sleeps until something does: waking it costs more than a few
/// looks.
const MONITOR_IDLE_LOOKS: u32 = 10;
/// Most processors of a runtime.
const MAX_PROCESSORS: usize = 1024;
/// Most runtimes at a time.
const MAX_RUNTIMES: usize = 4096;
const _: () = assert!(MAX_RUNTIMES <= Header::EXECUTORS);
/// Most threads of a runtime. At the limit a blocked thread keeps its processor.
const MAX_WORKERS: usize = 4096;
/// How long a parked worker is kept for the next blocked one, if there are more of them than processors.
const KEEP_PARKED: Duration = Duration::from_secs(1);
/// Looks at all queues before an idle worker parks: a few microseconds.
const SPINS: usize = 100;
/// Minimum number of due timers fired per check, even if the local queue is almost full.
const FIRE_LEAST: usize = 16;
/// Any processor may fire another processor's timer once it is this late.
const FOREIGN_TIMER_DELAY: Duration = Duration::from_micros(100);
/// The monitor fires a timer once it is this late.
const OVERDUE: Duration = Duration::from_millis(2);
/// Ids that a thread takes at once.
const ID_BLOCK: u64 = 256;
/// How long the drop of a runtime waits for goroutines that block their thread.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

// ------------------------------------------------------------------------------------------------ workers

/// The scheduler's state of one thread. On a thread that is no worker, `processor` is always null.
///
/// | word | meaning | written by |
/// |---|---|---|
/// | `run_next` | the run-next slot and the right to the processor | see [`RunNext`] |
/// | `processor` | the processor that the thread holds, unless it was revoked | owner |
struct Worker {
    run_next: RunNext,
    /// The runtime whose goroutine this thread polls.
    executor: Cell<*const Executor>,
    /// The runtime whose thread this is.
    home: Cell<*const Executor>,
    processor: Cell<*const Processor>,
    /// A goroutine is being polled.
    polling: AtomicBool,
    /// The header of the goroutine that this thread polls or drops.
    running: Cell<*const Header>,
    /// The running goroutine yields: it goes behind every goroutine that can run.
    yielding: Cell<bool>,
    room: Room,
    /// The goroutine ids that are left of the last block.
    ids: Cell<(u64, u64)>,
    /// The monitor's: the polls begun when it last looked, since when, and the thread's CPU time then.
    seen_polls: Cell<u32>,
    seen_ticks: Cell<u32>,
    seen_at: Cell<Option<Time>>,
    seen_cpu: Cell<Duration>,
}

// As in `coop`: blocking forms also run in destructors of thread-locals.
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
                executor: Cell::new(ptr::null()),
                home: Cell::new(ptr::null()),
                processor: Cell::new(ptr::null()),
                polling: AtomicBool::new(false),
                running: Cell::new(ptr::null()),
                yielding: Cell::new(false),
                room: Room::new(),
                ids: Cell::new((0, 0)),
                seen_polls: Cell::new(0),
                seen_ticks: Cell::new(0),
                seen_at: Cell::new(None),
                seen_cpu: Cell::new(Duration::ZERO),
            }
        }
    }

    /// Runs `f` with this thread's worker.
    #[inline(always)]
    fn with<R>(f: impl FnOnce(&Worker) -> R) -> R {
        WORKER.with(f)
    }

    #[inline(always)]
    fn next_id(&self) -> u64 {
        let (mut next, mut end) = self.ids.get();
        if next == end {
            next = NEXT_ID.fetch_add(ID_BLOCK, Ordering::Relaxed) % Header::IDS;
            end = next + ID_BLOCK;
        }
        self.ids.set((next + 1, end));
        next
    }

    /// Polls a goroutine on this thread, and drops its future if that is ready.
    #[inline(always)]
    fn run_task(&self, task: Task) {
        let outer = self.running.replace(ptr::from_ref(task.metadata()));
        task.run();
        self.running.set(outer);
    }

    /// Holds the processor for a few steps. `None` if the thread has none, or may have lost it.
    #[inline(always)]
    fn hold(&self) -> Option<Held<'_>> {
        let processor = self.processor.get();
        if processor.is_null() {
            return None;
        }
        let was = self.run_next.try_hold()?;
        // SAFETY: processors are never freed.
        Some(Held { worker: self, was, processor: unsafe { &*processor } })
    }

    /// Exchanges the run-next goroutine. Only for the holder, and for the thread that revoked the processor.
    #[inline(always)]
    fn swap_next(&self, next: *mut ()) -> *mut () {
        self.run_next.swap(next)
    }
}

/// The right to touch what belongs to the processor.
struct Held<'a> {
    worker: &'a Worker,
    was: bool,
    processor: &'static Processor,
}

impl Drop for Held<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.worker.run_next.release(self.was);
    }
}

/// A worker as the scheduler's lists know it.
#[derive(Clone)]
struct WorkerRef {
    worker: NonNull<Worker>,
    thread: Thread,
    clock: platform::CpuClock,
}

// SAFETY: the pointer is used under the scheduler's lock, from which the thread takes itself before it ends.
unsafe impl Send for WorkerRef {}

impl WorkerRef {
    /// # Safety
    ///
    /// The scheduler's lock is held, and the worker is in `Sched::workers`.
    unsafe fn get(&self) -> &Worker {
        // SAFETY: as promised. What is not atomic in it is the owner's, or written under the lock (`seen_*`).
        unsafe { self.worker.as_ref() }
    }
}

// ------------------------------------------------------------------------------------------------ processors

/// The right to run goroutines, and what goes with it. Never freed.
struct Processor {
    id: usize,
    queue: RunQueue<Task>,
    shard: Shard,
    timers: Timers,
    /// The next processor whose timers this one also checks.
    next_timer_check: Cell<usize>,
    /// Ticks begun, for the monitor, and ticks since the global queue came first.
    ticks: AtomicU32,
    ticks_since_global: Cell<u32>,
    /// Ticks after which it comes first again; the monitor adapts it.
    global_interval: AtomicU32,
    /// Ticks since timers were checked.
    ticks_since_timers: Cell<u32>,
    /// Polls begun, for the monitor.
    polls: AtomicU32,
    /// Under the scheduler's lock; changed by [`Executor::set_place`] alone.
    place: Cell<Place>,
}

/// Where a processor is.
///
/// | place | meaning | list | idle word |
/// |---|---|---|---|
/// | `Retired` | out of use: its id is not below `gomaxprocs`; its queue is empty, its timers are closed | – | – |
/// | `Idle` | in use, and no worker holds it; its queue is empty | `Sched::idle` | counts as idle |
/// | `Wanted` | the same, and the next worker that has no processor takes it; the monitor starts one | `Sched::wanted` | counts as searching |
/// | `Held` | a worker holds it. If it is out of use, the worker gives it up after the current poll | – | – |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Retired,
    Idle,
    Wanted,
    Held(NonNull<Worker>),
}

// SAFETY: `place` is under the scheduler's lock; `ticks_since_global`, `ticks_since_timers` and
// `next_timer_check` are the holder's; the rest is `Sync`.
unsafe impl Sync for Processor {}
// SAFETY: as above.
unsafe impl Send for Processor {}

impl Processor {
    fn new(id: usize) -> Self {
        Self {
            id,
            queue: RunQueue::new(LOCAL_QUEUE),
            shard: Shard::new(),
            timers: Timers::new(),
            next_timer_check: Cell::new(0),
            ticks: AtomicU32::new(0),
            ticks_since_global: Cell::new(0),
            ticks_since_timers: Cell::new(0),
            global_interval: AtomicU32::new(GLOBAL_INTERVAL),
            polls: AtomicU32::new(0),
            place: Cell::new(Place::Retired),
        }
    }

    /// The worker that holds it. Under the scheduler's lock.
    fn owner(&self) -> Option<NonNull<Worker>> {
        if let Place::Held(worker) = self.place.get() { Some(worker) } else { None }
    }

    /// Back to the state of a new one. The executor has no worker.
    fn reset(&self) {
        self.place.set(Place::Retired);
        self.next_timer_check.set(0);
        self.ticks.store(0, Ordering::Relaxed);
        self.ticks_since_global.set(0);
        self.ticks_since_timers.set(0);
        self.global_interval.store(GLOBAL_INTERVAL, Ordering::Relaxed);
        self.polls.store(0, Ordering::Relaxed);
    }

    /// Begins a tick: one choice of a goroutine that is not the run-next one. Returns whether the global queue comes
    /// first, and whether timers must be checked.
    #[inline(always)]
    fn tick(&self) -> (bool, bool) {
        let interval = self.global_interval.load(Ordering::Relaxed);
        self.ticks.store(self.ticks.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        let local = self.ticks_since_global.get().saturating_add(1);
        self.ticks_since_global.set(local);
        let unlooked = self.ticks_since_timers.get() + 1;
        // At every tick, if ticks are long.
        let look = unlooked + 1 >= interval;
        self.ticks_since_timers.set(if look { 0 } else { unlooked });
        (local >= interval, look)
    }

    /// True if goroutines compute for long. Then a goroutine that yields stays in the local queue, so that goroutines
    /// in the global one need not wait for all of the others.
    fn has_long_ticks(&self) -> bool {
        self.global_interval.load(Ordering::Relaxed) == LONG_TICKS
    }
}

/// The shard of goroutines that started on a thread without a processor; the others are the processors'.
const EXTERNAL: usize = MAX_PROCESSORS;
const _: () = assert!(EXTERNAL < Header::SHARDS);

/// The goroutines that started at one processor.
struct Shard {
    /// Those that have parked at least once.
    registry: Registry,
    /// Goroutines spawned and ended here. Only the holder writes a processor's.
    started: AtomicUsize,
    finished: AtomicUsize,
}

impl Shard {
    fn new() -> Self {
        Self { registry: Registry::new(), started: AtomicUsize::new(0), finished: AtomicUsize::new(0) }
    }
}

// ------------------------------------------------------------------------------------------------ the executor

/// The scheduler of one runtime. It is reused, and never freed, because a waker may reach it at any time.
pub(crate) struct Executor {
    /// Its place in [`EXECUTORS`].
    index: u16,
    global: GlobalQueue,
    idle: Idle,
    /// Processors in use: those with a lower id.
    procs: AtomicUsize,
    /// Processors that can have goroutines or timers, or a holder: those with a lower id. The others are retired. Written
    /// under the lock.
    bound: AtomicUsize,
    /// Processors created.
    created: AtomicUsize,
    processors: [AtomicPtr<Processor>; MAX_PROCESSORS],
    /// Goroutines that are spawned, or end, on threads without a processor.
    external: Shard,
    closing: AtomicBool,
    /// Number of the runtime that it is now.
    generation: AtomicUsize,
    sched: Mutex<Sched>,
    /// Signalled when the runtime has ended.
    ended: Condvar,
    block_on_calls: BlockOnCalls,
}

/// What the scheduler's lock guards.
struct Sched {
    /// Processors by their place.
    idle: Vec<&'static Processor>,
    wanted: Vec<&'static Processor>,
    /// Parked workers without a processor.
    spare: Vec<WorkerRef>,
    /// All workers.
    workers: Vec<WorkerRef>,
    /// Workers that will look for a wanted processor: woken ones, and threads that are being started.
    coming: usize,
    monitor: Option<Thread>,
    monitor_asleep: bool,
    /// Every goroutine has ended: every worker must end.
    ending: bool,
    /// The parked worker that sleeps until the next timer only, and that time.
    sleeper: Option<(NonNull<Worker>, Time)>,
    thread_name: String,
    /// Threads whose thread-locals have been dropped: the monitor joins them.
    left: Vec<ThreadId>,
}

impl Sched {
    fn new() -> Self {
        Self {
            idle: Vec::new(),
            wanted: Vec::new(),
            spare: Vec::new(),
            workers: Vec::new(),
            coming: 0,
            monitor: None,
            monitor_asleep: false,
            ending: false,
            sleeper: None,
            thread_name: String::new(),
            left: Vec::new(),
        }
    }

    fn wake_monitor(&mut self) {
        if std::mem::take(&mut self.monitor_asleep) {
            // No reading may have advanced the epoch meanwhile, and what runs now may park before the monitor is awake.
            clock::advance_epoch();
        }
        if let Some(monitor) = &self.monitor {
            monitor.unpark();
        }
    }
}

// SAFETY: the sleeper's pointer is only compared.
unsafe impl Send for Sched {}

/// Executors without a runtime, for the next one.
static RETIRED: Mutex<Vec<&'static Executor>> = Mutex::new(Vec::new());

/// All executors. A goroutine stores the two bytes of an index instead of a pointer.
static EXECUTORS: [AtomicPtr<Executor>; MAX_RUNTIMES] = [const { AtomicPtr::new(ptr::null_mut()) }; MAX_RUNTIMES];

/// The next id that no thread has taken; 1 is the first main's.
static NEXT_ID: AtomicU64 = AtomicU64::new(2);
/// Whether a main has taken id 1.
static MAIN_ID_TAKEN: AtomicBool = AtomicBool::new(false);

/// What a worker's goroutine tells and asks its executor.
const HOOKS: &coop::Hooks = &coop::Hooks {
    is_alone: Executor::is_alone,
    unwinding: |header| Executor::of(header).block_on_calls.begin_unwinding(header),
    unwound: |id| Executor::current().into_iter().for_each(|executor| executor.block_on_calls.end_unwinding(id)),
};

impl Executor {
    /// Starts an executor with `procs` processors: its monitor, and one worker.
    pub(crate) fn start(procs: usize, thread_name: String, policy: (OnPanic, Duration)) -> io::Result<&'static Self> {
        if thread_name.contains('\0') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "gopark: a thread's name cannot contain a zero byte",
            ));
        }
        crate::lock::prepare();
        let retired = lock(&RETIRED).pop();
        let this = retired.map_or_else(Self::allocate, Ok)?;
        this.block_on_calls.set_policy(policy.0, policy.1);
        this.closing.store(false, Ordering::SeqCst);
        this.set_gomaxprocs(procs);
        let mut sched = lock(&this.sched);
        let name = format!("{thread_name}-monitor");
        sched.thread_name = thread_name;
        if let Some(processor) = sched.idle.last().copied() {
            // The first worker starts at once: no wake need wait for it.
            this.idle.begin_search();
            this.want_worker(&mut sched, processor);
        }
        // The monitor waits for the lock.
        match threads::start(name, move || this.monitor()) {
            Ok(monitor) => {
                sched.monitor = Some(monitor.thread().clone());
                Ok(this)
            }
            Err(error) => {
                drop(sched);
                this.retire();
                Err(error)
            }
        }
    }

    fn allocate() -> io::Result<&'static Self> {
        static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

        let more = |n| (n < MAX_RUNTIMES).then_some(n + 1);
        let index = ALLOCATED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok();
        let Some(index) = index.and_then(|index| u16::try_from(index).ok()) else {
            return Err(io::Error::other("gopark: too many runtimes"));
        };
        let this: &'static Self = Box::leak(Box::new(Self {
            index,
            global: GlobalQueue::new(),
            idle: Idle::new(),
            procs: AtomicUsize::new(0),
            bound: AtomicUsize::new(0),
            created: AtomicUsize::new(0),
            processors: [const { AtomicPtr::new(ptr::null_mut()) }; MAX_PROCESSORS],
            external: Shard::new(),
            closing: AtomicBool::new(false),
            generation: AtomicUsize::new(0),
            sched: Mutex::new(Sched::new()),
            ended: Condvar::new(),
            block_on_calls: BlockOnCalls::new(),
        }));
        EXECUTORS[usize::from(index)].store(ptr::from_ref(this).cast_mut(), Ordering::Relaxed);
        Ok(this)
    }

    /// The executor whose goroutine, or whose `block_on_local`, this thread runs.
    #[inline(always)]
    pub(crate) fn current() -> Option<&'static Self> {
        // SAFETY: executors are never freed.
        Worker::with(|w| unsafe { w.executor.get().as_ref() })
    }

    /// Makes `self` this thread's [`current`](Self::current) until the guard is dropped. Until then the thread's own
    /// processor is not used: it may be another runtime's.
    pub(crate) fn make_current(&'static self) -> Entered {
        Worker::with(|w| Entered { executor: w.executor.replace(self), processor: w.processor.replace(ptr::null()) })
    }

    /// True inside a goroutine's poll.
    pub(crate) fn is_polling() -> bool {
        Worker::with(|w| w.polling.load(Ordering::Relaxed))
    }

    /// Sets whether this thread polls a goroutine (or a main). Returns the previous value.
    pub(crate) fn set_polling(polling: bool) -> bool {
        Worker::with(|w| w.polling.swap(polling, Ordering::Relaxed))
    }

    /// Number of the runtime that it is now.
    pub(crate) fn generation(&self) -> usize {
        self.generation.load(Ordering::Relaxed)
    }

    fn processor(&self, slot: usize) -> Option<&'static Processor> {
        // Acquire: pairs with the Release store in `set_gomaxprocs`.
        // SAFETY: processors are never freed.
        unsafe { self.processors[slot].load(Ordering::Acquire).as_ref() }
    }

    /// The processors that can have goroutines or timers.
    fn processors(&self) -> impl Iterator<Item = &'static Processor> {
        (0..self.bound.load(Ordering::Acquire)).filter_map(|slot| self.processor(slot))
    }

    /// All that were ever created: retired ones have a registry and counts.
    fn all_processors(&self) -> impl Iterator<Item = &'static Processor> {
        (0..self.created.load(Ordering::Acquire)).filter_map(|slot| self.processor(slot))
    }

    // -------------------------------------------------------------------------------- goroutines

    /// The executor of a goroutine.
    #[inline(always)]
    pub(crate) fn of(header: &Header) -> &'static Self {
        // SAFETY: stored before any goroutine had the index; executors are never freed.
        unsafe { &*EXECUTORS[header.executor_index()].load(Ordering::Relaxed) }
    }

    /// The shard in whose registry a goroutine is.
    fn shard_of(header: &Header) -> &'static Shard {
        let (executor, shard) = (Self::of(header), header.shard());
        if shard == EXTERNAL { &executor.external } else { &executor.processor(shard).expect("it started there").shard }
    }

    /// Enters a goroutine that parks for the first time into its shard's registry. Returns the flags that it had
    /// before.
    pub(crate) fn register(header: &Header, waker: Waker) -> Flags {
        header.set_registered(Self::shard_of(header).registry.insert(waker))
    }

    /// Removes a registered goroutine from the registry. Returns its waker.
    pub(crate) fn deregister(header: &Header) -> Option<Waker> {
        Self::shard_of(header).registry.remove(header.registry_key(), || header.clear_registered())
    }

    /// The goroutine whose `Runnable` this thread runs.
    ///
    /// # Safety
    ///
    /// Called in the poll or the drop of a goroutine's future, and the header is used no longer than that takes.
    #[inline(always)]
    pub(crate) unsafe fn running<'a>() -> &'a Header {
        // SAFETY: a goroutine's future is polled and dropped by `Runnable::run`, which keeps the header alive, and before
        // which each caller stores it.
        Worker::with(|w| unsafe { &*w.running.get() })
    }

    /// The goroutine whose `Runnable` this thread runs, if it has ended: the thread is about to drop its result.
    pub(crate) fn ending<'a>() -> Option<&'a Header> {
        // SAFETY: as `running`.
        Worker::with(|w| unsafe { w.running.get().as_ref() }).filter(|header| header.has_ended())
    }

    /// Asks a goroutine to end: its future is dropped on a worker, at its next suspension.
    pub(crate) fn abort(header: &Header) {
        if header.set_aborted().is_registered() {
            // Under the registry's lock: the entry is this goroutine's as long as the flag is set.
            let is_there = || header.flags().is_registered();
            if let Some(waker) = Self::shard_of(header).registry.get(header.registry_key(), is_there) {
                waker.wake();
            }
        }
    }

    // -------------------------------------------------------------------------------- spawning and waking

    /// Starts the goroutine that `allocate` creates with the header.
    #[inline(always)]
    pub(crate) fn spawn_with<R>(
        &'static self,
        spawned_at: &'static Location<'static>,
        allocate: impl FnOnce(Header) -> (Task, R),
    ) -> R {
        Worker::with(|w| {
            let held = if ptr::eq(w.executor.get(), self) { w.hold() } else { None };
            let shard = match &held {
                Some(held) => {
                    let started = &held.processor.shard.started;
                    started.store(started.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
                    held.processor.id
                }
                None => {
                    self.started_external();
                    EXTERNAL
                }
            };
            let (task, handle) = allocate(Header::new(w.next_id(), shard, self.index, spawned_at));
            w.room.keep_ahead(ptr::from_ref(task.metadata()).addr());
            if self.closing.load(Ordering::Relaxed) {
                drop(held);
                self.discard(task);
                return handle;
            }
            match held {
                Some(held) => self.run_next(held, task),
                None => self.submit(task),
            }
            handle
        })
    }

    /// Starts the main of a `block_on`, as [`spawn_with`](Self::spawn_with). The process's first one is goroutine 1.
    pub(crate) fn spawn_main_with<R>(
        &'static self,
        spawned_at: &'static Location<'static>,
        allocate: impl FnOnce(Header) -> (Task, R),
    ) -> R {
        self.started_external();
        let first = !MAIN_ID_TAKEN.swap(true, Ordering::Relaxed);
        self.spawn_counted(if first { 1 } else { Worker::with(Worker::next_id) }, spawned_at, allocate)
    }

    /// Starts a goroutine in the runtime of that generation, from any thread. Gives `allocate` back if that is over, or
    /// shutting down.
    pub(crate) fn spawn_in<R, F: FnOnce(Header) -> (Task, R)>(
        &'static self,
        generation: usize,
        spawned_at: &'static Location<'static>,
        allocate: F,
    ) -> Result<R, F> {
        {
            // A shutdown begins under the lock. From here on it waits for this goroutine.
            let _sched = lock(&self.sched);
            if self.is_over(generation) {
                return Err(allocate);
            }
            self.started_external();
        }
        Ok(self.spawn_counted(Worker::with(Worker::next_id), spawned_at, allocate))
    }

    fn spawn_counted<R>(
        &'static self,
        id: u64,
        spawned_at: &'static Location<'static>,
        allocate: impl FnOnce(Header) -> (Task, R),
    ) -> R {
        let (task, handle) = allocate(Header::new(id, EXTERNAL, self.index, spawned_at));
        self.submit(task);
        handle
    }

    /// Counts a goroutine that starts on a thread without a processor, or a main that is polled by its own thread.
    #[cold]
    pub(crate) fn started_external(&self) {
        self.external.started.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a goroutine as finished after its future has been dropped.
    #[inline(always)]
    pub(crate) fn finished(&'static self) {
        Worker::with(|w| {
            if ptr::eq(w.executor.get(), self) {
                if let Some(held) = w.hold() {
                    let finished = &held.processor.shard.finished;
                    finished.store(finished.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
                    return;
                }
            }
            self.external.finished.fetch_add(1, Ordering::Release);
        });
    }

    /// The number of live goroutines.
    pub(crate) fn live(&self) -> usize {
        // `finished` first: a goroutine that starts and ends in between must not count as minus one.
        let sum = |count: fn(&Shard) -> &AtomicUsize| {
            let external = count(&self.external).load(Ordering::Acquire);
            self.all_processors().map(|p| count(&p.shard).load(Ordering::Acquire)).fold(external, usize::wrapping_add)
        };
        let finished = sum(|shard| &shard.finished);
        sum(|shard| &shard.started).wrapping_sub(finished)
    }

    /// Enqueues a goroutine that was woken. After the push this uses only the executor, which is never freed.
    #[inline(always)]
    pub(crate) fn schedule(task: Task, info: ScheduleInfo) {
        let executor = Self::of(task.metadata());
        Worker::with(|w| {
            if !ptr::eq(w.executor.get(), executor) {
                return executor.submit(task);
            }
            coop::note_unwinding();
            let Some(held) = w.hold() else { return executor.submit(task) };
            if info.woken_while_running {
                // It yielded: behind all goroutines or, out of budget, behind those of its processor.
                if w.yielding.take() && !executor.global.is_empty() && !held.processor.has_long_ticks() {
                    drop(held);
                    executor.push_global(task);
                } else {
                    executor.requeue(held, task);
                }
                return;
            }
            executor.run_next(held, task);
        });
    }

    /// Enqueues from a thread without a processor. If the runtime shuts down, `shutdown` drains the queue; it is never
    /// drained here, because a waker must not run destructors of futures.
    fn submit(&'static self, task: Task) {
        self.push_global(task);
    }

    #[inline]
    fn push_global(&self, task: Task) {
        self.global.push(task);
        self.notify();
    }

    /// Puts a goroutine into the run-next slot. The one that was there goes to the local queue.
    #[inline(always)]
    fn run_next(&self, held: Held<'_>, task: Task) {
        if let Some(old) = NonNull::new(held.worker.swap_next(task.into_raw().as_ptr())) {
            // SAFETY: the slot held a task in raw form, which is this thread's now.
            self.push_local(held, unsafe { Task::from_raw(old) });
        }
    }

    /// Enqueues at the processor: Push. With one processor there is no worker to wake, and no need for the fence.
    #[inline]
    fn push_local(&self, held: Held<'_>, task: Task) {
        let procs = self.procs.load(Ordering::Relaxed);
        if let Err(task) = self.try_push_local(&held, procs, task) {
            // While the processor is held: the next holder sees it.
            self.global.push(task);
        }
        drop(held);
        if procs != 1 {
            self.notify();
        }
    }

    /// Enqueues a goroutine that yielded. This is no Push, because there is no more work than before, and the worker
    /// looks at this queue next.
    #[inline]
    fn requeue(&self, held: Held<'_>, task: Task) {
        if let Err(task) = self.try_push_local(&held, self.procs.load(Ordering::Relaxed), task) {
            drop(held);
            self.push_global(task);
        }
    }

    /// Enqueues at the processor, unless its queue is full.
    #[inline(always)]
    fn try_push_local(&self, held: &Held<'_>, procs: usize, task: Task) -> Result<(), Task> {
        let queue = &held.processor.queue;
        // SAFETY: `held` is the proof.
        if procs == 1 { unsafe { queue.push_own(task) } } else { queue.push_shared(task) }
    }

    /// Moves the run-next goroutine to the local queue. Called between polls, when the processor cannot be revoked.
    #[inline(never)]
    fn requeue_next(&self, w: &Worker, processor: &'static Processor) {
        if let Some(next) = NonNull::new(w.swap_next(ptr::null_mut())) {
            let held = Held { worker: w, was: true, processor };
            // SAFETY: the slot held a task in raw form, which is this thread's now.
            self.requeue(held, unsafe { Task::from_raw(next) });
        }
    }

    /// Push: wakes a worker if none searches and a processor is idle.
    #[inline(always)]
    fn notify(&self) {
        if self.idle.should_notify() {
            self.wake_one();
        }
    }

    #[cold]
    #[inline(never)]
    fn wake_one(&self) {
        if !self.idle.try_begin_notify() {
            return;
        }
        let mut sched = lock(&self.sched);
        match sched.idle.last().copied() {
            Some(processor) => self.want_worker(&mut sched, processor),
            None => _ = self.idle.end_search(),
        }
    }

    /// Wakes the monitor if it sleeps until something runs.
    pub(crate) fn wake_monitor(&self) {
        lock(&self.sched).wake_monitor();
    }

    // -------------------------------------------------------------------------------- places

    /// Moves a processor to another place: the only function that does, so that the lists and the idle word agree.
    ///
    /// A wanted processor has a share in the count of searching workers: one that was idle becomes wanted after a
    /// `begin_search`, and the worker that takes it searches.
    fn set_place(&self, sched: &mut Sched, processor: &'static Processor, place: Place) {
        let take_out = |list: &mut Vec<&'static Processor>| {
            let at = list.iter().rposition(|other| ptr::eq(*other, processor));
            list.remove(at.expect("a processor is in the list of its place"));
        };
        match processor.place.replace(place) {
            Place::Idle => {
                take_out(&mut sched.idle);
                self.idle.acquire_processor();
                if sched.monitor_asleep {
                    sched.wake_monitor();
                }
            }
            Place::Wanted => {
                take_out(&mut sched.wanted);
                if !matches!(place, Place::Held(_)) {
                    self.idle.end_search();
                }
            }
            Place::Retired | Place::Held(_) => {}
        }
        match place {
            Place::Idle => {
                sched.idle.push(processor);
                self.idle.transition_to_idle();
            }
            Place::Wanted => sched.wanted.push(processor),
            Place::Retired => {
                let first = self.processor(0).filter(|first| !ptr::eq(*first, processor));
                first.into_iter().for_each(|first| processor.timers.close_into(&first.timers));
                let out_of_use = |slot| self.processor(slot).is_none_or(|other| other.place.get() == Place::Retired);
                let mut bound = self.bound.load(Ordering::Relaxed);
                while bound > 0 && out_of_use(bound - 1) {
                    bound -= 1;
                }
                self.bound.store(bound, Ordering::Release);
            }
            Place::Held(_) => {}
        }
    }

    /// Wakes a parked worker for a processor, which must be empty. If there is none, the monitor starts one. The worker is
    /// counted as searching already.
    fn want_worker(&self, sched: &mut Sched, processor: &'static Processor) {
        self.set_place(sched, processor, Place::Wanted);
        match sched.spare.pop() {
            Some(spare) => {
                sched.sleeper.take_if(|(sleeper, _)| *sleeper == spare.worker);
                sched.coming += 1;
                spare.thread.unpark();
            }
            None => sched.wake_monitor(),
        }
    }

    // -------------------------------------------------------------------------------- running

    /// The main function of a worker thread.
    fn worker_main(&'static self) {
        threads::when_left(move |thread| {
            let mut sched = lock(&self.sched);
            sched.left.push(thread);
            sched.wake_monitor();
        });
        Worker::with(|w| {
            let me = WorkerRef {
                worker: NonNull::from(w),
                thread: thread::current(),
                clock: platform::CpuClock::of_this_thread(),
            };
            w.executor.set(self);
            w.home.set(self);
            w.run_next.begin_exclusive();
            coop::set_executor(HOOKS);
            {
                let mut sched = lock(&self.sched);
                sched.coming -= 1;
                sched.workers.push(me.clone());
            }
            let mut searching = false;
            while let Some(held) = self.wait_for_processor(w, &me, &mut searching) {
                w.processor.set(held);
                coop::set_worker(Some(held.id));
                self.run(w, held, &mut searching);
                // The processor is idle now, or another worker's.
                w.processor.set(ptr::null());
                coop::set_worker(None);
            }
            lock(&self.sched).workers.retain(|other| other.worker != me.worker);
            w.executor.set(ptr::null());
        });
    }

    /// Runs goroutines until the processor is given up or lost.
    fn run(&'static self, w: &Worker, processor: &'static Processor, searching: &mut bool) {
        self.check_all_timers(w, processor);
        let mut streak = 0;
        while let Some(task) = self.next(w, processor, &mut streak, searching) {
            if *searching {
                self.stop_searching(searching);
            }
            // SAFETY: `next` returned the task in raw form, which is this thread's now.
            if !self.poll(w, processor, unsafe { Task::from_raw(task) }) {
                return;
            }
        }
    }

    /// Decides which goroutine runs next: every goroutine that runs was chosen here. `None` if the processor was given
    /// up.
    ///
    /// `streak` counts the goroutines in a row that came out of the run-next slot: they share a slice, in which no tick begins.
    /// The task is in raw form, which the compiler keeps in a register.
    #[inline(always)]
    fn next(
        &'static self,
        w: &Worker,
        processor: &'static Processor,
        streak: &mut u32,
        searching: &mut bool,
    ) -> Option<NonNull<()>> {
        loop {
            if *streak < RUN_NEXT_LIMIT {
                if let Some(next) = NonNull::new(w.swap_next(ptr::null_mut())) {
                    *streak += 1;
                    return Some(next);
                }
            }
            let limit_reached = std::mem::take(streak) == RUN_NEXT_LIMIT;
            let closing = self.closing.load(Ordering::Relaxed);
            if processor.id >= self.procs.load(Ordering::Relaxed) {
                self.stop_searching(searching);
                self.retire_processor(w, processor);
                return None;
            }
            // After a full slice the global queue comes first.
            let (global_first, look) = processor.tick();
            let (global_first, look) = (global_first || limit_reached, look || limit_reached);
            let fired = self.check_timers(processor, look);
            if limit_reached || fired || closing {
                self.requeue_next(w, processor);
            }
            if let Some(task) = self.find(w, processor, global_first, searching) {
                if closing {
                    // Instead of its poll its future is dropped.
                    task.metadata().set_aborted();
                }
                return Some(task.into_raw());
            }
            if !self.check_all_timers(w, processor)
                && !self.spin_for_work()
                && self.park_processor(w, processor, searching)
            {
                return None;
            }
        }
    }

    /// Polls a goroutine once. False if the worker lost its processor meanwhile.
    #[inline(always)]
    fn poll(&'static self, w: &Worker, processor: &'static Processor, task: Task) -> bool {
        let polls = &processor.polls;
        polls.store(polls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        let header = ptr::from_ref(task.metadata());
        // SAFETY: the metadata is used only while the task is being polled.
        unsafe { coop::enter(header, clock::coarse_epoch()) };
        w.polling.store(true, Ordering::Relaxed);
        w.yielding.set(false);
        w.run_next.end_exclusive();
        // A worker polls one goroutine at a time: there is none to restore, as in `run_task`.
        w.running.set(header);
        task.run();
        w.running.set(ptr::null());
        let mine = w.run_next.begin_exclusive();
        w.polling.store(false, Ordering::Relaxed);
        coop::leave();
        mine || self.owns_processor(w, processor)
    }

    /// The worker has seen `revoked`: returns whether it lost only the run-next goroutine, and still owns the
    /// processor.
    #[cold]
    #[inline(never)]
    fn owns_processor(&self, w: &Worker, processor: &Processor) -> bool {
        let _sched = lock(&self.sched);
        w.run_next.reinstate();
        processor.owner() == Some(NonNull::from(w))
    }

    #[inline]
    fn stop_searching(&self, searching: &mut bool) {
        if std::mem::take(searching) && self.idle.end_search() {
            // LastFinds.
            self.notify();
        }
    }

    /// Go's `findRunnable`.
    #[inline]
    fn find(
        &'static self,
        w: &Worker,
        processor: &Processor,
        global_first: bool,
        searching: &mut bool,
    ) -> Option<Task> {
        if global_first {
            if let Some(task) = self.global.pop() {
                processor.ticks_since_global.set(0);
                return Some(task);
            }
        }
        let procs = self.procs.load(Ordering::Relaxed);
        if procs != 1 && processor.queue.own_len() != 0 {
            self.publish_private_queue(processor);
        }
        // SAFETY: called by the holder alone.
        if let Some(task) = unsafe { processor.queue.pop() } {
            return Some(task);
        }
        if let Some(task) = self.take_global(processor, procs) {
            return Some(task);
        }
        if procs < 2 {
            return None;
        }
        if !*searching {
            *searching = self.idle.try_begin_search(procs);
        }
        if *searching { self.steal(w, processor) } else { None }
    }

    /// Takes one goroutine from the global queue, and this processor's fair share of the others into its own queue.
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

    /// Steals half of a random victim's queue, or, in the last pass, a run-next goroutine.
    #[inline(never)]
    fn steal(&'static self, w: &Worker, processor: &Processor) -> Option<Task> {
        let count = self.bound.load(Ordering::Acquire);
        for pass in 0..STEAL_PASSES {
            let first = random::below(count);
            for offset in 0..count {
                let Some(victim) = self.processor((first + offset) % count) else { continue };
                if victim.id == processor.id {
                    continue;
                }
                let victim_queue = victim.queue.shared();
                let waiting = victim_queue.len();
                if waiting > 0 && !Self::victim_is_draining(victim, waiting) {
                    let half = victim_queue.len().div_ceil(2);
                    let Ok(task) = victim_queue.pop() else { continue };
                    for task in victim_queue.try_iter().take(half.saturating_sub(1)) {
                        prefetch(&task);
                        if let Err(task) = processor.queue.push_shared(task) {
                            self.push_global(task);
                            break;
                        }
                    }
                    return Some(task);
                }
                if pass + 1 == STEAL_PASSES {
                    if let Some(task) = self.steal_next(w, victim) {
                        return Some(task);
                    }
                }
            }
            if let Some(task) = self.global.pop() {
                return Some(task);
            }
        }
        None
    }

    /// True if the victim drains its queue in less time than a move to another core costs.
    fn victim_is_draining(victim: &Processor, waiting: usize) -> bool {
        let ticks = victim.ticks.load(Ordering::Relaxed);
        if waiting > SHORT_QUEUE {
            return false;
        }
        let until = Time::now().after(STEAL_DELAY);
        while Time::now() < until {
            std::hint::spin_loop();
        }
        victim.ticks.load(Ordering::Relaxed).wrapping_sub(ticks) as usize >= waiting
    }

    /// Steals the run-next goroutine of a worker that is in a long poll. A worker that is about to run it itself keeps
    /// it.
    fn steal_next(&'static self, w: &Worker, victim: &'static Processor) -> Option<Task> {
        let owner = |_: &MutexGuard<'_, Sched>| victim.owner();
        let polls = victim.polls.load(Ordering::Relaxed);
        {
            let sched = self.sched.try_lock().ok()?;
            let worker = owner(&sched)?;
            // SAFETY: under the lock, the owner of a processor is a listed worker.
            if ptr::eq(worker.as_ptr(), w) || unsafe { worker.as_ref() }.run_next.seems_empty() {
                return None;
            }
        }
        // As Go does: the owner is most likely at the end of a short poll.
        let until = Time::now().after(STEAL_DELAY);
        while Time::now() < until {
            std::hint::spin_loop();
            if victim.polls.load(Ordering::Relaxed) != polls {
                return None;
            }
        }
        let sched = self.sched.try_lock().ok()?;
        let worker = owner(&sched)?;
        // SAFETY: as above.
        let worker = unsafe { worker.as_ref() };
        let next = worker.run_next.revoke()?;
        // Only the goroutine is taken. If the owner saw `revoked` meanwhile, it checks under the lock, and continues.
        worker.run_next.reinstate();
        // SAFETY: the slot held a task in raw form, which is this thread's now.
        NonNull::new(next).map(|next| unsafe { Task::from_raw(next) })
    }

    /// Spins for about one thread wake-up, so that work submitted meanwhile needs no unpark.
    #[inline(never)]
    fn spin_for_work(&self) -> bool {
        for _ in 0..SPINS {
            std::hint::spin_loop();
            if self.has_work() {
                return true;
            }
        }
        false
    }

    /// Announce: the worker found nothing, its processor becomes idle. False if it has work after all, and keeps the
    /// processor.
    #[inline(never)]
    fn park_processor(&'static self, w: &Worker, processor: &'static Processor, searching: &mut bool) -> bool {
        {
            let mut sched = lock(&self.sched);
            if processor.id >= self.procs.load(Ordering::Relaxed) {
                return false;
            }
            if std::mem::take(searching) {
                self.idle.end_search();
            }
            self.set_place(&mut sched, processor, Place::Idle);
        }
        if !self.has_work() {
            return true;
        }
        // A Push before Announce saw no worker to wake: take the processor back, unless another worker has it.
        let mut sched = lock(&self.sched);
        let is_idle = processor.place.get() == Place::Idle;
        if is_idle {
            self.set_place(&mut sched, processor, Place::Held(NonNull::from(w)));
        }
        !is_idle
    }

    fn has_work(&self) -> bool {
        !self.global.is_empty() || self.processors().any(|processor| !processor.queue.is_empty())
    }

    /// The processor is out of use: its goroutines go to the global queue.
    #[inline(never)]
    fn retire_processor(&self, w: &Worker, processor: &'static Processor) {
        // Only the holder pushes to its queue, so that stays empty.
        self.drain_to_global(processor, w.swap_next(ptr::null_mut()));
        let mut sched = lock(&self.sched);
        let in_use = processor.id < self.procs.load(Ordering::Relaxed);
        self.set_place(&mut sched, processor, if in_use { Place::Idle } else { Place::Retired });
        drop(sched);
        if self.has_work() {
            self.notify();
        }
    }

    /// Moves a processor's shared queue to the global one.
    fn drain_shared_to_global(&self, processor: &Processor) {
        while let Ok(task) = processor.queue.shared().pop() {
            self.push_global(task);
        }
    }

    /// Moves a processor's own queue, out of which no thief can take, to the global one. For the holder alone.
    #[cold]
    fn publish_private_queue(&self, processor: &Processor) {
        // SAFETY: as demanded.
        self.global.append(unsafe { processor.queue.take_own() });
        self.notify();
    }

    /// Parks a worker without a processor until it is given one. `None` if the thread must end.
    fn wait_for_processor(
        &'static self,
        w: &Worker,
        me: &WorkerRef,
        searching: &mut bool,
    ) -> Option<&'static Processor> {
        let leave_at = Time::now().after(KEEP_PARKED);
        let mut sched = lock(&self.sched);
        w.run_next.reinstate();
        loop {
            if sched.ending {
                return None;
            }
            if self.closing.load(Ordering::Relaxed) {
                sched.wake_monitor();
            }
            let now = Time::now();
            let wanted = sched.wanted.first().copied();
            *searching = wanted.is_some();
            // If none is idle, the workers that hold the processors run the goroutines and check the timers.
            let has_work = || self.has_work() || shard::earliest(self.all_timers()) <= now;
            let idle = || sched.idle.last().copied().filter(|_| has_work());
            if let Some(processor) = wanted.or_else(idle) {
                self.set_place(&mut sched, processor, Place::Held(me.worker));
                return Some(processor);
            }
            let until = self.sleep_deadline(&mut sched, me.worker);
            let is_surplus = until == Time::NEVER && sched.spare.len() >= self.procs.load(Ordering::Relaxed);
            if is_surplus && leave_at <= now {
                return None;
            }
            // At the bottom: other workers are woken for work first.
            let at = if until != Time::NEVER { 0 } else { sched.spare.len() };
            sched.spare.insert(at, me.clone());
            drop(sched);
            sleep_until(if is_surplus { leave_at } else { until });
            sched = lock(&self.sched);
            match sched.spare.iter().position(|spare| spare.worker == me.worker) {
                Some(at) => {
                    sched.spare.remove(at);
                    sched.sleeper.take_if(|(sleeper, _)| *sleeper == me.worker);
                }
                // It was woken.
                None => sched.coming -= 1,
            }
        }
    }

    // -------------------------------------------------------------------------------- timers

    /// Runs `f` with the timers of the processor that this thread holds. The worker checks them when the poll ends.
    #[inline]
    pub(crate) fn with_timers<R>(f: impl FnOnce(Option<&'static Timers>) -> R) -> R {
        Worker::with(|w| {
            let held = w.hold();
            f(held.as_ref().map(|held| &held.processor.timers))
        })
    }

    pub(crate) fn all_timers(&self) -> impl Iterator<Item = &'static Timers> {
        self.processors().map(|processor| &processor.timers)
    }

    /// Checks the timers of this processor and of one other, whose worker may be busy, or which may be out of use.
    /// Between two such checks (`look`) it checks its own while the local queue is empty. True if a timer was fired.
    #[inline(always)]
    fn check_timers(&'static self, processor: &Processor, look: bool) -> bool {
        if !look && (processor.timers.next_due() == Time::NEVER || !processor.queue.is_empty()) {
            return false;
        }
        self.fire_own_and_next(processor)
    }

    #[inline(never)]
    fn fire_own_and_next(&'static self, processor: &Processor) -> bool {
        let other = processor.next_timer_check.get();
        processor.next_timer_check.set(if other + 1 < self.bound.load(Ordering::Relaxed) { other + 1 } else { 0 });
        let other = self.processor(other).map_or(&processor.timers, |other| &other.timers);
        if processor.timers.next_due().min(other.next_due()) == Time::NEVER {
            return false;
        }
        // No more than fit into the local queue, so that the woken goroutines run in order.
        let room = LOCAL_QUEUE - processor.queue.len().min(LOCAL_QUEUE - FIRE_LEAST);
        let now = Time::now();
        let fired = shard::fire_due([&processor.timers], now, now, room);
        // The other processor's own worker has precedence.
        shard::fire_due([other], now.before(FOREIGN_TIMER_DELAY), now, room) || fired
    }

    /// Fires the due timers of all processors. True if there was one.
    #[inline(never)]
    fn check_all_timers(&'static self, w: &Worker, processor: &'static Processor) -> bool {
        if shard::earliest(self.all_timers()) == Time::NEVER {
            return false;
        }
        let now = Time::now();
        let fired = shard::fire_due(self.all_timers(), now, now, LOCAL_QUEUE);
        if fired {
            self.requeue_next(w, processor);
        }
        fired
    }

    /// Fires the timers of all processors that are late.
    fn fire_overdue(&self) {
        if shard::earliest(self.all_timers()) != Time::NEVER {
            let now = Time::now();
            shard::fire_due(self.all_timers(), now.before(OVERDUE), now, usize::MAX);
        }
    }

    /// Until when a parking worker sleeps: until the next timer, if it is the one that wakes for timers.
    fn sleep_deadline(&self, sched: &mut Sched, worker: NonNull<Worker>) -> Time {
        let earliest = shard::earliest(self.all_timers());
        match sched.sleeper {
            // Another worker, because this one is not parked.
            Some((_, until)) if until <= earliest => Time::NEVER,
            _ => {
                sched.sleeper = (earliest != Time::NEVER).then_some((worker, earliest));
                earliest
            }
        }
    }

    // -------------------------------------------------------------------------------- the monitor

    /// Go's `sysmon`. It is also the one thread that starts, joins and ends the others, and ends the runtime.
    fn monitor(&'static self) {
        threads::serve();
        Worker::with(|w| w.home.set(self));
        let mut workers = Vec::new();
        let (mut idle_looks, mut seen, mut last) = (0, 0, Time::now());
        loop {
            self.join_and_start(&mut workers);
            if self.closing.load(Ordering::Acquire) && self.end(workers.is_empty()) {
                return;
            }
            let polls = self.processors().fold(0u32, |sum, p| sum.wrapping_add(p.polls.load(Ordering::Relaxed)));
            let moved = std::mem::replace(&mut seen, polls) != polls;
            let passed = Time::now().since(std::mem::replace(&mut last, Time::now())).min(MONITOR_PERIOD);
            let until = self.look(moved || self.block_on_calls.check_grace(passed), &mut idle_looks);
            sleep_until(until);
            self.fire_overdue();
        }
    }

    /// Joins the threads that have ended, and starts one for each wanted processor. One that the system refuses is
    /// tried again at the next look.
    fn join_and_start(&'static self, threads: &mut Vec<JoinHandle<()>>) {
        let mut sched = lock(&self.sched);
        let left = std::mem::take(&mut sched.left);
        let missing = if sched.ending { 0 } else { sched.wanted.len().saturating_sub(sched.coming) };
        sched.coming += missing;
        let name = if missing == 0 { String::new() } else { sched.thread_name.clone() };
        drop(sched);
        for thread in left {
            if let Some(at) = threads.iter().position(|other| other.thread().id() == thread) {
                // It has nothing left to do. A panic is not possible, and would be printed already.
                let _ = threads.swap_remove(at).join();
            }
        }
        for _ in 0..missing {
            let name = format!("{name}-{}", threads.len());
            let may_start = threads.len() < MAX_WORKERS;
            match may_start.then(|| threads::start(name, move || self.worker_main())) {
                Some(Ok(thread)) => threads.push(thread),
                _ => lock(&self.sched).coming -= 1,
            }
        }
    }

    /// One look at the workers. Returns until when the monitor sleeps.
    fn look(&'static self, moved: bool, idle_looks: &mut u32) -> Time {
        let mut sched = lock(&self.sched);
        // In every period, because it also advances the clock's epoch.
        let now = Time::now();
        let is_busy = self.processors().any(|p| matches!(p.place.get(), Place::Wanted | Place::Held(_)));
        *idle_looks = if is_busy || moved { 0 } else { MONITOR_IDLE_LOOKS.min(*idle_looks + 1) };
        if is_busy {
            self.retake(&mut sched, now);
        }
        sched.monitor_asleep = *idle_looks == MONITOR_IDLE_LOOKS && !self.closing.load(Ordering::Relaxed);
        match sched.sleeper {
            _ if !sched.monitor_asleep => now.after(MONITOR_PERIOD),
            Some(_) => Time::NEVER,
            // No worker sleeps until the next timer.
            None => shard::earliest(self.all_timers()).after(OVERDUE),
        }
    }

    /// A step of the shutdown. True if the runtime has ended: no goroutine is left, and no thread but this one.
    ///
    /// The goroutines are woken, and workers drop their futures, see [`next`](Self::next). If one blocks its thread,
    /// [`retake`](Self::retake) starts another.
    fn end(&'static self, alone: bool) -> bool {
        // Timers of tasks that are not the runtime's goroutines move to the driver.
        let have_moved = self.all_processors().all(|processor| driver::take_over(&processor.timers));
        if self.live() != 0 {
            if !self.has_work() {
                // Also those that parked in a poll that had begun before the shutdown.
                self.wake_all();
            }
            return false;
        }
        let mut sched = lock(&self.sched);
        sched.ending = true;
        sched.spare.iter().for_each(|spare| spare.thread.unpark());
        drop(sched);
        let has_ended = have_moved && alone;
        if has_ended {
            self.retire();
        }
        has_ended
    }

    /// Retakes processors from workers that have been in one poll for too long, if there is work for them.
    ///
    /// A worker that sleeps in a system call loses its processor. A worker that computes loses it only if no other
    /// makes progress; else one more would only compete for the same cores, and the others get the goroutines that wait
    /// at it.
    fn retake(&'static self, sched: &mut Sched, now: Time) {
        let mut progress = false;
        let mut wants_thief = false;
        let mut stuck = Vec::new();
        for processor in self.processors() {
            let Some(owner) = processor.owner() else { continue };
            let Some(known) = sched.workers.iter().find(|known| known.worker == owner) else { continue };
            // SAFETY: under the lock, and a listed worker.
            let worker = unsafe { known.get() };
            let ticks = processor.ticks.load(Ordering::Relaxed);
            let begun = ticks.wrapping_sub(worker.seen_ticks.replace(ticks));
            processor
                .global_interval
                .store((begun / GLOBAL_LOOKS).clamp(LONG_TICKS, GLOBAL_INTERVAL), Ordering::Relaxed);
            let polls = processor.polls.load(Ordering::Relaxed);
            let moved = worker.seen_polls.replace(polls) != polls || !worker.polling.load(Ordering::Relaxed);
            progress |= moved;
            let since = match worker.seen_at.get() {
                Some(since) if !moved => since,
                _ => {
                    worker.seen_at.set(Some(now));
                    worker.seen_cpu.set(known.clock.now());
                    continue;
                }
            };
            let has_next = !worker.run_next.seems_empty();
            let waiting = now.since(since);
            if waiting < STUCK {
                wants_thief |= has_next;
            } else if has_next || !processor.queue.is_empty() || !self.global.is_empty() {
                let computes = known.clock.now().saturating_sub(worker.seen_cpu.get()) > waiting / 8;
                stuck.push((processor, owner, computes));
            }
        }
        for (processor, owner, computes) in stuck {
            // SAFETY: as above; the lock has been held since.
            let worker = unsafe { owner.as_ref() };
            let others = progress || !sched.idle.is_empty();
            if computes && others && worker.run_next.seems_empty() && processor.queue.is_empty() {
                continue;
            }
            let Some(next) = worker.run_next.revoke() else { continue };
            if computes && others {
                self.drain_to_global(processor, next);
                worker.run_next.reinstate();
                wants_thief = true;
            } else {
                self.hand_over(sched, processor, next);
                (progress, wants_thief) = (true, true);
            }
        }
        // A run-next goroutine waits for the end of a long poll; or work was enqueued and, against the protocol, no
        // worker woken.
        if wants_thief || self.has_work() {
            if let Some(processor) = sched.idle.last().copied().filter(|_| self.idle.try_begin_notify()) {
                self.want_worker(sched, processor);
            }
        }
    }

    /// Moves a processor's goroutines to the global queue. Wakes no worker: the scheduler's lock is held.
    fn drain_to_global(&self, processor: &Processor, next: *mut ()) {
        // SAFETY: the processor is the caller's.
        self.global.append(unsafe { processor.queue.take_own() });
        let queue = || processor.queue.shared().pop().ok();
        // SAFETY: the slot held a task in raw form, which is the caller's now.
        let mut task = NonNull::new(next).map(|next| unsafe { Task::from_raw(next) }).or_else(queue);
        while let Some(waiting) = task {
            self.global.push(waiting);
            task = queue();
        }
    }

    /// Gives a processor that its worker has lost to another one.
    fn hand_over(&'static self, sched: &mut Sched, processor: &'static Processor, next: *mut ()) {
        self.drain_to_global(processor, next);
        if processor.id < self.procs.load(Ordering::Relaxed) {
            self.idle.begin_search();
            self.want_worker(sched, processor);
        } else {
            self.set_place(sched, processor, Place::Retired);
        }
    }

    // -------------------------------------------------------------------------------- for `runtime`

    /// Sets the number of processors, unless `procs` is 0. Returns the previous number.
    pub(crate) fn set_gomaxprocs(&'static self, procs: usize) -> usize {
        if procs == 0 {
            return self.procs.load(Ordering::Relaxed);
        }
        let procs = procs.min(MAX_PROCESSORS);
        let mut sched = lock(&self.sched);
        let before = self.procs.load(Ordering::Relaxed);
        for slot in self.created.load(Ordering::Relaxed)..procs {
            let processor = Box::leak(Box::new(Processor::new(slot)));
            self.processors[slot].store(processor, Ordering::Release);
            self.created.store(slot + 1, Ordering::Release);
        }
        self.procs.store(procs, Ordering::SeqCst);
        self.bound.fetch_max(procs, Ordering::AcqRel);
        for slot in before.min(procs)..before.max(procs) {
            let Some(processor) = self.processor(slot) else { continue };
            match processor.place.get() {
                Place::Retired if slot < procs => {
                    processor.timers.open();
                    self.set_place(&mut sched, processor, Place::Idle);
                }
                Place::Idle | Place::Wanted if slot >= procs => self.set_place(&mut sched, processor, Place::Retired),
                // It is retired by its worker, or by the monitor; one that is in use again continues.
                _ => {}
            }
        }
        drop(sched);
        Worker::with(|w| match w.hold() {
            // At once, not when this poll ends.
            Some(held) if procs > 1 && ptr::eq(w.executor.get(), self) => self.publish_private_queue(held.processor),
            _ => {}
        });
        // Once at least: a wanted processor that is retired was to find what is queued.
        for _ in before..procs.max(before + 1) {
            if self.has_work() {
                self.notify();
            }
        }
        for slot in procs..before {
            if let Some(processor) = self.processor(slot) {
                // Its worker moves the rest when it notices.
                self.drain_shared_to_global(processor);
            }
        }
        before
    }

    /// Runs `f`, which may block, after giving this thread's processor to another worker.
    pub(crate) fn block_in_place<R>(f: impl FnOnce() -> R) -> R {
        coop::note_caught();
        Worker::with(|w| {
            let Some(this) = Self::current() else { return };
            let Some(held) = w.hold() else { return };
            let processor = held.processor;
            let next = w.swap_next(ptr::null_mut());
            drop(held);
            let mut sched = lock(&this.sched);
            if processor.owner() != Some(NonNull::from(w)) {
                // Lost in between; the run-next goroutine still is this thread's.
                drop(sched);
                if let Some(next) = NonNull::new(next) {
                    // SAFETY: the slot held a task in raw form, which is this thread's now.
                    this.push_global(unsafe { Task::from_raw(next) });
                }
                return;
            }
            w.run_next.abandon();
            let waiting = !next.is_null() || shard::earliest(this.all_timers()) != Time::NEVER;
            let work = waiting || this.has_work();
            if work || processor.id >= this.procs.load(Ordering::Relaxed) {
                this.hand_over(&mut sched, processor, next);
                drop(sched);
                this.notify();
            } else {
                this.set_place(&mut sched, processor, Place::Idle);
                drop(sched);
                if this.has_work() {
                    this.notify();
                }
            }
        });
        f()
    }

    /// True if this thread's processor could run no other goroutine than the running one.
    fn is_alone() -> bool {
        Worker::with(|w| {
            let Some(held) = w.hold() else { return false };
            // SAFETY: a thread with a processor has an executor, which is never freed.
            let executor = unsafe { &*w.executor.get() };
            w.run_next.seems_empty()
                && held.processor.queue.is_empty()
                && executor.global.is_empty()
                && !executor.closing.load(Ordering::Relaxed)
        })
    }

    /// When the running goroutine is enqueued next, it goes behind every goroutine that can run.
    pub(crate) fn yield_now() {
        Worker::with(|w| w.yielding.set(true));
    }

    /// The calls of `block_on` in progress.
    pub(crate) fn block_on_calls(&self) -> &BlockOnCalls {
        &self.block_on_calls
    }

    /// True if the runtime of that generation has ended, or is shutting down.
    pub(crate) fn is_over(&self, generation: usize) -> bool {
        self.closing.load(Ordering::Relaxed) || self.generation() != generation
    }

    /// Shuts the runtime down: its workers drop every goroutine, and its threads end. Waits for that for no longer than
    /// `patience`, and not at all if the end may depend on this thread. Returns how many goroutines are left; the
    /// monitor completes the shutdown when they have ended.
    pub(crate) fn shutdown(&'static self, patience: Duration) -> usize {
        // SAFETY: executors are never freed.
        let home = Worker::with(|w| unsafe { w.home.get().as_ref() }.map(|home| home.index));
        let waiting = threads::Waiting::begin(home, self.index);
        let patience = waiting.as_ref().map_or(Duration::ZERO, |_| patience);
        let mut sched = lock(&self.sched);
        let generation = self.generation();
        self.closing.store(true, Ordering::SeqCst);
        sched.wake_monitor();
        let deadline = Time::now().after(patience);
        while self.generation() == generation {
            let remaining = deadline.since(Time::now());
            if remaining.is_zero() {
                return self.live();
            }
            sched = self.ended.wait_timeout(sched, remaining).unwrap_or_else(PoisonError::into_inner).0;
        }
        0
    }

    /// Makes the executor available to the next runtime, after every goroutine and every thread has ended: every word
    /// is as in a new one. A late waker does no harm: its goroutine has ended, and to read whether a worker is idle is
    /// harmless at any time.
    fn retire(&'static self) {
        {
            let mut sched = lock(&self.sched);
            *sched = Sched::new();
            self.bound.store(0, Ordering::Relaxed);
            self.procs.store(0, Ordering::SeqCst);
            self.generation.fetch_add(1, Ordering::SeqCst);
            self.idle.reset();
            self.all_processors().for_each(Processor::reset);
        }
        #[cfg(all(test, not(gopark_loom)))]
        assert_eq!(self.leftovers(), "", "a retired executor differs from a new one");
        lock(&RETIRED).push(self);
        self.ended.notify_all();
    }

    /// Wakes every registered goroutine. The executor is closing, so they go into the queues that
    /// [`drain`](Self::drain) empties.
    fn wake_all(&self) {
        let shards = self.all_processors().map(|processor| &processor.shard).chain([&self.external]);
        shards.flat_map(|shard| shard.registry.all()).for_each(Waker::wake);
    }

    /// Ends a goroutine without polling it again: its future is dropped here.
    fn discard(&'static self, task: Task) {
        let _entered = self.make_current();
        task.metadata().set_aborted();
        let polling = Self::set_polling(true);
        Worker::with(|w| w.run_task(task));
        Self::set_polling(polling);
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

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("gomaxprocs", &self.procs.load(Ordering::Relaxed))
            .field("goroutines", &self.live())
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
