//! Sends, receives and reservations, as futures and as cases of a `select!`.
//!
//! Each of them is an [`Op`], and its [`Direction`] defines what differs. A lone operation takes
//! its channel's lock once. It completes at once, or it parks; then it is polled again when it is
//! complete, and needs no lock.

use std::fmt;
use std::marker::PhantomData;
use std::mem::{self, needs_drop};
use std::panic::Location;
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::core::{Attempt, Core, Side};
use super::error::{SendError, TryRecvError};
use super::{Receiver, failed};
use crate::coop::{self, Reason};
use crate::lock::{HeldLocks, RawLock};
use crate::wait::case::{Case, ChannelCase, OptionCase, Queued, Sealed, Unready, operation_case};
use crate::wait::waiter::{OwnToken, Owner, Token, Waiter, Woken, state};
use crate::waker::TaskWaker;

/// Defines a public operation: an [`Op`] of one direction, with a name of its own.
macro_rules! operation {
    ($(#[$attributes:meta])* $name:ident: $direction:ident -> $output:ty) => {
        pin_project! {
            $(#[$attributes])*
            pub struct $name<'a, T> {
                #[pin]
                op: Op<Call<'a, T>, T, $direction>,
            }
        }

        impl<'a, T> $name<'a, T> {
            #[inline(always)]
            pub(super) fn new(core: Option<&'a Core<T>>, site: &'static Location<'static>) -> Self {
                Self { op: Op::new(core, site) }
            }
        }

        operation_case!($name<'a, T>, 'a, T; op -> $output);

        impl<T> fmt::Debug for $name<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut fields = f.debug_struct(stringify!($name));
                fields.field("channel", &self.op.core()).finish_non_exhaustive()
            }
        }
    };
}

operation! {
    /// A pending send, made by [`Sender::send`](super::Sender::send).
    ///
    /// # Cancellation
    ///
    /// If it is dropped before its value was taken, it leaves the queue, drops the value, and sends
    /// nothing. If it is dropped later, the value stays delivered.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan::{self, Sending};
    ///
    /// gopark::block_on(async {
    ///     let (tx, rx) = chan::bounded(2);
    ///     let sends: Vec<Sending<'_, i32>> = vec![tx.send(1), tx.send(2)];
    ///     assert!(rx.is_empty()); // A send begins with its first poll.
    ///     for send in sends {
    ///         send.await.unwrap();
    ///     }
    ///     assert_eq!(rx.len(), 2);
    /// });
    /// ```
    #[must_use = "a send does nothing unless awaited"]
    Sending: Sends -> Result<(), SendError<T>>
}

operation! {
    /// A pending receive, made by [`Receiver::recv`](super::Receiver::recv).
    ///
    /// # Cancellation
    ///
    /// If it is dropped before a value was handed to it, it leaves the queue. If it is dropped
    /// later, the value goes to the next receiver, or else back to its place in the channel, so
    /// nothing is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::pin::pin;
    ///
    /// use gopark::{chan, select};
    ///
    /// gopark::block_on(async {
    ///     let (tx, rx) = chan::bounded(1);
    ///     let mut receiving = pin!(rx.recv());
    ///     select! {
    ///         _ = receiving.as_mut() => unreachable!("no value was sent"),
    ///         default => tx.try_send(1).unwrap(),
    ///     }
    ///     assert_eq!(receiving.await, Some(1));
    /// });
    /// ```
    #[must_use = "a receive does nothing unless awaited"]
    Receiving: Receives -> Option<T>
}

impl<T> Sending<'_, T> {
    /// Puts the value to send into the new operation.
    #[inline(always)]
    pub(super) fn holding(self, value: T) -> Self {
        // SAFETY: only this operation has access to its waiter, whose slot is empty.
        unsafe { Waiter::fill(&raw const self.op.waiter, value) };
        self
    }

    /// Takes the value out of a send that is given up: it was never polled, or was pending in a
    /// [`last_poll`](coop::last_poll). The operation is complete afterwards.
    pub(crate) fn give_up(self: Pin<&mut Self>) -> T {
        let op = self.project().op;
        assert!(op.state() == state::IDLE, "only a send that is in no queue is given up");
        // SAFETY: the waiter is not linked, and holds the value as long as the state is IDLE.
        match unsafe { op.ready_output(state::IDLE) } {
            Err(SendError(value)) => value,
            Ok(()) => unreachable!("the waiter of an idle send holds its value"),
        }
    }
}

