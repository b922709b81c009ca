//! The queues of waiters of a `Mutex`, a `RwMutex`, a `Semaphore`, or a context.
//!
//! | | invariant |
//! |---|---|
//! | Q1 | A linked waiter is alive and does not move: it is pinned, and must not be dropped |
//! | Q2 | Links and waker of a linked waiter are accessed only under the lock of its queue |
//! | Q3 | To grant a waiter, a thread unlinks it, takes its waker, and stores `GRANTED` last |
//! | Q4 | A waiter is linked in queues of its home only, which neither moves nor ends before it |
//!
//! The states of a waiter:
//!
//! | state | meaning | left by |
//! |---|---|---|
//! | `UNLINKED` | not linked yet, or removed by its future | its future |
//! | `QUEUED` | linked, waits | a notification or a grant; its future |
//! | `NOTIFIED` | linked, woken to try again | its future; a grant; [`Held::pass_over`] |
//! | `PASSED` | unlinked, woken to try again; may be overtaken | its future |
//! | `GRANTED` | unlinked, owns what it waited for | – |
//!
//! Each change is made under the lock. If a `NOTIFIED` waiter tries in vain, its future makes it
//! `QUEUED` again, at its place; a `PASSED` waiter is queued again at the front. Only its own
//! future accesses a waiter that is not linked.
//!
//! A queue never leaves its [`Queues`], and only the future of a waiter can link or remove it, with
//! an [`OwnWaiter`]. The lifetime in it requires that the `Queues` are borrowed as long as the
//! future exists (Q4). The waiter records the address of its `Queues`, its *home*, and a wrong one
//! ends the process. So the functions here are safe; [`OwnWaiter::new`] is not, and only
//! [`acquire`](super::acquire) and the [`KeptWaiter`] call it.
//!
//! Under the lock only pointers are moved. Wakers are cloned before the lock is taken, and are
//! woken and dropped after it has been released: the queue returns them as a [`TaskWaker`] or a
//! [`WakeList`].

use std::cell::Cell;
use std::marker::{PhantomData, PhantomPinned};
use std::mem;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::process;
use std::ptr;
use std::sync::Arc;
use std::task::Context;

use super::list::{Links, List, Node};
use crate::lock::{Lock, LockGuard};
use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicU8, Ordering};
use crate::loom::const_fn;
use crate::waker::{TaskWaker, WakeList};

/// Set in the states of a linked waiter.
const LINKED: u8 = 1;

const UNLINKED: u8 = 0;
const QUEUED: u8 = LINKED;
pub(crate) const PASSED: u8 = 2;
pub(crate) const NOTIFIED: u8 = 2 | LINKED;
pub(crate) const GRANTED: u8 = 4;

/// One place in a queue. `X` is data of the primitive, which does not change while the waiter is
/// linked.
#[repr(C)]
pub(crate) struct Waiter<X> {
    /// Always false. An enum that contains a waiter stores its discriminant here. It comes first,
    /// so that its address needs no register of its own.
    _niche: bool,
    state: AtomicU8,
    /// The address of the [`Queues`] in which the waiter was linked, 0 if there are none: see
    /// [`home_bits`]. Only its future accesses it.
    home_high: Cell<u16>,
    home_low: Cell<u32>,
    pub(crate) extra: X,
    place: UnsafeCell<Place<X>>,
    /// The queue points to the waiter.
    _pin: PhantomPinned,
}

#[cfg(not(gopark_loom))]
const _: () = assert!(size_of::<Waiter<()>>() == 40 || size_of::<usize>() != 8);

