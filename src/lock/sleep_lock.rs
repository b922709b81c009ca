//! The protocol of [`RawLock`](super::RawLock): a lock that is released by a store, a load and a
//! branch, and whose waiters sleep.
//!
//! # No wake-up is lost
//!
//! A thread that goes to sleep:
//!
//! * W1 enters the bucket and sets `asleep`, under the bucket's mutex.
//! * W2 issues [`process_fence`](platform::process_fence).
//! * W3 tries to acquire the lock.
//! * W4 sleeps until it is removed from the bucket.
//!
//! A thread that unlocks:
//!
//! * U1 stores `FREE` to `state`.
//! * U2 loads `asleep`.
//!
//! The fence falls between two instructions of each running thread. If U2 comes before it, so does
//! U1, and W3 finds the lock free or acquired by a later holder. If U2 comes after it, U2 sees
//! `asleep`. That holds for the unlock of each later holder too. So the holder that W3 finds will
//! see `asleep` when it unlocks, and remove a sleeper from the bucket, which W4 sees under the
//! bucket's mutex. Each sleeper issues a fence of its own, because a flag that was set already says
//! nothing about the fence of the thread that set it.
//!
//! `asleep` is cleared under the bucket's mutex, when the last sleeper of the lock is removed. It
//! may be set unnecessarily; then an unlock takes its slow path in vain.
//!
//! If the kernel does not offer the fence, or no longer does, W4 lasts at most [`RETRY`], and then
//! the thread begins at W1 again. So no unlock pays for a full fence on any platform.
//!
//! # Fairness
//!
//! A removed sleeper competes with the threads that run, so that the lock is not idle while the
//! sleeper is scheduled. If it loses, it is starving: it enters its bucket at the front, and the
//! next unlock acquires the lock on its behalf. If each unlock handed the lock over, all threads
//! would run at the pace of wake-ups, hundreds of times slower.
//!
//! A thread that wakes a sleeper then yields its core, because the sleeper often waited while the
//! holder had lost that core, and would have to wait for the rest of the time slice.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU32 as Knob;
use std::sync::{Once, PoisonError};
use std::time::Duration;
use std::{hint, ptr, thread};

use crate::loom::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::loom::sync::{Condvar, Mutex, MutexGuard};
use crate::loom::{MODELLED, const_fn};
use crate::platform;

/// The value of a free lock. A held lock has any other value.
const FREE: u32 = 1;

/// How long a thread sleeps at most without the fence.
const RETRY: Duration = Duration::from_millis(1);

/// The number of spin-loop hints before a contended lock is tried again, at first and at most:
/// about a microsecond.
///
/// A critical section takes ten nanoseconds, and a transfer of its cache line to another core a
/// hundred. A thread that finds the lock held does not access the line for a while, so that the
/// other core completes many operations at the cost of a few.
const PAUSE: (u32, u32) = (32, 256);
/// The total number of hints before a thread sleeps: on a single CPU, where the holder cannot run
/// while this thread spins, and on several.
const SPIN_ALONE: u32 = 32;
const SPIN: u32 = 2000;
static SPIN_LIMIT: Knob = Knob::new(SPIN);

/// The number of times that a lock of the process was found held.
static CONTENTIONS: Knob = Knob::new(0);

pub(crate) fn contentions() -> u32 {
    CONTENTIONS.load(Ordering::Relaxed)
}

/// Prepares the process for locks that sleep, once. Runtimes and channels call this when they are
/// created. A thread that waits allocates nothing, unless more than [`ROOM`] wait in one bucket.
///
/// Registering for the fence takes microseconds as long as the process has one thread, and
/// milliseconds afterwards. Reading the number of CPUs takes 0.1 ms, because it reads files. A
/// thread that waits must do neither.
#[inline]
pub(crate) fn prepare() {
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| {
        platform::register_fences();
        if thread::available_parallelism().is_ok_and(|cpus| cpus.get() == 1) {
            SPIN_LIMIT.store(SPIN_ALONE, Ordering::Relaxed);
        }
        #[cfg(not(gopark_loom))]
        TABLE.iter().for_each(|shard| shard.bucket().sleepers.reserve(ROOM));
    });
}

