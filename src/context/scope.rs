//! The tree of cancellations under the contexts.
//!
//! A [`Scope`] is what ends as one: a context with a cancel function or a deadline of its own, or a function that waits
//! for that (`after_func`). It knows its parent, and the parent lists it, so that a cancel finds everything below it
//! without a goroutine for each.
//!
//! | | invariant |
//! |---|---|
//! | C1 | The links of a scope (`link`, and `linked` becoming false) are written only under its *parent's* lock |
//! | C2 | A scope with references owns one of its parent's. A *detached* scope has none, owns none, and is its parent's list's |
//! | C3 | A listed scope lives: it has references, or is detached. The last reference goes under the parent's lock |
//! | C4 | A scope is in its parent's list until its whole subtree is marked as ended |
//! | C5 | `cause` is written under the scope's lock before `state` leaves `LIVE`, and never after |
//! | C6 | Two locks at once: only a scope's and then its child's. Under a lock there are pointer moves and nothing else |
//!
//! # Cancelling
//!
//! [`Scope::cancel`] marks the scope, then again and again takes the first child of what it has marked: marks that, goes
//! down if there are children, takes it out of the list if not, and goes up by the parent pointer. No stack is needed,
//! whatever the depth, and no lock is held from one step to the next. Because of C4 a second cancel that finds a scope
//! marked, with children left, can help: when it has seen the list empty, the subtree is marked, by whomever. So
//! *every* cancel returns with its whole subtree marked, also the one that came too late.
//!
//! # Who keeps whom
//!
//! References (contexts, cancel functions, a child's on its parent, the one who cancels) keep a scope; a parent's list
//! does not. So a subtree that nobody refers to goes at once, without its parent ending. The exception is a function
//! that waits for the end, which must run although nobody refers to it or to its context: when the last reference of a
//! scope goes that has such a function, or such a scope below it, the scope turns *detached*, which means owned by the
//! parent's list, without a hold on the parent; or, if it has an alarm, it stays until that fires. If the parent goes,
//! so does what is detached below it: nothing is left that could end it.
//!
//! A scope's memory is an `Arc`, of which all references together own one; an armed alarm owns another, through which
//! it may look whether there are references still.
//!
//! Rejected: a strong list of children, as Go's, whose garbage collector sorts out the rest; one lock for a whole tree
//! (every request of a server would meet there); a lock held down the recursion, as Go's (it overflows a thread's
//! stack, and holds up everybody who looks at the top).

use std::error::Error;
use std::marker::PhantomPinned;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::{Context as TaskContext, Wake};
use std::time::Instant;

use super::error::ContextError;
use crate::alarm::{Alarm, alarm};
use crate::clock::Time;
use crate::coop;
use crate::lock::{Lock, LockGuard};
use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use crate::panics::contain;
use crate::wait::queue::{self, GRANTED, Queue, Waiter};
use crate::waker::{TaskWaker, WakeList};

pub(super) type Cause = Arc<dyn Error + Send + Sync>;

/// Starts the goroutine of an `after_func`.
pub(super) type Start = Box<dyn FnOnce() + Send>;

/// The values of a scope's state, which `Inner` has; `Scope::state` is a copy for who comes without the lock.
///
/// | value | meaning | left by |
/// |---|---|---|
/// | `LIVE` | has not ended | `mark` or `disarm`, under the scope's lock; the copy by a store, Release |
/// | `CANCELED` | cancelled, by its own function or with its parent | nobody |
/// | `EXPIRED` | its deadline, or its parent's, has passed | nobody |
const LIVE: u8 = 0;
const CANCELED: u8 = 1;
const EXPIRED: u8 = 2;

pub(super) struct Scope {
    /// References, see above. Taken from one to zero under the scope's lock and, if it is linked, its parent's.
    refs: AtomicUsize,
    state: AtomicU8,
    /// Whether it is in its parent's list. Falls once, Release: who sees that needs the parent's lock no more.
    linked: AtomicBool,
    /// Itself, as `Arc::into_raw` gave it: a pointer made of a reference could not become the `Arc` again.
    me: NonNull<Scope>,
    /// Valid as C2 says.
    parent: Option<NonNull<Scope>>,
    /// Its own or an earlier one of its parent's.
    deadline: Option<Instant>,
    link: UnsafeCell<Link>,
    cause: UnsafeCell<Option<Cause>>,
    inner: Lock<Inner>,
    #[cfg(gopark_loom)]
    gone: model::Gone,
    _pin: PhantomPinned,
}

