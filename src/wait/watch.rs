//! Watchers: tasks that are woken when there may be something for them, and then try for
//! themselves. A receiver that is used as a stream is one.
//!
//! | | invariant |
//! |---|---|
//! | W1 | A linked watcher is alive and does not move: its [`Watch`] unlinks it before it frees it |
//! | W2 | Links, number and waker of a watcher are touched only under the lock of its [`Watchers`] |
//! | W3 | A thread that wakes a watcher unlinks it, takes its waker, and clears `linked` last |
//!
//! A watcher costs the same to register, to replace and to remove, however many there are. Under
//! the lock there are pointer moves only: a waker is cloned before, and woken or dropped after.

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
    /// Under the lock, but for a look at whether it is empty.
    list: List<Watcher>,
    /// The number of registrations so far.
    registered: Lock<u64>,
}

// SAFETY: watchers are reached under the lock (W2), from whichever thread holds it.
unsafe impl Send for Watchers {}
// SAFETY: as above.
unsafe impl Sync for Watchers {}

struct Watcher {
    watchers: Arc<Watchers>,
    place: UnsafeCell<Place>,
    /// Written under the lock. The owner reads a false without it (Acquire): it was woken, or never
    /// registered.
    linked: AtomicBool,
}

struct Place {
    links: Links<Watcher>,
    /// Its turn: a wake leaves those alone that come later.
    number: u64,
    /// Some while it is linked.
    waker: Option<TaskWaker>,
}

// SAFETY: the links are in the watcher's own cell, which is touched under the lock (W2).
unsafe impl Node for Watcher {
    #[inline(always)]
    unsafe fn with_links<R>(this: *mut Self, f: impl FnOnce(&mut Links<Self>) -> R) -> R {
        // SAFETY: passed on to the caller.
        unsafe { (*this).place.with_mut(|place| f(&mut (*place).links)) }
    }
}

impl Watcher {
    /// # Safety
    ///
    /// The watcher is alive, and the lock is held (W2). `f` leaves the links alone.
    unsafe fn with_place<R>(this: NonNull<Self>, f: impl FnOnce(&mut Place) -> R) -> R {
        // SAFETY: by the caller's promise nothing else touches the place now.
        unsafe { this.as_ref().place.with_mut(|place| f(&mut *place)) }
    }
}

impl Watchers {
    pub(crate) fn new() -> Self {
        Self { list: List::new(), registered: Lock::new(0) }
    }

    /// A hint, unless registration and this look are ordered by another lock.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.list.seems_empty()
    }

    /// Wakes all that watch now, in rounds, and removes them. The task of `but` goes on watching.
    #[cold]
    #[inline(never)]
    pub(crate) fn wake(&self, but: Option<&Context<'_>>) {
        let mut wakes = WakeList::new();
        let mut held = self.registered.lock();
        let last = *held;
        loop {
            while !wakes.is_full() {
                // SAFETY: the lock is held; the front is linked, so alive (W1).
                let waker = unsafe {
                    let Some(front) = self.list.front() else { break };
                    // Those that have come since the first round have missed nothing.
                    if Watcher::with_place(front, |place| place.number > last) {
                        break;
                    }
                    let stays =
                        |waker: &TaskWaker| but.is_some_and(|cx| waker.will_wake(cx.waker()));
                    if Watcher::with_place(front, |place| place.waker.as_ref().is_some_and(stays)) {
                        self.list.remove(front.as_ptr());
                        self.link(front, &mut held);
                        continue;
                    }
                    self.unlink(front)
                };
                wakes.push(waker);
            }
            drop(held);
            if wakes.is_empty() {
                return;
            }
            wakes.wake_all();
            held = self.registered.lock();
        }
    }

    /// Calls `f` with the address of each watcher's task, for `most` of them.
    #[cfg(all(feature = "net", unix))]
    pub(crate) fn each_task(&self, most: usize, mut f: impl FnMut(usize)) {
        let _held = self.registered.lock();
        let mut next = self.list.front();
        for _ in 0..most {
            let Some(watcher) = next else { return };
            // SAFETY: the lock is held, and a linked watcher is alive (W1).
            next = unsafe {
                Watcher::with_place(watcher, |place| {
                    place.waker.iter().for_each(|waker| f(waker.data().addr()))
                });
                self.list.next(watcher)
            };
        }
    }

    /// Links a watcher at the end.
    ///
    /// # Safety
    ///
    /// The lock is held, which `registered` stands for; the watcher is not linked, and obeys W1.
    unsafe fn link(&self, watcher: NonNull<Watcher>, registered: &mut u64) {
        *registered += 1;
        // SAFETY: passed on to the caller.
        unsafe {
            Watcher::with_place(watcher, |place| place.number = *registered);
            self.list.push_back(watcher.as_ptr());
        }
    }

    /// Unlinks a watcher, whose owner may free it then.
    ///
    /// # Safety
    ///
    /// The lock is held, and the watcher is linked here.
    unsafe fn unlink(&self, watcher: NonNull<Watcher>) -> Option<TaskWaker> {
        // SAFETY: the lock is held, and a linked watcher is alive (W1).
        unsafe {
            self.list.remove(watcher.as_ptr());
            let waker = Watcher::with_place(watcher, |place| place.waker.take());
            // Last (W3).
            watcher.as_ref().linked.store(false, Ordering::Release);
            waker
        }
    }
}

