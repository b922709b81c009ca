//! The queue of waiters of a `Mutex`, a `RwMutex`, a `Semaphore`, or a context.
//!
//! | | invariant |
//! |---|---|
//! | Q1 | A linked waiter is alive and does not move: its future unlinks it before it is freed |
//! | Q2 | Links and waker of a linked waiter are accessed only under the lock of its queue |
//! | Q3 | To grant a waiter, a thread unlinks it, takes its waker, and stores `GRANTED` last |
//!
//! The states of a waiter:
//!
//! | state | meaning | left by |
//! |---|---|---|
//! | `QUEUED` | linked, waits | a notification or a grant; its future |
//! | `NOTIFIED` | linked, woken to try again | its future; a grant; [`Queue::pass_over`] |
//! | `PASSED` | unlinked, woken to try again; may be overtaken | its future |
//! | `GRANTED` | unlinked, owns what it waited for | – |
//!
//! Each change is made under the lock. If a `NOTIFIED` waiter tries in vain, its future makes it
//! `QUEUED` again, at its place; a `PASSED` waiter is queued again at the front. Only its own
//! future accesses a `GRANTED` waiter.
//!
//! Under the lock only pointers are moved. Wakers are cloned before the lock is taken, and are
//! woken and dropped after it has been released: the queue returns them as a [`TaskWaker`] or a
//! [`WakeList`].

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

/// One place in a [`Queue`]. `X` is data of the primitive, which does not change while the waiter
/// is linked.
pub(crate) struct Waiter<X> {
    state: AtomicU8,
    pub(crate) extra: X,
    place: UnsafeCell<Place<X>>,
    /// The queue points to the waiter.
    _pin: PhantomPinned,
}

struct Place<X> {
    links: Links<Waiter<X>>,
    waker: Option<TaskWaker>,
}

// SAFETY: the pointers are followed only under the queue's lock (Q2) to waiters that are alive
// (Q1).
unsafe impl<X: Send> Send for Waiter<X> {}
// SAFETY: as above; a shared reference alone gives access only to the state and to `extra`.
unsafe impl<X: Sync> Sync for Waiter<X> {}

// SAFETY: the links are in the waiter's own cell, which is accessed under the queue's lock (Q2).
unsafe impl<X> Node for Waiter<X> {
    #[inline(always)]
    unsafe fn with_links<R>(this: *mut Self, f: impl FnOnce(&mut Links<Self>) -> R) -> R {
        // SAFETY: passed on to the caller.
        unsafe { (*this).place.with_mut(|place| f(&mut (*place).links)) }
    }
}

impl<X> Waiter<X> {
    /// Returns an unlinked waiter with the waker of its task.
    pub(crate) fn new(waker: TaskWaker, extra: X) -> Self {
        let place = Place { links: Links::UNLINKED, waker: Some(waker) };
        Waiter {
            state: AtomicU8::new(QUEUED),
            extra,
            place: UnsafeCell::new(place),
            _pin: PhantomPinned,
        }
    }

    /// Returns the state. Read without the lock, only `GRANTED` is final.
    pub(crate) fn state(&self) -> u8 {
        // Acquire: pairs with the store in `Queue::grant_front`, so that a granted waiter sees what
        // the granting thread did before.
        self.state.load(Ordering::Acquire)
    }

    /// Calls `f` with the waker.
    ///
    /// # Safety
    ///
    /// The waiter is not linked, or the caller holds the lock of its queue (Q2).
    unsafe fn waker<R>(&self, f: impl FnOnce(&mut Option<TaskWaker>) -> R) -> R {
        // SAFETY: the caller promises that no other thread accesses the place now.
        self.place.with_mut(|place| f(unsafe { &mut (*place).waker }))
    }
}

/// A first-in first-out queue. The caller of any method holds the lock of the queue, because it has
/// a reference to the queue. So "linked here" in the comments below means that the waiter is alive
/// (Q1) and may be accessed (Q2).
pub(crate) struct Queue<X> {
    list: List<Waiter<X>>,
}

