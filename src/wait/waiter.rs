//! Waiters on a channel, and the token that ensures that exactly one case of a `select!` wins.
//!
//! A [`Waiter`] is not the goroutine: one goroutine waits on many channels in a `select!`, and many
//! goroutines wait on one channel (Go's `sudog`). The waiter is pinned inside the future of the
//! operation; a channel links it into a [`WaitQueue`]. A [`Token`] is shared by the waiters of one
//! `select!`, and records which of them won.
//!
//! Invariants, named by the `SAFETY` comments of this crate:
//!
//! - **I1** Links, owner and slot of a queued waiter are accessed only under its channel's lock.
//! - **I2** A token goes from `WAITING` to `claimed(w)` once, by compare-exchange, by a thread that
//!   holds the lock of the channel where waiter w is queued.
//! - **I3** A thread that takes a waiter out of a queue moves the value, takes the waker, and
//!   stores the waiter's state last: after that store the owner may free the waiter.
//! - **I4** The owner accesses the token's waker only before any case is queued, or while the token
//!   is `BUSY` and therefore cannot be claimed. Another thread takes the waker only after it has
//!   claimed the token.
//! - **I5** A waiter is unlinked before its memory is freed: a completed waiter is not linked, and
//!   any other is unlinked by the drop of its future. The memory of a leaked future is never freed,
//!   and the waiter owns its waker, so nothing dangles in that case either.

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

/// Tasks that must be woken after every lock is released: the task of one operation, and the
/// streams that watch a channel.
///
/// It is plain data without a `Drop` that wakes, which would cost each operation 2 % of its
/// instructions. It is made under the lock, where nothing unwinds, and consumed when the lock is
/// released.
#[doc(hidden)]
#[must_use = "wake the tasks after every lock is released"]
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

    /// All tasks that are registered at the time of the wake.
    pub(crate) fn watchers(watchers: &Arc<Watchers>) -> Self {
        Self { task: None, watchers: Some(watchers.clone()) }
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.task.is_none() && self.watchers.is_none()
    }

    /// Takes the task, for a [`WakeList`](crate::waker::WakeList).
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

    /// Releases `lock`, wakes the watchers, and returns the task for the caller to wake. Most
    /// channels have no watchers; then only the task must be kept while the lock is released.
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
/// | `IDLE` | not queued | owner: `QUEUED`; `DONE`, `CLOSED`, `FINISHED` if complete at once |
/// | `QUEUED` | linked into a queue | claimer: `DONE`, `CLOSED`, `IDLE`; owner: `IDLE` |
/// | `QUEUED_SOME` | as `QUEUED`, for an arm `Some(..)` | as `QUEUED`; a close: `CLOSED` |
/// | `QUEUED_RESERVE` | as `QUEUED`, for a reservation: no value in the slot | as `QUEUED`; below |
/// | `QUEUED_RESERVES` | the same, and so are all waiters before it | as `QUEUED` |
/// | `DONE` | the value was moved out of a send, or into a receive | owner: `FINISHED`, or `IDLE` |
/// | `CLOSED` | the channel is closed; a send still holds its value | owner: `FINISHED` |
/// | `FINISHED` | the output was taken, the slot is empty | owner: `CLOSED` |
///
/// * A waiter becomes queued, and is unlinked, under the channel's lock. The claimer's stores are
///   Release.
/// * A claimer stores `IDLE` if the waiter is a stale case, whose select was won by another case.
/// * A close stores `CLOSED` in a `QUEUED_SOME` waiter that it did not claim, but counted out of
///   its select.
/// * A reservation is queued as `QUEUED_RESERVES` if the one before it is. A receive that looks for
///   a value makes the first waiters `QUEUED_RESERVES` as far as they are reservations. It looks at
///   none if the last waiter says that there is no value.
/// * The owner stores `IDLE` after `DONE` if it is a stream, which uses its waiter again.
/// * The owner stores `CLOSED` after `FINISHED` for a case of an arm `Some(..)` that has gone off.
pub(crate) mod state {
    // The bits are chosen so that each of these tests is one comparison: `IDLE` or `FINISHED`,
    // `DONE` or `CLOSED`, and any of the queued states.
    pub(crate) const IDLE: u8 = 0;
    pub(crate) const QUEUED: u8 = 1;
    pub(crate) const QUEUED_SOME: u8 = 3;
    pub(crate) const QUEUED_RESERVE: u8 = 9;
    pub(crate) const QUEUED_RESERVES: u8 = 25;
    pub(crate) const DONE: u8 = 2;
    pub(crate) const CLOSED: u8 = 6;
    pub(crate) const FINISHED: u8 = 4;

