//! The scheduler, all of it.
//!
//! # Vocabulary
//!
//! Go's three letters, with Go's meaning:
//!
//! * **G**, a goroutine: an `async_task` allocation. Its [`Runnable`] is in exactly one queue when it can run.
//! * **M**, a [`Machine`]: a thread that runs goroutines.
//! * **P**, a [`Processor`]: the right to run goroutines, of which there are `gomaxprocs`. It has a [`RunQueue`], timers, a
//!   share of the registry. An M must hold a P to run; the run-next slot is kept in the M.
//!
//! # Finding work (Go's order)
//!
//! Every 61st round the global queue, if it has something; the run-next slot; the local queue; a batch from the global
//! queue; half of a random victim's queue, in up to four passes, its run-next slot only in the last. A goroutine that is
//! made ready by another one goes into the run-next slot of its processor and runs next, in the same slice: no round begins, and
//! after [`RUN_NEXT_LIMIT`] of them in a row the next one goes to the end of the queue, and the global queue comes first. Where
//! rounds are long it does so more often, see [`GLOBAL_LOOKS`].
//!
//! # Going idle, and waking (no lost parallelism, no thrash)
//!
//! [`Idle`] has the protocol and its proof.
//!
//! Filling the run-next slot of a running M wakes nobody: it will be run next, and waking another thread for it costs
//! more than it brings (tokio shipped that and took it back). If the goroutine that runs does not end its poll, a thief
//! or the monitor takes the slot. Nor does a goroutine that gives way: there is no more work than before. A thief leaves
//! a short queue alone whose owner [gets through it](Executor::keeps_up) faster than the theft would take.
//!
//! # Blocked threads
//!
//! The monitor (Go's sysmon) looks every [`MONITOR_PERIOD`] and takes the processor from an M that has been in one poll
//! for more than [`STUCK`] while work waits, as [`RunNext`] describes. The owner then has no processor any more: it submits to
//! the global queue, and becomes a spare when its poll ends.
//!
//! # What was rejected
//!
//! * An atomic swap for the run-next slot: simple, and a quarter of a context switch.
//! * A lock-free global queue. It is a list of blocks that one thread allocates and another frees, at the price of the
//!   allocator's locks: a million goroutines spawned at once took half as long again as with a ring under a lock.
//! * A local queue without a bound where there is no thief. What does not fit goes to the global queue and waits until the
//!   local one is empty, so trees are walked more in depth than in breadth: half of the time for a tree of 100 000.
//! * Moving half of a full local queue to the global one, as Go does. Its linked batch costs nothing to move, ours would
//!   cost a pop and a push each. The newcomer alone goes to the global queue, which is also the fairer order.
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
use std::thread::{self, Thread};
use std::time::Duration;
use std::{fmt, io};

use async_task::ScheduleInfo;

use crate::clock::{self, Time};
use crate::coop;
use crate::crash::{BlockOnCalls, OnPanic};
use crate::header::{Flags, Header, Task};
use crate::idle::Idle;
use crate::loom::const_fn;
use crate::platform::{self, Room};
use crate::random;
use crate::registry::Registry;
use crate::run_next::RunNext;
use crate::run_queue::{GlobalQueue, RunQueue, prefetch};
use crate::timer::driver::{self, sleep_until};
use crate::timer::shard::{self, Shard as Timers};

/// Room of a processor's queue (Go: 256).
const LOCAL_QUEUE: usize = 256;
/// Every how many rounds the global queue comes first (Go: 61), if the rounds are short.
const GLOBAL_INTERVAL: u32 = 61;
/// The same if they are as long as they get: every other one.
const LONG_ROUNDS: u32 = 2;
/// Long rounds make it more often: so many times in a period of the monitor, every 80 microseconds.
const GLOBAL_LOOKS: u32 = 64;
/// Most goroutines taken from the global queue at once: there must be room left for those that they spawn.
const GLOBAL_BATCH: usize = LOCAL_QUEUE / 16;
/// Most goroutines out of the run-next slot in a row.
const RUN_NEXT_LIMIT: u32 = 32;
/// How long a thief watches whether its victim gets on by itself, if no more than [`GRACE_QUEUE`] wait there.
const GRACE: Duration = Duration::from_micros(5);
const GRACE_QUEUE: usize = 16;
/// Passes over the victims before a thief gives up.
const STEAL_PASSES: usize = 4;
/// A poll that takes longer may lose its processor.
const STUCK: Duration = Duration::from_millis(10);
/// How often the monitor looks while something runs.
const MONITOR_PERIOD: Duration = Duration::from_millis(5);
/// How often in a row it sees that nothing ran before it sleeps until something does: to wake it costs more than a few looks.
const MONITOR_IDLE_LOOKS: u32 = 10;
/// Processors a runtime can have.
const MAX_PROCESSORS: usize = 1024;
/// Runtimes that can live at once.
const MAX_RUNTIMES: usize = 4096;
/// Threads a runtime can have; beyond it a blocked thread keeps its processor.
const MAX_MACHINES: usize = 4096;
/// Parked threads without a processor that are kept for the next blocked one.
const SPARES: usize = 8;
/// Looks at all queues before an idle machine goes to sleep; a few microseconds.
const LINGER: usize = 100;
/// Timers that a look fires at least, if so many are due, however full the queue is.
const FIRE_LEAST: usize = 16;
/// Another processor's timer that has been due for longer is anybody's.
const GRACE_TIMERS: Duration = Duration::from_micros(100);
/// A timer that has been due for longer is the monitor's.
const OVERDUE: Duration = Duration::from_millis(2);
/// Ids that a thread draws at once.
const ID_BLOCK: u64 = 256;
/// How long a dropped runtime waits for goroutines that block their thread.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

// ------------------------------------------------------------------------------------------------ goroutines

/// The shard of goroutines that started on a thread without a processor; the others are the processors'.
const EXTERNAL: usize = MAX_PROCESSORS;
const _: () = assert!(EXTERNAL < Header::SHARDS);

impl Executor {
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

    /// Enters a goroutine that parks for the first time into its shard's registry. Returns the flags that it had before.
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
        // SAFETY: a goroutine's future is polled and dropped within `Machine::run`, where the `Runnable` keeps the header alive.
        Machine::with(|m| unsafe { &*m.running.get() })
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
}

/// A processor's share of the goroutines: those who started there.
struct Shard {
    /// Those who have parked at least once.
    registry: Registry,
    /// Goroutines spawned and ended here. A processor's are written by its holder alone.
    started: AtomicUsize,
    finished: AtomicUsize,
}

impl Shard {
    fn new() -> Self {
        Self { registry: Registry::new(), started: AtomicUsize::new(0), finished: AtomicUsize::new(0) }
    }
}

// ------------------------------------------------------------------------------------------------ machines

/// One thread's share of the scheduler. On a thread that is no worker, `processor` is null for ever.
///
/// | word | meaning | written by |
/// |---|---|---|
/// | `slot` | the run-next slot and the right to the processor | see [`RunNext`] |
/// | `processor` | the processor that the thread believes to hold | owner |
/// | `given` | a processor for a parked machine | who wakes it, under the scheduler's lock; owner takes it |
struct Machine {
    slot: RunNext,
    /// The runtime whose goroutine this thread polls.
    executor: Cell<*const Executor>,
    processor: Cell<*const Processor>,
    /// A goroutine is being polled.
    polling: AtomicBool,
    /// The one whose `Runnable` is being run.
    running: Cell<*const Header>,
    /// The running goroutine asked to go behind everybody.
    yielding: Cell<bool>,
    given: AtomicPtr<Processor>,
    given_searching: AtomicBool,
    room: Room,
    /// The goroutine ids that are left of the last block.
    ids: Cell<(u64, u64)>,
    /// The monitor's notes: the polls begun when it last looked, since when, and the thread's CPU time then.
    seen_polls: Cell<u32>,
    seen_rounds: Cell<u32>,
    seen_at: Cell<Option<Time>>,
    seen_cpu: Cell<Duration>,
}

