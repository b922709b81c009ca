//! Waiters on a channel, and the token by which a `select!` takes exactly one of several offers.
//!
//! A [`Waiter`] is not the goroutine: one goroutine waits on many channels in a `select!`, and many
//! goroutines wait on one channel (Go's `sudog`). It lives, pinned, inside the future of the
//! operation; a channel links it into a [`WaitQueue`]. A [`Token`] is shared by the waiters of one
//! `select!` and says which of them won.
//!
//! Invariants, named by the `SAFETY` comments of this crate:
//!
//! - **I1** Links, owner and slot of a queued waiter are touched only under its channel's lock.
//! - **I2** A token goes from `WAITING` to `claimed(w)` once, by compare-exchange, by a thread that
//!   holds the lock of the channel where waiter w is queued.
//! - **I3** Whoever takes a waiter out of a queue moves the value and takes the waker, and stores
//!   the waiter's state last: after that store the owner may free the waiter.
//! - **I4** The owner touches the token's waker only before any case is queued, or while the token
//!   is `BUSY`: then nobody can claim it, and only who claimed it takes the waker.
//! - **I5** A waiter is unlinked before its memory goes: it is done when its future is ready, else
//!   on drop. A future that is leaked keeps its memory for ever, and the waiter owns its waker, so
//!   nothing dangles then either.

use std::marker::PhantomPinned;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::Context;

use super::list::{Links, List, Node};
use super::watch::Watchers;
use crate::lock::RawLock;
use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};
use crate::waker::TaskWaker;

/// Tasks to wake once every lock is released: that of one operation, and the streams that watch a
/// channel.
///
/// It is plain data, because a `Drop` that wakes would cost each operation 2 % of its instructions:
/// it is made under the lock, where nothing unwinds, and consumed when the lock is released.
#[doc(hidden)]
#[must_use = "wake them once every lock is released"]
#[derive(Debug)]
pub struct Woken {
    task: Option<TaskWaker>,
    watchers: Option<Arc<Watchers>>,
}

impl Woken {
    pub(crate) const NONE: Self = Self { task: None, watchers: None };

    #[inline(always)]
    pub(crate) fn task(task: Option<TaskWaker>) -> Self {
        Self { task, watchers: None }
    }

    /// All that watch when they are woken.
    pub(crate) fn watchers(watchers: &Arc<Watchers>) -> Self {
        Self { task: None, watchers: Some(watchers.clone()) }
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.task.is_none() && self.watchers.is_none()
    }

    /// The task, for a [`WakeList`](crate::waker::WakeList).
    pub(crate) fn into_task(self) -> Option<TaskWaker> {
        self.task
    }

    #[inline(always)]
    pub(crate) fn wake(self) {
        if let Some(task) = self.task {
            task.wake();
        }
        if let Some(watchers) = self.watchers {
            watchers.wake(None);
        }
    }

    /// Releases `lock` and wakes the watchers; the task is left to the caller. If there are no
    /// watchers, as on most channels, nothing but the task must be kept while the lock is released.
    ///
    /// # Safety
    ///
    /// The caller holds the lock.
    #[inline(always)]
    pub(crate) unsafe fn unlock(self, lock: &RawLock) -> Self {
        match self.watchers {
            // SAFETY: passed on to the caller.
            None => unsafe { lock.unlock() },
            // SAFETY: passed on to the caller.
            Some(watchers) => unsafe { Self::unlock_and_wake(lock, watchers) },
        }
        Self::task(self.task)
    }

    #[cold]
    #[inline(never)]
    #[expect(clippy::needless_pass_by_value, reason = "the caller has nothing to drop")]
    unsafe fn unlock_and_wake(lock: &RawLock, watchers: Arc<Watchers>) {
        // SAFETY: passed on to the caller.
        unsafe { lock.unlock() };
        watchers.wake(None);
    }
}