    /// Returns true for the states of a linked waiter.
    #[inline(always)]
    pub(crate) const fn is_queued(state: u8) -> bool {
        state & QUEUED != 0
    }

    /// Returns true for the states of a queued reservation.
    #[inline(always)]
    pub(crate) const fn is_reservation(state: u8) -> bool {
        state & 8 != 0
    }
}

/// The owner of a queued waiter, which is notified when the waiter completes.
#[derive(Debug)]
pub(crate) enum Owner {
    /// The task of a lone operation.
    Lone(TaskWaker),
    /// The token of the `select!` that the waiter's case is part of. The token is pinned, and
    /// outlives the waiter's time in the queue.
    Select(NonNull<Token>),
}

/// Two words whose meaning depends on the state of the waiter.
#[derive(Clone, Copy)]
union Place<T> {
    /// Before the waiter is queued.
    unset: (),
    /// While the waiter is queued.
    links: Links<Waiter<T>>,
    /// After the waiter has received a value: the number of that value in the order of sending.
    number: usize,
}

/// One operation's place in the queue of one channel. It is accessed through raw pointers, because
/// its claimer and its owner may be different threads: only its cells and its atomic state are ever
/// borrowed.
pub(crate) struct Waiter<T> {
    /// Other threads access `place` and `owner` only under the channel's lock (I1).
    place: UnsafeCell<Place<T>>,
    /// Initialized while the state is one of the queued states.
    owner: UnsafeCell<MaybeUninit<Owner>>,
    /// The value: of a send until it is taken, of a receive after it is given.
    slot: UnsafeCell<MaybeUninit<T>>,
    state: AtomicU8,
    _pin: PhantomPinned,
}

