//! The processors of a runtime: the state of each one, and its place.

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use crate::clock::Time;
use crate::header::{Header, OwnWaker, Task};
use crate::registry::Registry;
use crate::run_queue::RunQueue;
use crate::table::StaticRef;
use crate::timer::shard::Shard as Timers;

/// Maximum number of processors of a runtime.
pub(crate) const MAX_PROCESSORS: usize = 1024;
/// Capacity of a processor's queue (Go: 256).
pub(crate) const LOCAL_QUEUE: usize = 256;
/// Ticks after which the global queue is checked before the local one (Go: 61), while ticks are
/// short.
const GLOBAL_INTERVAL: u32 = 61;
/// The interval for the longest ticks.
const LONG_TICKS: u32 = 2;
/// The monitor shortens the interval so that the global queue is checked once in this time.
const GLOBAL_LOOK: Duration = Duration::from_micros(80);
/// Maximum number of goroutines in a row from the run-next slot, if their polls are short.
pub(crate) const RUN_NEXT_LIMIT: u32 = 128;
/// After this many goroutines, a slice ends if a timer is due or the global queue is not empty.
pub(crate) const RUN_NEXT_LOOK: u32 = 16;
/// How long a slice lasts on average at most. If polls are [long](LONG_POLL), it has one. If
/// they block their thread, it has no fewer than [`RUN_NEXT_LOOK`].
const SLICE: Duration = Duration::from_millis(1);
/// If polls compute for longer than this on average, it pays to wake another worker for the
/// run-next goroutine, which waits until a poll ends.
const LONG_POLL: Duration = Duration::from_micros(35);

/// How long a thief watches a processor.
const WATCH: Duration = Duration::from_micros(5);
/// A thief watches a queue that has at most this many goroutines, and leaves it alone if its owner
/// will drain it in at most [`DRAINED_IN`] times as long. If goroutines share state, the queue may
/// be longer.
const SHORT_QUEUE: usize = 16;
const DRAINED_IN: usize = 10;
/// Goroutines share state if they contend for a lock at one tick in this many, or more often, and
/// [`CONTENDED`] times or more between two checks of the monitor.
const SHARING_TICKS: u32 = 64;
const CONTENDED: u32 = 16;
/// Checks of the monitor for which they count as sharing: a tenth of a second or less.
const SHARING_LOOKS: u32 = 20;
/// Checks of the monitor for which goroutines stay at a processor that keeps them: a tenth of a
/// second or more.
const KEPT_LOOKS: u32 = 100;
/// Minimum number of due timers fired per check, even if the local queue is almost full.
pub(crate) const FIRE_LEAST: usize = 16;

/// The right to run goroutines, and the state that belongs to it. Never freed.
///
/// | word | meaning | written by |
/// |---|---|---|
/// | `ticks`, `polls` | ticks and polls begun, for the monitor and thieves | holder |
/// | `ticks_since_global` | ticks since the global queue came first | holder |
/// | `ticks_since_timers` | ticks since timers were checked | holder |
/// | `global_interval` | ticks after which the global queue comes first again | monitor |
/// | `run_next_limit` | the number of goroutines in a row from the run-next slot | monitor |
/// | `sharing` | checks of the monitor for which its goroutines count as sharing state | monitor |
/// | `kept` | checks of the monitor for which its goroutines stay | holder, monitor |
/// | `place` | see [`Place`] | under the scheduler's lock |
///
/// `kept` is set while a main is in a poll, because a report needs to know which goroutines it
/// wakes. The monitor counts it down, and it is 0 when the processor moves to another place.
pub(crate) struct Processor {
    pub(crate) id: usize,
    pub(crate) queue: RunQueue<Task>,
    pub(crate) shard: Shard,
    pub(crate) timers: Timers,
    pub(crate) ticks: AtomicU32,
    ticks_since_global: AtomicU32,
    ticks_since_timers: AtomicU32,
    global_interval: AtomicU32,
    pub(crate) polls: AtomicU32,
    run_next_limit: AtomicU32,
    sharing: AtomicU32,
    kept: AtomicU32,
    pub(crate) place: PlaceCell,
}

/// The place of a processor.
///
/// * `Retired`: not in use, because its id is not below `gomaxprocs`. Its queue is empty, and its
///   timers are closed.
/// * `Idle`: in use, but no worker holds it, and its queue is empty. It is in the scheduler's list,
///   and the idle word counts it.
/// * `Held`: a worker holds it. If it is not in use, the worker gives it up after the current poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Retired,
    Idle,
    Held(NonNull<()>),
}

/// The place of a processor, which is accessed under the scheduler's lock: null if it is retired,
/// [`IDLE`](Self::IDLE) if it is idle, else the worker.
pub(crate) struct PlaceCell(AtomicPtr<()>);