/// A place in the parent's list.
struct Link {
    prev: *const Scope,
    next: *const Scope,
    detached: bool,
}

struct Inner {
    /// Not the word itself: loom takes no notice of who may have loaded that before a store, if the storer has as well.
    state: u8,
    waiters: Queue<()>,
    children: Children,
    /// What is to be started at the end.
    start: Option<Start>,
    timer: Option<Timer>,
}

/// A deadline of its own, while it is ahead.
struct Timer {
    /// `None` while it is being armed.
    alarm: Option<Alarm>,
    cause: Option<Cause>,
    /// Whether a reference is the alarm's.
    holds: bool,
}

// SAFETY: `link`, `cause` and `inner` are reached as C1, C5 and the lock say, from whatever thread; causes, functions
// and wakers may go to any.
unsafe impl Send for Scope {}
// SAFETY: as above.
unsafe impl Sync for Scope {}

/// The children, linked through their `link`s. All methods are called with the parent's lock held (C1), on scopes that
/// are listed here and so alive (C3).
struct Children {
    first: *const Scope,
    count: usize,
}

impl Children {
    const fn new() -> Self {
        Children { first: ptr::null(), count: 0 }
    }

    /// # Safety
    ///
    /// `child` is in no list.
    unsafe fn push(&mut self, child: &Scope) {
        // SAFETY: the caller's promise, and what stands above.
        unsafe {
            child.link(|link| link.next = self.first);
            if let Some(first) = self.first.as_ref() {
                first.link(|link| link.prev = child);
            }
        }
        self.first = child;
        self.count += 1;
        child.linked.store(true, Ordering::Relaxed);
    }

    /// Takes `child` out, unless that is done.
    ///
    /// # Safety
    ///
    /// `child` is in this list, or has been.
    unsafe fn remove(&mut self, child: &Scope) {
        if !child.linked.load(Ordering::Relaxed) {
            return;
        }
        // SAFETY: listed, and so are its neighbours.
        unsafe {
            let (prev, next) = child.link(|link| (link.prev, link.next));
            match prev.as_ref() {
                None => self.first = next,
                Some(prev) => prev.link(|link| link.next = next),
            }
            if let Some(next) = next.as_ref() {
                next.link(|link| link.prev = prev);
            }
        }
        self.count -= 1;
        // Last of all: pairs with the load in `release_one`. Without a reference `child` may be gone after this.
        child.linked.store(false, Ordering::Release);
    }

    /// The first child, with a reference.
    ///
    /// # Safety
    ///
    /// The caller has a reference of `parent`, whose children these are.
    unsafe fn adopt_first(&self, parent: &Scope) -> Option<Ref> {
        // SAFETY: listed, so it is alive and its link is ours.
        let child = unsafe { self.first.as_ref() }?;
        // SAFETY: as above.
        if unsafe { child.link(|link| std::mem::take(&mut link.detached)) } {
            // Awake again, it owns one of its parent.
            parent.retain();
        }
        Some(child.reference())
    }
}

impl Scope {
    /// # Safety
    ///
    /// The parent's lock is held, or the scope is in no list and nobody else's.
    unsafe fn link<R>(&self, f: impl FnOnce(&mut Link) -> R) -> R {
        self.assert_alive();
        // SAFETY: C1.
        self.link.with_mut(|link| f(unsafe { &mut *link }))
    }

