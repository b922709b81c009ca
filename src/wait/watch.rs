//! Watchers: tasks that are woken when something may be available, and then compete for it. A
//! receiver that is used as a stream is a watcher.
//!
//! | | invariant |
//! |---|---|
//! | W1 | A linked watcher is alive and does not move: its [`Watch`] unlinks and then frees it |
//! | W2 | Links, number and waker of a watcher are accessed only under its [`Watchers`]' lock |
//! | W3 | A thread that wakes a watcher unlinks it, takes its waker, and clears `linked` last |
//!
//! To register, replace or remove a watcher takes constant time. Under the lock only pointers are
//! moved: a waker is cloned before the lock is taken, and woken or dropped after it is released.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::Context;

use super::list::{Links, List, Node};
use crate::lock::Lock;
use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicBool, Ordering};
use crate::waker::{TaskWaker, WakeList};

/// The watchers of one object.
pub(crate) struct Watchers {
    /// Guarded by the lock; read without it as a hint whether it is empty.
    list: List<Watcher>,
    /// The number of registrations so far. Its lock is that of the watchers.
    registered: Lock<u64>,
}

// SAFETY: watchers are accessed only under the lock (W2), by the thread that holds it.
unsafe impl Send for Watchers {}
// SAFETY: as above.
unsafe impl Sync for Watchers {}

struct Watcher {
    watchers: Arc<Watchers>,
    place: UnsafeCell<Place>,
    /// Written under the lock. If the owner reads false without the lock (Acquire), the watcher was
    /// woken or never registered.
    linked: AtomicBool,
}

struct Place {
    links: Links<Watcher>,
    /// The number of its registration. A wake skips watchers that were registered after it began.
    number: u64,
    /// `Some` while the watcher is linked.
    waker: Option<TaskWaker>,
}

// SAFETY: the links are in the watcher's own cell, which is accessed under the lock (W2).
unsafe impl Node for Watcher {
    #[inline(always)]
    unsafe fn with_links<R>(this: *mut Self, f: impl FnOnce(&mut Links<Self>) -> R) -> R {
        // SAFETY: passed on to the caller.
        unsafe { (*this).place.with_mut(|place| f(&mut (*place).links)) }
    }
}

impl Watcher {
    /// Calls `f` with the number and the waker.
    ///
    /// # Safety
    ///
    /// The watcher is alive, and the lock is held (W2). `f` does not access the links.
    unsafe fn with_place<R>(this: NonNull<Self>, f: impl FnOnce(&mut Place) -> R) -> R {
        // SAFETY: the caller promises that no other thread accesses the place now.
        unsafe { this.as_ref().place.with_mut(|place| f(&mut *place)) }
    }
}

impl Watchers {
    pub(crate) fn new() -> Self {
        Self { list: List::new(), registered: Lock::new(0) }
    }

    /// Returns true if no watcher is registered. Only a hint, unless another lock orders this call
    /// and the registrations.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.list.seems_empty()
    }

    /// Wakes and removes all current watchers, in batches. Those of the task of `but` stay
    /// registered and are not woken.
    #[cold]
    #[inline(never)]
    pub(crate) fn wake(&self, but: Option<&Context<'_>>) {
        let mut wakes = WakeList::new();
        let mut held = self.registered.lock();
        let last = *held;
        loop {
            while !wakes.is_full() {
                let Some(front) = self.list.front() else { break };
                let stays = |waker: &TaskWaker| but.is_some_and(|cx| waker.will_wake(cx.waker()));
                let seen = |place: &mut Place| {
                    (place.number > last, place.waker.as_ref().is_some_and(stays))
                };
                // SAFETY: the lock is held, and the front is linked, so it is alive (W1).
                let (is_later, stays) = unsafe { Watcher::with_place(front, seen) };
                if is_later {
                    // It was registered after this wake began, and has missed nothing.
                    break;
                }
                if stays {
                    // SAFETY: as above; it is unlinked and linked again.
                    unsafe { self.list.remove(front.as_ptr()) };
                    // SAFETY: as above.
                    unsafe { self.link(front, &mut held) };
                    continue;
                }
                // SAFETY: as above.
                wakes.push(unsafe { self.unlink(front) });
            }
            drop(held);
            if wakes.is_empty() {
                return;
            }
            wakes.wake_all();
            held = self.registered.lock();
        }
    }

    /// Links a watcher at the end.
    ///
    /// # Safety
    ///
    /// The lock is held (`registered` is its content); the watcher is not linked, and obeys W1.
    unsafe fn link(&self, watcher: NonNull<Watcher>, registered: &mut u64) {
        *registered += 1;
        // SAFETY: passed on to the caller.
        unsafe {
            Watcher::with_place(watcher, |place| place.number = *registered);
            self.list.push_back(watcher.as_ptr());
        }
    }

    /// Unlinks a watcher. Afterwards its owner may free it.
    ///
    /// # Safety
    ///
    /// The lock is held, and the watcher is linked here.
    unsafe fn unlink(&self, watcher: NonNull<Watcher>) -> Option<TaskWaker> {
        // SAFETY: the lock is held, and a linked watcher is alive (W1).
        unsafe {
            self.list.remove(watcher.as_ptr());
            let waker = Watcher::with_place(watcher, |place| place.waker.take());
            // The last access (W3).
            watcher.as_ref().linked.store(false, Ordering::Release);
            waker
        }
    }
}

