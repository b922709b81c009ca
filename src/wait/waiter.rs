//! Who waits on a channel, and how exactly one of several offers to a `select!` is taken.
//!
//! A [`Waiter`] is not the goroutine: one goroutine waits on many channels in a `select!`, and many goroutines wait
//! on one channel (Go's `sudog`). It lives, pinned, inside the future of the operation; a channel links it into a
//! [`WaitQueue`]. A [`Token`] is shared by the waiters of one `select!` and says which of them won.
//!
//! Invariants, named by the `SAFETY` comments of this crate:
//!
//! - **I1** Links, owner and slot of a queued waiter are touched only under its channel's lock.
//! - **I2** A token goes from `WAITING` to `claimed(w)` once, by compare-exchange, by a thread that holds the lock of
//!   the channel where waiter w is queued.
//! - **I3** Whoever takes a waiter out of a queue moves the value and takes the waker, and stores the waiter's state
//!   last: after that store the owner may free the waiter.
//! - **I4** The owner touches the token's waker only before any case is queued, or while the token is `BUSY`: then nobody can
//!   claim it, and only who claimed it takes the waker.
//! - **I5** A waiter is unlinked before its memory goes: it is done when its future is ready, else on drop. A future
//!   that is leaked keeps its memory for ever, and the waiter owns its waker, so nothing dangles then either.

use std::collections::VecDeque;
use std::marker::PhantomPinned;
use std::mem::MaybeUninit;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::task::Waker;

use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicPtr, AtomicU8, AtomicUsize, Ordering};

/// A waker to call once every lock is released.
#[must_use = "wake it after the lock is released"]
#[derive(Debug)]
pub(crate) struct Wake(Option<Waker>);

impl Wake {
    pub(crate) const NONE: Self = Self(None);

    #[inline(always)]
    pub(crate) fn wake(self) {
        if let Some(waker) = self.0 {
            crate::coop::note_unwinding();
            waker.wake();
        }
    }
}

/// Streams to wake after unlocking.
#[must_use = "wake them after the lock is released"]
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "one word, which every send tests")]
pub(crate) struct Watchers(Option<Box<VecDeque<Waker>>>);

impl Watchers {
    pub(crate) const NONE: Self = Self(None);

    #[inline(always)]
    #[expect(clippy::box_collection, reason = "as above")]
    pub(crate) fn new(watchers: Option<Box<VecDeque<Waker>>>) -> Self {
        Self(watchers)
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    #[inline(always)]
    pub(crate) fn wake(self) {
        if let Some(watchers) = self.0 {
            Self::wake_all(*watchers);
        }
    }

    #[cold]
    #[inline(never)]
    fn wake_all(watchers: VecDeque<Waker>) {
        wake_all(watchers.into_iter().map(|waker| Wake(Some(waker))));
    }
}

/// Wakes all, in order; also those after one that panics.
pub(crate) fn wake_all(wakes: impl Iterator<Item = Wake>) {
    struct Rest<I: Iterator<Item = Wake>>(I);
    impl<I: Iterator<Item = Wake>> Rest<I> {
        fn wake(&mut self) {
            self.0.by_ref().for_each(Wake::wake);
        }
    }
    impl<I: Iterator<Item = Wake>> Drop for Rest<I> {
        fn drop(&mut self) {
            self.wake();
        }
    }
    Rest(wakes).wake();
}

/// The states of a [`Waiter`].
///
/// | state | meaning | left by |
/// |---|---|---|
/// | `IDLE` | never queued | owner, under the lock: `QUEUED`; or `FINISHED` when done at once |
/// | `QUEUED` | linked into a queue | claimer, under the lock: `DONE` or `CLOSED` (Release) |
/// | `DONE` | the value has moved: out of a send's slot, into a receive's | owner: `FINISHED` |
/// | `CLOSED` | the channel was closed; a send's slot still holds its value | owner: `FINISHED` |
/// | `FINISHED` | the result was given out, the slot is empty | nobody |
pub(crate) mod state {
    pub(crate) const IDLE: u8 = 0;
    pub(crate) const QUEUED: u8 = 1;
    pub(crate) const DONE: u8 = 2;
    pub(crate) const CLOSED: u8 = 3;
    pub(crate) const FINISHED: u8 = 4;
}

/// Whom to wake.
#[derive(Debug)]
enum Owner {
    /// Not queued.
    Nobody,
    /// A lone operation.
    Lone(Waker),
    /// One case of a `select!`.
    Select(NonNull<Token>),
}

/// One operation's place in the queue of one channel.
#[derive(Debug)]
pub(crate) struct Waiter<T> {
    /// Once a value was handed over: its number in the order of sending, as an address.
    prev: *mut Self,
    /// Before the waiter is queued: where its operation was called, as a `*const Location`.
    next: *mut Self,
    owner: Owner,
    /// The value: of a send until it is taken, of a receive once it is given.
    slot: UnsafeCell<MaybeUninit<T>>,
    state: AtomicU8,
    _pin: PhantomPinned,
}

impl<T> Waiter<T> {
    #[inline(always)]
    pub(crate) fn new(slot: MaybeUninit<T>, site: &'static Location<'static>) -> Self {
        Self {
            prev: ptr::null_mut(),
            next: ptr::from_ref(site).cast_mut().cast(),
            owner: Owner::Nobody,
            slot: UnsafeCell::new(slot),
            state: AtomicU8::new(state::IDLE),
            _pin: PhantomPinned,
        }
    }

