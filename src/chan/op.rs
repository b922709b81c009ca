//! One send, one receive, as futures and as cases of a `select!`.
//!
//! A lone operation takes its channel's lock once: it is done at once, or it parks and is polled again when it is
//! complete, without the lock.

use std::fmt;
use std::mem::{MaybeUninit, needs_drop};
use std::panic::Location;
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::task::{Context, Poll};

use super::core::{Core, RecvAttempt, Registration, SendAttempt, Side};
use super::error::SendError;
use crate::coop::{self, Reason};
use crate::lock::RawLock;
use crate::wait::case::{Case, ChannelCase, Sealed, Woken};
use crate::wait::waiter::{Token, Waiter, Wake, Watchers, state};
use crate::waker::TaskWaker;

/// A pending send, made by [`Sender::send`](super::Sender::send).
///
/// # Cancellation
///
/// Dropped before its value was taken, it takes its place out of the queue and drops the value: nothing was sent.
/// Dropped after that, the value stays delivered.
#[must_use = "a send does nothing unless awaited"]
pub struct Sending<'a, T> {
    core: Option<&'a Core<T>>,
    waiter: Waiter<T>,
}

/// A pending receive, made by [`Receiver::recv`](super::Receiver::recv).
///
/// # Cancellation
///
/// Dropped before a value came, it takes its place out of the queue. Dropped after a value was handed to it, the value
/// goes to the next receiver, else back to its place in the channel: nothing is lost.
#[must_use = "a receive does nothing unless awaited"]
pub struct Receiving<'a, T> {
    core: Option<&'a Core<T>>,
    waiter: Waiter<T>,
}

// SAFETY: the waiter is reached by other threads only under its channel's lock (I1, I3); it carries a `T` and a waker
// from thread to thread.
unsafe impl<T: Send> Send for Sending<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Receiving<'_, T> {}
// SAFETY: `&Sending` gives access to nothing.
unsafe impl<T: Send> Sync for Sending<'_, T> {}
// SAFETY: `&Receiving` gives access to nothing.
unsafe impl<T: Send> Sync for Receiving<'_, T> {}

impl<'a, T> Sending<'a, T> {
    /// The waiter, which its claimer and this future touch through raw pointers only.
    #[inline(always)]
    fn waiter_ptr(&self) -> *const Waiter<T> {
        &raw const self.waiter
    }

    #[inline(always)]
    pub(super) fn new(core: Option<&'a Core<T>>, value: T, site: &'static Location<'static>) -> Self {
        Self { core, waiter: Waiter::new(MaybeUninit::new(value), site) }
    }
}

impl<'a, T> Receiving<'a, T> {
    /// The waiter, which its claimer and this future touch through raw pointers only.
    #[inline(always)]
    fn waiter_ptr(&self) -> *const Waiter<T> {
        &raw const self.waiter
    }

    #[inline(always)]
    pub(super) fn new(core: Option<&'a Core<T>>, site: &'static Location<'static>) -> Self {
        Self { core, waiter: Waiter::new(MaybeUninit::uninit(), site) }
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn polled_after_completion() -> ! {
    panic!("gopark: channel operation polled after completion")
}

impl<T> Future for Receiving<'_, T> {
    type Output = Option<T>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let waiter = self.waiter_ptr();
        // SAFETY: the state is atomic, and the waiter lives as long as `self`.
        match unsafe { Waiter::state(waiter) } {
            state::IDLE => {
                if !coop::poll_ready(cx) {
                    return Poll::Pending;
                }
                // SAFETY: the state is IDLE.
                unsafe { self.first_poll(cx) }
            }
            // SAFETY: the state is not IDLE.
            _ => unsafe { self.outcome(cx) },
        }
    }
}