/// A registration in the [`Watchers`] of an object, allocated at the first use. Dropping it removes
/// the watcher.
///
/// The watcher is allocated as a `Box`, and kept as a pointer because other threads point to it.
pub(crate) struct Watch(Option<NonNull<Watcher>>);

// SAFETY: apart from its atomic, the watcher is accessed only under the lock (W2).
unsafe impl Send for Watch {}
// SAFETY: `&Watch` gives no access to the watcher.
unsafe impl Sync for Watch {}

impl Watch {
    pub(crate) const NONE: Self = Self(None);

    /// Registers the task of `cx`, in place of the task registered here before, to be woken once by
    /// [`Watchers::wake`]. `watchers` returns those of the object, and is only called the first
    /// time.
    pub(crate) fn register(&mut self, watchers: impl FnOnce() -> Arc<Watchers>, cx: &Context<'_>) {
        let watcher = *self.0.get_or_insert_with(|| {
            let place = UnsafeCell::new(Place { links: Links::UNLINKED, number: 0, waker: None });
            let watcher = Watcher { watchers: watchers(), place, linked: AtomicBool::new(false) };
            NonNull::from(Box::leak(Box::new(watcher)))
        });
        // SAFETY: the watcher is alive until `self` is dropped.
        let Watcher { watchers, linked, .. } = unsafe { watcher.as_ref() };
        // The waker is cloned before the lock is taken, and the old one is dropped after it is
        // released.
        let waker = TaskWaker::new(cx.waker());
        let mut held = watchers.registered.lock();
        // SAFETY: the lock is held, and `end` unlinks the watcher before it is freed (W1).
        let old = unsafe {
            let old = Watcher::with_place(watcher, |place| place.waker.replace(waker));
            if old.is_none() {
                watchers.link(watcher, &mut held);
                linked.store(true, Ordering::Relaxed);
            }
            old
        };
        drop(held);
        drop(old);
    }

    /// Removes the registration: no task is woken from now on.
    #[inline]
    pub(crate) fn end(&mut self) {
        let Some(watcher) = self.0 else { return };
        // SAFETY: the watcher is alive until `self` is dropped.
        let Watcher { watchers, linked, .. } = unsafe { watcher.as_ref() };
        // Acquire: pairs with the store in `unlink`, so that a watcher that was woken can be freed.
        if !linked.load(Ordering::Acquire) {
            return;
        }
        let held = watchers.registered.lock();
        // SAFETY: the lock is held, and the watcher is linked, as just checked.
        let waker = linked.load(Ordering::Relaxed).then(|| unsafe { watchers.unlink(watcher) });
        drop(held);
        drop(waker);
    }
}

impl Drop for Watch {
    #[inline]
    fn drop(&mut self) {
        self.end();
        // SAFETY: the watcher is no longer linked (W1), and came from a `Box`.
        drop(self.0.map(|watcher| unsafe { Box::from_raw(watcher.as_ptr()) }));
    }
}

impl fmt::Debug for Watchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchers").finish_non_exhaustive()
    }
}