    fn lock(&self) -> LockGuard<'_, Inner> {
        self.assert_alive();
        self.inner.lock()
    }

    /// Panics in a model if the scope was freed.
    #[inline(always)]
    fn assert_alive(&self) {
        #[cfg(gopark_loom)]
        self.gone.assert_alive();
    }

    fn retain(&self) {
        self.assert_alive();
        if self.refs.fetch_add(1, Ordering::Relaxed) > isize::MAX as usize {
            std::process::abort();
        }
    }

    /// Takes another reference. The caller has one, or a lock without which the last one is not released.
    fn reference(&self) -> Ref {
        self.retain();
        Ref(self.me)
    }

    /// Why it has ended, if it has.
    #[inline]
    pub(super) fn err(&self) -> Option<ContextError> {
        self.assert_alive();
        // Acquire: pairs with the store in `mark`. What led to the end is seen by who sees the end.
        match self.state.load(Ordering::Acquire) {
            LIVE => None,
            CANCELED => Some(ContextError::Canceled),
            _ => Some(ContextError::DeadlineExceeded),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        let err = self.err()?;
        // SAFETY: ended, so it is not written any more (C5); `err` has acquired the last write.
        let own = self.cause.with(|cause| unsafe { (*cause).clone() });
        Some(own.unwrap_or_else(|| Arc::new(err)))
    }

    /// The number of its children.
    pub(super) fn children(&self) -> usize {
        self.lock().children.count
    }

    /// Queues a new waiter. Returns true, and does nothing, if the scope has ended.
    ///
    /// # Safety
    ///
    /// `waiter` is pinned and new; if this is false, [`deregister`](Self::deregister) comes before it goes.
    pub(super) unsafe fn register(&self, waiter: &Waiter<()>) -> bool {
        let mut inner = self.lock();
        if inner.state != LIVE {
            return true;
        }
        // SAFETY: passed on to the caller.
        unsafe { inner.waiters.push_back(waiter) };
        false
    }

    /// Whether the scope has ended for a queued waiter, which is unlinked then.
    ///
    /// # Safety
    ///
    /// `waiter` was registered here, and none of these has been true for it yet.
    pub(super) unsafe fn look(&self, waiter: &Waiter<()>, cx: &mut TaskContext<'_>) -> bool {
        let settle = |inner: &mut Inner, _| {
            if waiter.state() != GRANTED {
                if inner.state == LIVE {
                    return false;
                }
                // Ended, but its turn to be woken has not come.
                // SAFETY: not granted, seen under the lock, so linked.
                unsafe { inner.waiters.remove(waiter) };
            }
            true
        };
        // SAFETY: linked unless `settle` said true.
        unsafe { queue::look(&self.inner, waiter, cx, |inner| &mut inner.waiters, settle) }
    }

    /// # Safety
    ///
    /// `waiter` was registered here, and `look` was not true for it.
    pub(super) unsafe fn deregister(&self, waiter: &Waiter<()>) {
        // Granted, it is out of line for good.
        if waiter.state() != GRANTED {
            let mut inner = self.lock();
            if waiter.state() != GRANTED {
                // SAFETY: not granted, seen under the lock, so linked.
                unsafe { inner.waiters.remove(waiter) };
            }
        }
    }

    /// Ends the scope and all below it, before it returns.
    fn cancel(&self, code: u8, cause: Option<Cause>) {
        coop::note_unwinding();
        let mut wakes = WakeList::new();
        self.mark(code, cause, &mut wakes);
        self.mark_below(&mut wakes);
        wakes.wake_all();
        self.leave();
    }

    /// Ends this one scope, unless it has ended; says whether there is something below it. Never unwinds: a cancel goes
    /// on to the other scopes.
    fn mark(&self, code: u8, cause: Option<Cause>, wakes: &mut WakeList) -> bool {
        let mut late = cause;
        let below = self.mark_with(code, &mut late, wakes);
        // A cause that came too late. Its destructor is the user's.
        contain(|| drop(late));
        below
    }

    fn mark_with(&self, code: u8, cause: &mut Option<Cause>, wakes: &mut WakeList) -> bool {
        let mut inner = self.lock();
        if inner.state == LIVE {
            if let Some(cause) = cause.take() {
                // SAFETY: still live, under the lock (C5).
                self.cause.with_mut(|own| unsafe { *own = Some(cause) });
            }
            inner.state = code;
            // Release: pairs with the load in `err`.
            self.state.store(code, Ordering::Release);
            let (start, timer) = (inner.start.take(), inner.timer.take());
            if start.is_some() || timer.is_some() {
                drop(inner);
                self.started(start, timer);
                inner = self.lock();
            }
        }
        loop {
            while !wakes.is_full() {
                if !inner.waiters.grant_front_into(wakes) {
                    return !inner.children.first.is_null();
                }
            }
            drop(inner);
            wakes.wake_all();
            inner = self.lock();
        }
    }

    #[cold]
    fn started(&self, start: Option<Start>, timer: Option<Timer>) {
        if let Some(timer) = timer {
            if timer.holds {
                drop(Ref(self.me));
            }
            // What it captured, and the cause that was not needed, are the user's.
            contain(|| drop(timer));
        }
        if let Some(start) = start {
            contain(start);
        }
    }

    /// Ends all below this scope, which is marked.
    fn mark_below(&self, wakes: &mut WakeList) {
        // Where the walk is, if not at the root: marked, with children below it.
        let mut below: Option<Ref> = None;
        // A child whose subtree is marked.
        let mut finished_child: Option<Ref> = None;
        loop {
            let at = below.as_deref().unwrap_or(self);
            let (child, state) = {
                let mut inner = at.lock();
                if let Some(child) = &finished_child {
                    // SAFETY: `child` is a child of `at`.
                    unsafe { inner.children.remove(child) };
                }
                // SAFETY: the walk has a reference of `at`; the caller of `cancel` has one of the root.
                (unsafe { inner.children.adopt_first(at) }, inner.state)
            };
            // Perhaps the last reference, whose drop runs the user's destructors: after the lock.
            contain(|| drop(finished_child.take()));
            match child {
                Some(child) => {
                    // What is below ends as `at` has ended, which may be by another cancel.
                    // SAFETY: `at` is marked (C5), and the lock was taken since.
                    let cause = at.cause.with(|cause| unsafe { (*cause).clone() });
                    if child.mark(state, cause, wakes) {
                        below = Some(child);
                    } else {
                        finished_child = Some(child);
                    }
                }
                None => {
                    let Some(up) = below.take() else { return };
                    below = up.parent().filter(|parent| !ptr::eq(&raw const **parent, self));
                    finished_child = Some(up);
                }
            }
        }
    }

    /// Takes an ended scope out of its parent's list.
    fn leave(&self) {
        // A relaxed look would do: nothing is freed here.
        if let (true, Some(parent)) = (self.linked.load(Ordering::Acquire), self.parent) {
            // SAFETY: the caller has a reference of this scope, which so owns one of its parent (C2).
            let mut above = unsafe { parent.as_ref() }.lock();
            // SAFETY: of that parent.
            unsafe { above.children.remove(self) };
        }
    }

    /// Takes back what was to be started, if it has not been; says whether it could.
    pub(super) fn disarm(&self) -> bool {
        let start = {
            let mut inner = self.lock();
            if inner.state != LIVE {
                return false;
            }
            inner.state = CANCELED;
            self.state.store(CANCELED, Ordering::Release);
            inner.start.take()
        };
        self.leave();
        drop(start);
        true
    }
}