/// Returns 48 bits of an address, which fill a gap in the waiter. No system has objects at
/// addresses that differ in other bits: the lowest three are 0, and all from bit 51 on are the
/// same.
fn home_bits(address: usize) -> (u16, u32) {
    let bits = address as u64 >> 3;
    ((bits >> 32) as u16, bits as u32)
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
        Self::with_waker(Some(waker), extra)
    }

    fn with_waker(waker: Option<TaskWaker>, extra: X) -> Self {
        let place = Place { links: Links::UNLINKED, waker };
        Waiter {
            _niche: false,
            state: AtomicU8::new(UNLINKED),
            home_high: Cell::new(0),
            home_low: Cell::new(0),
            extra,
            place: UnsafeCell::new(place),
            _pin: PhantomPinned,
        }
    }

    /// Returns the state. Read without the lock, only `GRANTED` is final.
    pub(crate) fn state(&self) -> u8 {
        // Acquire: pairs with the store in `Held::grant_front`, so that a granted waiter sees what
        // the granting thread did before.
        self.state.load(Ordering::Acquire)
    }

    fn set_home(&self, address: usize) {
        let (high, low) = home_bits(address);
        self.home_high.set(high);
        self.home_low.set(low);
    }

    #[inline]
    fn has_home(&self, address: usize) -> bool {
        let (high, low) = home_bits(address);
        // One branch instead of two.
        u32::from(self.home_high.get() ^ high) | (self.home_low.get() ^ low) == 0
    }

    /// Returns true if the waiter was ever linked. For its owner.
    pub(crate) fn was_linked(&self) -> bool {
        !self.has_home(0)
    }

    /// Returns true if the waiter is linked. Read without the lock, only false is final.
    pub(crate) fn is_linked(&self) -> bool {
        self.state() & LINKED != 0
    }

    /// Calls `f` with the waker.
    ///
    /// # Safety
    ///
    /// The caller holds the lock of the waiter's queue (Q2), or the waiter is not linked, and the
    /// caller is its future, or has just unlinked it.
    unsafe fn waker<R>(&self, f: impl FnOnce(&mut Option<TaskWaker>) -> R) -> R {
        // SAFETY: the caller promises that no other thread accesses the place now.
        self.place.with_mut(|place| f(unsafe { &mut (*place).waker }))
    }
}

/// Ends the process if a caller has broken a condition: a panic would unwind while waiters are
/// linked and the lock is held. Only the tests see one.
#[inline(always)]
fn require(condition: bool, what: &str) {
    #[cold]
    #[inline(never)]
    fn broken(what: &str) -> ! {
        if cfg!(test) {
            panic!("{what}");
        }
        process::abort()
    }
    if !condition {
        broken(what);
    }
}

impl<X> Drop for Waiter<X> {
    /// Aborts if the waiter is linked, because the queue would point to freed memory (Q1).
    #[inline]
    fn drop(&mut self) {
        if self.is_linked() {
            process::abort();
        }
    }
}

/// A waiter, as its future passes it to a resource whose [`Queues`] are borrowed for `'q`. It stays
/// on the thread of the future's poll or drop.
pub(crate) struct OwnWaiter<'w, 'q, X> {
    waiter: &'w Waiter<X>,
    /// Invariant in `'q`, neither `Send` nor `Sync`.
    _brand: PhantomData<*mut &'q ()>,
}

impl<X> Clone for OwnWaiter<'_, '_, X> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<X> Copy for OwnWaiter<'_, '_, X> {}

impl<'w, X> OwnWaiter<'w, '_, X> {
    /// # Safety
    ///
    /// The waiter is pinned. It is dropped before `'q` ends, or never. No other thread has an
    /// `OwnWaiter` of it, now or before it sees what this one did.
    pub(super) unsafe fn new(waiter: &'w Waiter<X>) -> Self {
        Self { waiter, _brand: PhantomData }
    }

    /// Prepares a waiter that is not linked for another wait, and exchanges its waker.
    #[cfg(feature = "net")]
    pub(crate) fn renew(self, waker: &mut Option<TaskWaker>) {
        self.swap_waker(waker);
        self.state.store(UNLINKED, Ordering::Relaxed);
    }

    /// Exchanges the waker of a waiter that is not linked.
    #[cfg(feature = "net")]
    pub(crate) fn swap_waker(self, waker: &mut Option<TaskWaker>) {
        assert!(!self.is_linked(), "the waiter is in no queue");
        // SAFETY: the waiter is not linked, and this is its future.
        unsafe { self.waker(|own| mem::swap(own, waker)) };
    }
}

impl<X> Deref for OwnWaiter<'_, '_, X> {
    type Target = Waiter<X>;

    fn deref(&self) -> &Waiter<X> {
        self.waiter
    }
}

/// A waiter that keeps the owner of its queues, for a registration or a poll function, which
/// borrows nothing between its calls.
///
/// Its user must unlink it first: its drop aborts as that of a linked waiter does.
pub(crate) struct KeptWaiter<T, X>(Pin<Arc<Kept<T, X>>>);