impl<T> Receiving<'_, T> {
    /// The caller has asked for the budget.
    ///
    /// # Safety
    ///
    /// The state is IDLE.
    #[inline(always)]
    unsafe fn first_poll(&self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let waiter = self.waiter_ptr();
        // SAFETY: the waiter lives as long as `self`.
        let site = unsafe { Waiter::site(waiter) };
        let Some(core) = self.core else {
            coop::park_at(site, Reason::ChanReceiveNil);
            return Poll::Pending;
        };
        core.lock.lock();
        // SAFETY: the lock is held until the `unlock` on each path; a pinned, unqueued waiter is queued, and this
        // future's drop takes it out (I5).
        unsafe {
            match core.take(ptr::null()) {
                RecvAttempt::Value(value, wake) => {
                    core.lock.unlock();
                    Waiter::finish(waiter);
                    coop::spend_one();
                    wake.wake();
                    Poll::Ready(Some(value))
                }
                RecvAttempt::Closed => {
                    core.lock.unlock();
                    Waiter::finish(waiter);
                    coop::spend_one();
                    Poll::Ready(None)
                }
                RecvAttempt::Empty if coop::trusts(cx.waker()) => {
                    let _ = core.enqueue(waiter, Registration::Lone(TaskWaker::of_current(cx.waker())), Side::Receive);
                    core.lock.unlock();
                    coop::park_at(site, Reason::ChanReceive);
                    Poll::Pending
                }
                RecvAttempt::Empty | RecvAttempt::NotReadyYet => {
                    core.lock.unlock();
                    self.park_slowly(core, cx, site)
                }
            }
        }
    }

    /// Parks with a waker whose clone may run foreign code, and is made outside the lock; or on a timer's channel.
    #[cold]
    #[inline(never)]
    fn park_slowly(&self, core: &Core<T>, cx: &Context<'_>, site: &'static Location<'static>) -> Poll<Option<T>> {
        let own = coop::trusts(cx.waker());
        let clone = TaskWaker::new(cx.waker());
        let waiter = self.waiter_ptr();
        core.lock.lock();
        // SAFETY: as in `first_poll`. The clone may have polled nobody: `self` is borrowed by its one poll.
        unsafe {
            let found = core.take(ptr::null());
            if let RecvAttempt::Empty | RecvAttempt::NotReadyYet = found {
                if coop::is_last(cx.waker()) {
                    core.lock.unlock();
                    return Poll::Pending;
                }
                let _ = core.enqueue(waiter, Registration::Lone(clone), Side::Receive);
                core.arm();
                core.lock.unlock();
                if own {
                    coop::park_at(site, Reason::ChanReceive);
                }
                return Poll::Pending;
            }
            core.lock.unlock();
            Waiter::finish(waiter);
            match found {
                RecvAttempt::Value(value, wake) => {
                    wake.wake();
                    Poll::Ready(Some(value))
                }
                RecvAttempt::Closed | RecvAttempt::Empty | RecvAttempt::NotReadyYet => Poll::Ready(None),
            }
        }
    }

    /// # Safety
    ///
    /// The state is not IDLE.
    #[inline(always)]
    unsafe fn outcome(&self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let waiter = self.waiter_ptr();
        // SAFETY: a DONE waiter is ours alone and its slot is full.
        unsafe {
            match Waiter::state(waiter) {
                state::DONE => {
                    Waiter::finish(waiter);
                    Poll::Ready(Some(Waiter::take(waiter)))
                }
                state::CLOSED => {
                    Waiter::finish(waiter);
                    Poll::Ready(None)
                }
                state::QUEUED => self.poll_queued(cx),
                _ => polled_after_completion(),
            }
        }
    }

    /// Takes the output of a complete operation.
    ///
    /// # Safety
    ///
    /// The state is DONE or CLOSED.
    unsafe fn ready_output(&self) -> Poll<Option<T>> {
        let waiter = self.waiter_ptr();
        // SAFETY: passed on.
        unsafe {
            let done = Waiter::state(waiter) == state::DONE;
            Waiter::finish(waiter);
            Poll::Ready(if done { Some(Waiter::take(waiter)) } else { None })
        }
    }
}

/// The result of a spurious poll of a queued operation.
enum Kept {
    /// It keeps its place, and wakes the task that polled last; or it was removed in its final poll.
    Waiting,
    /// It was completed meanwhile.
    Complete,
    /// It starts anew: the `select!` in which it was queued was leaked, and so did not remove it.
    Unpolled,
}