impl Wake for Scope {
    fn wake(self: Arc<Self>) {
        let (scope, cause) = {
            // Not `lock`: the scope may be gone, all but its memory.
            let inner = self.inner.lock();
            if self.refs.load(Ordering::Relaxed) == 0 {
                return;
            }
            (self.reference(), inner.timer.as_ref().and_then(|timer| timer.cause.clone()))
        };
        scope.cancel(EXPIRED, cause);
    }
}

/// A counted reference to a scope. Dropping the last one frees the scope and its detached descendants.
pub(super) struct Ref(NonNull<Scope>);

// SAFETY: it is an `Arc` of what is `Send` and `Sync`.
unsafe impl Send for Ref {}
// SAFETY: as above.
unsafe impl Sync for Ref {}

impl Deref for Ref {
    type Target = Scope;

    #[inline]
    fn deref(&self) -> &Scope {
        // SAFETY: a scope with references lives.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for Ref {
    #[inline]
    fn clone(&self) -> Self {
        self.reference()
    }
}

impl Ref {
    /// A scope below `parent`, ended if that has.
    pub(super) fn new(parent: Option<&Ref>) -> Self {
        Self::with(parent, parent.and_then(|parent| parent.deadline), None, None)
    }

    /// A scope that starts something when it ends. If it has ended, that is done.
    pub(super) fn with_start(parent: Option<&Ref>, start: Start) -> Self {
        Self::with(parent, None, Some(start), None)
    }

    /// A scope below `parent` that ends at `deadline`, with `cause`; `parent` ends later, if it does.
    pub(super) fn with_deadline(parent: Option<&Ref>, deadline: Instant, cause: Option<Cause>) -> Self {
        let due = Time::at(deadline);
        if due <= Time::now() {
            let this = Self::with(parent, Some(deadline), None, None);
            this.cancel(EXPIRED, cause);
            return this;
        }
        let timer = Timer { alarm: None, cause, holds: false };
        let this = Self::with(parent, Some(deadline), None, Some(timer));
        if this.err().is_none() {
            // SAFETY: a reference to the scope, so there is an `Arc` of it; made by `into_raw` in `with`.
            let fire = unsafe {
                Arc::increment_strong_count(this.me.as_ptr().cast_const());
                Arc::from_raw(this.me.as_ptr().cast_const())
            };
            let mut unused = Some(alarm(due, TaskWaker::from(fire)));
            if let Some(timer) = &mut this.lock().timer {
                timer.alarm = unused.take();
            }
            // Ended meanwhile: dropped here, after the lock.
            drop(unused);
        }
        this
    }