    /// Where the operation was called.
    ///
    /// # Safety
    ///
    /// The waiter has never been queued.
    #[inline(always)]
    pub(crate) unsafe fn site(this: *const Self) -> &'static Location<'static> {
        // SAFETY: until the waiter is queued, `next` is what `new` made of a `&'static Location`.
        unsafe { &*(*this).next.cast_const().cast() }
    }

    #[inline(always)]
    pub(crate) fn state(&self) -> u8 {
        // Acquire: pairs with the Release store in `complete`, so that the slot is seen as the claimer left it.
        self.state.load(Ordering::Acquire)
    }

    /// The owner's own steps, to `FINISHED`.
    #[inline(always)]
    pub(crate) fn finish(&self) {
        self.state.store(state::FINISHED, Ordering::Relaxed);
    }

    /// # Safety
    ///
    /// The slot holds a value, and the caller is the owner (waiter not queued) or its claimer (I3).
    #[inline(always)]
    pub(crate) unsafe fn take(this: *const Self) -> T {
        // SAFETY: the caller promises a value and the sole right to it.
        unsafe { (*this).slot.with_mut(|slot| (*slot).assume_init_read()) }
    }

    /// # Safety
    ///
    /// The slot is empty, and the caller is the waiter's claimer (I3).
    #[inline(always)]
    pub(crate) unsafe fn give(this: *mut Self, value: T, number: usize) {
        // SAFETY: the caller alone may touch the waiter.
        unsafe {
            (*this).slot.with_mut(|slot| (*slot).write(value));
            (*this).prev = ptr::without_provenance_mut(number);
        }
    }

    /// The number of the value that was handed over.
    ///
    /// # Safety
    ///
    /// The caller is the owner, and the state is `DONE`.
    pub(crate) unsafe fn number(this: *const Self) -> usize {
        // SAFETY: a done waiter is the owner's alone.
        unsafe { (*this).prev.addr() }
    }

    /// Ends a claimed waiter. It must not be touched afterwards: its owner may free it.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock and got the waiter from [`WaitQueue::claim`]; the slot is as `state` says.
    #[inline(always)]
    pub(crate) unsafe fn complete(this: *mut Self, state: u8) -> Wake {
        // SAFETY: a claimed waiter is the claimer's alone until the store below (I3).
        unsafe {
            let wake = match std::mem::replace(&mut (*this).owner, Owner::Nobody) {
                Owner::Lone(waker) => Wake(Some(waker)),
                Owner::Select(token) => {
                    // I2: this thread's claim made the token its own.
                    let wake = token.as_ref().waker.with_mut(|waker| Wake((*waker).take()));
                    (*this).state.store(state, Ordering::Release);
                    // Release: who sees `fired` sees the waiter's end. The token may be gone after this store.
                    let fired = token.as_ref().state.load(Ordering::Relaxed) | FIRED;
                    token.as_ref().state.store(fired, Ordering::Release);
                    return wake;
                }
                Owner::Nobody => Wake::NONE,
            };
            (*this).state.store(state, Ordering::Release);
            wake
        }
    }