/// Keeps a queued operation waiting that was polled spuriously, with the waker of `cx` from now on.
///
/// # Safety
///
/// `waiter` was queued on `core` by its owner, who calls this.
unsafe fn keep_waiting<T>(core: Option<&Core<T>>, waiter: *const Waiter<T>, cx: &Context<'_>, side: Side) -> Kept {
    let core = core.expect("a queued waiter has a channel");
    let (mut fresh, mut withdrawn) = (None, None);
    let (old, kept) = loop {
        let held = core.lock.guard();
        // SAFETY: the lock is held, and the waiter is the caller's.
        unsafe {
            if Waiter::state(waiter) != state::QUEUED {
                break (None, Kept::Complete);
            }
            let case = Waiter::is_case(waiter);
            if case || coop::is_last(cx.waker()) {
                core.dequeue(waiter, side);
                withdrawn = Waiter::take_waker(waiter);
                Waiter::reset(waiter);
                break (None, if case { Kept::Unpolled } else { Kept::Waiting });
            }
            if Waiter::will_wake(waiter, cx) {
                break (None, Kept::Waiting);
            }
            if let Some(waker) = fresh.take() {
                break (Waiter::replace_waker(waiter, waker), Kept::Waiting);
            }
        }
        drop(held);
        // A clone may run foreign code: outside the lock.
        fresh = Some(TaskWaker::new(cx.waker()));
    };
    drop((old, fresh, withdrawn));
    kept
}

impl<T> Drop for Receiving<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the waiter lives as long as `self`.
        let state = unsafe { Waiter::state(self.waiter_ptr()) };
        if !matches!(state, state::IDLE | state::FINISHED) {
            self.abandon();
        }
    }
}

impl<T> Receiving<'_, T> {
    #[cold]
    #[inline(never)]
    fn abandon(&self) {
        let Some(core) = self.core else { return };
        let waiter = self.waiter_ptr();
        core.lock.lock();
        let (mut waker, mut handed_over) = (None, None);
        // SAFETY: the lock is held; the waiter is ours, and unlinked or complete after `dequeue`.
        unsafe {
            core.dequeue(waiter, Side::Receive);
            match Waiter::state(waiter) {
                state::DONE => handed_over = Some(core.return_unclaimed(Waiter::take(waiter), Waiter::number(waiter))),
                state::QUEUED => waker = Waiter::take_waker(waiter),
                _ => {}
            }
            core.lock.unlock();
            Waiter::finish(waiter);
        }
        let orphan = handed_over.and_then(|(orphan, wake, watchers)| {
            wake.wake();
            watchers.wake();
            orphan
        });
        drop(waker);
        drop(orphan);
    }
}

impl<T> Future for Sending<'_, T> {
    type Output = Result<(), SendError<T>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError<T>>> {
        let waiter = self.waiter_ptr();
        // SAFETY: the state is atomic, and the waiter lives as long as `self`.
        match unsafe { Waiter::state(waiter) } {
            state::IDLE => {
                if !coop::poll_ready(cx) {
                    return Poll::Pending;
                }
                // SAFETY: the state is IDLE.
                unsafe { self.first_poll(cx) }
            }
            // SAFETY: the state is not IDLE.
            _ => unsafe { self.outcome(cx) },
        }
    }
}