/// One place among the [`Watchers`] of an object, allocated with the first registration. Its drop
/// removes it.
///
/// The watcher came from a `Box`. It is not one, because others point there.
pub(crate) struct Watch(Option<NonNull<Watcher>>);

// SAFETY: the watcher is reached under the lock (W2), but for its atomic.
unsafe impl Send for Watch {}
// SAFETY: `&Watch` gives access to nothing.
unsafe impl Sync for Watch {}

impl Watch {
    pub(crate) const NONE: Self = Self(None);

    /// From now on the task of `cx` is woken by [`Watchers::wake`], once; another one that was
    /// registered here no more. `watchers` are the object's, asked for the first time only.
    pub(crate) fn register(&mut self, watchers: impl FnOnce() -> Arc<Watchers>, cx: &Context<'_>) {
        let watcher = *self.0.get_or_insert_with(|| {
            let place = UnsafeCell::new(Place { links: Links::UNLINKED, number: 0, waker: None });
            let watcher = Watcher { watchers: watchers(), place, linked: AtomicBool::new(false) };
            NonNull::from(Box::leak(Box::new(watcher)))
        });
        // SAFETY: alive until `self` is dropped.
        let Watcher { watchers, linked, .. } = unsafe { watcher.as_ref() };
        // Cloned before the lock is taken, and the old one is dropped after it is released.
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

    /// Wakes no task any more.
    #[inline]
    pub(crate) fn end(&mut self) {
        let Some(watcher) = self.0 else { return };
        // SAFETY: alive until `self` is dropped.
        let Watcher { watchers, linked, .. } = unsafe { watcher.as_ref() };
        // Acquire: pairs with the store in `unlink`, so that a watcher that was woken can be freed.
        if !linked.load(Ordering::Acquire) {
            return;
        }
        let held = watchers.registered.lock();
        // SAFETY: the lock is held, and it is linked unless it was woken meanwhile.
        let waker = linked.load(Ordering::Relaxed).then(|| unsafe { watchers.unlink(watcher) });
        drop(held);
        drop(waker);
    }
}

impl Drop for Watch {
    #[inline]
    fn drop(&mut self) {
        self.end();
        // SAFETY: not linked any more (W1), and it came from a `Box`.
        drop(self.0.map(|watcher| unsafe { Box::from_raw(watcher.as_ptr()) }));
    }
}

impl fmt::Debug for Watchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchers").finish_non_exhaustive()
    }
}