/// The states of a [`Waiter`].
///
/// | state | meaning | left by |
/// |---|---|---|
/// | `IDLE` | not queued | owner, under the lock: `QUEUED`; or `FINISHED` when done at once |
/// | `QUEUED` | linked into a queue | claimer, under the lock: `DONE`, `CLOSED`, or `IDLE` for a stale case (Release); owner, under the lock: `IDLE`, or as `IDLE` |
/// | `QUEUED_SOME` | as `QUEUED`, for an arm `Some(..)` of a select: a close counts it out | as `QUEUED`; a close, under the lock: `CLOSED`, unclaimed (Release) |
/// | `QUEUED_RESERVE` | as `QUEUED`, for a place in the buffer: there is no value in the slot | as `QUEUED` |
/// | `DONE` | the value has moved: out of a send's slot, into a receive's | owner: `FINISHED` |
/// | `CLOSED` | the channel was closed; a send's slot still holds its value | owner: `FINISHED` |
/// | `FINISHED` | the result was given out, the slot is empty | – |
pub(crate) mod state {
    // So that `IDLE` or `FINISHED`, `DONE` or `CLOSED`, and either of the queued are one comparison
    // each.
    pub(crate) const IDLE: u8 = 0;
    pub(crate) const QUEUED: u8 = 1;
    pub(crate) const QUEUED_SOME: u8 = 3;
    pub(crate) const QUEUED_RESERVE: u8 = 9;
    pub(crate) const DONE: u8 = 2;
    pub(crate) const CLOSED: u8 = 6;
    pub(crate) const FINISHED: u8 = 4;

    /// True for the states of a linked waiter.
    #[inline(always)]
    pub(crate) const fn is_queued(state: u8) -> bool {
        state & QUEUED != 0
    }
}

/// What is notified when a queued waiter completes.
#[derive(Debug)]
pub(crate) enum Owner {
    /// The task of a lone operation.
    Lone(TaskWaker),
    /// The `select!` of which it is a case; the token is pinned, and outlives the waiter's time in
    /// the queue.
    Select(NonNull<Token>),
}

/// Two words that mean one thing after the other in a waiter's life.
#[derive(Clone, Copy)]
union Place<T> {
    /// Before it is queued.
    unset: (),
    /// While it is queued.
    links: Links<Waiter<T>>,
    /// Once it received a value: the number of that in the order of sending.
    number: usize,
}

/// One operation's place in the queue of one channel. It is reached through raw pointers, because
/// its claimer and its owner are two threads: only its cells and its atomic state are ever
/// borrowed.
pub(crate) struct Waiter<T> {
    /// Touched by others under the channel's lock (I1), as `owner` is.
    place: UnsafeCell<Place<T>>,
    /// Initialized while the state says that it is queued.
    owner: UnsafeCell<MaybeUninit<Owner>>,
    /// The value: of a send until it is taken, of a receive once it is given.
    slot: UnsafeCell<MaybeUninit<T>>,
    state: AtomicU8,
    _pin: PhantomPinned,
}

// SAFETY: the links are in the waiter's own cell, which is touched under its channel's lock (I1).
unsafe impl<T> Node for Waiter<T> {
    #[inline(always)]
    unsafe fn with_links<R>(this: *mut Self, f: impl FnOnce(&mut Links<Self>) -> R) -> R {
        // SAFETY: passed on to the caller; a linked waiter, or one that is being linked, has links
        // in its place.
        unsafe { (*this).place.with_mut(|place| f(&mut (*place).links)) }
    }
}