impl<T> Sending<'_, T> {
    /// The caller has asked for the budget.
    ///
    /// # Safety
    ///
    /// The state is IDLE.
    #[inline(always)]
    unsafe fn first_poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), SendError<T>>> {
        let waiter = self.waiter_ptr();
        // SAFETY: the waiter lives as long as `self`.
        let site = unsafe { Waiter::site(waiter) };
        let Some(core) = self.core else {
            coop::park_at(site, Reason::ChanSendNil);
            return Poll::Pending;
        };
        core.lock.lock();
        // SAFETY: the lock is held until the `unlock` on each path; the slot is full until `put` empties it; a pinned,
        // unqueued waiter is queued, and this future's drop takes it out (I5).
        unsafe {
            match core.put(ptr::null(), || Waiter::take(waiter)) {
                SendAttempt::Sent(wake, watchers) => {
                    Waiter::finish(waiter);
                    core.unlock_and_wake(watchers);
                    coop::spend_one();
                    wake.wake();
                    Poll::Ready(Ok(()))
                }
                SendAttempt::Closed => {
                    core.lock.unlock();
                    Waiter::finish(waiter);
                    coop::spend_one();
                    Poll::Ready(Err(SendError(Waiter::take(waiter))))
                }
                SendAttempt::Full if coop::trusts(cx.waker()) => {
                    let watchers =
                        core.enqueue(waiter, Registration::Lone(TaskWaker::of_current(cx.waker())), Side::Send);
                    core.unlock_and_wake(watchers);
                    coop::park_at(site, Reason::ChanSend);
                    Poll::Pending
                }
                SendAttempt::Full => {
                    core.lock.unlock();
                    self.park_foreign(core, cx)
                }
            }
        }
    }

    /// Parks with a waker whose clone may run foreign code, and is made outside the lock.
    #[cold]
    #[inline(never)]
    fn park_foreign(&self, core: &Core<T>, cx: &Context<'_>) -> Poll<Result<(), SendError<T>>> {
        let waiter = self.waiter_ptr();
        let clone = TaskWaker::new(cx.waker());
        core.lock.lock();
        // SAFETY: as in `first_poll`.
        unsafe {
            match core.put(ptr::null(), || Waiter::take(waiter)) {
                SendAttempt::Sent(wake, watchers) => {
                    Waiter::finish(waiter);
                    core.unlock_and_wake(watchers);
                    wake.wake();
                    Poll::Ready(Ok(()))
                }
                SendAttempt::Closed => {
                    core.lock.unlock();
                    Waiter::finish(waiter);
                    Poll::Ready(Err(SendError(Waiter::take(waiter))))
                }
                SendAttempt::Full if coop::is_last(cx.waker()) => {
                    core.lock.unlock();
                    Poll::Pending
                }
                SendAttempt::Full => {
                    let watchers = core.enqueue(waiter, Registration::Lone(clone), Side::Send);
                    core.lock.unlock();
                    watchers.wake();
                    Poll::Pending
                }
            }
        }
    }

    /// # Safety
    ///
    /// The state is not IDLE.
    #[inline(always)]
    unsafe fn outcome(&self, cx: &mut Context<'_>) -> Poll<Result<(), SendError<T>>> {
        let waiter = self.waiter_ptr();
        // SAFETY: a complete waiter is ours alone; CLOSED left its slot full.
        unsafe {
            match Waiter::state(waiter) {
                state::DONE => {
                    Waiter::finish(waiter);
                    Poll::Ready(Ok(()))
                }
                state::CLOSED => {
                    Waiter::finish(waiter);
                    Poll::Ready(Err(SendError(Waiter::take(waiter))))
                }
                state::QUEUED => self.poll_queued(cx),
                _ => polled_after_completion(),
            }
        }
    }

    /// Takes the output of a complete operation.
    ///
    /// # Safety
    ///
    /// The state is DONE or CLOSED.
    unsafe fn ready_output(&self) -> Poll<Result<(), SendError<T>>> {
        let waiter = self.waiter_ptr();
        // SAFETY: passed on.
        unsafe {
            let done = Waiter::state(waiter) == state::DONE;
            Waiter::finish(waiter);
            Poll::Ready(if done { Ok(()) } else { Err(SendError(Waiter::take(waiter))) })
        }
    }
}

impl<T> Drop for Sending<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the waiter lives as long as `self`.
        if unsafe { Waiter::state(self.waiter_ptr()) } != state::FINISHED {
            self.abandon();
        }
    }
}

impl<T> Sending<'_, T> {
    #[cold]
    #[inline(never)]
    fn abandon(&self) {
        let waiter = self.waiter_ptr();
        // SAFETY: the waiter is ours; after `dequeue` under the lock it is unlinked or complete, and then its slot is full
        // unless a receiver emptied it.
        let (value, waker) = unsafe {
            if let (Some(core), true) = (self.core, Waiter::state(waiter) != state::IDLE) {
                let _held = core.lock.guard();
                core.dequeue(waiter, Side::Send);
            }
            let state = Waiter::state(waiter);
            let waker = if state == state::QUEUED { Waiter::take_waker(waiter) } else { None };
            Waiter::finish(waiter);
            ((state != state::DONE).then(|| Waiter::take(waiter)), waker)
        };
        drop(waker);
        drop(value);
    }
}