// SAFETY: the waiters are accessed only under the lock (Q2), by the thread that holds it.
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

    /// Returns the waiter at the front.
    pub(crate) fn front(&self) -> Option<&Waiter<X>> {
        // SAFETY: the front is linked, so it is alive (Q1), and it stays linked while the lock is
        // held.
        self.list.front().map(|front| unsafe { front.as_ref() })
    }

    /// Calls `f` with the address of each waiter's task, for the first `most` waiters.
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

    /// Returns true if `waiter` is the only one.
    pub(crate) fn is_only(&self, waiter: &Waiter<X>) -> bool {
        // SAFETY: the lock is held.
        unsafe { self.list.is_only(waiter) }
    }

    /// Links `waiter` at the end.
    ///
    /// # Safety
    ///
    /// `waiter` is not linked, is pinned, and is unlinked before it is dropped.
    pub(crate) unsafe fn push_back(&mut self, waiter: &Waiter<X>) {
        // SAFETY: the lock is held; the rest is the caller's promise. Everything that is written
        // through the pointer is in cells.
        unsafe { self.list.push_back(std::ptr::from_ref(waiter).cast_mut()) };
    }

    /// Links `waiter` at the front.
    ///
    /// # Safety
    ///
    /// As for [`push_back`](Self::push_back).
    pub(crate) unsafe fn push_front(&mut self, waiter: &Waiter<X>) {
        // SAFETY: as in `push_back`.
        unsafe { self.list.push_front(std::ptr::from_ref(waiter).cast_mut()) }
    }

    /// Unlinks `waiter`.
    ///
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
        // SAFETY: the lock is held; a linked waiter obeys Q1 in either queue.
        unsafe {
            if let Some(front) = self.list.pop_front() {
                to.list.push_back(front.as_ptr());
            }
        }
    }

    /// Moves all waiters of `other` to the end.
    ///
    /// # Safety
    ///
    /// Both queues are under the same lock.
    pub(crate) unsafe fn append(&mut self, other: &mut Self) {
        // SAFETY: the lock is held; a linked waiter obeys Q1 in either queue.
        unsafe { self.list.append(&other.list) }
    }

    /// Unlinks the waiter at the front and makes it the owner of what it waits for. Returns its
    /// waker. `None` if the queue is empty, `Some(None)` if the waiter was notified before, and
    /// therefore is already being woken.
    #[must_use = "the waker must be woken after the lock has been released"]
    pub(crate) fn grant_front(&mut self) -> Option<Option<TaskWaker>> {
        // SAFETY: the lock is held.
        let waiter = unsafe { self.list.pop_front() }?;
        // SAFETY: the waiter is alive until it is granted (Q3).
        let waiter = unsafe { waiter.as_ref() };
        // SAFETY: the waiter was unlinked under this lock, and is not granted yet.
        let waker = unsafe { waiter.waker(Option::take) };
        // The last access, because the future may free the waiter once it reads this (Q3). Release:
        // pairs with `Waiter::state`.
        waiter.state.store(GRANTED, Ordering::Release);
        Some(waker)
    }

    /// Grants the waiter at the front and adds its waker to `wakes`, which must have room. Returns
    /// false if the queue is empty.
    pub(crate) fn grant_front_into(&mut self, wakes: &mut WakeList) -> bool {
        self.grant_front().map(|waker| wakes.push(waker)).is_some()
    }

    /// Notifies the waiter at the front, which then tries again itself and keeps its place.
    #[must_use = "the waker must be woken after the lock has been released"]
    pub(crate) fn notify_front(&mut self) -> Option<TaskWaker> {
        let waiter = self.front()?;
        waiter.state.store(NOTIFIED, Ordering::Relaxed);
        // SAFETY: linked here.
        unsafe { waiter.waker(Option::take) }
    }

    /// Unlinks the waiter at the front, if it was notified and has not tried again yet. Its future
    /// will queue it again.
    pub(crate) fn pass_over(&mut self) {
        if self.front().is_some_and(|front| front.state() == NOTIFIED) {
            // SAFETY: the lock is held.
            let front = unsafe { self.list.pop_front() }.expect("the front");
            // SAFETY: the waiter is alive while the lock is held, because its future takes the lock
            // before it is dropped.
            unsafe { front.as_ref() }.state.store(PASSED, Ordering::Relaxed);
        }
    }
}

/// Polls a waiting future again. Returns true if `waiter` has got what it waits for. If not,
/// `waiter` keeps its place, and the task of `cx` will be woken when it is notified or granted.
///
/// `settle` is called under the lock, at most twice, because the waker of `cx` must be cloned
/// outside of it. Its `bool` argument is true at the last call: if that returns false, the waiter
/// waits again.
///
/// # Safety
///
/// Whenever `settle` has returned false, `waiter` is linked in a queue under the lock of `queues`;
/// after the first call it may be `PASSED` instead.
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
        // SAFETY: the lock is held. `will_wake` only compares pointers, and runs no foreign code.
        if unsafe { waiter.waker(|own| own.as_ref().is_some_and(|own| own.will_wake(cx.waker()))) }
        {
            return false;
        }
    }
    let waker = TaskWaker::new(cx.waker());
    // Variables are dropped in reverse order, so the lock is released first.
    let _old;
    let mut held = queues.lock();
    if settle(&mut held, true) {
        return true;
    }
    // A waiter that was notified waits again, at its place.
    waiter.state.store(QUEUED, Ordering::Relaxed);
    // SAFETY: the lock is held.
    _old = unsafe { waiter.waker(|own| own.replace(waker)) };
    false
}