impl<T> Waiter<T> {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self {
            place: UnsafeCell::new(Place { unset: () }),
            owner: UnsafeCell::uninit(),
            slot: UnsafeCell::uninit(),
            state: AtomicU8::new(state::IDLE),
            _pin: PhantomPinned,
        }
    }

    /// Runs `f` on the owner of a queued waiter.
    ///
    /// # Safety
    ///
    /// The waiter is alive, and its state says that it is queued. The caller holds the channel's
    /// lock, or the waiter is unlinked and the caller is its owner.
    #[inline(always)]
    pub(crate) unsafe fn with_owner<R>(this: *const Self, f: impl FnOnce(&mut Owner) -> R) -> R {
        // SAFETY: by the caller's promise it is initialized, and nothing else touches the cell now.
        unsafe { (*this).owner.with_mut(|owner| f((*owner).assume_init_mut())) }
    }

    /// Moves the owner out of a queued waiter.
    ///
    /// # Safety
    ///
    /// As [`with_owner`](Self::with_owner); and the caller changes the state next.
    #[inline(always)]
    unsafe fn take_owner(this: *const Self) -> Owner {
        // SAFETY: initialized, as the caller promises, and read once, because it is no longer
        // queued afterwards.
        unsafe { (*this).owner.with_mut(|owner| (*owner).assume_init_read()) }
    }

    /// # Safety
    ///
    /// The waiter is alive.
    #[inline(always)]
    pub(crate) unsafe fn state(this: *const Self) -> u8 {
        // Acquire: pairs with the Release store in `complete`, so that the slot is seen as the
        // claimer left it. SAFETY: passed on to the caller; the state is atomic.
        unsafe { (*this).state.load(Ordering::Acquire) }
    }

    /// A step of the owner: `FINISHED` when it has given the result out, `DONE` or `CLOSED` for a
    /// case that completes without being claimed.
    ///
    /// # Safety
    ///
    /// The caller is the owner, and holds the channel's lock if the waiter was ever queued and is
    /// not complete. The waiter is not linked, and has no waker; the slot is as `state` says.
    #[inline(always)]
    pub(crate) unsafe fn set_state(this: *const Self, state: u8) {
        // SAFETY: passed on to the caller; the state is atomic.
        unsafe { (*this).state.store(state, Ordering::Relaxed) }
    }

    /// Says of a queued waiter that it is `QUEUED_SOME` or `QUEUED_RESERVE`. A close counts the
    /// first out of its select, whose token has the number of its cases.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock, and has just queued the waiter: a receive for a select,
    /// or one that reserves.
    #[inline(always)]
    pub(crate) unsafe fn queued_as(this: *const Self, state: u8) {
        // SAFETY: passed on to the caller; the state is atomic.
        unsafe { (*this).state.store(state, Ordering::Relaxed) }
    }

    /// Where the value is. No value goes through the closure, which would copy it in a debug build;
    /// a model sees the access here, since no step of another thread falls between this and what
    /// the caller does.
    ///
    /// # Safety
    ///
    /// The caller alone may touch the waiter.
    #[inline(always)]
    unsafe fn slot(this: *const Self) -> *mut T {
        // SAFETY: passed on to the caller.
        unsafe { (*this).slot.with_mut(<*mut MaybeUninit<T>>::cast) }
    }

    /// # Safety
    ///
    /// The slot holds a value, and the caller is the owner (waiter not queued) or its claimer (I3).
    #[inline(always)]
    pub(crate) unsafe fn take(this: *const Self) -> T {
        // SAFETY: the caller promises a value and the sole right to it.
        unsafe { Self::slot(this).read() }
    }

    /// # Safety
    ///
    /// As [`give`](Self::give).
    #[inline(always)]
    pub(crate) unsafe fn fill(this: *const Self, value: T) {
        // SAFETY: the caller alone may touch the waiter.
        unsafe { Self::slot(this).write(value) };
    }

    /// # Safety
    ///
    /// The slot is empty, and the caller is the waiter's claimer (I3), or its owner while it is not
    /// queued.
    #[inline(always)]
    pub(crate) unsafe fn give(this: *const Self, value: T, number: usize) {
        // SAFETY: passed on to the caller, who alone may touch the waiter.
        unsafe {
            Self::fill(this, value);
            (*this).place.with_mut(|place| (*place).number = number);
        }
    }

    /// The number of the value that was handed over.
    ///
    /// # Safety
    ///
    /// The caller is the owner, and the state is `DONE` by [`give`](Self::give).
    pub(crate) unsafe fn number(this: *const Self) -> usize {
        // SAFETY: a done waiter is the owner's alone, and its place has a number.
        unsafe { (*this).place.with_mut(|place| (*place).number) }
    }

    /// Ends a claimed waiter. It must not be touched afterwards: its owner may free it.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock and got the waiter from [`WaitQueue::claim`]; the slot
    /// is as `state` says.
    #[inline(always)]
    pub(crate) unsafe fn complete(this: *const Self, state: u8) -> Woken {
        // SAFETY: a claimed waiter is the claimer's alone until the store below (I3).
        unsafe {
            let task = match Self::take_owner(this) {
                Owner::Lone(waker) => Some(waker),
                // I2: this thread's claim made the token its own.
                Owner::Select(token) => token.as_ref().waker.with_mut(|waker| (*waker).take()),
            };
            // The waiter, and its token, may be gone after this store.
            (*this).state.store(state, Ordering::Release);
            Woken::task(task)
        }
    }
}