/// The parts that are the same for both directions.
macro_rules! case {
    ($op:ident, $output:ty, $ready:ident, $side:expr) => {
        impl<T> $op<'_, T> {
            /// # Safety
            ///
            /// The operation was queued.
            #[cold]
            #[inline(never)]
            unsafe fn poll_queued(&self, cx: &mut Context<'_>) -> Poll<$output> {
                // SAFETY: passed on to the caller; each method gets the state that it asks for.
                unsafe {
                    match keep_waiting(self.core, self.waiter_ptr(), cx, $side) {
                        Kept::Waiting => Poll::Pending,
                        Kept::Complete => self.ready_output(),
                        Kept::Unpolled if !coop::poll_ready(cx) => Poll::Pending,
                        Kept::Unpolled => self.first_poll(cx),
                    }
                }
            }
        }

        impl<T> ChannelCase for $op<'_, T> {
            fn is_unpolled(&self) -> bool {
                // SAFETY: the state is atomic, and the waiter lives as long as `self`.
                unsafe { Waiter::state(self.waiter_ptr()) == state::IDLE }
            }

            fn lock(&self) -> &RawLock {
                &self.core.expect("a nil channel has no raw case").lock
            }

            fn waiter(&self) -> usize {
                self.waiter_ptr().addr()
            }

            fn seems_ready(&self) -> bool {
                self.core.is_some_and(Core::$ready)
            }

            unsafe fn attempt(&self, own: *const Token) -> Option<Woken> {
                // SAFETY: passed on to the caller.
                unsafe { self.attempt_locked(own) }
            }

            unsafe fn enqueue(&self, token: NonNull<Token>) -> Woken {
                let core = self.core.expect("a nil channel has no raw case");
                // SAFETY: passed on to the caller; I5 by `Selecting`'s drop and this operation's own.
                unsafe {
                    let watchers = core.enqueue(self.waiter_ptr(), Registration::Select(token), $side);
                    if $side == Side::Receive {
                        core.arm();
                    }
                    Woken::watchers(watchers)
                }
            }

            unsafe fn renotify(&self, cx: &Context<'_>) -> Woken {
                Woken::watchers(match self.core {
                    // SAFETY: passed on to the caller.
                    Some(core) if $side == Side::Send => unsafe { core.watchers_but(cx) },
                    Some(_) | None => Watchers::NONE,
                })
            }

            #[inline(never)]
            unsafe fn dequeue(&self) {
                let core = self.core.expect("a nil channel has no raw case");
                let waiter = self.waiter_ptr();
                // SAFETY: passed on to the caller; `dequeue` leaves the waiter unlinked, or complete.
                unsafe {
                    core.dequeue(waiter, $side);
                    if Waiter::state(waiter) == state::QUEUED {
                        Waiter::reset(waiter);
                    }
                }
            }
        }

        impl<T> Case for $op<'_, T> {
            type Output = $output;

            #[inline]
            fn poll_case(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<$output> {
                if !self.is_unpolled() {
                    // It was polled before it became a case: it has its own place in the queue.
                    return self.poll(cx);
                }
                let Some(core) = self.core else { return Poll::Pending };
                self.try_unpolled(core)
            }

            #[inline]
            fn raw(&self, _: Sealed) -> Option<&dyn ChannelCase> {
                if self.core.is_some() { Some(self) } else { None }
            }

            #[inline(always)]
            fn drop_is_noop(&self, _: Sealed) -> bool {
                // SAFETY: the state is atomic, and the waiter lives as long as `self`.
                match unsafe { Waiter::state(self.waiter_ptr()) } {
                    state::IDLE => $side == Side::Receive || !needs_drop::<T>(),
                    state::FINISHED => true,
                    _ => false,
                }
            }

            #[inline]
            fn won(self: Pin<&mut Self>) -> $output {
                // The trait is public, so this must panic if the result is taken twice, or out of a queued operation.
                // SAFETY: the state is atomic, and the waiter lives as long as `self`.
                let state = unsafe { Waiter::state(self.waiter_ptr()) };
                assert!(matches!(state, state::DONE | state::CLOSED), "only a case that won has a result");
                // SAFETY: complete, as just seen.
                match unsafe { self.ready_output() } {
                    Poll::Ready(output) => output,
                    Poll::Pending => unreachable!("a complete operation is ready"),
                }
            }
        }
    };
}

