//! [`Shard`], a timer wheel with a lock, and [`Node`], its entries.
//!
//! Each processor has a shard; the driver has one for all other threads. A [`Node`] is pinned
//! inside the future that waits for it, and holds the waker to call when it is due: a task's, or
//! one with an effect of its own. The waker is called on any thread that fires timers, outside of
//! every lock, so it must be quick. If it panics, the panic hook has printed that, and the panic is
//! ignored here.
//!
//! Invariants, which the `SAFETY` comments name:
//!
//! - **T1** Links, waker and home of a queued node are accessed only under the lock of its home. A
//!   node changes its home under the locks of both.
//! - **T2** The thread that takes a node out because it is due takes its waker, and stores `FIRED`
//!   last: after that store the owner may free the node, or queue it again.
//! - **T3** A queued node is pinned, and its drop removes it. So it is removed before its memory is
//!   freed or used again, which [`Pin`] guarantees. If it is leaked, that never happens.
//! - **T4** Only the owner queues a node, and only one that is not queued: [`Shard::insert`] takes
//!   an [`Unqueued`].

use std::marker::PhantomPinned;
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::task::Context;

use super::wheel::{Due, Entry, Wheel};
use crate::clock::Time;
use crate::lock::Lock;
use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering};
use crate::platform;
use crate::wait::list::{Lent, Member};
use crate::waker::{TaskWaker, WakeList};

/// The maximum number of nodes that are moved under one hold of the locks.
const BATCH: usize = 32;

/// The states of a [`Node`].
///
/// | state | meaning | next state, and who sets it |
/// |---|---|---|
/// | `IDLE` | in no wheel; a waker only if never due | `QUEUED`: owner, locked; `OVER`: owner |
/// | `QUEUED` | in the wheel of its home | `FIRED`: firing thread, locked; `IDLE`: cancel, locked |
/// | `FIRED` | it was due, its waker was taken | `QUEUED`: owner, locked; `OVER`: owner |
/// | `OVER` | in no wheel, now and later | none |
///
/// Locked means: under the lock of the node's home. `FIRED` is stored with Release.
pub(crate) mod state {
    pub(crate) const IDLE: u8 = 0;
    pub(crate) const QUEUED: u8 = 1;
    pub(crate) const FIRED: u8 = 2;
    pub(crate) const OVER: u8 = 3;
}

/// A timer: an entry of a wheel, and the waker to call when it is due.
#[repr(C)] // the entry comes first: a wheel gives back pointers to it
pub(crate) struct Node {
    entry: Entry,
    waker: UnsafeCell<Option<TaskWaker>>,
    home: AtomicPtr<Shard>,
    state: AtomicU8,
    _pin: PhantomPinned,
}

// SAFETY: the owner accesses entry and waker before the node is queued; after that they are
// accessed under a lock (T1).
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

impl Node {
    pub(crate) fn new(due: Time) -> Self {
        Self {
            entry: Entry::new(Due::new(due)),
            waker: UnsafeCell::new(None),
            home: AtomicPtr::new(ptr::null_mut()),
            state: AtomicU8::new(state::IDLE),
            _pin: PhantomPinned,
        }
    }

    /// Returns the node as an entry of a wheel. The pointer is valid for the whole node.
    fn entry(&self) -> NonNull<Entry> {
        NonNull::from(self).cast()
    }

    /// Returns the time at which the node is due.
    ///
    /// `new` and `Shard::insert` set it. The owner, which calls the latter, may read it at any
    /// time.
    pub(crate) fn due(&self) -> Time {
        self.entry.value.get()
    }

    /// Returns the node's [`state`], for the owner. A poll must read it once, because the node may
    /// fire at any moment.
    #[inline]
    pub(crate) fn state(&self) -> u8 {
        // Acquire: pairs with the Release store in `Shard::take_due`. A node that has fired belongs
        // to the owner again.
        self.state.load(Ordering::Acquire)
    }