/// What [`WaitQueue::claim_for`] is for.
const ANY: u8 = 0;
const CLOSE: u8 = 1;
const VALUE: u8 = 2;

/// A first-in first-out queue of waiters. All functions but [`seems_empty`](List::seems_empty)
/// demand the channel's lock (I1).
pub(crate) type WaitQueue<T> = List<Waiter<T>>;

impl<T> WaitQueue<T> {
    /// Queues an operation.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock; `waiter` is pinned, not queued, and obeys I5.
    #[inline(always)]
    pub(crate) unsafe fn push(&self, waiter: *const Waiter<T>, owner: Owner) {
        // SAFETY: I1, and the caller's promise that `waiter` is not queued, so it has no owner that
        // this would overwrite.
        unsafe {
            (*waiter).owner.with_mut(|place| (*place).write(owner));
            (*waiter).state.store(state::QUEUED, Ordering::Relaxed);
            self.push_back(waiter.cast_mut());
        }
    }

    /// Claims and unlinks the waiter that has waited longest and can still be served.
    ///
    /// Stale cases of a `select!` that was won elsewhere are unlinked on the way. A case whose
    /// owner is polling its other cases keeps its place, and its token records the missed offer. A
    /// case of `own`, if any, is never taken: a `select!` does not meet itself.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock, and goes on to fill or empty the slot and
    /// [`Waiter::complete`] it.
    #[inline(always)]
    pub(crate) unsafe fn claim(&self, own: *const Token) -> Option<NonNull<Waiter<T>>> {
        // SAFETY: passed on to the caller.
        unsafe { self.claim_for::<ANY>(own) }
    }

    /// As [`claim`](Self::claim), for a close. A case that is `QUEUED_SOME` is unlinked, `CLOSED`,
    /// and its select goes on without it, unless it was the last one of that.
    ///
    /// # Safety
    ///
    /// As `claim`; the waiter is completed as `CLOSED`.
    pub(crate) unsafe fn claim_closed(&self) -> Option<NonNull<Waiter<T>>> {
        // SAFETY: passed on to the caller.
        unsafe { self.claim_for::<CLOSE>(ptr::null()) }
    }

    /// As [`claim`](Self::claim), but passes by those that wait for a place and have no value.
    ///
    /// # Safety
    ///
    /// As `claim`.
    pub(crate) unsafe fn claim_value(&self, own: *const Token) -> Option<NonNull<Waiter<T>>> {
        // SAFETY: passed on to the caller.
        unsafe { self.claim_for::<VALUE>(own) }
    }

    /// # Safety
    ///
    /// As the function that it stands for.
    #[inline(always)]
    unsafe fn claim_for<const WHAT: u8>(&self, own: *const Token) -> Option<NonNull<Waiter<T>>> {
        let mut at = self.front();
        while let Some(waiter) = at {
            // SAFETY: I1: a linked waiter is alive, and its links and owner are ours to read under
            // the lock.
            unsafe {
                let next = self.next(waiter);
                if WHAT == VALUE && Waiter::state(waiter.as_ptr()) == state::QUEUED_RESERVE {
                    at = next;
                    continue;
                }
                if WHAT == CLOSE && Waiter::state(waiter.as_ptr()) == state::QUEUED_SOME {
                    let is_last = Waiter::with_owner(waiter.as_ptr(), |owner| match owner {
                        Owner::Lone(_) => true,
                        Owner::Select(token) => {
                            let (token, waiter) = (token.as_ref(), waiter.addr().get());
                            // Counted out before it is claimed: a token that is busy is looked at
                            // by its owner.
                            token.count_out() && token.claim(waiter) == Claim::Won
                        }
                    });
                    self.remove(waiter.as_ptr());
                    if is_last {
                        return Some(waiter);
                    }
                    // Last (I3).
                    waiter.as_ref().state.store(state::CLOSED, Ordering::Release);
                    at = next;
                    continue;
                }
                let claim = Waiter::with_owner(waiter.as_ptr(), |owner| match owner {
                    Owner::Lone(_) => Claim::Won,
                    Owner::Select(token) if ptr::eq(token.as_ptr(), own) => Claim::Busy,
                    Owner::Select(token) => token.as_ref().claim(waiter.addr().get()),
                });
                match claim {
                    Claim::Won => {
                        self.remove(waiter.as_ptr());
                        return Some(waiter);
                    }
                    Claim::Busy => {}
                    Claim::Stale => {
                        self.remove(waiter.as_ptr());
                        // Last (I3).
                        waiter.as_ref().state.store(state::IDLE, Ordering::Release);
                    }
                }
                at = next;
            }
        }
        None
    }