    fn with(parent: Option<&Ref>, deadline: Option<Instant>, start: Option<Start>, timer: Option<Timer>) -> Self {
        let scope = Arc::into_raw(Arc::new(Scope {
            refs: AtomicUsize::new(1),
            state: AtomicU8::new(LIVE),
            linked: AtomicBool::new(false),
            me: NonNull::dangling(),
            parent: parent.map(|parent| parent.0),
            deadline,
            link: UnsafeCell::new(Link { prev: ptr::null(), next: ptr::null(), detached: false }),
            cause: UnsafeCell::new(None),
            inner: Lock::new(Inner { state: LIVE, waiters: Queue::new(), children: Children::new(), start, timer }),
            #[cfg(gopark_loom)]
            gone: model::Gone::new(),
            _pin: PhantomPinned,
        }));
        // SAFETY: new, so not null and nobody else's.
        let this = unsafe {
            let me = NonNull::new_unchecked(scope.cast_mut());
            (*me.as_ptr()).me = me;
            Ref(me)
        };
        let Some(parent) = parent else { return this };
        // The child's own (C2).
        parent.retain();
        let state = {
            let mut inner = parent.lock();
            if inner.state == LIVE {
                // SAFETY: new, so in no list.
                unsafe { inner.children.push(&this) };
            }
            inner.state
        };
        if state != LIVE {
            // SAFETY: ended (C5), and the lock was taken since.
            let cause = parent.cause.with(|cause| unsafe { (*cause).clone() });
            this.mark(state, cause, &mut WakeList::new());
        }
        this
    }

    /// Ends the scope and all below it, before it returns.
    pub(super) fn cancel_with(&self, cause: Option<Cause>) {
        self.cancel(CANCELED, cause);
    }

    fn parent(&self) -> Option<Ref> {
        // SAFETY: this scope has references, so it owns one of its parent (C2).
        Some(unsafe { self.parent?.as_ref() }.reference())
    }
}

impl Drop for Ref {
    #[inline]
    fn drop(&mut self) {
        let refs = self.refs.load(Ordering::Relaxed);
        // Release: pairs with the Acquire of the last to go, in `release_one`.
        if refs <= 1 || self.refs.compare_exchange(refs, refs - 1, Ordering::Release, Ordering::Relaxed).is_err() {
            // SAFETY: this reference, which is not used any more.
            unsafe { release(self.0) };
        }
    }
}

/// Gives back a reference; if it was the last of a scope, then also that scope's of its parent, and so on up.
///
/// # Safety
///
/// The caller owns the reference.
#[cold]
#[inline(never)]
unsafe fn release(scope: NonNull<Scope>) {
    let mut next = Some(scope);
    while let Some(scope) = next {
        // SAFETY: passed on: the caller's, or the one that `release_one` gave out.
        next = unsafe { release_one(scope) };
    }
}

/// Releases one reference. If it was the last, returns the parent, whose reference is the caller's to release now.
///
/// # Safety
///
/// The caller owns the reference.
unsafe fn release_one(scope: NonNull<Scope>) -> Option<NonNull<Scope>> {
    // SAFETY: the caller's reference keeps it, until the count has been lowered; after that the locks do, because the
    // last release needs them (C3).
    let this = unsafe { scope.as_ref() };
    let (above, mut own) = loop {
        let mut refs = this.refs.load(Ordering::Relaxed);
        while refs > 1 {
            match this.refs.compare_exchange_weak(refs, refs - 1, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return None,
                Err(now) => refs = now,
            }
        }
        // The last, unless a cancel or an alarm comes for it, which the locks keep from it.
        let above: Option<LockGuard<'_, Inner>> = match this.parent {
            // SAFETY: this scope has a reference, so it owns one of its parent (C2).
            Some(parent) if this.linked.load(Ordering::Acquire) => Some(unsafe { parent.as_ref() }.lock()),
            _ => None,
        };
        let own = this.lock();
        // Acquire: pairs with the Release of all who went before.
        if this.refs.load(Ordering::Acquire) == 1 {
            break (above, own);
        }
        // Unlocked with the reference still there: it keeps both, this and the parent.
    };
    // No other thread can take a reference now: that needs a reference, or one of the locks.
    let waits = own.start.is_some() || !own.children.first.is_null();
    let waits = waits && own.state == LIVE;
    if waits {
        if let Some(timer) = &mut own.timer {
            timer.holds = true;
            return None;
        }
    }
    this.refs.store(0, Ordering::Relaxed);
    let parent = this.parent;
    match above {
        Some(above) if waits => {
            // SAFETY: the parent's lock is held.
            unsafe { this.link(|link| link.detached = true) };
            // The list's from here on.
            drop(own);
            drop(above);
        }
        mut above => {
            if let Some(above) = &mut above {
                // SAFETY: of that parent, whose lock is held.
                unsafe { above.children.remove(this) };
            }
            drop(own);
            drop(above);
            // SAFETY: no references, in no list.
            unsafe { free_subtree(scope) };
        }
    }
    // What it owned is the caller's now.
    parent
}