impl PlaceCell {
    /// No worker is at this address.
    const IDLE: *mut () = ptr::without_provenance_mut(1);

    fn word(place: Place) -> *mut () {
        match place {
            Place::Retired => ptr::null_mut(),
            Place::Idle => Self::IDLE,
            Place::Held(worker) => worker.as_ptr(),
        }
    }

    fn place(word: *mut ()) -> Place {
        match NonNull::new(word) {
            None => Place::Retired,
            Some(_) if word == Self::IDLE => Place::Idle,
            Some(worker) => Place::Held(worker),
        }
    }

    pub(crate) fn get(&self) -> Place {
        // Relaxed, here and below: the lock orders the accesses.
        Self::place(self.0.load(Ordering::Relaxed))
    }

    /// Returns the old place.
    pub(crate) fn replace(&self, place: Place) -> Place {
        let old = self.get();
        self.0.store(Self::word(place), Ordering::Relaxed);
        old
    }
}

impl Processor {
    pub(crate) fn new(id: usize) -> Self {
        Self {
            id,
            queue: RunQueue::new(LOCAL_QUEUE),
            shard: Shard::default(),
            timers: Timers::new(),
            ticks: AtomicU32::new(0),
            ticks_since_global: AtomicU32::new(0),
            ticks_since_timers: AtomicU32::new(0),
            global_interval: AtomicU32::new(GLOBAL_INTERVAL),
            polls: AtomicU32::new(0),
            run_next_limit: AtomicU32::new(RUN_NEXT_LIMIT),
            sharing: AtomicU32::new(0),
            kept: AtomicU32::new(0),
            place: PlaceCell(AtomicPtr::new(ptr::null_mut())),
        }
    }

    /// Returns the worker that holds it, according to the executor. Must be called under the
    /// scheduler's lock.
    pub(crate) fn owner(&self) -> Option<NonNull<()>> {
        if let Place::Held(worker) = self.place.get() { Some(worker) } else { None }
    }

    /// Resets it to the state of a new processor. The executor has no worker.
    pub(crate) fn reset(&self) {
        self.place.replace(Place::Retired);
        self.ticks.store(0, Ordering::Relaxed);
        self.ticks_since_global.store(0, Ordering::Relaxed);
        self.ticks_since_timers.store(0, Ordering::Relaxed);
        self.polls.store(0, Ordering::Relaxed);
        self.global_interval.store(GLOBAL_INTERVAL, Ordering::Relaxed);
        self.run_next_limit.store(RUN_NEXT_LIMIT, Ordering::Relaxed);
        self.sharing.store(0, Ordering::Relaxed);
    }

    /// Begins a tick: one choice of a goroutine other than the run-next one. Returns whether the
    /// global queue comes first, and whether timers must be checked.
    ///
    /// After a full slice both are true. But the global queue does not come first at two ticks in a
    /// row: if each slice were full, goroutines that overflow from a full local queue would keep
    /// the global one filled, and those in the local queue would never run.
    #[inline(always)]
    pub(crate) fn begin_tick(&self, is_full_slice: bool) -> (bool, bool) {
        let interval = self.global_interval.load(Ordering::Relaxed);
        self.ticks.store(self.ticks.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        let local = self.ticks_since_global.load(Ordering::Relaxed).saturating_add(1);
        self.ticks_since_global.store(local, Ordering::Relaxed);
        let unlooked = self.ticks_since_timers.load(Ordering::Relaxed) + 1;
        // At every tick, if ticks are long.
        let look = unlooked + 1 >= interval;
        self.ticks_since_timers.store(if look { 0 } else { unlooked }, Ordering::Relaxed);
        (local >= interval || is_full_slice && local > 1, look || is_full_slice)
    }

    /// Records that a goroutine was taken from the global queue when that came first.
    pub(crate) fn took_from_global(&self) {
        self.ticks_since_global.store(0, Ordering::Relaxed);
    }

    /// Sets whether its goroutines stay at this processor, unless a poll is very long. Returns the
    /// previous setting.
    pub(crate) fn set_kept(&self, keep: bool) -> bool {
        self.kept.swap(if keep { KEPT_LOOKS } else { 0 }, Ordering::Relaxed) != 0
    }

    /// Returns true if thieves must leave its goroutines alone.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed) != 0
    }