/// What differs in type between sends, receives and reservations. The rest depends on the side.
pub(super) trait Direction<T> {
    type Output;

    const SIDE: Side;
    const PARKED: Reason;
    const PARKED_ON_NIL: Reason;
    /// True if the operation reserves a place for a value instead of sending one. Its side is that
    /// of sends.
    const RESERVES: bool = false;

    /// Makes the output of a complete operation from the value that its waiter holds, and from
    /// whether the operation failed because the channel is closed.
    fn output(value: Option<T>, is_closed: bool) -> Self::Output;
}

/// A send: the waiter holds the value until it is sent. A failed send still holds it.
struct Sends;

impl<T> Direction<T> for Sends {
    type Output = Result<(), SendError<T>>;

    const SIDE: Side = Side::Send;
    const PARKED: Reason = Reason::ChanSend;
    const PARKED_ON_NIL: Reason = Reason::ChanSendNil;

    #[inline(always)]
    fn output(value: Option<T>, _: bool) -> Self::Output {
        // Not `map_or`, which would copy the value once more in a debug build.
        match value {
            None => Ok(()),
            Some(value) => Err(SendError(value)),
        }
    }
}

/// A receive: the waiter holds a value once it has received one.
pub(super) struct Receives;

impl<T> Direction<T> for Receives {
    type Output = Option<T>;

    const SIDE: Side = Side::Receive;
    const PARKED: Reason = Reason::ChanReceive;
    const PARKED_ON_NIL: Reason = Reason::ChanReceiveNil;

    #[inline(always)]
    fn output(value: Option<T>, _: bool) -> Self::Output {
        value
    }
}

/// A reservation: the waiter never holds a value. A complete operation has a place in the channel,
/// and gives it back when it is dropped.
pub(super) struct Reserves;

impl<T> Direction<T> for Reserves {
    /// False if the channel is closed.
    type Output = bool;

    const SIDE: Side = Side::Send;
    const PARKED: Reason = Reason::ChanSend;
    const PARKED_ON_NIL: Reason = Reason::ChanSendNil;
    const RESERVES: bool = true;

    fn output(_: Option<T>, is_closed: bool) -> bool {
        !is_closed
    }
}

/// What leads an operation to its channel.
///
/// # Safety
///
/// `core` always returns the same channel.
// SAFETY: the promise of an implementation is documented under "Safety" above.
pub(super) unsafe trait Home<T> {
    /// None for a nil channel.
    fn core(&self) -> Option<&Core<T>>;
}

/// The call that made an operation of a borrowed channel.
pub(super) struct Call<'a, T> {
    core: Option<&'a Core<T>>,
    /// Where the operation was called.
    site: &'static Location<'static>,
}

// SAFETY: the reference does not change.
unsafe impl<T> Home<T> for Call<'_, T> {
    #[inline(always)]
    fn core(&self) -> Option<&Core<T>> {
        self.core
    }
}

// SAFETY: a receiver is a handle of one channel.
unsafe impl<T> Home<T> for Receiver<T> {
    fn core(&self) -> Option<&Core<T>> {
        self.handle.core()
    }
}

/// A send, a receive, or a reservation.
pub(super) struct Op<H: Home<T>, T, D: Direction<T>> {
    home: H,
    waiter: Waiter<T>,
    direction: PhantomData<D>,
}

// SAFETY: the waiter is reached by other threads only under its channel's lock (I1, I3); it carries
// a `T` and a waker from thread to thread.
unsafe impl<H: Home<T> + Send, T: Send, D: Direction<T>> Send for Op<H, T, D> {}
// SAFETY: `&Op` gives no access to the value or the waker.
unsafe impl<H: Home<T> + Sync, T: Send, D: Direction<T>> Sync for Op<H, T, D> {}

impl<'a, T, D: Direction<T>> Op<Call<'a, T>, T, D> {
    #[inline(always)]
    pub(super) fn new(core: Option<&'a Core<T>>, site: &'static Location<'static>) -> Self {
        Self::of(Call { core, site })
    }

