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

use std::cell::Cell;
use std::sync::atomic::AtomicU32 as Knob;
use std::sync::{Once, PoisonError};
use std::time::Duration;
use std::{hint, iter, ptr, thread};

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
/// created.
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
        let sleeper =
            Sleeper { lock: self, next: Cell::new(ptr::null()), state: Cell::new(State::Notified) };
        let wakeup = shard.wakeup(&sleeper);
        let mut place = State::Waiting;
        loop {
            {
                let bucket = shard.bucket();
                // SAFETY: S1. At both ends of this iteration the sleeper is removed: by `remove`,
                // or by the loop that waits for its removal.
                unsafe { bucket.insert(&sleeper, place) };
                self.asleep.store(true, Ordering::Relaxed);
            }
            let fenced = fence();
            if self.try_lock() {
                return self.remove(&shard.bucket(), &sleeper, State::Notified);
            }
            let mut bucket = shard.bucket();
            while sleeper.is_inserted() {
                if fenced {
                    bucket = wakeup.wait(bucket).unwrap_or_else(PoisonError::into_inner);
                } else {
                    bucket = wakeup
                        .wait_timeout(bucket, RETRY)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                    self.remove(&bucket, &sleeper, State::Notified);
                }
            }
            drop(bucket);
            if sleeper.state.get() == State::Granted || self.try_lock() {
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
        let bucket = shard.bucket();
        let Some(sleeper) = bucket.first_of(self) else { return };
        let starving = sleeper.state.get() == State::Starving;
        // If another thread has acquired the lock first, its unlock sees `asleep` in turn.
        if starving && !self.try_lock() {
            return;
        }
        self.remove(&bucket, sleeper, if starving { State::Granted } else { State::Notified });
        let wakeup = shard.wakeup(sleeper);
        // Before the wake-up, because the sleeper would otherwise have to wait for the mutex.
        drop(bucket);
        wakeup.notify_all();
        if !MODELLED {
            thread::yield_now();
        }
    }

    /// Removes a sleeper, unless another thread has removed it.
    fn remove(&self, bucket: &Bucket, sleeper: &Sleeper, state: State) {
        if sleeper.is_inserted() {
            bucket.remove(sleeper, state);
            self.asleep.store(bucket.first_of(self).is_some(), Ordering::Relaxed);
        }
    }

    fn shard(&self) -> &'static Shard {
        &TABLE[spread(ptr::from_ref(self).addr()) % SHARDS]
    }
}

/// The state of a [`Sleeper`], written under the bucket's mutex.
///
/// | state | meaning | left by |
/// |---|---|---|
/// | `Waiting` | inserted at the end | an unlock or its own thread, which remove it |
/// | `Starving` | inserted at the front, because it has lost once | as `Waiting` |
/// | `Notified` | not inserted; must try to acquire the lock | its own thread, which reinserts it |
/// | `Granted` | not inserted; its thread holds the lock | |
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Starving,
    Notified,
    Granted,
}

/// An entry for a sleeping thread, on that thread's stack. It is not allocated, because the thread
/// may hold other locks.
struct Sleeper<'a> {
    lock: &'a SleepLock,
    next: Cell<*const Sleeper<'static>>,
    state: Cell<State>,
}

impl Sleeper<'_> {
    fn is_inserted(&self) -> bool {
        matches!(self.state.get(), State::Waiting | State::Starving)
    }
}

/// A list of sleepers, of all the locks that share the bucket, under the bucket's mutex.
///
/// S1: an inserted sleeper is alive, and does not move until it is removed. S2: the cells of a
/// sleeper are accessed under its bucket's mutex, or by its own thread while it is not inserted.
struct Bucket {
    first: Cell<*const Sleeper<'static>>,
}

// SAFETY: S2.
unsafe impl Send for Bucket {}

impl Bucket {
    const fn new() -> Self {
        Self { first: Cell::new(ptr::null()) }
    }

    fn iter(&self) -> impl Iterator<Item = &Sleeper<'static>> {
        let mut next = self.first.get();
        iter::from_fn(move || {
            // SAFETY: S1.
            let sleeper = unsafe { next.as_ref() }?;
            next = sleeper.next.get();
            Some(sleeper)
        })
    }

    fn first_of(&self, lock: &SleepLock) -> Option<&Sleeper<'static>> {
        self.iter().find(|sleeper| ptr::eq(sleeper.lock, lock))
    }

    /// Inserts a sleeper: a starving one at the front, any other one at the end.
    ///
    /// # Safety
    ///
    /// S1: the sleeper is not inserted, and is neither moved nor dropped until it is removed.
    unsafe fn insert(&self, sleeper: &Sleeper<'_>, state: State) {
        sleeper.state.set(state);
        let last = if state == State::Starving { None } else { self.iter().last() };
        let link = last.map_or(&self.first, |last| &last.next);
        sleeper.next.set(link.replace(ptr::from_ref(sleeper).cast()));
    }

    /// Removes an inserted sleeper.
    fn remove(&self, sleeper: &Sleeper<'_>, state: State) {
        let this = ptr::from_ref(sleeper).cast();
        let before = self.iter().find(|before| ptr::eq(before.next.get(), this));
        before.map_or(&self.first, |before| &before.next).set(sleeper.next.get());
        sleeper.state.set(state);
    }
}

/// A bucket, and the condition variables of its sleepers. Locks use it only while threads sleep or
/// wake.
#[repr(align(128))]
struct Shard {
    bucket: Mutex<Bucket>,
    /// A sleeper waits for one of these. They are not in the sleeper, because the sleeper may be
    /// freed before it is notified.
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

    fn wakeup(&self, sleeper: &Sleeper<'_>) -> &Condvar {
        &self.wakeups[spread(ptr::from_ref(sleeper).addr()) % WAKEUPS]
    }
}

/// Spreads addresses evenly.
fn spread(address: usize) -> usize {
    address.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as usize) >> (usize::BITS / 2)
}

#[cfg(test)]
mod tests;