// SAFETY: the links are in the waiter's own cell, which is accessed under its channel's lock (I1).
unsafe impl<T> Node for Waiter<T> {
    #[inline(always)]
    unsafe fn with_links<R>(this: *mut Self, f: impl FnOnce(&mut Links<Self>) -> R) -> R {
        // SAFETY: passed on to the caller; the place of a waiter that is linked, or is being
        // linked, contains links.
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
    /// The waiter is alive, and its state is one of the queued states. The caller holds the
    /// channel's lock, or the waiter is unlinked and the caller is its owner.
    #[inline(always)]
    pub(crate) unsafe fn with_owner<R>(this: *const Self, f: impl FnOnce(&mut Owner) -> R) -> R {
        // SAFETY: the caller promises that it is initialized, and that no other thread accesses the
        // cell now.
        unsafe { (*this).owner.with_mut(|owner| f((*owner).assume_init_mut())) }
    }

    /// Moves the owner out of a queued waiter.
    ///
    /// # Safety
    ///
    /// As [`with_owner`](Self::with_owner). The caller must change the state next.
    #[inline(always)]
    unsafe fn take_owner(this: *const Self) -> Owner {
        // SAFETY: the caller promises that it is initialized. It is read once, because the waiter
        // is no longer queued afterwards.
        unsafe { (*this).owner.with_mut(|owner| (*owner).assume_init_read()) }
    }

    /// # Safety
    ///
    /// The waiter is alive.
    #[inline(always)]
    pub(crate) unsafe fn state(this: *const Self) -> u8 {
        // Acquire: pairs with the Release store in `complete`, so the owner sees the slot as the
        // claimer left it.
        // SAFETY: passed on to the caller; the state is atomic.
        unsafe { (*this).state.load(Ordering::Acquire) }
    }

    /// Sets the state, as the owner: `FINISHED` when it takes the output, `DONE` or `CLOSED` for a
    /// case that completes without being claimed.
    ///
    /// # Safety
    ///
    /// The caller is the owner, and holds the channel's lock if the waiter was ever queued and is
    /// not complete. The waiter is not linked, and has no waker; the slot is as `state` requires.
    #[inline(always)]
    pub(crate) unsafe fn set_state(this: *const Self, state: u8) {
        // SAFETY: passed on to the caller; the state is atomic.
        unsafe { (*this).state.store(state, Ordering::Relaxed) }
    }

    /// Changes the state of a queued waiter to `QUEUED_SOME` or `QUEUED_RESERVE`. A close counts a
    /// `QUEUED_SOME` waiter out of its select, whose token counts its cases.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock, and has just queued the waiter, which is that of a
    /// select's receive, or of a reservation.
    #[inline(always)]
    pub(crate) unsafe fn queued_as(this: *const Self, state: u8) {
        // SAFETY: the lock is held, and the waiter is queued (I1).
        let state = if state == state::QUEUED_RESERVE && unsafe { Self::is_after_reserves(this) } {
            state::QUEUED_RESERVES
        } else {
            state
        };
        // SAFETY: passed on to the caller; the state is atomic.
        unsafe { (*this).state.store(state, Ordering::Relaxed) }
    }

    /// Returns true if the queued waiter is the first one, or is known to be behind reservations
    /// only.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock, and the waiter is queued.
    unsafe fn is_after_reserves(this: *const Self) -> bool {
        // SAFETY: the lock is held (I1).
        let prev = unsafe { Self::with_links(this.cast_mut(), |links| links.prev()) };
        // SAFETY: a linked waiter is alive (I5).
        prev.is_none_or(|prev| unsafe { Self::state(prev.as_ptr()) } == state::QUEUED_RESERVES)
    }

    /// Returns a pointer to the value. The value does not pass through the closure, which would
    /// copy it in a debug build. Loom checks the access here, which is enough, because no other
    /// thread runs between this and the caller's access.
    ///
    /// # Safety
    ///
    /// The caller has exclusive access to the waiter.
    #[inline(always)]
    unsafe fn slot(this: *const Self) -> *mut T {
        // SAFETY: passed on to the caller.
        unsafe { (*this).slot.with_mut(<*mut MaybeUninit<T>>::cast) }
    }

    /// Moves the value out of the slot.
    ///
    /// # Safety
    ///
    /// The slot holds a value, and the caller is the owner (waiter not queued) or its claimer (I3).
    #[inline(always)]
    pub(crate) unsafe fn take(this: *const Self) -> T {
        // SAFETY: the caller promises that there is a value, and has exclusive access to it.
        unsafe { Self::slot(this).read() }
    }

    /// Moves a value into the slot.
    ///
    /// # Safety
    ///
    /// As [`give`](Self::give).
    #[inline(always)]
    pub(crate) unsafe fn fill(this: *const Self, value: T) {
        // SAFETY: the caller has exclusive access to the waiter.
        unsafe { Self::slot(this).write(value) };
    }

    /// Hands a value to a receive, with the value's number.
    ///
    /// # Safety
    ///
    /// The slot is empty, and the caller is the waiter's claimer (I3), or its owner while it is not
    /// queued.
    #[inline(always)]
    pub(crate) unsafe fn give(this: *const Self, value: T, number: usize) {
        // SAFETY: passed on to the caller, which has exclusive access to the waiter.
        unsafe {
            Self::fill(this, value);
            (*this).place.with_mut(|place| (*place).number = number);
        }
    }

    /// Returns the number of the value that was handed over.
    ///
    /// # Safety
    ///
    /// The caller is the owner, and the waiter completed as `DONE` after [`give`](Self::give).
    pub(crate) unsafe fn number(this: *const Self) -> usize {
        // SAFETY: only the owner accesses a completed waiter, whose place contains a number.
        unsafe { (*this).place.with_mut(|place| (*place).number) }
    }

    /// Completes a claimed waiter, which must not be accessed afterwards: its owner may free it.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock and got the waiter from [`WaitQueue::claim`]; the slot
    /// is as `state` requires.
    #[inline(always)]
    pub(crate) unsafe fn complete(this: *const Self, state: u8) -> Woken {
        // SAFETY: until the store below, only the claimer accesses a claimed waiter (I3).
        let task = match unsafe { Self::take_owner(this) } {
            Owner::Lone(waker) => Some(waker),
            // SAFETY: this thread has claimed the token (I2), so it may take the waker (I4).
            Owner::Select(token) => unsafe { Token::take_waker(token) },
        };
        // The waiter and its token may be freed after this store.
        // SAFETY: this is the last access (I3).
        unsafe { Self::release(this, state) };
        Woken::task(task)
    }

    /// Stores the state of a waiter that another thread has unlinked. Its owner may free it
    /// afterwards.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock, has unlinked the waiter, and does not access it
    /// afterwards (I3). The slot is as `state` requires.
    #[inline(always)]
    unsafe fn release(this: *const Self, state: u8) {
        // SAFETY: the waiter is alive, because its state is still a queued one (I5).
        unsafe { (*this).state.store(state, Ordering::Release) };
    }

    /// Claims a queued waiter, unless it is a case of the `select!` with the token `own`.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock, and the waiter is queued (I1).
    #[inline(always)]
    unsafe fn claim(this: NonNull<Self>, own: *const Token) -> Claim {
        let claim = |owner: &mut Owner| match owner {
            Owner::Lone(_) => Claim::Won,
            Owner::Select(token) if ptr::eq(token.as_ptr(), own) => Claim::Busy,
            // SAFETY: the token outlives the waiter's time in the queue.
            Owner::Select(token) => unsafe { token.as_ref() }.claim(this.addr().get()),
        };
        // SAFETY: passed on to the caller.
        unsafe { Self::with_owner(this.as_ptr(), claim) }
    }

    /// Counts a queued waiter out, for a close: its select has one case less that is on. Returns
    /// true if it was the last one, and is claimed.
    ///
    /// # Safety
    ///
    /// As [`claim`](Self::claim).
    unsafe fn count_out(this: NonNull<Self>) -> bool {
        let count_out = |owner: &mut Owner| match owner {
            Owner::Lone(_) => true,
            Owner::Select(token) => {
                // SAFETY: the token outlives the waiter's time in the queue.
                let token = unsafe { token.as_ref() };
                // Counted out before it is claimed. If the token is busy, its owner finds
                // afterwards that no case is on.
                token.count_out() && token.claim(this.addr().get()) == Claim::Won
            }
        };
        // SAFETY: passed on to the caller.
        unsafe { Self::with_owner(this.as_ptr(), count_out) }
    }
}

/// The variants of [`WaitQueue::claim_for`]: any waiter, any waiter for a close, or a waiter with a
/// value.
const ANY: u8 = 0;
const CLOSE: u8 = 1;
const VALUE: u8 = 2;

/// A first-in first-out queue of waiters. All functions except [`seems_empty`](List::seems_empty)
/// require the channel's lock (I1).
pub(crate) type WaitQueue<T> = List<Waiter<T>>;

impl<T> WaitQueue<T> {
    /// Queues an operation. Returns true if it is the first one.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock; `waiter` is pinned, not queued, and obeys I5.
    #[inline(always)]
    pub(crate) unsafe fn push(&self, waiter: *const Waiter<T>, owner: Owner) -> bool {
        // SAFETY: I1, and the caller's promise that `waiter` is not queued, so it has no owner that
        // this would overwrite.
        unsafe {
            (*waiter).owner.with_mut(|place| (*place).write(owner));
            (*waiter).state.store(state::QUEUED, Ordering::Relaxed);
            self.push_back(waiter.cast_mut())
        }
    }