    pub(super) fn core(&self) -> Option<&'a Core<T>> {
        self.home.core
    }

    fn channel(&self) -> &'a Core<T> {
        self.core().expect("an operation on a nil channel is never queued")
    }
}

impl<H: Home<T>, T, D: Direction<T>> Op<H, T, D> {
    #[inline(always)]
    pub(super) fn of(home: H) -> Self {
        Self { home, waiter: Waiter::new(), direction: PhantomData }
    }

    pub(super) fn home(&self) -> &H {
        &self.home
    }

    #[inline(always)]
    pub(super) fn state(&self) -> u8 {
        // SAFETY: the state is atomic, and the waiter lives as long as `self`.
        unsafe { Waiter::state(self.waiter_ptr()) }
    }

    /// A pointer to the waiter, which this operation and the claimer access through raw pointers
    /// only.
    #[inline(always)]
    fn waiter_ptr(&self) -> *const Waiter<T> {
        &raw const self.waiter
    }

    /// Returns true if the waiter of an operation in this state holds a value. The state must not
    /// be `FINISHED`.
    #[inline(always)]
    fn holds_value(state: u8) -> bool {
        match D::SIDE {
            Side::Send => !D::RESERVES && state != state::DONE,
            Side::Receive => state == state::DONE,
        }
    }

    /// Takes the output of a complete operation, or of a send that is given up.
    ///
    /// # Safety
    ///
    /// The waiter is not linked, and its slot is as `state` requires, which is `DONE`, `CLOSED` or
    /// `IDLE`.
    #[inline(always)]
    unsafe fn ready_output(&self, state: u8) -> D::Output {
        let waiter = self.waiter_ptr();
        // SAFETY: passed on to the caller.
        unsafe { Waiter::set_state(waiter, state::FINISHED) };
        let holds_value = Self::holds_value(state);
        // SAFETY: passed on to the caller.
        let value = holds_value.then(|| unsafe { Waiter::take(waiter) });
        D::output(value, state == state::CLOSED)
    }

    /// Returns true if dropping the operation has no effect.
    #[inline(always)]
    fn is_gone(&self) -> bool {
        match self.state() {
            state::IDLE => !Self::holds_value(state::IDLE) || !needs_drop::<T>(),
            state::FINISHED => true,
            _ => false,
        }
    }

    /// Drops an operation whose drop is not a no-op.
    #[cold]
    #[inline(never)]
    fn abandon(&mut self) {
        let (core, waiter) = (self.home.core(), self.waiter_ptr());
        // The lock is released before the dequeued owner, and so its waker, is dropped.
        let withdrawn = core.filter(|_| self.state() != state::IDLE).map(|core| {
            let held = core.lock.guard();
            // SAFETY: the lock is held, and the waiter is this operation's.
            let withdrawn = unsafe { core.dequeue(waiter, D::SIDE) };
            drop(held);
            withdrawn
        });
        let state = self.state();
        // SAFETY: the waiter is not linked.
        let value = Self::holds_value(state).then(|| unsafe { Waiter::take(waiter) });
        // SAFETY: as above.
        unsafe { Waiter::set_state(waiter, state::FINISHED) };
        drop(withdrawn);
        match (core, value) {
            (Some(core), None) if D::RESERVES && state == state::DONE => core.unreserve(),
            (Some(core), Some(value)) if D::SIDE == Side::Receive => {
                // SAFETY: the value came through `Waiter::give`, which set the number.
                let number = unsafe { Waiter::number(waiter) };
                core.give_back(value, number)
            }
            (_, value) => drop(value),
        }
    }
}