struct Kept<T, X> {
    // Dropped first.
    waiter: Waiter<X>,
    owner: Arc<T>,
}

impl<T: 'static, X> KeptWaiter<T, X> {
    pub(crate) fn new(owner: Arc<T>, extra: X) -> Self {
        Self(Arc::pin(Kept { waiter: Waiter::with_waker(None, extra), owner }))
    }

    /// Calls `f` with the waiter and the owner of its queues.
    pub(crate) fn with<R>(
        &mut self,
        f: impl for<'q> FnOnce(OwnWaiter<'_, 'q, X>, &'q T) -> R,
    ) -> R {
        // SAFETY: the waiter is pinned. As `f` accepts every lifetime, it finds queues for the
        // waiter only in `owner`, which is shared, so it stays as it is, and is dropped later. The
        // exclusive borrow of `self`, which alone refers to it, excludes another `OwnWaiter`.
        f(unsafe { OwnWaiter::new(&self.0.waiter) }, &self.0.owner)
    }
}

/// `N` queues, first in first out, and a value, under one lock.
pub(crate) struct Queues<X, S = (), const N: usize = 1> {
    lock: Lock<S>,
    /// Only [`seems_empty`](Self::seems_empty) accesses them without the lock.
    lists: [Queue<X>; N],
}

struct Queue<X>(List<Waiter<X>>);

// SAFETY: the waiters are accessed only under the lock (Q2), by the thread that holds it.
unsafe impl<X: Send + Sync> Send for Queue<X> {}
// SAFETY: as above; so is the list, except for the check whether it is empty, which is atomic.
unsafe impl<X: Send + Sync> Sync for Queue<X> {}

impl<X, S, const N: usize> Queues<X, S, N> {
    const_fn! {
        pub(crate) const fn new(value: S) -> Self {
            #[cfg(not(gopark_loom))]
            let lists = [const { Queue(List::new()) }; N];
            #[cfg(gopark_loom)]
            let lists = std::array::from_fn(|_| Queue(List::new()));
            Queues { lock: Lock::new(value), lists }
        }
    }

    /// Returns true if the queue is empty. Only a hint, unless another lock orders this call and
    /// the changes of the queue.
    #[inline(always)]
    pub(crate) fn seems_empty(&self, queue: usize) -> bool {
        self.lists[queue].0.seems_empty()
    }

    fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    /// Aborts if the waiter was linked in queues under another lock, or never.
    fn check_home(&self, own: OwnWaiter<'_, '_, X>) {
        require(own.has_home(self.address()), "the waiter's home");
    }

    /// Acquires the lock until the result is dropped.
    #[inline]
    pub(crate) fn lock(&self) -> Held<'_, X, S, N> {
        Held { queues: self, guard: self.lock.lock() }
    }

    /// Polls a waiting future again. Returns true if the waiter has got what it waits for. If not,
    /// it keeps its place, and the task of `cx` will be woken when it is notified or granted.
    ///
    /// `settle` is called under the lock, at most twice, because the waker of `cx` must be cloned
    /// outside of it. Its `bool` argument is true at the last call: if that returns false, the
    /// waiter waits again. Then it must be linked; after the first call it may be `PASSED` instead.
    pub(crate) fn look<'q>(
        &'q self,
        own: OwnWaiter<'_, 'q, X>,
        cx: &mut Context<'_>,
        mut settle: impl FnMut(&mut Held<'q, X, S, N>, bool) -> bool,
    ) -> bool {
        self.check_home(own);
        if own.state() == GRANTED {
            return true;
        }
        {
            let mut held = self.lock();
            if settle(&mut held, false) {
                return true;
            }
            held.queues.check_home(own);
            // SAFETY: the waiter is linked here, and the lock is held, or it is not linked.
            // `will_wake` only compares pointers, and runs no foreign code.
            if unsafe { own.waker(|own| own.as_ref().is_some_and(|own| own.will_wake(cx.waker()))) }
            {
                return false;
            }
        }
        let waker = TaskWaker::new(cx.waker());
        // Variables are dropped in reverse order, so the lock is released first.
        let _old;
        let mut held = self.lock();
        if settle(&mut held, true) {
            return true;
        }
        held.check_linked(own);
        // A waiter that was notified waits again, at its place.
        own.state.store(QUEUED, Ordering::Relaxed);
        // SAFETY: the waiter is linked here, and the lock is held.
        _old = unsafe { own.waker(|own| own.replace(waker)) };
        false
    }
}