    /// Claims and unlinks the waiter that has waited longest and can still be served.
    ///
    /// Stale cases, whose `select!` was won by another case, are unlinked on the way. A case whose
    /// owner is polling its other cases keeps its place, and its token records the missed offer. A
    /// case of `own`, if that is not null, is never claimed: a `select!` does not meet itself.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock, and next fills or empties the slot and calls
    /// [`Waiter::complete`].
    #[inline(always)]
    pub(crate) unsafe fn claim(&self, own: *const Token) -> Option<NonNull<Waiter<T>>> {
        // SAFETY: passed on to the caller.
        unsafe { self.claim_for::<ANY>(own) }
    }

    /// Like [`claim`](Self::claim), for a close. A `QUEUED_SOME` case is unlinked and becomes
    /// `CLOSED`; it is only claimed if it was the last case of its select that was on.
    ///
    /// # Safety
    ///
    /// As `claim`; the caller completes the waiter as `CLOSED`.
    pub(crate) unsafe fn claim_closed(&self) -> Option<NonNull<Waiter<T>>> {
        // SAFETY: passed on to the caller.
        unsafe { self.claim_for::<CLOSE>(ptr::null()) }
    }

    /// Like [`claim`](Self::claim), but skips reservations, which have no value.
    ///
    /// # Safety
    ///
    /// As `claim`.
    pub(crate) unsafe fn claim_value(&self, own: *const Token) -> Option<NonNull<Waiter<T>>> {
        // SAFETY: the lock is held.
        let last = unsafe { self.back() }?;
        // SAFETY: a linked waiter is alive (I5).
        if unsafe { Waiter::state(last.as_ptr()) } == state::QUEUED_RESERVES {
            return None;
        }
        // SAFETY: passed on to the caller.
        unsafe { self.claim_for::<VALUE>(own) }
    }