// As in `coop`: a blocking form uses it in destructors of thread-locals as well.
#[cfg(not(gopark_loom))]
const _: () = assert!(!std::mem::needs_drop::<Machine>());
#[cfg(not(gopark_loom))]
thread_local! {
    static MACHINE: Machine = const { Machine::new() };
}
#[cfg(gopark_loom)]
thread_local! {
    static MACHINE: Machine = Machine::new();
}

impl Machine {
    const_fn! {
        const fn new() -> Self {
            Machine {
                slot: RunNext::new(),
                executor: Cell::new(ptr::null()),
                processor: Cell::new(ptr::null()),
                polling: AtomicBool::new(false),
                running: Cell::new(ptr::null()),
                yielding: Cell::new(false),
                given: AtomicPtr::new(ptr::null_mut()),
                given_searching: AtomicBool::new(false),
                room: Room::new(),
                ids: Cell::new((0, 0)),
                seen_polls: Cell::new(0),
                seen_rounds: Cell::new(0),
                seen_at: Cell::new(None),
                seen_cpu: Cell::new(Duration::ZERO),
            }
        }
    }

    /// Runs `f` at this thread's machine.
    #[inline(always)]
    fn with<R>(f: impl FnOnce(&Machine) -> R) -> R {
        MACHINE.with(f)
    }

    #[inline(always)]
    fn next_id(&self) -> u64 {
        let (mut next, mut end) = self.ids.get();
        if next == end {
            next = NEXT_ID.fetch_add(ID_BLOCK, Ordering::Relaxed);
            end = next + ID_BLOCK;
        }
        self.ids.set((next + 1, end));
        next
    }

    /// Runs a goroutine, on this thread: polls it, and drops it if that was its end.
    #[inline(always)]
    fn run(&self, task: Task) {
        let outer = self.running.replace(ptr::from_ref(task.metadata()));
        task.run();
        self.running.set(outer);
    }

    /// Makes sure of the processor for a few steps: `None` if the thread has none (any more).
    #[inline(always)]
    fn hold(&self) -> Option<Held<'_>> {
        let processor = self.processor.get();
        if processor.is_null() {
            return None;
        }
        let was = self.slot.hold()?;
        // SAFETY: processors are never freed.
        Some(Held { machine: self, was, processor: unsafe { &*processor } })
    }

    /// Takes the run-next slot. Only for the holder, or who revoked.
    #[inline(always)]
    fn swap_next(&self, next: *mut ()) -> *mut () {
        self.slot.swap(next)
    }
}

/// The right to touch what belongs to the processor.
struct Held<'a> {
    machine: &'a Machine,
    was: bool,
    processor: &'static Processor,
}

impl Drop for Held<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.machine.slot.release(self.was);
    }
}

/// A machine as the scheduler's lists know it.
#[derive(Clone)]
struct MachineRef {
    machine: NonNull<Machine>,
    thread: Thread,
    clock: platform::CpuClock,
}

// SAFETY: the pointer is used under the scheduler's lock, from which the thread takes itself before it ends.
unsafe impl Send for MachineRef {}

impl MachineRef {
    /// # Safety
    ///
    /// The scheduler's lock is held, and the machine is in `Sched::machines`.
    unsafe fn get(&self) -> &Machine {
        // SAFETY: as promised. What is not atomic in it is the owner's, or written under the lock (`seen_*`).
        unsafe { self.machine.as_ref() }
    }
}

// ------------------------------------------------------------------------------------------------ processors

/// The right to run goroutines, and what goes with it. Never freed.
struct Processor {
    slot: usize,
    queue: RunQueue<Task>,
    shard: Shard,
    timers: Timers,
    /// At whose timers it looks next, beside its own.
    beside: Cell<usize>,
    /// Rounds begun, for the monitor, and those since the global queue came first.
    rounds: AtomicU32,
    local_rounds: Cell<u32>,
    /// Every how many rounds it may come first; the monitor adapts it.
    global_interval: AtomicU32,
    /// Rounds since timers were looked at.
    unlooked_rounds: Cell<u32>,
    /// Polls begun, for the monitor.
    polls: AtomicU32,
    /// The machine that holds it, as the scheduler's lock has it.
    owner: Cell<Option<NonNull<Machine>>>,
    /// A thread that is being started will hold it; under the same lock.
    promised: Cell<bool>,
}

// SAFETY: `owner` and `promised` are under the scheduler's lock; `local_rounds`, `unlooked_rounds` and `beside` are
// the holder's; the rest is `Sync`.
unsafe impl Sync for Processor {}
// SAFETY: as above.
unsafe impl Send for Processor {}

impl Processor {
    fn new(slot: usize) -> Self {
        Self {
            slot,
            queue: RunQueue::new(LOCAL_QUEUE),
            shard: Shard::new(),
            timers: Timers::new(),
            beside: Cell::new(0),
            rounds: AtomicU32::new(0),
            local_rounds: Cell::new(0),
            unlooked_rounds: Cell::new(0),
            global_interval: AtomicU32::new(GLOBAL_INTERVAL),
            polls: AtomicU32::new(0),
            owner: Cell::new(None),
            promised: Cell::new(false),
        }
    }

    /// As a new one. The executor has no machine.
    fn reset(&self) {
        self.owner.set(None);
        self.promised.set(false);
        self.beside.set(0);
        self.rounds.store(0, Ordering::Relaxed);
        self.local_rounds.set(0);
        self.unlooked_rounds.set(0);
        self.global_interval.store(GLOBAL_INTERVAL, Ordering::Relaxed);
        self.polls.store(0, Ordering::Relaxed);
    }