case!(Receiving, Option<T>, seems_ready_to_recv, Side::Receive);
case!(Sending, Result<(), SendError<T>>, seems_ready_to_send, Side::Send);

impl<T> Receiving<'_, T> {
    /// Completes an unpolled operation, if that is possible now.
    #[inline]
    fn try_unpolled(&self, core: &Core<T>) -> Poll<Option<T>> {
        let waiter = self.waiter_ptr();
        core.lock.lock();
        // SAFETY: the lock is held until the `unlock`; an unpolled waiter is the owner's alone.
        unsafe {
            match core.take(ptr::null()) {
                RecvAttempt::Value(value, wake) => {
                    core.lock.unlock();
                    Waiter::finish(waiter);
                    wake.wake();
                    Poll::Ready(Some(value))
                }
                RecvAttempt::Closed => {
                    core.lock.unlock();
                    Waiter::finish(waiter);
                    Poll::Ready(None)
                }
                RecvAttempt::Empty | RecvAttempt::NotReadyYet => {
                    core.lock.unlock();
                    Poll::Pending
                }
            }
        }
    }

    /// # Safety
    ///
    /// The lock is held, and the operation is not complete.
    #[inline]
    unsafe fn attempt_locked(&self, own: *const Token) -> Option<Woken> {
        let core = self.core?;
        let waiter = self.waiter_ptr();
        // SAFETY: the lock is held; the waiter is ours, and unlinked after `dequeue`.
        unsafe {
            let (value, wake) = match core.take(own) {
                RecvAttempt::Value(value, wake) => (Some(value), wake),
                RecvAttempt::Closed => (None, Wake::NONE),
                RecvAttempt::Empty | RecvAttempt::NotReadyYet => return None,
            };
            core.dequeue(waiter, Side::Receive);
            match value {
                Some(value) => {
                    Waiter::give(waiter, value, 0);
                    Waiter::complete_inline(waiter, state::DONE);
                }
                None => Waiter::complete_inline(waiter, state::CLOSED),
            }
            Some(Woken::new(wake, Watchers::NONE))
        }
    }
}

impl<T> Sending<'_, T> {
    /// Completes an unpolled operation, if that is possible now.
    #[inline]
    fn try_unpolled(&self, core: &Core<T>) -> Poll<Result<(), SendError<T>>> {
        let waiter = self.waiter_ptr();
        core.lock.lock();
        // SAFETY: the lock is held until the `unlock`; an unpolled waiter is the owner's alone, and its slot is full
        // until
        // `put` empties it.
        unsafe {
            match core.put(ptr::null(), || Waiter::take(waiter)) {
                SendAttempt::Sent(wake, watchers) => {
                    Waiter::finish(waiter);
                    core.unlock_and_wake(watchers);
                    wake.wake();
                    Poll::Ready(Ok(()))
                }
                SendAttempt::Closed => {
                    core.lock.unlock();
                    Waiter::finish(waiter);
                    Poll::Ready(Err(SendError(Waiter::take(waiter))))
                }
                SendAttempt::Full => {
                    core.lock.unlock();
                    Poll::Pending
                }
            }
        }
    }

    /// # Safety
    ///
    /// The lock is held, and the operation is not complete.
    #[inline]
    unsafe fn attempt_locked(&self, own: *const Token) -> Option<Woken> {
        let core = self.core?;
        let waiter = self.waiter_ptr();
        // SAFETY: the lock is held; the waiter is ours, and unlinked after `dequeue`; `put` empties the slot if it
        // answers
        // `Sent`. That the waiter may still be queued then does not matter: `put` does not look at other senders.
        unsafe {
            let (woken, state) = match core.put(own, || Waiter::take(waiter)) {
                SendAttempt::Sent(wake, watchers) => (Woken::new(wake, watchers), state::DONE),
                SendAttempt::Closed => (Woken::new(Wake::NONE, Watchers::NONE), state::CLOSED),
                SendAttempt::Full => return None,
            };
            core.dequeue(waiter, Side::Send);
            Waiter::complete_inline(waiter, state);
            Some(woken)
        }
    }
}

impl<T> fmt::Debug for Sending<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("channel", &self.core).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiving<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiving").field("channel", &self.core).finish_non_exhaustive()
    }
}