    /// Called by the monitor if goroutines wait for the end of a long poll. Returns true if they
    /// stay at this processor.
    pub(crate) fn stays_kept(&self) -> bool {
        let left = self.kept.load(Ordering::Relaxed);
        // If the exchange fails, the holder has set `kept` meanwhile.
        left != 0
            && self
                .kept
                .compare_exchange(left, left - 1, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    #[inline(always)]
    pub(crate) fn begin_poll(&self) {
        self.polls.store(self.polls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Adapts to what the worker has done in the time that `passed`.
    pub(crate) fn adapt(&self, done: &Work, passed: Duration) {
        let looks =
            u32::try_from(passed.as_micros() / GLOBAL_LOOK.as_micros()).unwrap_or(u32::MAX).max(1);
        self.global_interval
            .store((done.ticks / looks).clamp(LONG_TICKS, GLOBAL_INTERVAL), Ordering::Relaxed);
        let has_long_polls = done.cpu > LONG_POLL.saturating_mul(done.polls);
        let in_slice = |time: Duration| {
            let poll = (time / done.polls.max(1)).as_nanos().max(1);
            u32::try_from(SLICE.as_nanos() / poll).unwrap_or(u32::MAX).min(RUN_NEXT_LIMIT)
        };
        // The rest of the time the worker was idle, or its polls blocked their thread.
        let limit = in_slice(done.cpu).min(in_slice(passed).max(RUN_NEXT_LOOK));
        self.run_next_limit.store(if has_long_polls { 1 } else { limit }, Ordering::Relaxed);
        let shares = done.contentions >= CONTENDED
            && done.contentions.saturating_mul(SHARING_TICKS) >= done.ticks;
        let left = self.sharing.load(Ordering::Relaxed).saturating_sub(1);
        self.sharing.store(if shares { SHARING_LOOKS } else { left }, Ordering::Relaxed);
    }

    /// Returns true if goroutines compute for long. Then a goroutine that yields stays in the local
    /// queue, so that those in the global queue need not wait for all of the others.
    pub(crate) fn has_long_ticks(&self) -> bool {
        self.global_interval.load(Ordering::Relaxed) == LONG_TICKS
    }

    /// Returns true if it pays to wake a worker for the run-next goroutine.
    #[inline(always)]
    pub(crate) fn has_long_polls(&self) -> bool {
        self.run_next_limit.load(Ordering::Relaxed) == 1
    }

    /// Maximum number of goroutines in a row from the run-next slot.
    #[inline(always)]
    pub(crate) fn run_next_limit(&self) -> u32 {
        self.run_next_limit.load(Ordering::Relaxed)
    }

    /// Fires the due timers, at a `look` or while the queue is empty. Returns true if there was
    /// one.
    #[inline(always)]
    pub(crate) fn fire_due(&self, look: bool) -> bool {
        self.timers.next_due() != Time::NEVER && (look || self.queue.is_empty()) && self.fire()
    }

    #[inline(never)]
    fn fire(&self) -> bool {
        let now = Time::now();
        // No more than fit into the queue, so that the woken goroutines run in order.
        let room = LOCAL_QUEUE - self.queue.len().min(LOCAL_QUEUE - FIRE_LEAST);
        self.timers.next_due() <= now && self.timers.fire(now, room) > 0
    }

    pub(crate) fn shares_state(&self) -> bool {
        self.sharing.load(Ordering::Relaxed) != 0
    }

    /// Returns true if the queue is not empty, and the holder begins ticks so fast that it will
    /// soon have drained it; or polls, if goroutines share state. Those of the run-next slot then
    /// count too: they belong to the ones that are queued.
    pub(crate) fn is_draining(&self) -> bool {
        let (most, taken) = if self.shares_state() {
            (LOCAL_QUEUE, &self.polls)
        } else {
            (SHORT_QUEUE, &self.ticks)
        };
        let waiting = self.queue.shared().len();
        if waiting == 0 || waiting > most {
            return false;
        }
        let before = taken.load(Ordering::Relaxed);
        let taken = || taken.load(Ordering::Relaxed).wrapping_sub(before) as usize;
        watch(WATCH, || taken() >= waiting);
        taken() * DRAINED_IN >= waiting
    }

    /// Returns true if the holder begins another poll soon.
    pub(crate) fn ends_poll(&self) -> bool {
        let polls = self.polls.load(Ordering::Relaxed);
        watch(WATCH, || self.polls.load(Ordering::Relaxed) != polls)
    }
}

/// What a worker has done: the ticks and polls that it began, and the CPU time that it used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) ticks: u32,
    pub(crate) polls: u32,
    pub(crate) cpu: Duration,
    /// Locks that threads of the process found held meanwhile.
    pub(crate) contentions: u32,
}

impl Work {
    /// Returns what was done since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            ticks: self.ticks.wrapping_sub(before.ticks),
            polls: self.polls.wrapping_sub(before.polls),
            cpu: self.cpu.saturating_sub(before.cpu),
            contentions: self.contentions.wrapping_sub(before.contentions),
        }
    }
}

/// Spins for that time, or until something `happens`. Returns whether it did.
fn watch(time: Duration, happens: impl Fn() -> bool) -> bool {
    let until = Time::now().after(time);
    while Time::now() < until {
        for _ in 0..16 {
            std::hint::spin_loop();
            if happens() {
                return true;
            }
        }
    }
    false
}

/// The number of the shard of goroutines that started on a thread without a processor. Each lower
/// number is a processor's.
pub(crate) const EXTERNAL: usize = MAX_PROCESSORS;
const _: () = assert!(EXTERNAL < Header::SHARDS);

/// The goroutines that started at one processor.
#[derive(Default)]
pub(crate) struct Shard {
    /// The goroutines that have parked at least once.
    pub(crate) registry: Registry<OwnWaker>,
    /// The numbers of goroutines that started and ended here. Only the holder writes a processor's.
    pub(crate) started: AtomicUsize,
    pub(crate) finished: AtomicUsize,
}

impl Shard {
    /// Only the processor's holder may call this and [`count_finished`](Self::count_finished).
    #[inline(always)]
    pub(crate) fn count_started(&self) {
        self.started.store(self.started.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }

    #[inline(always)]
    pub(crate) fn count_finished(&self) {
        self.finished
            .store(self.finished.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }
}

/// All processors of an executor.
///
/// Each word is written under the scheduler's lock.
///
/// * `slots[id]`: the processor of that id, or null if it was never needed. Written once.
/// * `created`: the number of processors that exist: those with a lower id.
/// * `bound`: processors with a lower id can have goroutines or timers, or a holder. The others are
///   retired.
pub(crate) struct Processors {
    slots: [StaticRef<Processor>; MAX_PROCESSORS],
    created: AtomicUsize,
    bound: AtomicUsize,
    /// The goroutines that start, or end, on threads without a processor.
    pub(crate) external: Shard,
}

impl Processors {
    pub(crate) fn new() -> Self {
        Self {
            slots: [const { StaticRef::new() }; MAX_PROCESSORS],
            created: AtomicUsize::new(0),
            bound: AtomicUsize::new(0),
            external: Shard::default(),
        }
    }

    pub(crate) fn get(&self, id: usize) -> Option<&'static Processor> {
        self.slots[id].get()
    }

    /// The processors with a lower id can have goroutines or timers.
    pub(crate) fn bound(&self) -> usize {
        self.bound.load(Ordering::Acquire)
    }

    /// The processors that can have goroutines or timers.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = &'static Processor> {
        (0..self.bound()).filter_map(|id| self.get(id))
    }