    /// The common part of the `claim` functions.
    ///
    /// # Safety
    ///
    /// As for the function of the variant `WHAT`.
    #[inline(always)]
    unsafe fn claim_for<const WHAT: u8>(&self, own: *const Token) -> Option<NonNull<Waiter<T>>> {
        let mut at = self.front();
        // True if only reservations are before the waiter.
        let mut after_reserves = true;
        while let Some(waiter) = at {
            // SAFETY: the lock is held, and the waiter is in this list (I1).
            let next = unsafe { self.next(waiter) };
            // SAFETY: a linked waiter is alive (I5).
            let state = || unsafe { Waiter::state(waiter.as_ptr()) };
            if WHAT == VALUE && state::is_reservation(state()) {
                if after_reserves {
                    // SAFETY: the lock is held, and the waiter is a queued reservation.
                    unsafe { Waiter::set_state(waiter.as_ptr(), state::QUEUED_RESERVES) };
                }
                at = next;
                continue;
            }
            if WHAT == CLOSE && state() == state::QUEUED_SOME {
                // SAFETY: the lock is held, and the waiter is queued (I1).
                let is_last = unsafe { Waiter::count_out(waiter) };
                // SAFETY: the lock is held, and the waiter is in this list (I1).
                unsafe { self.remove(waiter.as_ptr()) };
                if is_last {
                    return Some(waiter);
                }
                // SAFETY: the last access (I3).
                unsafe { Waiter::release(waiter.as_ptr(), state::CLOSED) };
                at = next;
                continue;
            }
            // SAFETY: the lock is held, and the waiter is queued (I1).
            let claim = unsafe { Waiter::claim(waiter, own) };
            match claim {
                Claim::Won => {
                    // SAFETY: the lock is held, and the waiter is in this list (I1).
                    unsafe { self.remove(waiter.as_ptr()) };
                    return Some(waiter);
                }
                Claim::Busy => after_reserves = false,
                Claim::Stale => {
                    // SAFETY: as above.
                    unsafe { self.remove(waiter.as_ptr()) };
                    // SAFETY: the last access (I3).
                    unsafe { Waiter::release(waiter.as_ptr(), state::IDLE) };
                }
            }
            at = next;
        }
        None
    }