/// [`Queues`] whose lock is held. Each queue is named by its number. "Linked here" in the comments
/// below means that a waiter is alive (Q1) and may be accessed (Q2).
pub(crate) struct Held<'q, X, S = (), const N: usize = 1> {
    queues: &'q Queues<X, S, N>,
    guard: LockGuard<'q, S>,
}

impl<'q, X, S, const N: usize> Held<'q, X, S, N> {
    fn list(&self, queue: usize) -> &List<Waiter<X>> {
        &self.queues.lists[queue].0
    }

    /// Aborts if the waiter is not linked here.
    fn check_linked(&self, own: OwnWaiter<'_, 'q, X>) {
        self.queues.check_home(own);
        // The lock is held, so this is exact.
        require(own.is_linked(), "the waiter is linked");
    }

    /// Prepares an unlinked waiter for a queue.
    fn settle_in(&self, own: OwnWaiter<'_, 'q, X>) {
        let here = self.queues.address();
        // The state is exact: this lock is held, and without a home only the future knows it.
        let may = !own.is_linked() && (own.has_home(0) || own.has_home(here));
        require(may, "the waiter is in no queue");
        own.set_home(here);
        own.state.store(QUEUED, Ordering::Relaxed);
    }

    /// Exchanges the waker of a waiter that is linked here. Returns false if the waiter was granted
    /// meanwhile.
    #[cfg(feature = "net")]
    pub(crate) fn swap_waker(
        &mut self,
        own: OwnWaiter<'_, 'q, X>,
        waker: &mut Option<TaskWaker>,
    ) -> bool {
        self.queues.check_home(own);
        let is_linked = own.is_linked();
        if is_linked {
            // SAFETY: linked here.
            unsafe { own.waker(|own| mem::swap(own, waker)) };
        }
        is_linked
    }

    pub(crate) fn is_empty(&self, queue: usize) -> bool {
        self.list(queue).front().is_none()
    }

    /// Returns the waiter at the front.
    pub(crate) fn front(&self, queue: usize) -> Option<&Waiter<X>> {
        // SAFETY: the front is linked, so it is alive (Q1), and it stays linked while `self` is
        // borrowed.
        self.list(queue).front().map(|front| unsafe { front.as_ref() })
    }

    /// Calls `f` with the address of each waiter's task, for the first `most` waiters.
    #[cfg(all(feature = "net", unix))]
    pub(crate) fn each_task(&self, queue: usize, most: usize, mut f: impl FnMut(usize)) {
        let mut next = self.list(queue).front();
        for _ in 0..most {
            let Some(waiter) = next else { return };
            // SAFETY: linked here.
            unsafe {
                waiter.as_ref().waker(|waker| waker.iter().for_each(|waker| f(waker.data().addr())))
            };
            // SAFETY: the lock is held.
            next = unsafe { self.list(queue).next(waiter) };
        }
    }

    /// Returns true if the waiter at the front would wake the task of `cx`.
    pub(crate) fn front_will_wake(&self, queue: usize, cx: &Context<'_>) -> bool {
        self.front(queue).is_some_and(|front| {
            // SAFETY: linked here. `will_wake` only compares pointers, and runs no foreign code.
            unsafe { front.waker(|own| own.as_ref().is_some_and(|own| own.will_wake(cx.waker()))) }
        })
    }

    /// Replaces the waker of a waiter that is linked here or was, or was in no queue yet. Returns
    /// the old one, which must be dropped after the lock has been released.
    pub(crate) fn replace_waker(
        &mut self,
        own: OwnWaiter<'_, 'q, X>,
        waker: Option<TaskWaker>,
    ) -> Option<TaskWaker> {
        if own.was_linked() {
            self.queues.check_home(own);
        }
        // SAFETY: the lock is held; without a home only the owner accesses the waiter.
        unsafe { own.waker(|own| mem::replace(own, waker)) }
    }

    /// Returns true if `waiter` is the only one.
    pub(crate) fn is_only(&self, queue: usize, waiter: &Waiter<X>) -> bool {
        // SAFETY: the lock is held.
        unsafe { self.list(queue).is_only(waiter) }
    }

