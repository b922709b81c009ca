//! The line of waiters of a `Mutex`, a `RwMutex`, a `Semaphore`: intrusive nodes, pinned in the futures that wait.
//!
//! | | invariant |
//! |---|---|
//! | Q1 | A linked waiter is alive and does not move: its future takes it off the queue before it goes |
//! | Q2 | Links and waker of a linked waiter are touched only under the lock of its queue |
//! | Q3 | Whoever grants a waiter has unlinked it and taken its waker before, and touches it no more after |
//!
//! A waiter's state, and who may change it:
//!
//! | state | meaning | left by |
//! |---|---|---|
//! | `QUEUED` | linked, waits | the lock holder that tells or grants it; its own future, under the lock |
//! | `TOLD` | linked at the front, woken to try for itself | its own future (back to `QUEUED`, or off), a grant |
//! | `GRANTED` | unlinked, owns what it waited for | nobody: its future alone holds it now |
//!
//! Under the lock there are pointer moves only. Wakers are cloned before it is taken, and woken and dropped after it
//! has been released, hence the `#[must_use]` wakers that come out of here.

use std::fmt;
use std::marker::PhantomPinned;
use std::ptr;
use std::task::{Context, Waker};

use crate::lock::Guarded;
use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicU8, Ordering};

pub(crate) const QUEUED: u8 = 0;
pub(crate) const TOLD: u8 = 1;
pub(crate) const GRANTED: u8 = 2;

/// One place in a [`Queue`]. `X` is what the primitive wants to know of it; fixed once it is linked.
pub(crate) struct Waiter<X> {
    state: AtomicU8,
    pub(crate) extra: X,
    node: UnsafeCell<Node<X>>,
    /// The queue points here.
    _pin: PhantomPinned,
}

struct Node<X> {
    prev: *const Waiter<X>,
    next: *const Waiter<X>,
    waker: Option<Waker>,
}

// SAFETY: the pointers are followed only under the queue's lock (Q2) to waiters that are alive (Q1).
unsafe impl<X: Send> Send for Waiter<X> {}
// SAFETY: as above; a shared reference alone gives access to the state and to `extra`, no more.
unsafe impl<X: Sync> Sync for Waiter<X> {}

impl<X> Waiter<X> {
    /// A waiter to be linked, with a clone of its task's waker.
    pub(crate) fn new(waker: Waker, extra: X) -> Self {
        let node = Node { prev: ptr::null(), next: ptr::null(), waker: Some(waker) };
        Waiter { state: AtomicU8::new(QUEUED), extra, node: UnsafeCell::new(node), _pin: PhantomPinned }
    }

    /// Without the lock only `GRANTED` is certain to last. Acquire: pairs with the store in [`Queue::grant_front`], so
    /// that a granted waiter sees what the granter did before.
    pub(crate) fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }

    /// # Safety
    ///
    /// The waiter is not linked yet, or the caller holds the lock of the queue it is linked in (Q2). `f` touches this
    /// waiter only.
    unsafe fn node<R>(&self, f: impl FnOnce(&mut Node<X>) -> R) -> R {
        // SAFETY: by the caller's promise nobody else has the node now.
        self.node.with_mut(|node| f(unsafe { &mut *node }))
    }
}

/// What a waiting future has come to.
pub(crate) enum Stage<X> {
    /// Not polled yet, or polled out of budget: waits for nothing.
    New,
    /// The waiter is linked, or granted.
    Waiting(Waiter<X>),
    /// Completed.
    Done,
}

impl<X> Stage<X> {
    /// From `New` to `Done`, without a look at what there would be to drop otherwise.
    #[inline]
    pub(crate) fn complete_new(&mut self) {
        debug_assert!(matches!(self, Stage::New));
        std::mem::forget(std::mem::replace(self, Stage::Done));
    }
}