    /// Calls `f` with the address of the task of each lone operation among the first `most`.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock.
    pub(crate) unsafe fn each_task(&self, most: usize, mut f: impl FnMut(usize)) {
        let mut at = self.front();
        for _ in 0..most {
            let Some(waiter) = at else { return };
            // SAFETY: I1, as in `claim`.
            unsafe {
                Waiter::with_owner(waiter.as_ptr(), |owner| match owner {
                    Owner::Lone(task) => f(task.data().addr()),
                    Owner::Select(_) => {}
                });
                at = self.next(waiter);
            }
        }
    }

    /// Removes a waiter that is still queued, wherever it stands: it is `IDLE` then. Returns what
    /// it would have notified, to be dropped outside the lock.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock and owns `waiter`, which was queued here or nowhere.
    pub(crate) unsafe fn withdraw(&self, waiter: *const Waiter<T>) -> Option<Owner> {
        // SAFETY: I1; under the lock a waiter is linked while its state says so.
        unsafe {
            if !state::is_queued(Waiter::state(waiter)) {
                return None;
            }
            self.remove(waiter.cast_mut());
            let owner = Waiter::take_owner(waiter);
            Waiter::set_state(waiter, state::IDLE);
            Some(owner)
        }
    }
}

/// Whether a claimer gets a waiter: a lone one in any case, one of a `select!` by its [`Token`].
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    Won,
    /// The owner is polling, and will try its channels again; or it is the claimer.
    Busy,
    /// Won elsewhere.
    Stale,
}

/// Decides which case of one `select!` wins.
///
/// | value | meaning | left by |
/// |---|---|---|
/// | `WAITING` | any case may win | a claimer's compare-exchange: `claimed(w)`; the owner: `BUSY`, `DONE` |
/// | `BUSY` | the owner polls cases that are no channels, or takes its cases out of the queues | owner: `WAITING`, `DONE`; a claimer: `OFFER_MISSED` |
/// | `OFFER_MISSED` | as `BUSY`, and an offer was missed | owner: `WAITING`, with all locks held or no case queued, and tries again; `DONE` |
/// | `DONE` | the owner committed a case itself, or was dropped | – |
/// | `claimed(w)` | the case of waiter w won; it is complete when its own state says so | the owner, if it is dropped: `DONE`; if w was the last case and is off: `WAITING` |
///
/// `claimed(w)` is the waiter's address; the others are no addresses.
///
/// Of a select with arms `Some(..)` the token has the number of the cases that are on. One that
/// comes to `None` is counted out once: by the close that unlinks it, under its channel's lock,
/// whatever the token's state is; by the owner, with all locks held or no case queued; or, if it is
/// no channel operation, by the owner while the token is `BUSY`. A close that counts the last one
/// out claims the token for it, as `CLOSED`. If the token is `BUSY` then, the claim leaves
/// `OFFER_MISSED`, and the owner, which looks at its channels again, finds that no case is on. An
/// owner that counts the last one out ends by itself.
#[derive(Debug)]
pub struct Token {
    state: AtomicUsize,
    waker: UnsafeCell<Option<TaskWaker>>,
    /// How many cases are on, where some may go off; else 0, and nothing asks.
    on: AtomicU32,
    _pin: PhantomPinned,
}