impl<T, D: Direction<T>> Op<Call<'_, T>, T, D> {
    /// Attempts the operation. If it completes, the slot of the waiter is empty or full as the
    /// state `DONE` or `CLOSED` requires, except that a received value is returned instead of
    /// stored. The waiter may still be queued.
    ///
    /// # Safety
    ///
    /// The lock is held, and the waiter is not complete. `own` is as in
    /// [`WaitQueue::claim`](crate::wait::waiter::WaitQueue::claim).
    #[inline(always)]
    unsafe fn attempt_now(&self, core: &Core<T>, own: *const Token) -> Attempt<T> {
        match D::SIDE {
            // SAFETY: the lock is held.
            Side::Send if D::RESERVES => unsafe { core.reserve() },
            // SAFETY: the lock is held; the waiter is not complete, so it holds a value. It may be
            // queued, because `put` does not access the queue of senders.
            Side::Send => unsafe { core.put(own, || Waiter::take(self.waiter_ptr())) },
            // SAFETY: the lock is held.
            Side::Receive => unsafe { core.take(own) },
        }
    }

    /// The first poll. The caller has checked the budget.
    ///
    /// # Safety
    ///
    /// The state is `IDLE`.
    #[inline(always)]
    unsafe fn first_poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<D::Output> {
        let Some(core) = self.home.core else {
            coop::park_at(cx, self.home.site, D::PARKED_ON_NIL);
            return Poll::Pending;
        };
        // SAFETY: the state is IDLE.
        let polled = unsafe { self.complete_or_lock(core, coop::spend_one) };
        if polled.is_ready() {
            return polled;
        }
        if !coop::trusts(cx.waker()) {
            // SAFETY: the lock is held, and the state is IDLE.
            return unsafe { self.park_foreign(core, cx) };
        }
        // SAFETY: the lock is held, the state is IDLE, and `self` is pinned.
        unsafe { self.enqueue_and_unlock(core, TaskWaker::of_current(cx.waker())) };
        // SAFETY: the waker is trusted, as checked above.
        unsafe { coop::park_running(self.home.site, D::PARKED) };
        Poll::Pending
    }

    /// Queues the operation with a no-op waker, and then replaces that waker by the task's. A
    /// foreign waker must be cloned outside the lock, because its clone may run any code. In a
    /// passing poll the operation is not queued, because another one would find it.
    ///
    /// # Safety
    ///
    /// The lock is held, and the state is `IDLE`.
    #[cold]
    #[inline(never)]
    unsafe fn park_foreign(
        self: Pin<&mut Self>,
        core: &Core<T>,
        cx: &mut Context<'_>,
    ) -> Poll<D::Output> {
        if coop::is_passing(cx) {
            // SAFETY: the lock is held.
            unsafe { core.lock.unlock() };
            return Poll::Pending;
        }
        // SAFETY: passed on to the caller; `self` is pinned.
        unsafe { self.enqueue_and_unlock(core, TaskWaker::noop()) };
        self.poll_again(cx)
    }

    /// Completes the operation, or returns with the channel's lock held.
    ///
    /// # Safety
    ///
    /// The state is `IDLE`.
    #[inline(always)]
    unsafe fn complete_or_lock(&self, core: &Core<T>, spend: impl FnOnce()) -> Poll<D::Output> {
        let waiter = self.waiter_ptr();
        core.lock.lock();
        let attempt = match D::SIDE {
            // SAFETY: the lock is held, and only its owner has access to an unpolled waiter.
            Side::Send => unsafe { self.attempt_now(core, ptr::null()) },
            Side::Receive => {
                let len = core.len_hint();
                // SAFETY: the lock is held.
                let value = unsafe { core.take_buffered(len) };
                if value.is_some() {
                    // SAFETY: the waiter was never queued, and its slot is empty.
                    unsafe { Waiter::set_state(waiter, state::FINISHED) };
                    spend();
                    // SAFETY: the lock is held.
                    unsafe { core.lock.unlock() };
                    return Poll::Ready(D::output(value, false));
                }
                // SAFETY: the lock is held.
                unsafe { core.take_of(len, ptr::null()) }
            }
        };
        match attempt {
            Attempt::Complete(value, woken) => {
                // SAFETY: the waiter was never queued.
                unsafe { Waiter::set_state(waiter, state::FINISHED) };
                // Before the wake: a waker may complete operations itself and use up the budget.
                spend();
                // SAFETY: the lock is held.
                unsafe { woken.unlock(&core.lock) }.wake();
                Poll::Ready(D::output(value, false))
            }
            Attempt::Closed => {
                // SAFETY: the lock is held.
                unsafe { core.lock.unlock() };
                spend();
                // SAFETY: the channel is closed, and the waiter was never queued.
                Poll::Ready(unsafe { self.ready_output(state::CLOSED) })
            }
            Attempt::Blocked => Poll::Pending,
            // SAFETY: the lock is held, and the state is still IDLE.
            Attempt::Unready => unsafe { self.maintain_and_complete(core, spend) },
        }
    }

    /// Continues [`complete_or_lock`](Self::complete_or_lock) after the channel was unready.
    ///
    /// # Safety
    ///
    /// The lock is held, and the state is `IDLE`.
    #[cold]
    #[inline(never)]
    unsafe fn maintain_and_complete(
        &self,
        core: &Core<T>,
        spend: impl FnOnce(),
    ) -> Poll<D::Output> {
        // SAFETY: the lock is held.
        unsafe { core.lock.unlock() };
        core.maintain();
        // SAFETY: passed on to the caller.
        unsafe { self.complete_or_lock(core, spend) }
    }

    /// Queues the operation, and releases the channel's lock.
    ///
    /// # Safety
    ///
    /// The lock is held, the state is `IDLE`, and `self` is pinned.
    #[inline(always)]
    unsafe fn enqueue_and_unlock(&self, core: &Core<T>, waker: TaskWaker) {
        // SAFETY: passed on to the caller; this operation's drop removes the waiter (I5).
        let woken = unsafe { core.enqueue(self.waiter_ptr(), Owner::Lone(waker), D::SIDE) };
        // SAFETY: as above, it has just been queued.
        unsafe { self.queued() };
        // SAFETY: the lock is held.
        unsafe { woken.unlock(&core.lock) }.wake();
    }

    /// Marks the queued waiter of a reservation as one.
    ///
    /// # Safety
    ///
    /// The lock is held, and the waiter has just been queued.
    #[inline(always)]
    unsafe fn queued(&self) {
        if D::RESERVES {
            // SAFETY: passed on to the caller.
            unsafe { Waiter::queued_as(self.waiter_ptr(), state::QUEUED_RESERVE) };
        }
    }

    /// Does what [`ChannelCase::queue`] does. Also calls `queued`, under the lock, if the waiter
    /// was queued.
    #[inline(always)]
    fn queue_and(self: Pin<&Self>, token: OwnToken, queued: impl FnOnce()) -> Queued {
        let (core, waiter) = (self.channel(), self.waiter_ptr());
        core.lock.lock();
        if core.seems_ready(D::SIDE) || !self.is_unpolled() {
            // SAFETY: the lock is held.
            unsafe { core.lock.unlock() };
            return Queued::No;
        }
        // SAFETY: the lock is held; an unpolled waiter is not queued; it is pinned, and this
        // operation's drop removes it (I5).
        let (is_first, woken) = unsafe { core.enqueue_unready(waiter, token.owner(), D::SIDE) };
        // SAFETY: as above, it has just been queued.
        unsafe { self.queued() };
        queued();
        // SAFETY: the lock is held.
        unsafe { woken.unlock(&core.lock) }.wake();
        if is_first { Queued::First } else { Queued::Behind }
    }

    /// A later poll. If the operation is still queued it has not been notified, and its waker is
    /// replaced by that of the polling task.
    #[cold]
    #[inline(never)]
    fn poll_again(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<D::Output> {
        assert!(
            self.state() != state::FINISHED,
            "gopark: channel operation polled after completion"
        );
        let (core, waiter) = (self.channel(), self.waiter_ptr());
        let mut fresh = None;
        loop {
            let held = core.lock.guard();
            let known = match self.state() {
                state::IDLE => None,
                // SAFETY: the lock is held.
                state if state::is_queued(state) => unsafe {
                    Waiter::with_owner(waiter, |owner| match owner {
                        Owner::Lone(waker) => Some(waker.will_wake(cx.waker())),
                        Owner::Select(_) => None,
                    })
                },
                state => {
                    drop(held);
                    if state == state::CLOSED && D::SIDE == Side::Send && !D::RESERVES {
                        failed::failed();
                    }
                    // SAFETY: the operation was completed meanwhile.
                    return Poll::Ready(unsafe { self.ready_output(state) });
                }
            };
            if known.is_none() || coop::is_last(cx.waker()) {
                // SAFETY: the lock is held, and the waiter is this operation's.
                let withdrawn = unsafe { core.dequeue(waiter, D::SIDE) };
                drop(held);
                drop(withdrawn);
                // `known` is `None` if the operation is idle, or still queued by a leaked
                // `select!`. Either way it starts again.
                return if known.is_none() { self.poll(cx) } else { Poll::Pending };
            }
            if known == Some(true) {
                drop(held);
                coop::park_at(cx, self.home.site, D::PARKED);
                return Poll::Pending;
            }
            if let Some(waker) = fresh.take() {
                // SAFETY: the lock is held, and the waiter was queued alone, not by a `select!`.
                let old = unsafe {
                    Waiter::with_owner(waiter, |owner| mem::replace(owner, Owner::Lone(waker)))
                };
                drop(held);
                drop(old);
                coop::park_at(cx, self.home.site, D::PARKED);
                return Poll::Pending;
            }
            drop(held);
            // Cloned outside the lock, because a clone may run foreign code.
            fresh = Some(TaskWaker::new(cx.waker()));
        }
    }
}