    /// Calls `f` with the address of the task of each lone operation among the first `most`
    /// waiters.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock.
    pub(crate) unsafe fn each_task(&self, most: usize, mut f: impl FnMut(usize)) {
        let mut at = self.front();
        for _ in 0..most {
            let Some(waiter) = at else { return };
            let each = |owner: &mut Owner| match owner {
                Owner::Lone(task) => f(task.data().addr()),
                Owner::Select(_) => {}
            };
            // SAFETY: the lock is held, and the waiter is queued (I1).
            unsafe { Waiter::with_owner(waiter.as_ptr(), each) };
            // SAFETY: as above.
            at = unsafe { self.next(waiter) };
        }
    }

    /// Removes a waiter that is still queued, from any position, and makes it `IDLE`. Returns its
    /// owner, which must be dropped outside the lock.
    ///
    /// # Safety
    ///
    /// The caller holds the channel's lock and owns `waiter`, which is queued here or not at all.
    pub(crate) unsafe fn withdraw(&self, waiter: *const Waiter<T>) -> Option<Owner> {
        // SAFETY: the caller owns the waiter, which is therefore alive.
        if !state::is_queued(unsafe { Waiter::state(waiter) }) {
            return None;
        }
        // SAFETY: I1; under the lock a waiter is linked if its state is a queued one.
        unsafe { self.remove(waiter.cast_mut()) };
        // SAFETY: as above; the state changes next.
        let owner = unsafe { Waiter::take_owner(waiter) };
        // SAFETY: the waiter is no longer linked, and its owner was moved out.
        unsafe { Waiter::set_state(waiter, state::IDLE) };
        Some(owner)
    }
}

/// The result of an attempt to claim a waiter: a lone waiter is always claimed, for a case of a
/// `select!` the [`Token`] decides.
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    Won,
    /// The owner is polling, and will try its channels again; or the owner is the claimer.
    Busy,
    /// Another case has won.
    Stale,
}

/// Decides which case of one `select!` wins.
///
/// | value | meaning | left by |
/// |---|---|---|
/// | `WAITING` | any case may win | claimer: `claimed(w)`; owner: `BUSY`, `DONE` |
/// | `BUSY` | owner polls or dequeues cases | owner: `WAITING`, `DONE`; claimer: `OFFER_MISSED` |
/// | `OFFER_MISSED` | as `BUSY`, and an offer was missed | owner: `WAITING`, `DONE` |
/// | `DONE` | the owner completed a case itself, or was dropped | – |
/// | `claimed(w)` | the case of waiter w won | owner: `DONE`, `WAITING` |
///
/// * A claimer changes the value by compare-exchange (I2).
/// * The owner is `BUSY` while it polls cases that are not channel operations, or removes its cases
///   from the queues.
/// * The owner goes from `OFFER_MISSED` to `WAITING` with all locks held, after it has tried its
///   channels again, or while no case is queued, before it tries them.
/// * `claimed(w)` is the waiter's address; the other values are not addresses. The case of w is
///   complete when the state of w says so. The owner stores `DONE` if it is dropped then, and
///   `WAITING` if w was the last case that was on, and has gone off.
///
/// In a select with arms `Some(..)` the token counts the cases that are on. A case that goes off is
/// counted out once: by the close that unlinks it, under its channel's lock and in any state of the
/// token; by the owner, with all locks held or while no case is queued; or, if it is not a channel
/// operation, by the owner while the token is `BUSY`. A close that counts out the last case claims
/// the token for it, and completes it as `CLOSED`. If the token is `BUSY` at that moment, the claim
/// leaves `OFFER_MISSED`; the owner checks its channels again, and finds that no case is on. If the
/// owner counts out the last case, it ends the select itself.
#[derive(Debug)]
pub struct Token {
    state: AtomicUsize,
    waker: UnsafeCell<Option<TaskWaker>>,
    /// The number of cases that are on, if some may go off. Otherwise 0, and unused.
    on: AtomicU32,
    _pin: PhantomPinned,
}

// SAFETY: the state is atomic, and only the owner or the claimer accesses the waker (I4).
unsafe impl Sync for Token {}

/// A token, as its `select!` passes it to the operations that it queues.
#[derive(Clone, Copy, Debug)]
pub struct OwnToken(NonNull<Token>);

