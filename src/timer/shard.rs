//! A wheel with a lock, and the nodes that stand in it.
//!
//! There is one shard a processor and one for everybody else. A [`Node`] lives, pinned, inside what
//! waits for it; it carries the waker to call when its time comes: a task's, or one that does
//! something of its own, on whichever thread is at hand, outside of every lock. That must be short.
//! Its panic has been printed by the hook, and is nobody's here.
//!
//! Invariants, named by the `SAFETY` comments of `time`:
//!
//! - **T1** Links, waker and home of a queued node are touched only under the lock of its home. A
//!   node changes its home under the locks of both.
//! - **T2** Whoever takes a node out because it is due takes its waker and stores `FIRED` last:
//!   after that store the owner may free the node, or queue it again.
//! - **T3** A node is taken out before its memory goes, by [`Node::cancel`] in its owner's drop. An
//!   owner that is leaked keeps its memory for ever.

use std::marker::PhantomPinned;
use std::ptr::{self, NonNull};
use std::task::Context;

use super::wheel::{Entry, Wheel};
use crate::clock::Time;
use crate::lock::Lock;
use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering};
use crate::platform;
use crate::waker::{TaskWaker, WakeList};

/// Nodes that are moved under one hold of the lock.
const BATCH: usize = 32;

/// The states of a [`Node`].
///
/// | state | meaning | left by |
/// |---|---|---|
/// | `IDLE` | in no wheel, has no waker | owner: `QUEUED`, under the lock; `OVER` |
/// | `QUEUED` | in the wheel of its home | who fires it, under the lock: `FIRED` (Release); a cancel, under the lock: `IDLE` |
/// | `FIRED` | its time came, its waker was taken | owner: `QUEUED`, under the lock; `OVER` |
/// | `OVER` | in no wheel, and will be in none | nobody |
pub(crate) mod state {
    pub(crate) const IDLE: u8 = 0;
    pub(crate) const QUEUED: u8 = 1;
    pub(crate) const FIRED: u8 = 2;
    pub(crate) const OVER: u8 = 3;
}

/// Something that waits for its time.
#[repr(C)] // the entry comes first: a wheel gives back pointers to it
pub(crate) struct Node {
    entry: Entry,
    waker: UnsafeCell<Option<TaskWaker>>,
    home: AtomicPtr<Shard>,
    state: AtomicU8,
    _pin: PhantomPinned,
}

// SAFETY: entry and waker are touched by the owner before the node is queued, and then under a lock
// (T1).
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

impl Node {
    pub(crate) fn new(due: Time) -> Self {
        Self {
            entry: Entry::new(due),
            waker: UnsafeCell::new(None),
            home: AtomicPtr::new(ptr::null_mut()),
            state: AtomicU8::new(state::IDLE),
            _pin: PhantomPinned,
        }
    }

    /// As a wheel knows it. The pointer is good for the whole node.
    fn entry(&self) -> NonNull<Entry> {
        NonNull::from(self).cast()
    }

    /// When it is due.
    ///
    /// Set by `new` and `Shard::insert`; the owner, who calls the latter, may ask at any time.
    pub(crate) fn due(&self) -> Time {
        self.entry.due.get()
    }

    /// Its [`state`], for the owner. A poll reads it once: it may fire at any moment.
    #[inline]
    pub(crate) fn state(&self) -> u8 {
        // Acquire: pairs with the Release store in `Shard::take_due`; a node that has fired is the
        // owner's again.
        self.state.load(Ordering::Acquire)
    }

    /// The owner of a node that is not queued is through with it.
    pub(crate) fn finish(&self) {
        self.state.store(state::OVER, Ordering::Relaxed);
    }

    /// Runs `f` under the lock of the node's home, if it is queued.
    fn with_home<R>(&self, f: impl FnOnce(&Shard, &mut Timers) -> R) -> Option<R> {
        while self.state() == state::QUEUED {
            let home = self.home.load(Ordering::Acquire);
            // SAFETY: a node that was queued has a home, and shards are never freed.
            let home = unsafe { &*home };
            let mut timers = home.timers.lock();
            if self.state.load(Ordering::Relaxed) != state::QUEUED {
                return None;
            }
            if ptr::eq(self.home.load(Ordering::Relaxed), home) {
                return Some(f(home, &mut timers));
            }
            // It has moved meanwhile.
        }
        None
    }

    /// Takes the node out. Returns its waker, to be dropped outside of every lock; `None` if it is
    /// not queued, because it never was, was cancelled, or its time has come: then its waker is
    /// being called, or has been.
    #[inline]
    pub(crate) fn cancel(&self) -> Option<TaskWaker> {
        if self.state() == state::QUEUED { self.take_out() } else { None }
    }