impl<T, D: Direction<T>> Future for Op<Call<'_, T>, T, D> {
    type Output = D::Output;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<D::Output> {
        match self.state() {
            state::IDLE => {
                let object = self.home.core.map(|core| &core.object);
                if !coop::poll_ready(cx, self.home.site, D::PARKED, object) {
                    return Poll::Pending;
                }
                // SAFETY: the state is IDLE.
                unsafe { self.first_poll(cx) }
            }
            // SAFETY: the state is DONE.
            state::DONE => Poll::Ready(unsafe { self.ready_output(state::DONE) }),
            _ => self.poll_again(cx),
        }
    }
}

impl<T, D: Direction<T>> Case for Op<Call<'_, T>, T, D> {
    type Output = D::Output;

    #[inline(always)]
    fn poll_case(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<D::Output> {
        if self.state() != state::IDLE {
            // The operation was polled before it became a case, and has a queue position of its
            // own.
            return coop::without_note(|| self.poll_again(cx));
        }
        let Some(core) = self.home.core else { return Poll::Pending };
        // SAFETY: the state is IDLE.
        let polled = unsafe { self.complete_or_lock(core, || ()) };
        if polled.is_pending() {
            // SAFETY: the lock is held.
            unsafe { core.lock.unlock() };
        }
        polled
    }

    #[inline(always)]
    fn raw(self: Pin<&Self>, _: Sealed) -> Option<Pin<&dyn ChannelCase>> {
        if self.home.core.is_some() { Some(self) } else { None }
    }

    #[inline(always)]
    fn drop_is_noop(&self, _: Sealed) -> bool {
        self.is_gone()
    }

    #[inline(always)]
    fn won(self: Pin<&mut Self>) -> D::Output {
        let state = self.state();
        // The trait is public, so this must panic if the result is taken twice, or from an
        // operation that is still queued.
        assert!(matches!(state, state::DONE | state::CLOSED), "only a case that won has a result");
        // SAFETY: the operation is complete, as checked above.
        unsafe { self.ready_output(state) }
    }
}