    /// Replaces the waker of a queued lone waiter, giving the old one back to be dropped outside the lock.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock and the waiter is `QUEUED` by `push_lone`.
    pub(crate) unsafe fn replace_waker(this: *mut Self, waker: Waker) -> Option<Waker> {
        // SAFETY: I1.
        match unsafe { std::mem::replace(&mut (*this).owner, Owner::Lone(waker)) } {
            Owner::Lone(old) => Some(old),
            Owner::Select(_) | Owner::Nobody => None,
        }
    }

    /// Makes an unlinked case of a `select!` that lost as good as new, called at `site`.
    ///
    /// # Safety
    ///
    /// The caller is the owner, and holds the channel's lock if the waiter was ever queued; it is not linked.
    pub(crate) unsafe fn reset(this: *mut Self, site: &'static Location<'static>) {
        // SAFETY: an unlinked waiter is the owner's alone.
        unsafe {
            (*this).owner = Owner::Nobody;
            (*this).next = ptr::from_ref(site).cast_mut().cast();
            (*this).state.store(state::IDLE, Ordering::Relaxed);
        }
    }

    /// An operation that completed at once, as a case of a `select!`: its result is in the slot.
    ///
    /// # Safety
    ///
    /// The caller is the owner; the waiter is not linked; the slot is as `state` says.
    pub(crate) unsafe fn settle(this: *mut Self, state: u8) {
        // SAFETY: an unlinked waiter is the owner's alone.
        unsafe {
            (*this).owner = Owner::Nobody;
            (*this).state.store(state, Ordering::Relaxed);
        }
    }

    /// True if the waiter was queued as a case of a `select!`.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock.
    pub(crate) unsafe fn is_case(this: *const Self) -> bool {
        // SAFETY: I1.
        matches!(unsafe { &(*this).owner }, Owner::Select(_))
    }

    /// True if a queued lone waiter would wake the same task.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock.
    pub(crate) unsafe fn will_wake(this: *const Self, waker: &Waker) -> bool {
        // SAFETY: I1.
        matches!(unsafe { &(*this).owner }, Owner::Lone(own) if own.will_wake(waker))
    }