    fn take_out(&self) -> Option<TaskWaker> {
        let waker = self.with_home(|home, timers| {
            // SAFETY: the lock is held, and the node is in this wheel (T1).
            unsafe { timers.wheel.remove(self.entry()) };
            if timers.wheel.is_empty() {
                home.next_due.store(Time::NEVER.as_nanos(), Ordering::Relaxed);
            }
            // SAFETY: as above.
            let waker = self.waker.with_mut(|waker| unsafe { (*waker).take() });
            self.state.store(state::IDLE, Ordering::Release);
            waker
        });
        waker.flatten()
    }

    /// If the node is queued, its timer wakes `waker` from now on. Returns what is to be dropped.
    pub(crate) fn set_waker(&self, cx: &Context<'_>) -> Option<TaskWaker> {
        let known =
            |own: &Option<TaskWaker>| own.as_ref().is_some_and(|own| own.will_wake(cx.waker()));
        // SAFETY: `with_home` holds the lock (T1).
        if self.with_home(|_, _| self.waker.with_mut(|own| known(unsafe { &*own }))) != Some(false)
        {
            return None;
        }
        // A clone may run foreign code: outside the lock.
        let mut fresh = Some(TaskWaker::new(cx.waker()));
        // SAFETY: as above.
        let old = self.with_home(|_, _| {
            self.waker.with_mut(|own| std::mem::replace(unsafe { &mut *own }, fresh.take()))
        });
        old.flatten().or(fresh)
    }
}

/// A wheel and its lock.
///
/// `next_due` is written under the lock: no node is due before it. Whoever looks at it without the
/// lock may see an older value; who answers for the shard says how that is made good.
pub(crate) struct Shard {
    next_due: AtomicU64,
    timers: Lock<Timers>,
}

struct Timers {
    wheel: Wheel,
    /// Nothing comes in any more.
    closed: bool,
}

// SAFETY: the nodes are touched under the lock alone (T1), from whichever thread holds it.
unsafe impl Send for Timers {}

impl Shard {
    pub(crate) fn new() -> Self {
        Self {
            next_due: AtomicU64::new(Time::NEVER.as_nanos()),
            timers: Lock::new(Timers { wheel: Wheel::new(), closed: false }),
        }
    }

    /// Nothing is due before this, as far as this thread knows.
    #[inline(always)]
    pub(crate) fn next_due(&self) -> Time {
        Time::from_nanos(self.next_due.load(Ordering::Relaxed))
    }