impl OwnToken {
    /// # Safety
    ///
    /// The token is pinned, and outlives the time in a queue of each operation that is queued with
    /// the result.
    #[inline(always)]
    pub(crate) unsafe fn new(token: &Token) -> Self {
        Self(NonNull::from(token))
    }

    /// Returns the owner of an operation's waiter.
    #[inline(always)]
    pub(crate) fn owner(self) -> Owner {
        Owner::Select(self.0)
    }
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
        // Relaxed: a close accesses it under one of the locks.
        self.on.store(cases, Ordering::Relaxed);
    }

    /// Counts out a case that was on. Returns true if it was the last one.
    pub(crate) fn count_out(&self) -> bool {
        // AcqRel: the earlier counts happen before whatever is done because of the last one.
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
            // AcqRel: the claim happens after the owner has queued its cases, and the owner's later
            // steps happen after the claim.
            match self.state.compare_exchange(seen, to, Ordering::AcqRel, Ordering::Acquire) {
                Ok(WAITING) => return Claim::Won,
                Ok(_) => return Claim::Busy,
                Err(now) => seen = now,
            }
        }
    }

    /// Returns the address of the waiter whose case has won. Called by the owner, before
    /// [`end`](Self::end).
    #[inline(always)]
    pub(crate) fn winner(&self) -> Option<usize> {
        // Acquire: the owner's next steps happen after the claim.
        Some(self.state.load(Ordering::Acquire)).filter(|&state| state > DONE)
    }

    /// Makes the token `BUSY`. Called by the owner before it polls cases that are not channel
    /// operations, or removes its cases from the queues. Returns false if a channel operation has
    /// won.
    pub(crate) fn begin_poll(&self) -> bool {
        match self.state.compare_exchange(WAITING, BUSY, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            // An earlier poll that panicked has left this state.
            Err(now) => matches!(now, BUSY | OFFER_MISSED),
        }
    }

    /// Makes the token `WAITING` again, after the owner has polled its other cases and none was
    /// ready. Returns false if an offer was missed meanwhile: then the owner must try its channels
    /// again, and further offers are missed until [`resume`](Self::resume).
    pub(crate) fn end_poll(&self) -> bool {
        self.state.compare_exchange(BUSY, WAITING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Allows claims again. The owner has tried its channels and still holds all their locks, or
    /// none of its cases is queued, so no later offer can overtake a missed one.
    pub(crate) fn resume(&self) {
        // Release: pairs with the claimer's Acquire; the locks order the rest.
        self.state.store(WAITING, Ordering::Release);
    }

    /// Prevents further claims. Called by the owner when it completes a case itself, or is dropped.
    /// A case that has already won is being completed under its channel's lock.
    pub(crate) fn end(&self) {
        self.state.store(DONE, Ordering::Release);
    }

    /// Returns true if the token's waker would wake the task of `cx`.
    ///
    /// # Safety
    ///
    /// The caller is the owner, and the token is `BUSY` (I4), or no case is queued.
    pub(crate) unsafe fn will_wake(&self, cx: &Context<'_>) -> bool {
        self.waker.with_mut(|own| {
            // SAFETY: I4: no claimer can access the waker now.
            matches!(unsafe { &*own }, Some(own) if own.will_wake(cx.waker()))
        })
    }

    /// Takes the waker of a claimed token.
    ///
    /// # Safety
    ///
    /// The caller has claimed the token for a waiter that it has not completed yet (I2, I4).
    #[inline(always)]
    unsafe fn take_waker(this: NonNull<Self>) -> Option<TaskWaker> {
        // SAFETY: the token outlives the waiter's time in the queue. I4: only the claimer accesses
        // its waker now.
        unsafe { this.as_ref().waker.with_mut(|waker| (*waker).take()) }
    }

    /// Sets the waker, and returns the old one, which must be dropped outside the locks.
    ///
    /// # Safety
    ///
    /// As [`Token::will_wake`].
    pub(crate) unsafe fn set_waker(&self, waker: TaskWaker) -> Option<TaskWaker> {
        // SAFETY: I4: no claimer can access the waker now.
        self.waker.with_mut(|own| unsafe { (*own).replace(waker) })
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