impl<H: Home<T>, T, D: Direction<T>> Drop for Op<H, T, D> {
    // Not `inline(always)`: n operands in an async block make n² / 2 drops, all but n of them for
    // unwinding.
    #[inline]
    fn drop(&mut self) {
        if !self.is_gone() {
            self.abandon();
        }
    }
}

impl<T, D: Direction<T>> ChannelCase for Op<Call<'_, T>, T, D> {
    #[inline(always)]
    fn state(&self) -> u8 {
        self.state()
    }

    fn lock(&self) -> &RawLock {
        &self.channel().lock
    }

    fn waiter(&self) -> usize {
        self.waiter_ptr().addr()
    }

    #[cfg(feature = "sim")]
    fn used(&self, site: &'static Location<'static>) {
        self.channel().object.tried(site);
    }

    fn can_be_undone(&self) -> bool {
        D::SIDE == Side::Receive
    }

    fn seems_ready(&self) -> bool {
        self.home.core.is_some_and(|core| core.seems_ready(D::SIDE))
    }

    #[inline]
    fn attempt(&self, held: HeldLocks<'_>, own: *const Token) -> Result<Option<Woken>, Unready> {
        let (core, waiter) = (self.channel(), self.waiter_ptr());
        assert!(held.contain(&core.lock), "the channel is locked");
        let state = self.state();
        assert!(state == state::IDLE || state::is_queued(state), "the operation is not complete");
        // SAFETY: as just checked.
        let (state, value, woken) = match unsafe { self.attempt_now(core, own) } {
            Attempt::Complete(value, woken) => (state::DONE, value, woken),
            Attempt::Closed => (state::CLOSED, None, Woken::NONE),
            Attempt::Blocked => return Ok(None),
            Attempt::Unready => return Err(Unready),
        };
        // SAFETY: the lock is held, and the waiter is this operation's; after `dequeue` it is not
        // linked.
        unsafe {
            core.dequeue(waiter, D::SIDE);
            if let Some(value) = value {
                Waiter::give(waiter, value, 0);
            }
            Waiter::set_state(waiter, state);
        }
        Ok(Some(woken))
    }

    fn maintain(&self) {
        self.channel().maintain();
    }

    fn enqueue(self: Pin<&Self>, held: HeldLocks<'_>, token: OwnToken) -> Woken {
        let core = self.channel();
        assert!(held.contain(&core.lock) && self.is_unpolled(), "locked, and in no queue");
        // SAFETY: the lock is held; the waiter is not queued; it is pinned, and this operation's
        // drop removes it (I5).
        unsafe {
            let woken = core.enqueue(self.waiter_ptr(), token.owner(), D::SIDE);
            self.queued();
            woken
        }
    }

    #[inline(never)]
    fn queue(self: Pin<&Self>, token: OwnToken) -> Queued {
        self.queue_and(token, || ())
    }

    fn renotify(&self, cx: &Context<'_>) {
        if D::SIDE == Side::Send {
            self.channel().wake_watchers_but(cx);
        }
    }

    #[inline(never)]
    fn dequeue(&self) {
        let core = self.channel();
        let _held = core.lock.guard();
        // SAFETY: the lock is held, and the waiter is this operation's.
        let owner = unsafe { core.dequeue(self.waiter_ptr(), D::SIDE) };
        // The owner of a case is its `select!`'s token, which needs no drop.
        mem::forget(owner);
    }
}

