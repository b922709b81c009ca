//! The queue of waiters of a `Mutex`, a `RwMutex`, a `Semaphore`, a context.
//!
//! | | invariant |
//! |---|---|
//! | Q1 | A linked waiter is alive and does not move: its future unlinks it before it is freed |
//! | Q2 | Links and waker of a linked waiter are touched only under the lock of its queue |
//! | Q3 | A thread that grants a waiter unlinks it and takes its waker before, and does not touch it afterwards |
//!
//! A waiter's state, and who may change it:
//!
//! | state | meaning | left by |
//! |---|---|---|
//! | `QUEUED` | linked, waits | the holder of the lock, which notifies or grants it; its own future, under the lock |
//! | `NOTIFIED` | linked, woken to try for itself | its own future (back to `QUEUED`, or unlinked), a grant, [`Queue::pass_over`] |
//! | `PASSED` | unlinked, woken to try for itself; others are before it now | its own future (back to `QUEUED`, at the front) |
//! | `GRANTED` | unlinked, owns what it waited for | nothing: its future alone has it now |
//!
//! Under the lock there are pointer moves only. Wakers are cloned before it is taken, and woken and
//! dropped after it has been released: what comes out of here is a [`TaskWaker`] or a list of them.

use std::marker::PhantomPinned;
use std::task::Context;

use super::list::{Links, List, Node};
use crate::lock::Lock;
use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicU8, Ordering};
use crate::loom::const_fn;
use crate::waker::{TaskWaker, WakeList};

pub(crate) const QUEUED: u8 = 0;
pub(crate) const NOTIFIED: u8 = 1;
pub(crate) const GRANTED: u8 = 2;
pub(crate) const PASSED: u8 = 3;

/// One place in a [`Queue`]. `X` is what the primitive wants to know of it; fixed once it is
/// linked.
pub(crate) struct Waiter<X> {
    state: AtomicU8,
    pub(crate) extra: X,
    place: UnsafeCell<Place<X>>,
    /// The queue points here.
    _pin: PhantomPinned,
}

struct Place<X> {
    links: Links<Waiter<X>>,
    waker: Option<TaskWaker>,
}

// SAFETY: the pointers are followed only under the queue's lock (Q2) to waiters that are alive
// (Q1).
unsafe impl<X: Send> Send for Waiter<X> {}
// SAFETY: as above; a shared reference alone gives access to the state and to `extra`, no more.
unsafe impl<X: Sync> Sync for Waiter<X> {}

// SAFETY: the links are in the waiter's own cell, which is touched under the queue's lock (Q2).
unsafe impl<X> Node for Waiter<X> {
    #[inline(always)]
    unsafe fn with_links<R>(this: *mut Self, f: impl FnOnce(&mut Links<Self>) -> R) -> R {
        // SAFETY: passed on to the caller.
        unsafe { (*this).place.with_mut(|place| f(&mut (*place).links)) }
    }
}

impl<X> Waiter<X> {
    /// A waiter to be linked, with its task's waker.
    pub(crate) fn new(waker: TaskWaker, extra: X) -> Self {
        let place = Place { links: Links::UNLINKED, waker: Some(waker) };
        Waiter {
            state: AtomicU8::new(QUEUED),
            extra,
            place: UnsafeCell::new(place),
            _pin: PhantomPinned,
        }
    }

    /// Without the lock only `GRANTED` is certain to last. Acquire: pairs with the store in
    /// [`Queue::grant_front`], so that a granted waiter sees what the granter did before.
    pub(crate) fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }

    /// # Safety
    ///
    /// The waiter is not linked, or the caller holds the lock of its queue (Q2). `f` touches the
    /// waker only.
    unsafe fn waker<R>(&self, f: impl FnOnce(&mut Option<TaskWaker>) -> R) -> R {
        // SAFETY: by the caller's promise nothing else touches the place now.
        self.place.with_mut(|place| f(unsafe { &mut (*place).waker }))
    }
}

/// A first-in first-out queue. All methods are called with the lock of the queue held, which
/// `&mut self` stands for: so "linked here" in the comments below means alive (Q1) and the caller's
/// to touch (Q2).
pub(crate) struct Queue<X> {
    list: List<Waiter<X>>,
}

// SAFETY: the waiters in it are reached under the lock only (Q2), from whichever thread holds it.
unsafe impl<X: Send> Send for Queue<X> {}