const WAITING: usize = 0;
const BUSY: usize = 1;
const OFFER_MISSED: usize = 2;
const DONE: usize = 3;

impl Token {
    pub(crate) fn new() -> Self {
        let state = AtomicUsize::new(WAITING);
        Self { state, waker: UnsafeCell::new(None), on: AtomicU32::new(0), _pin: PhantomPinned }
    }

    /// Sets the number of the cases that are on. The owner calls it while no case is queued, or
    /// with all locks held.
    pub(crate) fn set_on(&self, cases: u32) {
        // The locks order it: a close looks at it under one of them.
        self.on.store(cases, Ordering::Relaxed);
    }

    /// Counts out a case that is on. True if it was the last one.
    pub(crate) fn count_out(&self) -> bool {
        // AcqRel: what was done to the others comes before what is done because of the last one.
        self.on.fetch_sub(1, Ordering::AcqRel) == 1
    }

    #[inline(always)]
    fn claim(&self, waiter: usize) -> Claim {
        let mut seen = WAITING;
        loop {
            let to = match seen {
                WAITING => waiter,
                BUSY => OFFER_MISSED,
                OFFER_MISSED => return Claim::Busy,
                _ => return Claim::Stale,
            };
            // AcqRel: a claim comes after the owner's enqueueing, and the owner's later steps after
            // the claim.
            match self.state.compare_exchange(seen, to, Ordering::AcqRel, Ordering::Acquire) {
                Ok(WAITING) => return Claim::Won,
                Ok(_) => return Claim::Busy,
                Err(now) => seen = now,
            }
        }
    }

    /// The address of the waiter whose case has won, as the owner asks before it ends the token.
    #[inline(always)]
    pub(crate) fn winner(&self) -> Option<usize> {
        // Acquire: the owner's next steps come after the claim.
        Some(self.state.load(Ordering::Acquire)).filter(|&state| state > DONE)
    }

    /// Called by the owner before it polls cases that are no channels, or takes its cases out.
    /// Returns false if a channel case has won.
    pub(crate) fn begin_poll(&self) -> bool {
        match self.state.compare_exchange(WAITING, BUSY, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            // Left by a poll that panicked.
            Err(now) => matches!(now, BUSY | OFFER_MISSED),
        }
    }

    /// Called by the owner after it has polled them, and none was ready. Returns false if an offer
    /// was missed meanwhile: the owner must try its channels again, and further offers are missed
    /// until [`resume`](Self::resume).
    pub(crate) fn end_poll(&self) -> bool {
        self.state.compare_exchange(BUSY, WAITING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Lets claimers in again. The owner has tried its channels and still holds all their locks, or
    /// none of its cases is queued: so no later offer overtakes one that was missed.
    pub(crate) fn resume(&self) {
        // Release: pairs with the claimer's Acquire; the locks order the rest.
        self.state.store(WAITING, Ordering::Release);
    }

    /// Called by the owner when it commits a case itself, or is dropped. A case that has won by
    /// then is completed under its channel's lock.
    pub(crate) fn end(&self) {
        self.state.store(DONE, Ordering::Release);
    }

    /// True if the token would wake the same task.
    ///
    /// # Safety
    ///
    /// The caller is the owner, and the token is `BUSY` (I4), or no case is queued.
    pub(crate) unsafe fn will_wake(&self, cx: &Context<'_>) -> bool {
        // SAFETY: I4: no claimer can be at the waker.
        self.waker
            .with_mut(|own| matches!(unsafe { &*own }, Some(own) if own.will_wake(cx.waker())))
    }

    /// Sets the waker, giving the old one back to be dropped outside the locks.
    ///
    /// # Safety
    ///
    /// As [`Token::will_wake`].
    pub(crate) unsafe fn set_waker(&self, waker: TaskWaker) -> Option<TaskWaker> {
        // SAFETY: I4: no claimer can be at the waker.
        self.waker.with_mut(|own| unsafe { (*own).replace(waker) })
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