/// First come, first served. All methods are called with the lock of the queue held, which is what `&mut self` stands
/// for: so "linked here" in the comments below means alive (Q1) and ours to touch (Q2).
pub(crate) struct Queue<X> {
    head: *const Waiter<X>,
    tail: *const Waiter<X>,
}

// SAFETY: the waiters it points to are reached under the lock only (Q2), from whatever thread holds it.
unsafe impl<X: Send> Send for Queue<X> {}

impl<X> Queue<X> {
    pub(crate) const fn new() -> Self {
        Queue { head: ptr::null(), tail: ptr::null() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// The one who has waited longest.
    pub(crate) fn front(&self) -> Option<&Waiter<X>> {
        // SAFETY: linked, so alive (Q1), and it stays linked as long as the lock is held.
        unsafe { self.head.as_ref() }
    }

    /// Whether `waiter` is the only one.
    pub(crate) fn is_only(&self, waiter: &Waiter<X>) -> bool {
        ptr::eq(self.head, waiter) && ptr::eq(self.tail, waiter)
    }

    /// # Safety
    ///
    /// `waiter` is linked nowhere, is pinned, and is taken off before it is dropped.
    pub(crate) unsafe fn push_back(&mut self, waiter: &Waiter<X>) {
        // SAFETY: not linked yet.
        unsafe { waiter.node(|node| (node.prev, node.next) = (self.tail, ptr::null())) };
        // SAFETY: the tail is linked here.
        match unsafe { self.tail.as_ref() } {
            None => self.head = waiter,
            // SAFETY: as above.
            Some(tail) => unsafe { tail.node(|node| node.next = waiter) },
        }
        self.tail = waiter;
    }

    /// # Safety
    ///
    /// `waiter` is linked in this queue.
    pub(crate) unsafe fn remove(&mut self, waiter: &Waiter<X>) {
        // SAFETY: linked here; and so, if any, are its neighbours below.
        let (prev, next) = unsafe { waiter.node(|node| (node.prev, node.next)) };
        // SAFETY: as above.
        match unsafe { prev.as_ref() } {
            None => self.head = next,
            // SAFETY: as above.
            Some(prev) => unsafe { prev.node(|node| node.next = next) },
        }
        // SAFETY: as above.
        match unsafe { next.as_ref() } {
            None => self.tail = prev,
            // SAFETY: as above.
            Some(next) => unsafe { next.node(|node| node.prev = prev) },
        }
    }

    /// Moves everyone in `other` behind those who are here.
    ///
    /// # Safety
    ///
    /// The two queues are under the same lock.
    pub(crate) unsafe fn append(&mut self, other: &mut Queue<X>) {
        // SAFETY: the head of the other queue is linked there, the tail here.
        let (Some(head), tail) = (unsafe { (other.head.as_ref(), self.tail.as_ref()) }) else { return };
        match tail {
            None => self.head = head,
            // SAFETY: as above.
            Some(tail) => unsafe {
                tail.node(|node| node.next = head);
                head.node(|node| node.prev = tail);
            },
        }
        self.tail = other.tail;
        *other = Queue::new();
    }

    /// Takes the one at the front off and makes it owner of what it waits for. `None`: nobody waits. `Some(None)`: its
    /// wake is on the way since it was told.
    #[must_use = "the waker is to be woken after the lock has been released"]
    pub(crate) fn grant_front(&mut self) -> Option<Option<Waker>> {
        // SAFETY: linked here.
        let waiter = unsafe { self.head.as_ref() }?;
        // SAFETY: linked here.
        unsafe { self.remove(waiter) };
        // SAFETY: taken off within this hold of the lock, and not granted yet.
        let waker = unsafe { waiter.node(|node| node.waker.take()) };
        // Last of all, for the future may be gone the moment it reads this (Q3). Release: pairs with `Waiter::state`.
        waiter.state.store(GRANTED, Ordering::Release);
        Some(waker)
    }

    /// Wakes the one at the front, to try for itself from where it is.
    #[must_use = "the waker is to be woken after the lock has been released"]
    pub(crate) fn tell_front(&mut self) -> Option<Waker> {
        // SAFETY: linked here.
        let waiter = unsafe { self.head.as_ref() }?;
        waiter.state.store(TOLD, Ordering::Relaxed);
        // SAFETY: linked here.
        unsafe { waiter.node(|node| node.waker.take()) }
    }

    /// The told one waits again, where it is; or one that waits changes its waker.
    ///
    /// # Safety
    ///
    /// `waiter` is linked in this queue.
    #[must_use = "the old waker is to be dropped after the lock has been released"]
    unsafe fn wait_again(&mut self, waiter: &Waiter<X>, waker: Waker) -> Option<Waker> {
        waiter.state.store(QUEUED, Ordering::Relaxed);
        // SAFETY: linked here.
        unsafe { waiter.node(|node| node.waker.replace(waker)) }
    }

    /// Whether the waiter would wake `waker` already. (`will_wake` compares pointers; it runs no code of others.)
    ///
    /// # Safety
    ///
    /// `waiter` is linked in this queue.
    unsafe fn wakes(&self, waiter: &Waiter<X>, waker: &Waker) -> bool {
        // SAFETY: linked here.
        unsafe { waiter.node(|node| node.waker.as_ref().is_some_and(|w| w.will_wake(waker))) }
    }
}

/// A later poll of a waiting future: whether `waiter` has got what it waits for. If not, it keeps its place, and `cx`
/// is woken when there is news.
///
/// `settle` is asked under the lock, at most twice, since the waker of `cx` has to be cloned outside of it. Its `bool`
/// says that this is the last time: on `false` the waiter will wait again.
///
/// # Safety
///
/// `waiter` is linked in the queue of `queues` that `which` gives whenever `settle` has said `false`.
pub(crate) unsafe fn look<Q, X>(
    queues: &Guarded<Q>,
    waiter: &Waiter<X>,
    cx: &mut Context<'_>,
    which: impl Fn(&mut Q) -> &mut Queue<X>,
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
        // SAFETY: the caller's promise.
        if unsafe { which(&mut held).wakes(waiter, cx.waker()) } {
            return false;
        }
    }
    let waker = cx.waker().clone();
    // Dropped in reverse order: the lock first.
    let _old;
    let mut held = queues.lock();
    if settle(&mut held, true) {
        return true;
    }
    // SAFETY: the caller's promise.
    _old = unsafe { which(&mut held).wait_again(waiter, waker) };
    false
}

/// Wakers gathered under a lock, to be woken after it: a handful at a time, so that nobody holds a lock for long and
/// nothing is allocated.
pub(crate) struct Wakes {
    wakers: [Option<Waker>; Wakes::ROOM],
    len: usize,
}

impl Wakes {
    /// Few under loom, so that going round is explored.
    pub(crate) const ROOM: usize = if cfg!(gopark_loom) { 1 } else { 16 };

    pub(crate) fn new() -> Self {
        Wakes { wakers: [const { None }; Wakes::ROOM], len: 0 }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len == Wakes::ROOM
    }

    /// There must be room.
    pub(crate) fn push(&mut self, waker: Option<Waker>) {
        if waker.is_some() {
            self.wakers[self.len] = waker;
            self.len += 1;
        }
    }

    /// Wakes all, in order, and is empty again.
    pub(crate) fn wake(&mut self) {
        let n = std::mem::take(&mut self.len);
        for waker in &mut self.wakers[..n] {
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
    }
}

impl Drop for Wakes {
    /// A waker that panics must not cost the others their wake.
    fn drop(&mut self) {
        for waker in self.wakers.iter_mut().filter_map(Option::take) {
            waker.wake();
        }
    }
}

impl<X> fmt::Debug for Stage<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::New => "new",
            Stage::Waiting(waiter) if waiter.state() == GRANTED => "granted",
            Stage::Waiting(_) => "waiting",
            Stage::Done => "done",
        })
    }
}