impl<X> Queue<X> {
    const_fn! {
        pub(crate) const fn new() -> Self {
            Queue { list: List::new() }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.front().is_none()
    }

    /// The waiter that has waited longest.
    pub(crate) fn front(&self) -> Option<&Waiter<X>> {
        // SAFETY: linked, so alive (Q1), and it stays linked as long as the lock is held.
        self.list.front().map(|front| unsafe { front.as_ref() })
    }

    /// Calls `f` with the address of each waiter's task, for `most` of them.
    #[cfg(all(feature = "net", unix))]
    pub(crate) fn each_task(&self, most: usize, mut f: impl FnMut(usize)) {
        let mut next = self.list.front();
        for _ in 0..most {
            let Some(waiter) = next else { return };
            // SAFETY: linked here.
            unsafe {
                waiter.as_ref().waker(|waker| waker.iter().for_each(|waker| f(waker.data().addr())))
            };
            // SAFETY: the lock is held.
            next = unsafe { self.list.next(waiter) };
        }
    }

    /// Whether `waiter` is the only one.
    pub(crate) fn is_only(&self, waiter: &Waiter<X>) -> bool {
        // SAFETY: the lock is held.
        unsafe { self.list.is_only(waiter) }
    }

    /// # Safety
    ///
    /// `waiter` is linked nowhere, is pinned, and is unlinked before it is dropped.
    pub(crate) unsafe fn push_back(&mut self, waiter: &Waiter<X>) {
        // SAFETY: the lock is held; the rest is the caller's promise. All that is written through
        // the pointer is in cells.
        unsafe { self.list.push_back(std::ptr::from_ref(waiter).cast_mut()) }
    }

    /// # Safety
    ///
    /// As for [`push_back`](Self::push_back).
    pub(crate) unsafe fn push_front(&mut self, waiter: &Waiter<X>) {
        // SAFETY: as in `push_back`.
        unsafe { self.list.push_front(std::ptr::from_ref(waiter).cast_mut()) }
    }

    /// # Safety
    ///
    /// `waiter` is linked in this queue.
    pub(crate) unsafe fn remove(&mut self, waiter: &Waiter<X>) {
        // SAFETY: as in `push_back`.
        unsafe { self.list.remove(std::ptr::from_ref(waiter).cast_mut()) }
    }

    /// Moves the waiter at the front, if there is one, to the end of `to`.
    ///
    /// # Safety
    ///
    /// Both queues are under the same lock.
    pub(crate) unsafe fn move_front(&mut self, to: &mut Self) {
        // SAFETY: the lock is held; a waiter that is linked obeys Q1 in either queue.
        unsafe {
            if let Some(front) = self.list.pop_front() {
                to.list.push_back(front.as_ptr());
            }
        }
    }

    /// Unlinks the waiter at the front and makes it the owner of what it waits for. `None` if the
    /// queue is empty, else the waker, unless the waiter was notified before: then its wake is on
    /// its way.
    #[must_use = "the waker is to be woken after the lock has been released"]
    pub(crate) fn grant_front(&mut self) -> Option<Option<TaskWaker>> {
        // SAFETY: the lock is held.
        let waiter = unsafe { self.list.pop_front() }?;
        // SAFETY: alive until it is granted (Q3).
        let waiter = unsafe { waiter.as_ref() };
        // SAFETY: unlinked within this hold of the lock, and not granted yet.
        let waker = unsafe { waiter.waker(Option::take) };
        // Last of all, because its future may free it once it reads this (Q3). Release: pairs with
        // `Waiter::state`.
        waiter.state.store(GRANTED, Ordering::Release);
        Some(waker)
    }

    /// Grants the waiter at the front and adds its waker to `wakes`, which must have room. False if
    /// the queue is empty.
    pub(crate) fn grant_front_into(&mut self, wakes: &mut WakeList) -> bool {
        self.grant_front().map(|waker| wakes.push(waker)).is_some()
    }

    /// Notifies the waiter at the front, which is to try for itself and keeps its place.
    #[must_use = "the waker is to be woken after the lock has been released"]
    pub(crate) fn notify_front(&mut self) -> Option<TaskWaker> {
        let waiter = self.front()?;
        waiter.state.store(NOTIFIED, Ordering::Relaxed);
        // SAFETY: linked here.
        unsafe { waiter.waker(Option::take) }
    }

    /// Unlinks the waiter at the front, if it is notified and has not tried yet: it comes back by
    /// itself.
    pub(crate) fn pass_over(&mut self) {
        if self.front().is_some_and(|front| front.state() == NOTIFIED) {
            // SAFETY: the lock is held.
            let front = unsafe { self.list.pop_front() }.expect("the front");
            // SAFETY: alive as long as the lock is held: its future takes it before it goes.
            unsafe { front.as_ref() }.state.store(PASSED, Ordering::Relaxed);
        }
    }
}

/// A later poll of a waiting future: whether `waiter` has got what it waits for. If not, it keeps
/// its place, and the task of `cx` is woken when that changes.
///
/// `settle` is asked under the lock, at most twice, since the waker of `cx` has to be cloned
/// outside of it. Its `bool` says that this is the last time: on `false` the waiter will wait
/// again.
///
/// # Safety
///
/// `waiter` is linked in a queue under the lock of `queues` whenever `settle` has said `false`;
/// after the first `false` it may be `PASSED` instead.
pub(crate) unsafe fn look<Q, X>(
    queues: &Lock<Q>,
    waiter: &Waiter<X>,
    cx: &mut Context<'_>,
    mut settle: impl FnMut(&mut Q, bool) -> bool,
) -> bool {
    if waiter.state() == GRANTED {
        return true;
    }
    {
        let mut held = queues.lock();
        if settle(&mut held, false) {
            return true;
        }
        // SAFETY: the lock is held. `will_wake` compares pointers; it runs no foreign code.
        if unsafe { waiter.waker(|own| own.as_ref().is_some_and(|own| own.will_wake(cx.waker()))) }
        {
            return false;
        }
    }
    let waker = TaskWaker::new(cx.waker());
    // Dropped in reverse order: the lock first.
    let _old;
    let mut held = queues.lock();
    if settle(&mut held, true) {
        return true;
    }
    // If it was notified, it waits again, where it is.
    waiter.state.store(QUEUED, Ordering::Relaxed);
    // SAFETY: the lock is held.
    _old = unsafe { waiter.waker(|own| own.replace(waker)) };
    false
}