    /// As [`state`](Self::state), for an owner that may queue the node.
    #[inline]
    pub(crate) fn look(self: Pin<&mut Self>) -> Look<'_> {
        match self.state() {
            state::IDLE => Look::Idle(Unqueued(self)),
            state::QUEUED => Look::Queued(self),
            state::FIRED => Look::Fired,
            _ => Look::Over,
        }
    }

    /// Marks a node that is not queued as no longer used.
    pub(crate) fn finish(&self) {
        // Its drop would not remove it. Nothing queues it meanwhile (T4).
        assert!(self.state() != state::QUEUED, "a node that is finished is not queued");
        self.state.store(state::OVER, Ordering::Relaxed);
    }

    /// Runs `f` under the lock of the node's home, if the node is queued.
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
            // The node has moved to another shard meanwhile.
        }
        None
    }

    /// Removes the node. Returns its waker, which must be dropped outside of every lock. Returns
    /// `None` if the node is not queued: it never was, was cancelled, or has fired; in the last
    /// case its waker is being called, or has been.
    #[inline]
    pub(crate) fn cancel(&self) -> Option<TaskWaker> {
        if self.state() == state::QUEUED { self.take_out() } else { None }
    }

    fn take_out(&self) -> Option<TaskWaker> {
        let waker = self.with_home(|home, timers| {
            // SAFETY: the lock is held, and the node is in this wheel (T1).
            timers.wheel.remove(unsafe { Member::new(&self.entry) });
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

    /// Marks a node that was taken out of its wheel as fired, and returns its waker.
    ///
    /// # Safety
    ///
    /// The lock of the node's home is held, and the node was in that wheel until now. Afterwards
    /// its owner may free it (T2).
    #[inline]
    unsafe fn fire(this: NonNull<Self>) -> Option<TaskWaker> {
        let node = this.as_ptr();
        // SAFETY: until the store below, the node is alive (T3) and belongs to this thread (T2).
        let waker = unsafe { (*node).waker.with_mut(|waker| (*waker).take()) };
        // SAFETY: as above; this is the last access.
        unsafe { (*node).state.store(state::FIRED, Ordering::Release) };
        waker
    }

    /// As [`cancel`](Self::cancel), for an owner that may queue the node again.
    #[inline]
    pub(crate) fn withdraw(self: Pin<&mut Self>) -> (Unqueued<'_>, Option<TaskWaker>) {
        let waker = self.cancel();
        (Unqueued(self), waker)
    }

    /// Removes the node, and makes it as new, to be due at `due`. Returns its waker as well, also a
    /// [kept](Unqueued::keep_waker) one, which must be called or dropped outside of every lock.
    pub(crate) fn reset(self: Pin<&mut Self>, due: Time) -> (Unqueued<'_>, Option<TaskWaker>) {
        let (node, waker) = self.withdraw();
        let waker = waker.or_else(|| node.keep_waker(None));
        node.0.entry.value.set(due);
        node.0.state.store(state::IDLE, Ordering::Relaxed);
        (node, waker)
    }

    /// Makes a queued node wake `cx`'s waker when it is due. Returns a waker for the caller to
    /// drop.
    pub(crate) fn set_waker(&self, cx: &Context<'_>) -> Option<TaskWaker> {
        let known =
            |own: &Option<TaskWaker>| own.as_ref().is_some_and(|own| own.will_wake(cx.waker()));
        // SAFETY: `with_home` holds the lock (T1).
        if self.with_home(|_, _| self.waker.with_mut(|own| known(unsafe { &*own }))) != Some(false)
        {
            return None;
        }
        // Outside of the lock, because a clone may run foreign code.
        let mut fresh = Some(TaskWaker::new(cx.waker()));
        let old = self.with_home(|_, _| {
            // SAFETY: as above.
            self.waker.with_mut(|own| std::mem::replace(unsafe { &mut *own }, fresh.take()))
        });
        old.flatten().or(fresh)
    }
}

impl Drop for Node {
    #[inline]
    fn drop(&mut self) {
        // Drops the waker here, outside of every lock.
        drop(self.cancel());
    }
}

/// What the owner of a node finds: its [`state`].
pub(crate) enum Look<'a> {
    Idle(Unqueued<'a>),
    /// It may have fired meanwhile.
    Queued(Pin<&'a mut Node>),
    Fired,
    Over,
}

/// A node that is not queued. The exclusive reference ensures that it stays so, and that no other
/// thread accesses the node.
pub(crate) struct Unqueued<'a>(Pin<&'a mut Node>);

impl Unqueued<'_> {
    /// Replaces the node's waker, and returns the old one. No thread calls it: the owner keeps it
    /// here while the node is due never.
    pub(crate) fn keep_waker(&self, waker: Option<TaskWaker>) -> Option<TaskWaker> {
        // SAFETY: no other thread accesses the node, and no reference to the waker exists.
        self.0.waker.with_mut(|own| std::mem::replace(unsafe { &mut *own }, waker))
    }
}

/// A wheel and its lock.
///
/// `next_due` is written under the lock: no node is due before it. A thread that reads it without
/// the lock may see an older value; each caller says why that is harmless.
pub(crate) struct Shard {
    next_due: AtomicU64,
    timers: Lock<Timers>,
}

struct Timers {
    wheel: Wheel,
    /// True if no node may be inserted.
    closed: bool,
}

// SAFETY: the nodes are accessed only under the lock (T1), by whichever thread holds it.
unsafe impl Send for Timers {}

impl Shard {
    pub(crate) fn new() -> Self {
        Self {
            next_due: AtomicU64::new(Time::NEVER.as_nanos()),
            timers: Lock::new(Timers { wheel: Wheel::new(), closed: false }),
        }
    }

    /// Returns a time before which no node is due, as far as this thread knows.
    #[inline(always)]
    pub(crate) fn next_due(&self) -> Time {
        Time::from_nanos(self.next_due.load(Ordering::Relaxed))
    }

    /// Returns the number of queued nodes.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.timers.lock().wheel.len()
    }

    /// Queues a node, to call `waker` at `due`. Returns both if the shard is closed.
    #[inline]
    pub(crate) fn insert<'a>(
        &self,
        node: Unqueued<'a>,
        due: Time,
        waker: TaskWaker,
    ) -> Result<(), (Unqueued<'a>, TaskWaker)> {
        let mut timers = self.timers.lock();
        if timers.closed {
            return Err((node, waker));
        }
        let node = node.0;
        node.entry.value.set(due);
        // SAFETY: no other thread accesses a node that is not queued.
        node.waker.with_mut(|slot| unsafe { *slot = Some(waker) });
        node.home.store(ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
        // SAFETY: the node is in no wheel, and its drop removes it (T3).
        timers.wheel.insert(unsafe { Lent::new(node.entry()) });
        // Release: pairs with the Acquire load in `state`, after which a `cancel` on another thread
        // reads the home.
        node.state.store(state::QUEUED, Ordering::Release);
        if due < self.next_due() {
            self.next_due.store(due.as_nanos(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Fires up to `most` nodes that are due, in the order of their times. Returns their number.
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

    /// Removes up to `most` nodes that are due, and takes their wakers. Returns the number of
    /// nodes.
    fn take_due(&self, now: Time, most: usize, wakes: &mut WakeList) -> usize {
        let mut timers = self.timers.lock();
        timers.wheel.advance(now);
        let mut count = 0;
        while count < most {
            let Some(entry) = timers.wheel.pop() else { break };
            // SAFETY: a node that was removed from the wheel belongs to this thread until it
            // stores `FIRED` (T2).
            let waker = unsafe { Node::fire(entry.as_raw().cast()) };
            if let Some(waker) = &waker {
                // The waker is called at the end of the round.
                platform::prefetch_write(waker.data().cast());
            }
            wakes.push(waker);
            count += 1;
        }
        let next_due = timers.wheel.next_due();
        self.next_due.store(next_due.as_nanos(), Ordering::Relaxed);
        count
    }

    /// Sets the wheel back for a clock that starts anew. No node is queued.
    #[cfg(feature = "sim")]
    pub(crate) fn rewind(&self) {
        self.timers.lock().wheel.rewind();
    }

    /// Lets nodes be inserted again.
    pub(crate) fn open(&self) {
        self.timers.lock().closed = false;
    }

    /// Closes the shard: no node may be inserted. Returns false if it has nodes.
    pub(crate) fn close_if_empty(&self) -> bool {
        let mut timers = self.timers.lock();
        timers.closed = true;
        timers.wheel.is_empty()
    }

    /// Closes the shard, and moves its nodes to another shard.
    pub(crate) fn close_into(&self, other: &Shard) {
        loop {
            let mut from = self.timers.lock();
            from.closed = true;
            // `other` is the same in every call, so the locks are always taken in this order.
            let mut to = other.timers.lock();
            for _ in 0..BATCH {
                let Some(entry) = from.wheel.pop_any() else {
                    self.next_due.store(Time::NEVER.as_nanos(), Ordering::Relaxed);
                    return;
                };
                let due = entry.get();
                // SAFETY: both locks are held, so the node is alive (T1).
                let node = unsafe { entry.as_raw().cast::<Node>().as_ref() };
                node.home.store(ptr::from_ref(other).cast_mut(), Ordering::Release);
                to.wheel.insert(entry);
                if due < other.next_due() {
                    other.next_due.store(due.as_nanos(), Ordering::Relaxed);
                }
            }
        }
    }
}

/// Returns a time before which no node in any of the shards is due.
pub(crate) fn earliest(shards: impl Iterator<Item = &'static Shard>) -> Time {
    shards.map(Shard::next_due).min().unwrap_or(Time::NEVER)
}

/// Fires nodes that are due at `now`, at most `most` per shard, in those shards that have a node
/// due at `since`. Returns true if a node has fired.
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
/// Proof. An insertion writes `next_due`, fences, and reads this. A thread that goes to sleep
/// writes this, fences, and reads `next_due`. One of the two fences comes first. If it is the
/// insertion's, the sleeper sees the new `next_due` and does not sleep. If it is the sleeper's, the
/// insertion sees until when it sleeps, and wakes it.
pub(crate) struct SleepState {
    until: AtomicU64,
}

impl SleepState {
    /// Returns the state of a thread that must be woken for every insertion, until it sleeps for
    /// the first time.
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

    /// True if the thread fires no node now: it sleeps, is about to, or has just been woken.
    pub(crate) fn is_asleep(&self) -> bool {
        self.until.load(Ordering::Relaxed) != 0
    }

    /// Called after an insertion. Returns true if it must wake the thread.
    pub(crate) fn wants_wake(&self, due: Time) -> bool {
        platform::full_fence();
        due.as_nanos() < self.until.load(Ordering::Relaxed)
    }
}