    /// The waker of a waiter that was unlinked, to be dropped outside the lock.
    ///
    /// # Safety
    ///
    /// The caller is the owner, and the waiter is not queued.
    pub(crate) unsafe fn take_waker(this: *mut Self) -> Wake {
        // SAFETY: an unlinked waiter is the owner's alone.
        match unsafe { std::mem::replace(&mut (*this).owner, Owner::Nobody) } {
            Owner::Lone(waker) => Wake(Some(waker)),
            Owner::Select(_) | Owner::Nobody => Wake::NONE,
        }
    }
}

/// A first-in first-out list of waiters, linked through the waiters themselves.
///
/// The head is atomic only so that [`WaitQueue::seems_empty`] may look without the lock; every other access is under
/// the channel's lock (I1). For the same reason nothing here takes `&mut self`: it would claim the head as well.
#[derive(Debug)]
pub(crate) struct WaitQueue<T> {
    head: AtomicPtr<Waiter<T>>,
    tail: UnsafeCell<*mut Waiter<T>>,
}

impl<T> WaitQueue<T> {
    pub(crate) fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()), tail: UnsafeCell::new(ptr::null_mut()) }
    }

    /// A hint when the lock is not held, exact when it is.
    #[inline(always)]
    pub(crate) fn seems_empty(&self) -> bool {
        // Acquire: what is looked at next is as it was now, or later.
        self.head.load(Ordering::Acquire).is_null()
    }

    /// Queues a lone operation.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock; `waiter` is pinned, not queued, and obeys I5.
    #[inline(always)]
    pub(crate) unsafe fn push_lone(&self, waiter: *mut Waiter<T>, waker: Waker) {
        // SAFETY: an unqueued waiter is the owner's alone.
        unsafe { (*waiter).owner = Owner::Lone(waker) };
        // SAFETY: passed on to the caller.
        unsafe { self.push(waiter) };
    }

    /// Queues a case of the `select!` that `token` belongs to.
    ///
    /// # Safety
    ///
    /// As [`WaitQueue::push_lone`]; `token` is pinned and outlives the waiter's time in the queue.
    #[inline(always)]
    pub(crate) unsafe fn push_case(&self, waiter: *mut Waiter<T>, token: NonNull<Token>) {
        // SAFETY: an unqueued waiter is the owner's alone.
        unsafe { (*waiter).owner = Owner::Select(token) };
        // SAFETY: passed on to the caller.
        unsafe { self.push(waiter) };
    }

    #[inline(always)]
    unsafe fn push(&self, waiter: *mut Waiter<T>) {
        // SAFETY: I1, and the caller's promise that `waiter` is not queued.
        unsafe {
            (*waiter).state.store(state::QUEUED, Ordering::Relaxed);
            (*waiter).next = ptr::null_mut();
            let last = self.tail.with_mut(|tail| std::mem::replace(&mut *tail, waiter));
            (*waiter).prev = last;
            if last.is_null() {
                self.head.store(waiter, Ordering::Relaxed);
            } else {
                (*last).next = waiter;
            }
        }
    }

    /// Takes the waiter that has waited longest and can still be served; it leaves the queue.
    ///
    /// The case of a `select!` that was won elsewhere falls out on the way. One whose owner is just polling its other
    /// cases keeps its place and is told that it missed something. `own`, if any, is never taken: a `select!` does not
    /// meet itself.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock, and goes on to fill or empty the slot and [`Waiter::complete`] it.
    #[inline(always)]
    pub(crate) unsafe fn claim(&self, own: *const Token) -> Option<NonNull<Waiter<T>>> {
        let mut waiter = self.head.load(Ordering::Relaxed);
        while !waiter.is_null() {
            // SAFETY: I1: a linked waiter is alive, and its links and owner are ours to read under the lock.
            unsafe {
                let next = (*waiter).next;
                match &(*waiter).owner {
                    Owner::Select(token) if ptr::eq(token.as_ptr(), own) => {}
                    Owner::Select(token) => match token.as_ref().claim(waiter.addr()) {
                        Claim::Won => {
                            self.unlink(waiter);
                            return NonNull::new(waiter);
                        }
                        Claim::Later => {}
                        Claim::Stale => self.unlink(waiter),
                    },
                    Owner::Lone(_) | Owner::Nobody => {
                        self.unlink(waiter);
                        return NonNull::new(waiter);
                    }
                }
                waiter = next;
            }
        }
        None
    }

    /// Takes a waiter out, wherever it stands. One that is not queued any more is left alone.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock and owns `waiter`, which was queued here or nowhere.
    pub(crate) unsafe fn remove(&self, waiter: *mut Waiter<T>) {
        // SAFETY: I1.
        unsafe {
            if self.is_linked(waiter) {
                self.unlink(waiter);
            }
        }
    }

    /// # Safety
    ///
    /// As [`WaitQueue::remove`].
    unsafe fn is_linked(&self, waiter: *mut Waiter<T>) -> bool {
        // SAFETY: I1. An unlinked waiter points to itself, see `unlink`.
        unsafe { (*waiter).state() == state::QUEUED && (*waiter).next != waiter }
    }

    #[inline(always)]
    unsafe fn unlink(&self, waiter: *mut Waiter<T>) {
        // SAFETY: I1; neighbours in the list are alive (I5).
        unsafe {
            let (prev, next) = ((*waiter).prev, (*waiter).next);
            if prev.is_null() {
                self.head.store(next, Ordering::Relaxed);
            } else {
                (*prev).next = next;
            }
            if next.is_null() {
                self.tail.with_mut(|tail| *tail = prev);
            } else {
                (*next).prev = prev;
            }
            // A stale case stays `QUEUED` in its owner's eyes; this tells that it is out already.
            (*waiter).next = waiter;
        }
    }
}

/// What a compare-exchange on a [`Token`] came to.
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    Won,
    /// The owner is polling; it will look again.
    Later,
    /// Won elsewhere.
    Stale,
}

/// Decides which case of one `select!` wins.
///
/// | value | meaning | left by |
/// |---|---|---|
/// | `WAITING` | any case may win | a claimer's compare-exchange: `claimed(i)`; the owner: `BUSY`, `OVER` |
/// | `BUSY` | the owner polls cases that are no channels | owner: `WAITING`, `OVER`; a claimer passing by: `MISSED` |
/// | `MISSED` | as `BUSY`, and an offer went by | owner: `WAITING`, with all locks held, and looks again; `OVER` |
/// | `OVER` | the owner took a case itself, or left | nobody |
/// | `claimed(w)` | the case of waiter w won, its value is on the way | the claimer, under w's lock: `fired(w)` (Release) |
/// | `fired(w)` | the case of waiter w won, which is complete | nobody |
///
/// `claimed(w)` is the waiter's address, `fired(w)` the same with the lowest bit set; the others are no addresses.
#[derive(Debug)]
pub struct Token {
    state: AtomicUsize,
    waker: UnsafeCell<Option<Waker>>,
    _pin: PhantomPinned,
}