    /// All processors that were ever created: retired ones have a registry and counts.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static Processor> {
        (0..self.created.load(Ordering::Acquire)).filter_map(|id| self.get(id))
    }

    /// The shard of that number.
    pub(crate) fn shard(&'static self, number: usize) -> &'static Shard {
        if number == EXTERNAL {
            &self.external
        } else {
            &self.get(number).expect("a goroutine started there").shard
        }
    }

    pub(crate) fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.all().map(|processor| &processor.shard).chain([&self.external])
    }

    /// Returns the number of live goroutines.
    pub(crate) fn live(&self) -> usize {
        // SeqCst: if a shutdown does not count a goroutine, the goroutine's start sees the
        // shutdown.
        let sum = |count: fn(&Shard) -> &AtomicUsize| {
            self.shards()
                .map(|shard| count(shard).load(Ordering::SeqCst))
                .fold(0, usize::wrapping_add)
        };
        // `finished` first: a goroutine that starts and ends in between must not count as minus
        // one.
        let finished = sum(|shard| &shard.finished);
        sum(|shard| &shard.started).wrapping_sub(finished)
    }

    /// Creates the processors with a lower id than `count`, which will be in use. Must be called
    /// under the scheduler's lock.
    pub(crate) fn open(&self, count: usize) {
        for id in self.created.load(Ordering::Relaxed)..count {
            self.slots[id].set(Box::leak(Box::new(Processor::new(id))));
            self.created.store(id + 1, Ordering::Release);
        }
        self.bound.fetch_max(count, Ordering::AcqRel);
    }

    /// Lowers the bound after a processor was retired. Must be called under the scheduler's lock.
    pub(crate) fn close(&self) {
        let is_retired =
            |id| self.get(id).is_none_or(|processor| processor.place.get() == Place::Retired);
        let bound = (0..self.bound()).rfind(|id| !is_retired(*id)).map_or(0, |last| last + 1);
        self.bound.store(bound, Ordering::Release);
    }

    /// Resets them to the state in a new executor. The executor has no worker.
    pub(crate) fn reset(&self) {
        self.bound.store(0, Ordering::Relaxed);
        self.all().for_each(Processor::reset);
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