/// The lock. Its words are written only in this file.
///
/// | `state` | meaning | left by |
/// |---|---|---|
/// | `FREE` | free | `lock`: decrement, Acquire; `try_lock`: exchange, Acquire |
/// | 0 | held | `unlock`: store of `FREE`, Release; a `lock` that fails: decrement |
/// | -n | held, and `lock` has failed n times | as 0 |
///
/// | `asleep` | meaning | left by |
/// |---|---|---|
/// | false | no thread sleeps; a removed one may be retrying | a thread that enters the bucket |
/// | true | the bucket may have sleepers of this lock | the removal of the last one |
///
/// A thread calls `try_lock` for itself or for a starving sleeper. `lock` decrements, because on
/// x86 that sets a flag (`lock dec; jne`), while the result of a swap must be tested. The word does
/// not wrap, because each thread decrements it at most once while the lock is held.
#[derive(Debug)]
pub(super) struct SleepLock {
    state: AtomicU32,
    asleep: AtomicBool,
}

impl SleepLock {
    const_fn! {
        pub(super) const fn new() -> Self {
            Self { state: AtomicU32::new(FREE), asleep: AtomicBool::new(false) }
        }
    }

    #[inline(always)]
    pub(super) fn lock(&self) {
        // Loom does not know that the holder's store of `FREE` comes after a decrement that saw the
        // lock held.
        let acquired = if MODELLED {
            self.try_lock()
        } else {
            self.state.fetch_sub(1, Ordering::Acquire) == FREE
        };
        if !acquired {
            self.lock_slow();
        }
    }

    #[inline(always)]
    pub(super) fn unlock(&self) {
        self.state.store(FREE, Ordering::Release);
        platform::process_fence_point();
        if self.asleep.load(Ordering::Relaxed) {
            self.wake_one();
        }
    }

    pub(super) fn try_lock(&self) -> bool {
        self.state.compare_exchange(FREE, FREE - 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cold]
    #[inline(never)]
    fn lock_slow(&self) {
        CONTENTIONS.fetch_add(1, Ordering::Relaxed);
        if !self.spin() {
            self.sleep(platform::process_fence);
        }
    }

    /// Tries for about as long as the holder needs if it runs. Returns true if it acquired the
    /// lock.
    fn spin(&self) -> bool {
        // Loom would explore this without end.
        let limit = if MODELLED { 0 } else { SPIN_LIMIT.load(Ordering::Relaxed) };
        let (mut pause, mut paused) = (PAUSE.0, 0);
        while paused < limit {
            (0..pause).for_each(|_| hint::spin_loop());
            if self.state.load(Ordering::Relaxed) == FREE && self.try_lock() {
                return true;
            }
            paused += pause;
            pause = (2 * pause).min(PAUSE.1);
        }
        false
    }

    /// Acquires the lock, and sleeps while it is held. `fence` returns whether the fence was
    /// issued.
    pub(super) fn sleep(&self, fence: impl Fn() -> bool) {
        let shard = self.shard();
        let mut place = State::Waiting;
        loop {
            let number = {
                let mut bucket = shard.bucket();
                self.asleep.store(true, Ordering::Relaxed);
                bucket.insert(self, place)
            };
            let fenced = fence();
            if self.try_lock() {
                self.take_out(&mut shard.bucket(), number);
                return;
            }
            let wakeup = shard.wakeup(number);
            let mut bucket = shard.bucket();
            while bucket.is_inserted(number) {
                if fenced {
                    bucket = wakeup.wait(bucket).unwrap_or_else(PoisonError::into_inner);
                } else {
                    let waited = wakeup.wait_timeout(bucket, RETRY);
                    bucket = waited.unwrap_or_else(PoisonError::into_inner).0;
                    break;
                }
            }
            let state = self.take_out(&mut bucket, number);
            drop(bucket);
            if state == Some(State::Granted) || self.try_lock() {
                return;
            }
            place = State::Starving;
        }
    }

    /// Wakes the first sleeper, after the lock was released while `asleep` was set.
    #[cold]
    #[inline(never)]
    pub(super) fn wake_one(&self) {
        let shard = self.shard();
        let mut bucket = shard.bucket();
        let Some(sleeper) = bucket.first_of(self) else { return };
        let starving = sleeper.state == State::Starving;
        // If another thread has acquired the lock first, its unlock sees `asleep` in turn.
        if starving && !self.try_lock() {
            return;
        }
        sleeper.state = if starving { State::Granted } else { State::Notified };
        let number = sleeper.number;
        self.update(&mut bucket);
        // Before the wake-up, because the sleeper would otherwise have to wait for the mutex.
        drop(bucket);
        shard.wakeup(number).notify_all();
        if !MODELLED {
            thread::yield_now();
        }
    }

    /// Takes the entry of a sleeper out of the bucket, and returns its last state.
    fn take_out(&self, bucket: &mut Bucket, number: u64) -> Option<State> {
        let state = bucket.take(number);
        self.update(bucket);
        state
    }

    /// Clears `asleep` if there is no inserted sleeper.
    fn update(&self, bucket: &mut Bucket) {
        self.asleep.store(bucket.first_of(self).is_some(), Ordering::Relaxed);
    }

    fn shard(&self) -> &'static Shard {
        &TABLE[spread(ptr::from_ref(self).addr()) % SHARDS]
    }
}