const WAITING: usize = 0;
const BUSY: usize = 2;
const MISSED: usize = 4;
const OVER: usize = 6;
/// The bit that makes `fired(w)` of `claimed(w)`.
const FIRED: usize = 1;

/// What the owner of a [`Token`] sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Waiting,
    /// By the waiter at that address.
    Claimed(usize),
    /// By the waiter at that address.
    Fired(usize),
    Over,
}

impl Token {
    pub(crate) fn new() -> Self {
        Self { state: AtomicUsize::new(WAITING), waker: UnsafeCell::new(None), _pin: PhantomPinned }
    }

    #[inline(always)]
    fn claim(&self, waiter: usize) -> Claim {
        let mut seen = WAITING;
        loop {
            let to = match seen {
                WAITING => waiter,
                BUSY => MISSED,
                MISSED => return Claim::Later,
                _ => return Claim::Stale,
            };
            // AcqRel: a claim comes after the owner's enqueueing, and the owner's later steps after the claim.
            match self.state.compare_exchange(seen, to, Ordering::AcqRel, Ordering::Acquire) {
                Ok(WAITING) => return Claim::Won,
                Ok(_) => return Claim::Later,
                Err(now) => seen = now,
            }
        }
    }

    #[inline(always)]
    pub(crate) fn seen(&self) -> Seen {
        // Acquire: pairs with the Release store of `fired` in `complete`.
        Self::decode(self.state.load(Ordering::Acquire))
    }

    fn decode(state: usize) -> Seen {
        match state {
            WAITING | BUSY | MISSED => Seen::Waiting,
            OVER => Seen::Over,
            _ if state & FIRED != 0 => Seen::Fired(state & !FIRED),
            _ => Seen::Claimed(state),
        }
    }

    /// The owner starts to poll cases that are no channels. False if a channel was quicker.
    pub(crate) fn begin_poll(&self) -> bool {
        match self.state.compare_exchange(WAITING, BUSY, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            // Left by a poll that panicked.
            Err(now) => matches!(now, BUSY | MISSED),
        }
    }

    /// The owner is through with polling, nothing was ready. False if an offer went by meanwhile: the owner must look
    /// at its channels again, and until [`look_again`](Self::look_again) offers go on to pass by.
    pub(crate) fn end_poll(&self) -> bool {
        self.state.compare_exchange(BUSY, WAITING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The owner looks at its channels again. It holds all their locks, so that no later offer overtakes the one that
    /// went by.
    pub(crate) fn look_again(&self) {
        // Release: pairs with the claimer's Acquire; the locks order the rest.
        self.state.store(WAITING, Ordering::Release);
    }

    /// The owner takes a case itself, or leaves. What it had been before.
    pub(crate) fn end(&self) -> Seen {
        let mut seen = self.state.load(Ordering::Acquire);
        loop {
            if !matches!(seen, WAITING | BUSY | MISSED) {
                return Self::decode(seen);
            }
            match self.state.compare_exchange(seen, OVER, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Seen::Waiting,
                Err(now) => seen = now,
            }
        }
    }

    /// True if the token would wake the same task.
    ///
    /// # Safety
    ///
    /// The caller is the owner, and the token is `BUSY` (I4), or no case is queued.
    pub(crate) unsafe fn will_wake(&self, waker: &Waker) -> bool {
        // SAFETY: I4: no claimer can be at the waker.
        self.waker.with_mut(|own| matches!(unsafe { &*own }, Some(own) if own.will_wake(waker)))
    }

    /// Sets the waker, giving the old one back to be dropped outside the locks.
    ///
    /// # Safety
    ///
    /// As [`Token::will_wake`].
    pub(crate) unsafe fn set_waker(&self, waker: Option<Waker>) -> Option<Waker> {
        // SAFETY: I4: no claimer can be at the waker.
        self.waker.with_mut(|own| unsafe { std::mem::replace(&mut *own, waker) })
    }
}