impl<T> Op<Receiver<T>, T, Receives> {
    /// Returns the result if the queued waiter is complete, else `Empty`. After a value was
    /// returned the operation is idle.
    pub(super) fn settle(self: Pin<&mut Self>) -> Result<T, TryRecvError> {
        let waiter = self.waiter_ptr();
        match self.state() {
            // SAFETY: a waiter that is DONE belongs to its owner, and holds a value.
            state::DONE => unsafe {
                Waiter::set_state(waiter, state::IDLE);
                Ok(Waiter::take(waiter))
            },
            state::CLOSED => Err(TryRecvError::Closed),
            _ => Err(TryRecvError::Empty),
        }
    }

    /// Queues the operation for the task of `cx`, or updates its waker if it is queued already. If
    /// there is a value after all, returns that instead.
    pub(super) fn wait(self: Pin<&mut Self>, cx: &Context<'_>) -> Result<T, TryRecvError> {
        let waiter = self.waiter_ptr();
        let stays = !coop::is_passing(cx);
        // Cloned outside the lock, because the clone may run foreign code. So may the drop.
        let waker = TaskWaker::new(cx.waker());
        let core = self.home.core().expect("a stream of a channel");
        let (mut old, mut woken) = (None, Woken::NONE);
        let held = core.lock.guard();
        let mut is_complete = false;
        let received = match self.state() {
            // SAFETY: the lock is held; an idle waiter is not queued. It is pinned, and is dequeued
            // by the drop (I5).
            state::IDLE => match unsafe { core.until_ready(|| core.take(ptr::null())) } {
                Attempt::Complete(value, sender) => {
                    woken = sender;
                    value.ok_or(TryRecvError::Closed)
                }
                Attempt::Closed => Err(TryRecvError::Closed),
                Attempt::Blocked | Attempt::Unready => {
                    if stays {
                        // SAFETY: as above.
                        woken = unsafe { core.enqueue(waiter, Owner::Lone(waker), Side::Receive) };
                    }
                    Err(TryRecvError::Empty)
                }
            },
            state::QUEUED => {
                old = if stays {
                    let renew = |owner: &mut Owner| mem::replace(owner, Owner::Lone(waker));
                    // SAFETY: the lock is held, and the waiter is queued.
                    Some(unsafe { Waiter::with_owner(waiter, renew) })
                } else {
                    // SAFETY: the lock is held, and the waiter is this operation's.
                    unsafe { core.dequeue(waiter, Side::Receive) }
                };
                Err(TryRecvError::Empty)
            }
            _ => {
                is_complete = true;
                Err(TryRecvError::Empty)
            }
        };
        drop(held);
        drop(old);
        woken.wake();
        if is_complete { self.settle() } else { received }
    }