/// Frees an unreachable scope, and the detached ones below it.
///
/// # Safety
///
/// The scope has no references and is in no list.
unsafe fn free_subtree(scope: NonNull<Scope>) {
    let mut heap = scope.as_ptr().cast_const();
    // SAFETY: in no list, and nobody else's.
    unsafe { (*heap).link(|link| link.next = ptr::null()) };
    while !heap.is_null() {
        // SAFETY: as the caller promises, or detached below such a scope: reachable from here alone. Each is an `Arc`
        // that was turned raw in `Ref::with`, and its references, which owned it, are gone.
        let this = unsafe { Arc::from_raw((*heap).me.as_ptr().cast_const()) };
        // SAFETY: on the heap, so nobody else's.
        heap = unsafe { this.link(|link| link.next) };
        // For an alarm that fires now; it finds no references.
        let mut inner = this.lock();
        while let Some(child) = NonNull::new(inner.children.first.cast_mut()) {
            // SAFETY: listed; detached, for others own a reference of their parent.
            let child = unsafe { child.as_ref() };
            // SAFETY: as above; the list's lock is held.
            unsafe {
                inner.children.remove(child);
                child.link(|link| link.next = heap);
            }
            heap = child;
        }
        let (start, timer) = (inner.start.take(), inner.timer.take());
        drop(inner);
        // SAFETY: no other thread can reach it any more.
        let cause = this.cause.with_mut(|cause| unsafe { (*cause).take() });
        // Users' destructors: after the lock.
        drop((start, timer, cause));
        #[cfg(gopark_loom)]
        {
            this.gone.set();
            // Its memory stays, so that a late touch is seen.
            std::mem::forget(this);
        }
    }
}

/// What only models need.
#[cfg(gopark_loom)]
mod model {
    use std::cell::Cell;

    thread_local! {
        /// Scopes of the running model, whose threads are one.
        static ALIVE: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) struct Gone(Cell<bool>);

    impl Gone {
        pub(super) fn new() -> Self {
            ALIVE.set(ALIVE.get() + 1);
            Gone(Cell::new(false))
        }

        pub(super) fn assert_alive(&self) {
            assert!(!self.0.get(), "a scope is touched that is gone");
        }

        pub(super) fn set(&self) {
            self.assert_alive();
            self.0.set(true);
            ALIVE.set(ALIVE.get() - 1);
        }
    }

    /// Returns how many scopes are alive, and resets the count.
    #[cfg(test)]
    pub(in crate::context) fn take_alive() -> usize {
        ALIVE.take()
    }
}

#[cfg(all(test, gopark_loom))]
pub(super) use model::take_alive;

#[cfg(all(test, gopark_loom))]
impl Ref {
    /// A scope with a timer, and what that fires.
    pub(super) fn timed(start: Option<Start>) -> (Self, TaskWaker) {
        let this = Self::with(None, None, start, Some(Timer { alarm: None, cause: None, holds: false }));
        // SAFETY: as in `with_deadline`.
        let scope = unsafe {
            Arc::increment_strong_count(this.me.as_ptr().cast_const());
            Arc::from_raw(this.me.as_ptr().cast_const())
        };
        (this, TaskWaker::from(scope))
    }
}