    /// How many nodes wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.timers.lock().wheel.len()
    }

    /// Queues a node, to call `waker` when it is due. Gives the waker back if the shard is closed.
    ///
    /// # Safety
    ///
    /// The node is pinned, obeys T3, and is not queued; nobody else queues it.
    #[inline]
    pub(crate) unsafe fn insert(
        &self,
        node: &Node,
        due: Time,
        waker: TaskWaker,
    ) -> Result<(), TaskWaker> {
        let mut timers = self.timers.lock();
        if timers.closed {
            return Err(waker);
        }
        // SAFETY: a node that is not queued is the owner's alone; the lock is held.
        unsafe {
            node.entry.due.set(due);
            node.waker.with_mut(|slot| *slot = Some(waker));
            node.home.store(ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
            timers.wheel.insert(node.entry());
        }
        // Release: `cancel` of another thread goes by this word to the home.
        node.state.store(state::QUEUED, Ordering::Release);
        if due < self.next_due() {
            self.next_due.store(due.as_nanos(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Wakes for what is due, in the order of time, but no more than `most`. Returns how many it
    /// was.
    #[cold]
    #[inline(never)]
    pub(crate) fn fire(&self, now: Time, most: usize) -> usize {
        let mut fired = 0;
        loop {
            let mut wakes = WakeList::new();
            let room = WakeList::ROOM.min(most - fired);
            let count = self.take_due(now, room, &mut wakes);
            wakes.wake_all();
            fired += count;
            if count < WakeList::ROOM || fired == most {
                return fired;
            }
        }
    }

    /// Takes up to `most` nodes out that are due, and their wakers. Returns how many nodes it was.
    fn take_due(&self, now: Time, most: usize, wakes: &mut WakeList) -> usize {
        let mut timers = self.timers.lock();
        // SAFETY: the lock is held. A node that comes out of the wheel is this thread's until
        // `FIRED` is stored (T2).
        unsafe {
            timers.wheel.advance(now);
            let mut count = 0;
            while count < most {
                let Some(entry) = timers.wheel.pop() else { break };
                let node = entry.cast::<Node>().as_ptr();
                let waker = (*node).waker.with_mut(|waker| (*waker).take());
                if let Some(waker) = &waker {
                    // It will be woken at the end of the round.
                    platform::prefetch_write(waker.data().cast());
                }
                wakes.push(waker);
                (*node).state.store(state::FIRED, Ordering::Release);
                count += 1;
            }
            self.next_due.store(timers.wheel.next_due().as_nanos(), Ordering::Relaxed);
            count
        }
    }

    /// A clock that begins anew is the one that counts from here on. Nothing waits.
    #[cfg(feature = "sim")]
    pub(crate) fn rewind(&self) {
        self.timers.lock().wheel.rewind();
    }

    /// Lets nodes in again.
    pub(crate) fn open(&self) {
        self.timers.lock().closed = false;
    }

    /// Lets nothing in any more. False if something is there.
    pub(crate) fn close_if_empty(&self) -> bool {
        let mut timers = self.timers.lock();
        timers.closed = true;
        timers.wheel.is_empty()
    }

    /// Lets nothing in any more, and moves what is there to another shard.
    pub(crate) fn close_into(&self, other: &Shard) {
        loop {
            let mut from = self.timers.lock();
            from.closed = true;
            // The other one is the same for all, so locks are always taken in this order.
            let mut to = other.timers.lock();
            for _ in 0..BATCH {
                // SAFETY: the lock is held.
                let Some(entry) = (unsafe { from.wheel.pop_any() }) else {
                    self.next_due.store(Time::NEVER.as_nanos(), Ordering::Relaxed);
                    return;
                };
                // SAFETY: both locks are held (T1).
                let due = unsafe {
                    let node = entry.cast::<Node>().as_ref();
                    node.home.store(ptr::from_ref(other).cast_mut(), Ordering::Release);
                    to.wheel.insert(entry);
                    node.due()
                };
                if due < other.next_due() {
                    other.next_due.store(due.as_nanos(), Ordering::Relaxed);
                }
            }
        }
    }
}

/// Nothing is due in any of them before this.
pub(crate) fn earliest(shards: impl Iterator<Item = &'static Shard>) -> Time {
    shards.map(Shard::next_due).min().unwrap_or(Time::NEVER)
}

/// Wakes for what is due `now` in those shards that have something that was due at `since`, but no
/// more than `most` in each. True if there was something.
pub(crate) fn fire_due<'a>(
    shards: impl IntoIterator<Item = &'a Shard>,
    since: Time,
    now: Time,
    most: usize,
) -> bool {
    let mut fired = 0;
    for shard in shards {
        if shard.next_due() <= since {
            fired += shard.fire(now, most);
        }
    }
    fired > 0
}

/// The time until which the thread that fires a shard's timers sleeps, so that an earlier insertion
/// knows to wake it.
///
/// | value | meaning | written by |
/// |---|---|---|
/// | 0 | awake: it will check the shard before it sleeps | the thread that fires |
/// | t | it sleeps until t, or is about to | the same, before a last check |
///
/// Proof. Of an insertion (writes `next_due`, fence, reads this) and a going to sleep (writes this,
/// fence, reads `next_due`) one fence comes first. If it is the insertion's, the sleeper sees the
/// new `next_due` and does not sleep. If it is the sleeper's, the insertion sees until when it
/// sleeps, and wakes it.
pub(crate) struct SleepState {
    until: AtomicU64,
}

impl SleepState {
    /// Of a sleeper that has to be woken for whatever is inserted, until it falls asleep by itself.
    pub(crate) fn new() -> Self {
        Self { until: AtomicU64::new(u64::MAX) }
    }

    /// Announces a sleep until the shard's next node is due. Returns `None` if an earlier one has
    /// been inserted meanwhile.
    pub(crate) fn fall_asleep(&self, shard: &Shard) -> Option<Time> {
        let until = shard.next_due();
        self.until.store(until.as_nanos(), Ordering::Relaxed);
        platform::full_fence();
        if shard.next_due() < until {
            self.awake();
            return None;
        }
        Some(until)
    }

    pub(crate) fn awake(&self) {
        self.until.store(0, Ordering::Relaxed);
    }

    /// True if it fires nothing: it sleeps, or is about to, or has just been woken.
    pub(crate) fn is_asleep(&self) -> bool {
        self.until.load(Ordering::Relaxed) != 0
    }

    /// Called after an insertion: true if the sleeper must be woken for it.
    pub(crate) fn wants_wake(&self, due: Time) -> bool {
        platform::full_fence();
        due.as_nanos() < self.until.load(Ordering::Relaxed)
    }
}