    /// Finishes an operation that is idle, or that has failed.
    pub(super) fn finish(self: Pin<&mut Self>) {
        assert!(matches!(self.state(), state::IDLE | state::CLOSED), "it is in no queue");
        // SAFETY: the waiter is not queued, and its slot is empty.
        unsafe { Waiter::set_state(self.waiter_ptr(), state::FINISHED) }
    }
}

/// A receive as the case of an arm `Some(..)`: when the channel is closed and drained it does not
/// win, but is off.
#[repr(transparent)]
struct SomeOp<'a, T>(Op<Call<'a, T>, T, Receives>);

impl<'a, T> SomeOp<'a, T> {
    fn of<'b>(op: Pin<&'b Op<Call<'a, T>, T, Receives>>) -> Pin<&'b Self> {
        // SAFETY: `SomeOp` is a transparent wrapper, and its operation is pinned with it.
        unsafe { op.map_unchecked(|op| &*ptr::from_ref(op).cast()) }
    }

    fn op(self: Pin<&Self>) -> Pin<&Op<Call<'a, T>, T, Receives>> {
        // SAFETY: the operation is pinned with `self`.
        unsafe { self.map_unchecked(|this| &this.0) }
    }
}

impl<T> ChannelCase for SomeOp<'_, T> {
    fn state(&self) -> u8 {
        self.0.state()
    }

    fn lock(&self) -> &RawLock {
        self.0.lock()
    }

    fn waiter(&self) -> usize {
        self.0.waiter()
    }

    #[cfg(feature = "sim")]
    fn used(&self, site: &'static Location<'static>) {
        self.0.used(site);
    }

    fn seems_ready(&self) -> bool {
        self.0.seems_ready()
    }

    fn can_be_undone(&self) -> bool {
        self.0.can_be_undone()
    }

    fn is_off(&self) -> bool {
        self.state() == state::CLOSED
    }

    fn attempt(&self, held: HeldLocks<'_>, own: *const Token) -> Result<Option<Woken>, Unready> {
        if self.is_off() {
            return Ok(None);
        }
        let woken = self.0.attempt(held, own)?;
        Ok(woken.filter(|_| !self.is_off()))
    }

    fn maintain(&self) {
        self.0.maintain();
    }

    fn enqueue(self: Pin<&Self>, held: HeldLocks<'_>, token: OwnToken) -> Woken {
        let woken = self.op().enqueue(held, token);
        // SAFETY: the waiter has just been queued, and the lock is held.
        unsafe { Waiter::queued_as(self.0.waiter_ptr(), state::QUEUED_SOME) };
        woken
    }

    #[inline(never)]
    fn queue(self: Pin<&Self>, token: OwnToken) -> Queued {
        let waiter = self.0.waiter_ptr();
        self.op().queue_and(token, || {
            // SAFETY: the waiter has just been queued, and the lock is held.
            unsafe { Waiter::queued_as(waiter, state::QUEUED_SOME) }
        })
    }

    fn renotify(&self, _: &Context<'_>) {}

    fn dequeue(&self) {
        self.0.dequeue();
    }
}

impl<T> OptionCase for Receiving<'_, T> {
    type Value = T;

    fn raw_some(self: Pin<&Self>, _: Sealed) -> Option<Pin<&dyn ChannelCase>> {
        let op = self.project_ref().op;
        if op.home.core.is_some() { Some(SomeOp::of(op)) } else { None }
    }

    fn poll_some(self: Pin<&mut Self>, cx: &mut Context<'_>, _: Sealed) -> Poll<Option<T>> {
        let mut op = self.project().op;
        let polled = op.as_mut().poll_case(cx);
        if let Poll::Ready(None) = polled {
            // The receive must be off in a later select, too.
            // SAFETY: a finished operation is not linked, and the slot of a receive from a closed
            // and drained channel is empty.
            unsafe { Waiter::set_state(op.waiter_ptr(), state::CLOSED) };
        }
        polled
    }
}