/// The number of sleepers for which a bucket has room from the beginning.
#[cfg_attr(gopark_loom, allow(dead_code))]
const ROOM: usize = 4;

/// The state of a [`Sleeper`].
///
/// | state | meaning | left by |
/// |---|---|---|
/// | `Waiting` | inserted at the end | an unlock, which removes it; its own thread |
/// | `Starving` | inserted at the front, because it has lost once | as `Waiting` |
/// | `Notified` | removed; must try to acquire the lock | its own thread, which inserts it again |
/// | `Granted` | removed; its thread holds the lock | |
///
/// The thread takes the entry of a removed sleeper out of the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Starving,
    Notified,
    Granted,
}

/// An entry for a sleeping thread.
#[derive(Debug)]
struct Sleeper {
    /// The address of the lock, which the thread borrows as long as it has an entry.
    lock: usize,
    number: u64,
    state: State,
}

impl Sleeper {
    fn is_inserted(&self) -> bool {
        matches!(self.state, State::Waiting | State::Starving)
    }
}

/// The sleepers of all the locks that share the bucket, under the bucket's mutex.
#[derive(Debug)]
struct Bucket {
    sleepers: VecDeque<Sleeper>,
    /// The number of the last entry.
    last: u64,
}

impl Bucket {
    const fn new() -> Self {
        Self { sleepers: VecDeque::new(), last: 0 }
    }

    /// Returns the first inserted sleeper of a lock.
    fn first_of(&mut self, lock: &SleepLock) -> Option<&mut Sleeper> {
        let lock = ptr::from_ref(lock).addr();
        self.sleepers.iter_mut().find(|sleeper| sleeper.lock == lock && sleeper.is_inserted())
    }

    fn is_inserted(&self, number: u64) -> bool {
        self.sleepers.iter().any(|sleeper| sleeper.number == number && sleeper.is_inserted())
    }

    /// Inserts a sleeper: a starving one at the front, any other one at the end. Returns its
    /// number.
    fn insert(&mut self, lock: &SleepLock, state: State) -> u64 {
        self.last += 1;
        let sleeper = Sleeper { lock: ptr::from_ref(lock).addr(), number: self.last, state };
        if state == State::Starving {
            self.sleepers.push_front(sleeper);
        } else {
            self.sleepers.push_back(sleeper);
        }
        self.last
    }

    /// Takes an entry out, and returns its last state.
    fn take(&mut self, number: u64) -> Option<State> {
        let at = self.sleepers.iter().position(|sleeper| sleeper.number == number)?;
        self.sleepers.remove(at).map(|sleeper| sleeper.state)
    }
}

/// A bucket, and the condition variables of its sleepers. Locks use it only while threads sleep or
/// wake.
#[repr(align(128))]
struct Shard {
    bucket: Mutex<Bucket>,
    /// A sleeper waits for one of these, by its number.
    wakeups: [Condvar; WAKEUPS],
}

// The models have one of each, because a model must not depend on addresses.
const SHARDS: usize = if MODELLED { 1 } else { 64 };
const WAKEUPS: usize = if MODELLED { 1 } else { 8 };

#[cfg(not(gopark_loom))]
static TABLE: [Shard; SHARDS] = [const { Shard::new() }; SHARDS];
#[cfg(gopark_loom)]
loom::lazy_static! {
    static ref TABLE: [Shard; SHARDS] = [Shard::new()];
}

impl Shard {
    #[cfg(not(gopark_loom))]
    const fn new() -> Self {
        Self { bucket: Mutex::new(Bucket::new()), wakeups: [const { Condvar::new() }; WAKEUPS] }
    }

    #[cfg(gopark_loom)]
    fn new() -> Self {
        Self { bucket: Mutex::new(Bucket::new()), wakeups: [Condvar::new()] }
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wakeup(&self, number: u64) -> &Condvar {
        &self.wakeups[number as usize % WAKEUPS]
    }
}

/// Spreads addresses evenly.
fn spread(address: usize) -> usize {
    address.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as usize) >> (usize::BITS / 2)
}

#[cfg(test)]
mod tests;