    /// Links an unlinked waiter at the end.
    pub(crate) fn push_back(&mut self, queue: usize, own: OwnWaiter<'_, 'q, X>) {
        self.settle_in(own);
        // SAFETY: the lock is held; the waiter is unlinked, and stays as Q1 and Q4 say. Everything
        // that is written through the pointer is in cells.
        unsafe { self.list(queue).push_back(ptr::from_ref(own.waiter).cast_mut()) };
    }

    /// Links an unlinked waiter at the front.
    pub(crate) fn push_front(&mut self, queue: usize, own: OwnWaiter<'_, 'q, X>) {
        self.settle_in(own);
        // SAFETY: as in `push_back`.
        unsafe { self.list(queue).push_front(ptr::from_ref(own.waiter).cast_mut()) }
    }

    /// Unlinks a waiter, in whichever queue it is.
    pub(crate) fn remove(&mut self, own: OwnWaiter<'_, 'q, X>) {
        self.check_linked(own);
        own.state.store(UNLINKED, Ordering::Relaxed);
        let waiter = ptr::from_ref(own.waiter);
        let ends = |queue: &&Queue<X>| {
            // SAFETY: the lock is held.
            queue.0.is_front(waiter) || unsafe { queue.0.is_back(waiter) }
        };
        // A waiter that is neither first nor last can be removed from any list.
        let lists = &self.queues.lists;
        let list = &lists[1..].iter().find(ends).unwrap_or(&lists[0]).0;
        // SAFETY: the lock is held; the waiter is linked, and if it is an end, it is one of `list`.
        unsafe { list.remove(waiter.cast_mut()) }
    }

    /// Moves the waiter at the front, if there is one, to the end of another queue.
    pub(crate) fn move_front(&mut self, queue: usize, to: usize) {
        // SAFETY: the lock is held; the waiter stays at home.
        unsafe {
            if let Some(front) = self.list(queue).pop_front() {
                self.list(to).push_back(front.as_ptr());
            }
        }
    }

    /// Moves all waiters to the end of another queue.
    pub(crate) fn append(&mut self, queue: usize, to: usize) {
        require(queue != to, "two queues");
        // SAFETY: the lock is held; the waiters stay at home.
        unsafe { self.list(to).append(self.list(queue)) }
    }

    /// Unlinks the waiter at the front and makes it the owner of what it waits for. Returns its
    /// waker. `None` if the queue is empty, `Some(None)` if the waiter was notified before, and
    /// therefore is already being woken.
    #[must_use = "the waker must be woken after the lock has been released"]
    pub(crate) fn grant_front(&mut self, queue: usize) -> Option<Option<TaskWaker>> {
        // SAFETY: the lock is held.
        let waiter = unsafe { self.list(queue).pop_front() }?;
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
    pub(crate) fn grant_front_into(&mut self, queue: usize, wakes: &mut WakeList) -> bool {
        self.grant_front(queue).map(|waker| wakes.push(waker)).is_some()
    }

    /// Notifies the waiter at the front, which then tries again itself and keeps its place.
    #[must_use = "the waker must be woken after the lock has been released"]
    pub(crate) fn notify_front(&mut self, queue: usize) -> Option<TaskWaker> {
        let waiter = self.front(queue)?;
        waiter.state.store(NOTIFIED, Ordering::Relaxed);
        // SAFETY: linked here.
        unsafe { waiter.waker(Option::take) }
    }

    /// Unlinks the waiter at the front, if it was notified and has not tried again yet. Its future
    /// will queue it again.
    pub(crate) fn pass_over(&mut self, queue: usize) {
        if let Some(front) = self.front(queue).filter(|front| front.state() == NOTIFIED) {
            // SAFETY: the lock is held, and the front is linked.
            unsafe { self.list(queue).remove(ptr::from_ref(front).cast_mut()) };
            // Its future takes the lock before it drops the waiter.
            front.state.store(PASSED, Ordering::Relaxed);
        }
    }
}

impl<X, S, const N: usize> Deref for Held<'_, X, S, N> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.guard
    }
}

impl<X, S, const N: usize> DerefMut for Held<'_, X, S, N> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.guard
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