    /// A round of the scheduler. Whether the global queue comes first in it, for it has been some rounds since it did and
    /// had something; and whether it is time to look at timers.
    #[inline(always)]
    fn begin_round(&self) -> (bool, bool) {
        let interval = self.global_interval.load(Ordering::Relaxed);
        self.rounds.store(self.rounds.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        let local = self.local_rounds.get().saturating_add(1);
        self.local_rounds.set(local);
        let unlooked = self.unlooked_rounds.get() + 1;
        // Every round, if they are long.
        let look = unlooked + 1 >= interval;
        self.unlooked_rounds.set(if look { 0 } else { unlooked });
        (local >= interval, look)
    }

    /// True among goroutines that compute: those who yield stay here then, and those who come from outside need not wait
    /// for all of them.
    fn has_long_rounds(&self) -> bool {
        self.global_interval.load(Ordering::Relaxed) == LONG_ROUNDS
    }
}

// ------------------------------------------------------------------------------------------------ the executor

/// One runtime's scheduler. Never freed, but used again: a waker may reach it at any time.
pub(crate) struct Executor {
    /// Its place among all executors.
    index: u16,
    global: GlobalQueue,
    idle: Idle,
    /// Processors in use: those of the slots below.
    procs: AtomicUsize,
    /// Slots that have a processor.
    slots: AtomicUsize,
    processors: [AtomicPtr<Processor>; MAX_PROCESSORS],
    /// For goroutines that are spawned, or end, on threads without a processor.
    external: Shard,
    closing: AtomicBool,
    /// Counts the runtimes that it has been.
    generation: AtomicUsize,
    /// Its runtime was dropped by one of its own goroutines: the monitor does the rest.
    orphaned: AtomicBool,
    sched: Mutex<Sched>,
    /// Signalled when a machine ends.
    ended: Condvar,
    block_on_calls: BlockOnCalls,
}

/// What the scheduler's lock guards.
struct Sched {
    /// Processors in use that no machine holds.
    idle: Vec<&'static Processor>,
    /// Parked machines without a processor.
    spare: Vec<MachineRef>,
    /// All machines.
    machines: Vec<MachineRef>,
    /// Threads started that are not in `machines` yet.
    starting: usize,
    monitor: Option<Thread>,
    monitor_asleep: bool,
    /// The parked machine that will wake by itself for the next timer, and when.
    sleeper: Option<(NonNull<Machine>, Time)>,
    thread_name: String,
    /// To be joined: what thread-locals drop belongs to the runtime's end.
    threads: Vec<thread::JoinHandle<()>>,
}

// SAFETY: the sleeper's pointer is only compared.
unsafe impl Send for Sched {}

/// Executors whose runtime is gone, for the next one.
static RETIRED: Mutex<Vec<&'static Executor>> = Mutex::new(Vec::new());

/// All executors, by their index, so that a goroutine names its own in two bytes.
static EXECUTORS: [AtomicPtr<Executor>; MAX_RUNTIMES] = [const { AtomicPtr::new(ptr::null_mut()) }; MAX_RUNTIMES];

/// The next id that no thread has drawn; 1 is the first main's.
static NEXT_ID: AtomicU64 = AtomicU64::new(2);
/// Whether a main has had the 1.
static MAIN_ID_TAKEN: AtomicBool = AtomicBool::new(false);

/// Locks; a panic under one of our locks is a bug of ours that has been reported, and no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Executor {
    /// Starts an executor with `procs` processors: its monitor, and one machine.
    pub(crate) fn start(procs: usize, thread_name: String, on_panic: OnPanic) -> io::Result<&'static Self> {
        if thread_name.contains('\0') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "gopark: a thread's name cannot contain a zero byte",
            ));
        }
        crate::lock::prepare();
        let retired = lock(&RETIRED).pop();
        let this = retired.map_or_else(Self::allocate, Ok)?;
        this.block_on_calls.set_policy(on_panic);
        this.closing.store(false, Ordering::SeqCst);
        {
            let mut sched = lock(&this.sched);
            sched.thread_name = thread_name;
            let name = format!("{}-monitor", sched.thread_name);
            let monitor = thread::Builder::new().name(name).spawn(move || this.monitor());
            let monitor = monitor.inspect_err(|_| lock(&RETIRED).push(this))?;
            sched.monitor = Some(monitor.thread().clone());
            sched.threads.push(monitor);
            sched.monitor_asleep = false;
        }
        this.set_gomaxprocs(procs);
        this.all_processors().for_each(|processor| processor.timers.open());
        let mut sched = lock(&this.sched);
        if let Some(processor) = this.pop_idle(&mut sched) {
            if let Err(error) = this.give(&mut sched, processor, false, ptr::null_mut()) {
                drop(sched);
                // Its monitor ends at once, and it can be used again.
                this.shutdown(SHUTDOWN_GRACE);
                return Err(error);
            }
        }
        drop(sched);
        Ok(this)
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
            slots: AtomicUsize::new(0),
            processors: [const { AtomicPtr::new(ptr::null_mut()) }; MAX_PROCESSORS],
            external: Shard::new(),
            closing: AtomicBool::new(false),
            generation: AtomicUsize::new(0),
            orphaned: AtomicBool::new(false),
            sched: Mutex::new(Sched {
                idle: Vec::new(),
                spare: Vec::new(),
                machines: Vec::new(),
                starting: 0,
                monitor: None,
                monitor_asleep: false,
                sleeper: None,
                thread_name: String::new(),
                threads: Vec::new(),
            }),
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
        Machine::with(|m| unsafe { m.executor.get().as_ref() })
    }

    /// True if an unrecovered panic of this thread's goroutine crashes its runtime.
    pub(crate) fn crashes() -> bool {
        Self::current().is_some_and(|this| this.block_on_calls.crashes())
    }

    /// Makes `self` this thread's [`current`](Self::current) until the guard goes. The processor that the thread may hold
    /// is not to be used meanwhile: it may be another runtime's.
    pub(crate) fn make_current(&'static self) -> Entered {
        Machine::with(|m| Entered { executor: m.executor.replace(self), processor: m.processor.replace(ptr::null()) })
    }

    /// True inside a goroutine's poll.
    pub(crate) fn is_polling() -> bool {
        Machine::with(|m| m.polling.load(Ordering::Relaxed))
    }

    /// Says whether this thread polls a goroutine (or a main), and returns what it said before.
    pub(crate) fn set_polling(polling: bool) -> bool {
        Machine::with(|m| m.polling.swap(polling, Ordering::Relaxed))
    }

    /// Which of its runtimes it is.
    pub(crate) fn generation(&self) -> usize {
        self.generation.load(Ordering::Relaxed)
    }

    fn processor(&self, slot: usize) -> Option<&'static Processor> {
        // Acquire: pairs with the Release store in `set_gomaxprocs`.
        // SAFETY: processors are never freed.
        unsafe { self.processors[slot].load(Ordering::Acquire).as_ref() }
    }

    fn all_processors(&self) -> impl Iterator<Item = &'static Processor> {
        (0..self.slots.load(Ordering::Acquire)).filter_map(|slot| self.processor(slot))
    }

    // -------------------------------------------------------------------------------- spawning and waking

    /// Starts a goroutine, which `allocate` makes with the header that it is given.
    #[inline(always)]
    pub(crate) fn spawn_with<R>(
        &'static self,
        spawned_at: &'static Location<'static>,
        allocate: impl FnOnce(Header) -> (Task, R),
    ) -> R {
        Machine::with(|m| {
            let held = if ptr::eq(m.executor.get(), self) { m.hold() } else { None };
            let shard = match &held {
                Some(held) => {
                    let started = &held.processor.shard.started;
                    started.store(started.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
                    held.processor.slot
                }
                None => {
                    self.started_external();
                    EXTERNAL
                }
            };
            let (task, handle) = allocate(Header::new(m.next_id(), shard, self.index, spawned_at));
            m.room.keep_ahead(ptr::from_ref(task.metadata()).addr());
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
        let id = if first { 1 } else { Machine::with(Machine::next_id) };
        let (task, handle) = allocate(Header::new(id, EXTERNAL, self.index, spawned_at));
        self.submit(task);
        handle
    }

    /// A goroutine starts on a thread without a processor. A main that is polled by its own thread counts as one.
    #[cold]
    pub(crate) fn started_external(&self) {
        self.external.started.fetch_add(1, Ordering::Relaxed);
    }

    /// A goroutine's future is gone.
    #[inline(always)]
    pub(crate) fn finished(&'static self) {
        Machine::with(|m| {
            if ptr::eq(m.executor.get(), self) {
                if let Some(held) = m.hold() {
                    let finished = &held.processor.shard.finished;
                    finished.store(finished.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
                    return;
                }
            }
            self.external.finished.fetch_add(1, Ordering::Release);
        });
    }

    /// Goroutines that live.
    pub(crate) fn live(&self) -> usize {
        // `finished` first: a goroutine that starts and ends in between must not count as minus one.
        let sum = |count: fn(&Shard) -> &AtomicUsize| {
            let external = count(&self.external).load(Ordering::Acquire);
            self.all_processors().map(|p| count(&p.shard).load(Ordering::Acquire)).fold(external, usize::wrapping_add)
        };
        let finished = sum(|shard| &shard.finished);
        sum(|shard| &shard.started).wrapping_sub(finished)
    }

    /// Where a goroutine goes that was made ready. After the push it touches the executor alone, which is never freed.
    #[inline(always)]
    pub(crate) fn schedule(task: Task, info: ScheduleInfo) {
        let executor = Self::of(task.metadata());
        Machine::with(|m| {
            if !ptr::eq(m.executor.get(), executor) {
                return executor.submit(task);
            }
            coop::note_unwinding();
            let Some(held) = m.hold() else { return executor.submit(task) };
            if info.woken_while_running {
                // It gave way, to everybody or, out of budget, to its siblings.
                if m.yielding.take() && !executor.global.is_empty() && !held.processor.has_long_rounds() {
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

    /// Submits from a thread without a processor. Of a runtime that shuts down the queue is emptied by its shutdown,
    /// never here: a waker runs nobody's destructors.
    fn submit(&'static self, task: Task) {
        self.push_global(task);
    }

    #[inline]
    fn push_global(&self, task: Task) {
        self.global.push(task);
        self.notify();
    }

    /// Puts a goroutine into the run-next slot; what was there waits for its turn.
    #[inline(always)]
    fn run_next(&self, held: Held<'_>, task: Task) {
        if let Some(old) = NonNull::new(held.machine.swap_next(task.into_raw().as_ptr())) {
            // SAFETY: the slot held a task in raw form, which is this thread's now.
            self.push_local(held, unsafe { Task::from_raw(old) });
        }
    }

    /// Queues at the processor: Push. With one processor there is nobody to wake, and no need for the fence.
    #[inline]
    fn push_local(&self, held: Held<'_>, task: Task) {
        let procs = self.procs.load(Ordering::Relaxed);
        if let Err(task) = self.try_push_local(&held, procs, task) {
            // Still held: whoever takes the processor from now on sees it.
            self.global.push(task);
        }
        drop(held);
        if procs != 1 {
            self.notify();
        }
    }

    /// Queues a goroutine that gave way. It needs no Push: there is no more work than before, and the machine that had it
    /// goes on to look at this queue.
    #[inline]
    fn requeue(&self, held: Held<'_>, task: Task) {
        if let Err(task) = self.try_push_local(&held, self.procs.load(Ordering::Relaxed), task) {
            drop(held);
            self.push_global(task);
        }
    }

    /// Queues at the processor, one of `procs`, unless its queue is full.
    #[inline(always)]
    fn try_push_local(&self, held: &Held<'_>, procs: usize, task: Task) -> Result<(), Task> {
        let queue = &held.processor.queue;
        // SAFETY: `held` is the proof.
        if procs == 1 { unsafe { queue.push_own(task) } } else { queue.push_shared(task) }
    }

    /// What is in the run-next slot waits for its turn. Between polls the processor is held, whoever tries to revoke it.
    #[inline(never)]
    fn requeue_next(&self, m: &Machine, processor: &'static Processor) {
        if let Some(next) = NonNull::new(m.swap_next(ptr::null_mut())) {
            let held = Held { machine: m, was: true, processor };
            // SAFETY: the slot held a task in raw form, which is this thread's now.
            self.requeue(held, unsafe { Task::from_raw(next) });
        }
    }

    /// A goroutine was queued: Push.
    #[inline(always)]
    fn notify(&self) {
        if self.idle.should_notify() {
            self.wake_one();
        }
    }

    #[cold]
    #[inline(never)]
    fn wake_one(&self) {
        // Of a runtime that closes the shutdown empties the queues. Its threads end; as the last searcher each would wake one
        // more, which ends, and wakes one more.
        if self.closing.load(Ordering::Relaxed) || !self.idle.try_begin_notify() {
            return;
        }
        // SAFETY: executors are never freed.
        let this: &'static Self = unsafe { &*ptr::from_ref(self) };
        let mut sched = lock(&this.sched);
        match this.pop_idle(&mut sched) {
            Some(processor) => {
                // Without a thread the processor is idle again, and the machines that run do the work.
                let _ = this.give(&mut sched, processor, true, ptr::null_mut());
            }
            None => {
                this.idle.end_search();
            }
        }
    }

    /// An idle processor is put to use; from now on the monitor looks after it.
    fn pop_idle(&self, sched: &mut Sched) -> Option<&'static Processor> {
        let processor = sched.idle.pop()?;
        self.idle.acquire_processor();
        if std::mem::take(&mut sched.monitor_asleep) {
            // No reading may have advanced the epoch meanwhile, and what runs now may park before the monitor is awake.
            clock::advance_epoch();
            if let Some(monitor) = &sched.monitor {
                monitor.unpark();
            }
        }
        Some(processor)
    }

    /// Gives a processor to a parked machine, or to a new one.
    fn give(
        &'static self,
        sched: &mut Sched,
        processor: &'static Processor,
        searching: bool,
        next: *mut (),
    ) -> io::Result<()> {
        if let Some(spare) = sched.spare.pop() {
            // It will look at the timers itself now.
            sched.sleeper.take_if(|(sleeper, _)| *sleeper == spare.machine);
            processor.owner.set(Some(spare.machine));
            // SAFETY: under the lock, and a spare machine is a listed one.
            let machine = unsafe { spare.get() };
            machine.swap_next(next);
            machine.given_searching.store(searching, Ordering::Relaxed);
            machine.given.store(ptr::from_ref(processor).cast_mut(), Ordering::Release);
            spare.thread.unpark();
            return Ok(());
        }
        let threads = sched.machines.len() + sched.starting;
        let started = if threads >= MAX_MACHINES {
            Err(io::Error::other("gopark: too many threads"))
        } else {
            let next = next as usize;
            let name = format!("{}-{threads}", sched.thread_name);
            thread::Builder::new().name(name).spawn(move || self.machine(processor, searching, next as *mut ()))
        };
        match started {
            Ok(thread) => {
                sched.threads.retain(|thread| !thread.is_finished());
                sched.threads.push(thread);
                sched.starting += 1;
                processor.promised.set(true);
                Ok(())
            }
            Err(error) => {
                // Others can take it from there, and a shutdown too.
                self.scatter(processor, next);
                sched.idle.push(processor);
                self.idle.transition_to_idle(searching);
                Err(error)
            }
        }
    }

    // -------------------------------------------------------------------------------- running

    /// The life of a machine's thread.
    fn machine(&'static self, first: &'static Processor, mut searching: bool, next: *mut ()) {
        Machine::with(|m| {
            let me = MachineRef {
                machine: NonNull::from(m),
                thread: thread::current(),
                clock: platform::CpuClock::of_this_thread(),
            };
            m.executor.set(self);
            m.slot.enter();
            m.swap_next(next);
            coop::set_alone(Self::is_alone);
            {
                let mut sched = lock(&self.sched);
                sched.starting -= 1;
                first.promised.set(false);
                sched.machines.push(me.clone());
                first.owner.set(Some(me.machine));
            }
            let mut processor = Some(first);
            while let Some(held) = processor {
                m.processor.set(held);
                coop::set_worker(Some(held.slot));
                self.run(m, held, &mut searching);
                // The processor is idle or somebody else's now.
                m.processor.set(ptr::null());
                coop::set_worker(None);
                processor = self.wait_for_processor(m, &me, &mut searching);
            }
            if self.closing.load(Ordering::Acquire) {
                // What parked or was woken here since the shutdown looked.
                self.wake_all();
                self.drain();
            }
            let mut sched = lock(&self.sched);
            sched.machines.retain(|other| other.machine != me.machine);
            m.executor.set(ptr::null());
            self.ended.notify_all();
        });
    }

    /// Runs goroutines until the processor is given up or lost.
    fn run(&'static self, m: &Machine, processor: &'static Processor, searching: &mut bool) {
        self.fire_all(m, processor);
        let mut streak = 0;
        while let Some(task) = self.next(m, processor, &mut streak, searching) {
            if *searching {
                self.stop_searching(searching);
            }
            // SAFETY: `next` returned the task in raw form, which is this thread's now.
            if !self.poll(m, processor, unsafe { Task::from_raw(task) }) {
                return;
            }
        }
    }

    /// Decides which goroutine runs next: every goroutine that runs has been chosen here. `None` if the processor was given up.
    ///
    /// `streak` counts the goroutines that came out of the run-next slot in a row: they share a slice, in which no round begins.
    /// The task is in raw form, which the compiler keeps in a register.
    #[inline(always)]
    fn next(
        &'static self,
        m: &Machine,
        processor: &'static Processor,
        streak: &mut u32,
        searching: &mut bool,
    ) -> Option<NonNull<()>> {
        loop {
            if *streak < RUN_NEXT_LIMIT {
                if let Some(next) = NonNull::new(m.swap_next(ptr::null_mut())) {
                    *streak += 1;
                    return Some(next);
                }
            }
            let limit_reached = std::mem::take(streak) == RUN_NEXT_LIMIT;
            if self.closing.load(Ordering::Relaxed) || processor.slot >= self.procs.load(Ordering::Relaxed) {
                self.stop_searching(searching);
                self.give_up_retired(m, processor);
                return None;
            }
            // After a long slice the goroutines in the global queue come first.
            let (global_first, look) = processor.begin_round();
            let (global_first, look) = (global_first || limit_reached, look || limit_reached);
            let fired = self.fire_beside(processor, look);
            if limit_reached || fired {
                self.requeue_next(m, processor);
            }
            if let Some(task) = self.find(m, processor, global_first, searching) {
                return Some(task.into_raw());
            }
            if !self.fire_all(m, processor) && !self.linger() && self.give_up_idle(m, processor, searching) {
                return None;
            }
        }
    }

    /// Polls a goroutine once. False if the processor was lost meanwhile.
    #[inline(always)]
    fn poll(&'static self, m: &Machine, processor: &'static Processor, task: Task) -> bool {
        let polls = &processor.polls;
        polls.store(polls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        let header = ptr::from_ref(task.metadata());
        // SAFETY: the metadata is used only while the task is being polled.
        unsafe { coop::enter(header, self.block_on_calls.unwinding()) };
        m.polling.store(true, Ordering::Relaxed);
        m.yielding.set(false);
        m.slot.leave();
        m.run(task);
        let mine = m.slot.enter();
        m.polling.store(false, Ordering::Relaxed);
        coop::leave();
        mine || self.still_mine(m, processor)
    }

    /// `revoked` was seen: was the processor taken, or only the run-next slot?
    #[cold]
    #[inline(never)]
    fn still_mine(&self, m: &Machine, processor: &Processor) -> bool {
        let _sched = lock(&self.sched);
        m.slot.restore();
        processor.owner.get() == Some(NonNull::from(m))
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
        m: &Machine,
        processor: &Processor,
        global_first: bool,
        searching: &mut bool,
    ) -> Option<Task> {
        if global_first {
            if let Some(task) = self.global.pop() {
                processor.local_rounds.set(0);
                return Some(task);
            }
        }
        let procs = self.procs.load(Ordering::Relaxed);
        if procs != 1 && processor.queue.own_len() != 0 {
            self.share(processor);
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
        if *searching { self.steal(m, processor) } else { None }
    }

    /// Takes one goroutine from the global queue, and this processor's fair share of the others into its own queue.
    #[inline(never)]
    fn take_global(&self, processor: &Processor, procs: usize) -> Option<Task> {
        if procs == 1 {
            // There is no thief to spread them for.
            return self.global.pop();
        }
        let share = (self.global.len() / procs).min(GLOBAL_BATCH);
        self.global.take(1 + share, |task| {
            prefetch(&task);
            processor.queue.push_shared(task)
        })
    }

    /// Half of a random victim's queue; in the last pass also a run-next slot.
    #[inline(never)]
    fn steal(&'static self, m: &Machine, processor: &Processor) -> Option<Task> {
        let slots = self.slots.load(Ordering::Acquire);
        for pass in 0..STEAL_PASSES {
            let first = random::below(slots);
            for offset in 0..slots {
                let Some(victim) = self.processor((first + offset) % slots) else { continue };
                if victim.slot == processor.slot {
                    continue;
                }
                let loot = victim.queue.shared();
                let waiting = loot.len();
                if waiting > 0 && !Self::keeps_up(victim, waiting) {
                    let half = loot.len().div_ceil(2);
                    let Ok(task) = loot.pop() else { continue };
                    for task in loot.try_iter().take(half.saturating_sub(1)) {
                        prefetch(&task);
                        if let Err(task) = processor.queue.push_shared(task) {
                            self.push_global(task);
                            break;
                        }
                    }
                    return Some(task);
                }
                if pass + 1 == STEAL_PASSES {
                    if let Some(task) = self.steal_next(m, victim) {
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

    /// True if the victim gets through what waits at it in less time than a move to another core costs.
    fn keeps_up(victim: &Processor, waiting: usize) -> bool {
        let rounds = victim.rounds.load(Ordering::Relaxed);
        if waiting > GRACE_QUEUE {
            return false;
        }
        let until = Time::now().after(GRACE);
        while Time::now() < until {
            std::hint::spin_loop();
        }
        victim.rounds.load(Ordering::Relaxed).wrapping_sub(rounds) as usize >= waiting
    }

    /// Takes the run-next slot of a machine that is long in its poll. One that is about to run it itself keeps it.
    fn steal_next(&'static self, m: &Machine, victim: &'static Processor) -> Option<Task> {
        let owner = |_: &MutexGuard<'_, Sched>| victim.owner.get();
        let polls = victim.polls.load(Ordering::Relaxed);
        {
            let sched = self.sched.try_lock().ok()?;
            let machine = owner(&sched)?;
            // SAFETY: under the lock, the owner of a processor is a listed machine.
            if ptr::eq(machine.as_ptr(), m) || unsafe { machine.as_ref() }.slot.seems_empty() {
                return None;
            }
        }
        // Go's grace: the owner is most likely at the end of a short poll.
        let until = Time::now().after(GRACE);
        while Time::now() < until {
            std::hint::spin_loop();
            if victim.polls.load(Ordering::Relaxed) != polls {
                return None;
            }
        }
        let sched = self.sched.try_lock().ok()?;
        let machine = owner(&sched)?;
        // SAFETY: as above.
        let machine = unsafe { machine.as_ref() };
        let next = machine.slot.revoke()?;
        // Only the slot was wanted. The owner, if it saw `revoked` meanwhile, asks under the lock and goes on.
        machine.slot.restore();
        // SAFETY: the slot held a task in raw form, which is this thread's now.
        NonNull::new(next).map(|next| unsafe { Task::from_raw(next) })
    }

    /// Waits for work for about as long as it takes to wake a thread: who sends it work meanwhile is spared that.
    #[inline(never)]
    fn linger(&self) -> bool {
        for _ in 0..LINGER {
            std::hint::spin_loop();
            if self.has_work() {
                return true;
            }
        }
        false
    }

    /// The machine found nothing: Announce. False if there was something after all.
    #[inline(never)]
    fn give_up_idle(&'static self, m: &Machine, processor: &'static Processor, searching: &mut bool) -> bool {
        {
            let mut sched = lock(&self.sched);
            if processor.slot >= self.procs.load(Ordering::Relaxed) {
                return false;
            }
            processor.owner.set(None);
            sched.idle.push(processor);
            self.idle.transition_to_idle(std::mem::take(searching));
        }
        if self.closing.load(Ordering::Relaxed) || !self.has_work() {
            return true;
        }
        // Somebody pushed before Announce and saw nobody to wake: take a processor back, unless they are all busy.
        let mut sched = lock(&self.sched);
        let Some(at) = sched.idle.iter().position(|idle| ptr::eq(*idle, processor)) else { return true };
        let last = sched.idle.len() - 1;
        sched.idle.swap(at, last);
        self.pop_idle(&mut sched);
        processor.owner.set(Some(NonNull::from(m)));
        false
    }

    fn has_work(&self) -> bool {
        !self.global.is_empty() || self.all_processors().any(|processor| !processor.queue.is_empty())
    }

    /// The processor's slot is out of use, or the runtime closes: what it has goes to the global queue.
    #[inline(never)]
    fn give_up_retired(&self, m: &Machine, processor: &'static Processor) {
        if let Some(next) = NonNull::new(m.swap_next(ptr::null_mut())) {
            // SAFETY: the slot held a task in raw form, which is this thread's now.
            self.push_global(unsafe { Task::from_raw(next) });
        }
        self.share(processor);
        let mut sched = lock(&self.sched);
        processor.owner.set(None);
        if processor.slot < self.procs.load(Ordering::Relaxed) {
            // Back in use, or closing: then nobody takes it from there.
            sched.idle.push(processor);
            self.idle.transition_to_idle(false);
        }
        drop(sched);
        self.empty(processor);
    }

    /// Moves what others can reach of a processor's queue to the global one.
    fn empty(&self, processor: &Processor) {
        while let Ok(task) = processor.queue.shared().pop() {
            self.push_global(task);
        }
    }

    /// There are other processors now: what they cannot reach goes to the global queue. For the holder alone.
    #[cold]
    fn share(&self, processor: &Processor) {
        // SAFETY: as demanded.
        self.global.append(unsafe { processor.queue.take_own() });
        self.notify();
    }

    /// A machine without a processor parks until it is given one. `None`: the thread ends.
    fn wait_for_processor(
        &'static self,
        m: &Machine,
        me: &MachineRef,
        searching: &mut bool,
    ) -> Option<&'static Processor> {
        *searching = false;
        let mut until;
        {
            let mut sched = lock(&self.sched);
            m.slot.restore();
            if self.closing.load(Ordering::Relaxed) {
                return None;
            }
            // A machine that lost its processor in a long poll: is one free, and is there work for it?
            if self.has_work() {
                if let Some(processor) = self.pop_idle(&mut sched) {
                    processor.owner.set(Some(me.machine));
                    return Some(processor);
                }
            }
            until = self.sleep_of(&mut sched, me.machine);
            if until != Time::NEVER {
                // At the bottom: let others be woken for work.
                sched.spare.insert(0, me.clone());
            } else if sched.spare.len() >= SPARES + self.procs.load(Ordering::Relaxed) {
                return None;
            } else {
                sched.spare.push(me.clone());
            }
        }
        loop {
            // Acquire: pairs with the Release store in `give`.
            let given = m.given.swap(ptr::null_mut(), Ordering::Acquire);
            // SAFETY: processors are never freed.
            if let Some(processor) = unsafe { given.as_ref() } {
                *searching = m.given_searching.load(Ordering::Relaxed);
                return Some(processor);
            }
            if self.closing.load(Ordering::Acquire) {
                let mut sched = lock(&self.sched);
                sched.spare.retain(|spare| spare.machine != me.machine);
                if m.given.load(Ordering::Acquire).is_null() {
                    return None;
                }
                continue;
            }
            if until > Time::now() {
                sleep_until(until);
                continue;
            }
            let mut sched = lock(&self.sched);
            if !m.given.load(Ordering::Acquire).is_null() {
                continue;
            }
            sched.sleeper.take_if(|(sleeper, _)| *sleeper == me.machine);
            until = Time::NEVER;
            if shard::earliest(self.all_timers()) > Time::now() {
                // What it slept for has been cancelled.
                until = self.sleep_of(&mut sched, me.machine);
            } else if let Some(processor) = self.pop_idle(&mut sched) {
                // Without one, those who have the processors look at the timers.
                sched.spare.retain(|spare| spare.machine != me.machine);
                processor.owner.set(Some(me.machine));
                return Some(processor);
            }
        }
    }

    // -------------------------------------------------------------------------------- timers

    /// Runs `f` with the timers of the processor that this thread holds. They will be looked at when the poll ends.
    #[inline]
    pub(crate) fn with_timers<R>(f: impl FnOnce(Option<&'static Timers>) -> R) -> R {
        Machine::with(|m| {
            let held = m.hold();
            f(held.as_ref().map(|held| &held.processor.timers))
        })
    }

    pub(crate) fn all_timers(&self) -> impl Iterator<Item = &'static Timers> {
        self.all_processors().map(|processor| &processor.timers)
    }

    /// Fires what is due at this processor and at one other, whose machine may be busy, or its slot out of use. Between
    /// these looks it looks at its own as long as it has nothing else to do.
    #[inline(always)]
    fn fire_beside(&'static self, processor: &Processor, look: bool) -> bool {
        if !look && (processor.timers.next_due() == Time::NEVER || !processor.queue.is_empty()) {
            return false;
        }
        self.fire_some(processor)
    }

    #[inline(never)]
    fn fire_some(&'static self, processor: &Processor) -> bool {
        let other = processor.beside.get();
        processor.beside.set(if other + 1 < self.slots.load(Ordering::Relaxed) { other + 1 } else { 0 });
        let other = self.processor(other).map_or(&processor.timers, |other| &other.timers);
        if processor.timers.next_due().min(other.next_due()) == Time::NEVER {
            return false;
        }
        // No more than there is room for: those who were woken are to be run in order.
        let room = LOCAL_QUEUE - processor.queue.len().min(LOCAL_QUEUE - FIRE_LEAST);
        let now = Time::now();
        let fired = shard::fire_due([&processor.timers], now, now, room);
        // The other's own machine comes first.
        shard::fire_due([other], now.before(GRACE_TIMERS), now, room) || fired
    }

    /// Fires what is due anywhere. True if there was something.
    #[inline(never)]
    fn fire_all(&'static self, m: &Machine, processor: &'static Processor) -> bool {
        if shard::earliest(self.all_timers()) == Time::NEVER {
            return false;
        }
        let now = Time::now();
        let fired = shard::fire_due(self.all_timers(), now, now, LOCAL_QUEUE);
        if fired {
            self.requeue_next(m, processor);
        }
        fired
    }

    /// Fires what nobody has fired for too long.
    fn fire_overdue(&self) {
        if shard::earliest(self.all_timers()) != Time::NEVER {
            let now = Time::now();
            shard::fire_due(self.all_timers(), now.before(OVERDUE), now, usize::MAX);
        }
    }

    /// How long the parking machine may sleep: until the next timer, if it is the one who wakes for that.
    fn sleep_of(&self, sched: &mut Sched, machine: NonNull<Machine>) -> Time {
        let earliest = shard::earliest(self.all_timers());
        match sched.sleeper {
            // Another one, for it is not parked.
            Some((_, until)) if until <= earliest => Time::NEVER,
            _ => {
                sched.sleeper = (earliest != Time::NEVER).then_some((machine, earliest));
                earliest
            }
        }
    }

    // -------------------------------------------------------------------------------- the monitor

    /// Go's `sysmon`.
    fn monitor(&'static self) {
        let (mut idle_looks, mut seen) = (0, 0);
        loop {
            let polls = self.all_processors().fold(0u32, |sum, p| sum.wrapping_add(p.polls.load(Ordering::Relaxed)));
            {
                let mut sched = lock(&self.sched);
                // In every round, because it also advances the clock's epoch.
                let now = Time::now();
                if self.closing.load(Ordering::Relaxed) {
                    sched.monitor = None;
                    self.ended.notify_all();
                    drop(sched);
                    if self.orphaned.load(Ordering::SeqCst) {
                        self.shutdown(SHUTDOWN_GRACE);
                    }
                    return;
                }
                if self.all_processors().all(|processor| processor.owner.get().is_none() && !processor.promised.get()) {
                    idle_looks = if std::mem::replace(&mut seen, polls) == polls { idle_looks + 1 } else { 0 };
                    sched.monitor_asleep = idle_looks == MONITOR_IDLE_LOOKS;
                } else {
                    idle_looks = 0;
                    self.rescue(&mut sched, now);
                }
                if !sched.monitor_asleep {
                    drop(sched);
                    self.fire_overdue();
                    thread::park_timeout(MONITOR_PERIOD);
                    continue;
                }
            }
            idle_looks = 0;
            loop {
                let sched = lock(&self.sched);
                if !sched.monitor_asleep || self.closing.load(Ordering::Relaxed) {
                    break;
                }
                // A net, should there be no thread that wakes for the next timer.
                let until = if sched.sleeper.is_some() { Time::NEVER } else { shard::earliest(self.all_timers()) };
                drop(sched);
                sleep_until(until.after(OVERDUE));
                self.fire_overdue();
            }
        }
    }

    /// Looks after machines that have been in one poll for too long, if there is work for their processor.
    ///
    /// One that sleeps in a system call loses its processor. One that computes loses it if nobody else gets on; else it
    /// would only compete with the others for the same cores, and they are given what waits at it.
    fn rescue(&'static self, sched: &mut Sched, now: Time) {
        let mut progress = false;
        let mut wants_thief = false;
        let mut stuck = Vec::new();
        for processor in self.all_processors() {
            let Some(owner) = processor.owner.get() else { continue };
            let Some(known) = sched.machines.iter().find(|known| known.machine == owner) else { continue };
            // SAFETY: under the lock, and a listed machine.
            let machine = unsafe { known.get() };
            let rounds = processor.rounds.load(Ordering::Relaxed);
            let begun = rounds.wrapping_sub(machine.seen_rounds.replace(rounds));
            processor
                .global_interval
                .store((begun / GLOBAL_LOOKS).clamp(LONG_ROUNDS, GLOBAL_INTERVAL), Ordering::Relaxed);
            let polls = processor.polls.load(Ordering::Relaxed);
            let moved = machine.seen_polls.replace(polls) != polls || !machine.polling.load(Ordering::Relaxed);
            progress |= moved;
            let since = match machine.seen_at.get() {
                Some(since) if !moved => since,
                _ => {
                    machine.seen_at.set(Some(now));
                    machine.seen_cpu.set(known.clock.now());
                    continue;
                }
            };
            let has_next = !machine.slot.seems_empty();
            let waiting = now.since(since);
            if waiting < STUCK {
                wants_thief |= has_next;
            } else if has_next || !processor.queue.is_empty() || !self.global.is_empty() {
                let computes = known.clock.now().saturating_sub(machine.seen_cpu.get()) > waiting / 8;
                stuck.push((processor, owner, computes));
            }
        }
        for (processor, owner, computes) in stuck {
            // SAFETY: as above; the lock has been held since.
            let machine = unsafe { owner.as_ref() };
            let others = progress || !sched.idle.is_empty();
            if computes && others && machine.slot.seems_empty() && processor.queue.is_empty() {
                continue;
            }
            let Some(next) = machine.slot.revoke() else { continue };
            if computes && others {
                self.scatter(processor, next);
                machine.slot.restore();
                wants_thief = true;
            } else {
                self.hand_off(sched, processor, next);
                (progress, wants_thief) = (true, true);
            }
        }
        // A run-next slot that waits for a long poll; or, as a net under the protocol, work that nobody was woken for.
        if (wants_thief || self.has_work()) && !sched.idle.is_empty() && self.idle.try_begin_notify() {
            if let Some(processor) = self.pop_idle(sched) {
                let _ = self.give(sched, processor, true, ptr::null_mut());
            }
        }
    }

    /// Moves what waits at a processor to the global queue. Wakes nobody: the scheduler's lock is held.
    fn scatter(&self, processor: &Processor, next: *mut ()) {
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

    /// Gives a processor that was taken from its machine to another one.
    fn hand_off(&'static self, sched: &mut Sched, processor: &'static Processor, next: *mut ()) {
        processor.owner.set(None);
        if processor.slot < self.procs.load(Ordering::Relaxed) {
            // Without a thread the processor is idle, and others run what it has.
            let _ = self.give(sched, processor, false, next);
        } else {
            self.scatter(processor, next);
        }
    }

    // -------------------------------------------------------------------------------- for `runtime`

    /// The number of processors; sets it if `procs` is not 0. Returns the previous number.
    pub(crate) fn set_gomaxprocs(&'static self, procs: usize) -> usize {
        if procs == 0 {
            return self.procs.load(Ordering::Relaxed);
        }
        let procs = procs.min(MAX_PROCESSORS);
        let mut sched = lock(&self.sched);
        let before = self.procs.load(Ordering::Relaxed);
        for slot in self.slots.load(Ordering::Relaxed)..procs {
            let processor = Box::leak(Box::new(Processor::new(slot)));
            self.processors[slot].store(processor, Ordering::Release);
            self.slots.store(slot + 1, Ordering::Release);
        }
        self.procs.store(procs, Ordering::SeqCst);
        for slot in before..procs {
            let Some(processor) = self.processor(slot) else { continue };
            // One that was retired and is still held goes on as if nothing had happened.
            let held = processor.owner.get().is_some() || processor.promised.get();
            if !held && !sched.idle.iter().any(|idle| ptr::eq(*idle, processor)) {
                sched.idle.push(processor);
                self.idle.transition_to_idle(false);
            }
        }
        // Idle ones of slots that are out of use. Those that are held notice it themselves, or the monitor does.
        let kept = sched.idle.len();
        sched.idle.retain(|processor| processor.slot < procs);
        for _ in sched.idle.len()..kept {
            self.idle.acquire_processor();
        }
        drop(sched);
        Machine::with(|m| match m.hold() {
            // Not only when its goroutine ends its poll.
            Some(held) if procs > 1 && ptr::eq(m.executor.get(), self) => self.share(held.processor),
            _ => {}
        });
        for _ in before..procs {
            if self.has_work() {
                self.notify();
            }
        }
        if procs == before {
            return before;
        }
        for slot in procs..before {
            if let Some(processor) = self.processor(slot) {
                // Of a held one too: its machine puts there what it still has when it notices.
                self.empty(processor);
            }
        }
        before
    }

    /// Gives this thread's processor away for as long as `f` blocks it.
    pub(crate) fn block_in_place<R>(f: impl FnOnce() -> R) -> R {
        Machine::with(|m| {
            let Some(this) = Self::current() else { return };
            let Some(held) = m.hold() else { return };
            let processor = held.processor;
            let next = m.swap_next(ptr::null_mut());
            drop(held);
            let mut sched = lock(&this.sched);
            if processor.owner.get() != Some(NonNull::from(m)) {
                // Lost in between; what was in the slot still is this thread's.
                drop(sched);
                if let Some(next) = NonNull::new(next) {
                    // SAFETY: the slot held a task in raw form, which is this thread's now.
                    this.push_global(unsafe { Task::from_raw(next) });
                }
                return;
            }
            m.slot.give_up();
            let waiting = !next.is_null() || shard::earliest(this.all_timers()) != Time::NEVER;
            let work = waiting || this.has_work();
            if work || processor.slot >= this.procs.load(Ordering::Relaxed) {
                this.hand_off(&mut sched, processor, next);
                drop(sched);
                this.notify();
            } else {
                processor.owner.set(None);
                sched.idle.push(processor);
                this.idle.transition_to_idle(false);
                drop(sched);
                if this.has_work() {
                    this.notify();
                }
            }
        });
        f()
    }

    /// Whether the running goroutine is the only one that this thread's processor could run.
    fn is_alone() -> bool {
        Machine::with(|m| {
            let Some(held) = m.hold() else { return false };
            // SAFETY: a thread with a processor has an executor, which is never freed.
            let executor = unsafe { &*m.executor.get() };
            m.slot.seems_empty()
                && held.processor.queue.is_empty()
                && executor.global.is_empty()
                && !executor.closing.load(Ordering::Relaxed)
        })
    }

    /// The running goroutine's next schedule puts it behind everything runnable.
    pub(crate) fn yield_now() {
        Machine::with(|m| m.yielding.set(true));
    }

    /// The calls of `block_on` in progress.
    pub(crate) fn block_on_calls(&self) -> &BlockOnCalls {
        &self.block_on_calls
    }

    /// True if the runtime of that generation is over, or shuts down.
    pub(crate) fn is_over(&self, generation: usize) -> bool {
        self.closing.load(Ordering::Relaxed) || self.generation() != generation
    }

    /// Ends the executor: drops every goroutine, ends every thread. Returns how many goroutines are left because they
    /// block their thread, after waiting for them for `grace`.
    pub(crate) fn shutdown(&'static self, grace: Duration) -> usize {
        let own = Machine::with(|m| ptr::eq(m.executor.get(), self) && m.polling.load(Ordering::Relaxed));
        if own {
            self.orphaned.store(true, Ordering::SeqCst);
        }
        self.closing.store(true, Ordering::SeqCst);
        platform::full_fence();
        let deadline = Time::now().after(grace);
        loop {
            {
                let sched = lock(&self.sched);
                self.all_processors().for_each(|processor| self.rob(&sched, processor));
                sched.spare.iter().for_each(|spare| spare.thread.unpark());
                if let Some(monitor) = &sched.monitor {
                    monitor.unpark();
                }
            }
            if own {
                // One of its own goroutines drops the runtime: the monitor does the rest, once this poll has ended.
                return self.live();
            }
            self.wake_all();
            self.drain();
            // What waits for a time and is no goroutine's waits elsewhere from now on.
            self.all_timers().for_each(driver::take_over);
            let mut sched = lock(&self.sched);
            if sched.machines.is_empty() && sched.starting == 0 && sched.monitor.is_none() && self.live() == 0 {
                let threads = std::mem::take(&mut sched.threads);
                drop(sched);
                let own = thread::current().id();
                // They have left the runtime; what they still do is to drop their thread-locals.
                for thread in threads.into_iter().filter(|thread| thread.thread().id() != own) {
                    let _ = thread.join();
                }
                self.retire();
                return 0;
            }
            let patience = deadline.since(Time::now());
            if patience.is_zero() {
                drop(sched);
                return self.live();
            }
            // A goroutine that spawns or wakes meanwhile is found in the next round.
            drop(self.ended.wait_timeout(sched, patience.min(Duration::from_millis(1))));
        }
    }

    /// What waits at a machine that does not end its poll goes to the global queue.
    fn rob(&self, _: &MutexGuard<'_, Sched>, processor: &Processor) {
        // SAFETY: under the lock, the owner of a processor is a listed machine.
        let Some(machine) = processor.owner.get().map(|owner| unsafe { owner.as_ref() }) else { return };
        if machine.slot.seems_empty() && processor.queue.own_len() == 0 {
            return;
        }
        if let Some(next) = machine.slot.revoke() {
            self.scatter(processor, next);
            machine.slot.restore();
        }
    }

    /// Every goroutine is gone and every thread has ended: the executor waits for its next runtime, with every word as that of
    /// a new one. A waker that is still on its way to it does no harm: the goroutine it would queue is gone, and to look
    /// whether a machine sleeps is harmless at any time.
    fn retire(&'static self) {
        {
            let mut sched = lock(&self.sched);
            sched.idle.clear();
            sched.spare.clear();
            sched.sleeper = None;
            sched.monitor_asleep = false;
            self.procs.store(0, Ordering::SeqCst);
            self.generation.fetch_add(1, Ordering::SeqCst);
            self.orphaned.store(false, Ordering::SeqCst);
            self.idle.reset();
            self.all_processors().for_each(Processor::reset);
        }
        debug_assert_eq!(self.leftovers(), "", "a retired executor differs from a new one");
        lock(&RETIRED).push(self);
    }

    /// What a retired executor has that a new one has not, in words; its processors and its generation do not count.
    fn leftovers(&self) -> String {
        let sched = lock(&self.sched);
        let mut found = Vec::new();
        let mut check = |name: &str, fresh: bool| {
            if !fresh {
                found.push(name.to_owned());
            }
        };
        check("global queue", self.global.is_empty());
        check("idle word", self.idle.is_reset());
        check("gomaxprocs", self.procs.load(Ordering::Relaxed) == 0);
        check("orphaned", !self.orphaned.load(Ordering::Relaxed));
        check("goroutines", self.live() == 0);
        check("idle processors", sched.idle.is_empty());
        check("machines", sched.machines.is_empty() && sched.spare.is_empty() && sched.starting == 0);
        check("monitor", sched.monitor.is_none() && !sched.monitor_asleep);
        check("sleeper", sched.sleeper.is_none());
        check("calls of block_on", self.block_on_calls.is_empty());
        for processor in self.all_processors() {
            check("processor's queue", processor.queue.is_empty());
            check("processor's owner", processor.owner.get().is_none() && !processor.promised.get());
            check("processor's rounds", processor.rounds.load(Ordering::Relaxed) == 0);
            check("processor's polls", processor.polls.load(Ordering::Relaxed) == 0);
            check("processor's interval", processor.global_interval.load(Ordering::Relaxed) == GLOBAL_INTERVAL);
            let counters = (processor.local_rounds.get(), processor.unlooked_rounds.get(), processor.beside.get());
            check("processor's counters", counters == (0, 0, 0));
        }
        found.join(", ")
    }

    /// Wakes every registered goroutine. The executor is closing, so they go into the queues that [`drain`](Self::drain) empties.
    fn wake_all(&self) {
        let shards = self.all_processors().map(|processor| &processor.shard).chain([&self.external]);
        shards.flat_map(|shard| shard.registry.all()).for_each(Waker::wake);
    }

    /// Drops what is in the queues.
    fn drain(&'static self) {
        let _entered = self.make_current();
        loop {
            let local = || self.all_processors().find_map(|processor| processor.queue.shared().pop().ok());
            let Some(task) = self.global.pop().or_else(local) else { return };
            self.discard(task);
        }
    }

    /// Ends a goroutine without polling it again; its destructors run here.
    fn discard(&'static self, task: Task) {
        let _entered = self.make_current();
        task.metadata().set_aborted();
        let polling = Self::set_polling(true);
        Machine::with(|m| m.run(task));
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
        Machine::with(|m| {
            m.executor.set(self.executor);
            m.processor.set(self.processor);
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
