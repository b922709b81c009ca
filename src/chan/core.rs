//! One channel: a lock, a buffer, two queues of waiters.
//!
//! Go's three invariants hold whenever the lock is free, but for a `select!` that waits on both sides of one channel:
//! not both queues hold waiters; a non-empty buffer means that no receiver waits; a buffer with room means that no
//! sender waits.
//!
//! Every `unsafe fn` here must be called with the lock held, as Go's comments say "c must be locked".

use std::collections::VecDeque;
use std::fmt;
use std::ptr;

use super::source::Source;
use crate::coop;
use crate::lock::{self, LockGuard, RawLock};
use crate::loom::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::loom::{self, UnsafeCell};
use crate::wait::waiter::{Owner, Token, WaitQueue, Waiter, Woken, state};
use crate::waker::{TaskWaker, WakeList};

/// A buffer of up to this many bytes is allocated with the channel; a larger one grows as it is used.
const UP_FRONT: usize = 4096;

/// The shared part of a channel.
///
/// | word | meaning | left by |
/// |---|---|---|
/// | `handles` | live handles of each side | clone, drop of a handle |
/// | `one_side_dropped` | one side has no handles left | the other side's last handle, which frees the channel |
///
/// The lock comes first, so that its address needs no register of its own.
#[repr(C)]
pub(super) struct Core<T> {
    pub(super) lock: RawLock,
    pub(super) capacity: usize,
    /// Its values come from a [`Source`].
    timed: bool,
    handles: [AtomicUsize; 2],
    pub(super) one_side_dropped: AtomicBool,
    /// Written under the lock; read without it as a hint by `seems_ready_*`.
    len: AtomicUsize,
    closed: AtomicBool,
    /// Under the lock, but for a look at whether they are empty.
    pub(super) recvq: WaitQueue<T>,
    sendq: WaitQueue<T>,
    state: UnsafeCell<State<T>>,
}

/// What the lock guards.
pub(super) struct State<T> {
    buffer: VecDeque<T>,
    /// The number of values handed to receivers so far, which orders those that are returned unclaimed.
    pub(super) handoff_seq: usize,
    pub(super) extras: Option<Box<Extras<T>>>,
}

/// The state that few channels need: of timers, streams, and receives dropped after a hand-off.
pub(super) struct Extras<T> {
    pub(super) source: Option<Box<dyn Source<T>>>,
    /// Values of the source handed out up to this number are void: they are dropped if they are returned unclaimed.
    pub(super) voided_through: usize,
    /// Values whose receives were dropped after the hand-off, by their number. They are older than those in the buffer.
    unclaimed: Vec<(usize, T)>,
    /// Streams to wake when there is a value to take, the oldest first. Some may have been dropped: a receiver does not
    /// remember that it was polled as a stream, so its drop does not deregister it.
    #[expect(clippy::box_collection, reason = "one word, which every send tests")]
    pub(super) watchers: Option<Box<VecDeque<TaskWaker>>>,
}

/// The result of an attempt to send or to receive.
#[repr(u8)]
pub(super) enum Attempt<T> {
    /// Sent, or received: this value.
    Complete(Option<T>, Woken),
    Closed,
    /// The operation would have to wait.
    Blocked,
}

// SAFETY: values move from thread to thread, never shared; everything else is guarded by the lock or atomic.
unsafe impl<T: Send> Send for Core<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Core<T> {}

impl<T> Core<T> {
    pub(super) fn new(capacity: usize, timed: bool) -> Self {
        lock::prepare();
        let up_front = if capacity.saturating_mul(size_of::<T>().max(1)) <= UP_FRONT { capacity } else { 0 };
        Self {
            lock: RawLock::new(),
            capacity,
            timed,
            handles: [AtomicUsize::new(1), AtomicUsize::new(1)],
            one_side_dropped: AtomicBool::new(false),
            len: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            recvq: WaitQueue::new(),
            sendq: WaitQueue::new(),
            state: UnsafeCell::new(State { buffer: VecDeque::with_capacity(up_front), handoff_seq: 0, extras: None }),
        }
    }

    /// The number of values in the channel at this moment.
    pub(super) fn len(&self) -> usize {
        let _held = self.lock.guard();
        self.len.load(Ordering::Relaxed)
    }

    pub(super) fn is_closed(&self) -> bool {
        let _held = self.lock.guard();
        self.closed.load(Ordering::Relaxed)
    }

    /// The state. The lock is held until the guard is dropped; the caller runs no foreign code meanwhile.
    #[inline]
    pub(super) fn held(&self) -> LockGuard<'_, State<T>> {
        // SAFETY: the state is reached through such a guard, or by `state`.
        unsafe { LockGuard::new(&self.lock, &self.state) }
    }

    /// The state, where the caller has locked the channel by itself.
    ///
    /// # Safety
    ///
    /// The lock is held, and there is no other reference to the state.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the lock makes it the only one")]
    pub(super) unsafe fn state(&self) -> &mut State<T> {
        // SAFETY: the caller's promise.
        self.state.with_mut(|state| unsafe { &mut *state })
    }

    /// May be wrong at once: whether a receive would find something. If not, there was a moment during the call when it
    /// would not have: a closed channel stays so, and to hand a place on changes `len` and the queue's head at most
    /// once.
    pub(super) fn seems_ready_to_recv(&self) -> bool {
        loom::MODELLED
            || self.timed
            // Acquire: the look at `closed` comes last.
            || self.len.load(Ordering::Acquire) != 0
            || !self.sendq.seems_empty()
            || self.closed.load(Ordering::Relaxed)
    }

    /// May be wrong at once, as `seems_ready_to_recv`: whether a send would find a place, or the channel closed.
    pub(super) fn seems_ready_to_send(&self) -> bool {
        loom::MODELLED
            || self.len.load(Ordering::Acquire) < self.capacity
            || !self.recvq.seems_empty()
            || self.closed.load(Ordering::Relaxed)
    }

    /// Go's `chanrecv`, up to where it would park. Takes an unclaimed value, then the buffer's head (moving the oldest
    /// parked sender's value into the free place), then a parked sender's value.
    ///
    /// # Safety
    ///
    /// The lock is held.
    #[inline(always)]
    pub(super) unsafe fn take(&self, own: *const Token) -> Attempt<T> {
        // SAFETY: the lock is held, for the claim and what follows from it.
        unsafe {
            let st = self.state();
            let (mut head, mut room) = (None, true);
            if let Some(extras) = &mut st.extras {
                if let Some(source) = &mut extras.source {
                    let Some(value) = source.take() else { return Attempt::Blocked };
                    // There may be another one later, for the receives that wait.
                    return Attempt::Complete(Some(value), self.arm_source(st));
                }
                head = extras.pop_unclaimed();
                // It was not in the buffer, which may be full.
                room = head.is_none() || self.len.load(Ordering::Relaxed) <= self.capacity;
            }
            if head.is_none() && self.capacity != 0 {
                head = st.buffer.pop_front();
            }
            let closed = self.closed.load(Ordering::Relaxed);
            if let Some(value) = head {
                return match if closed || !room { None } else { self.sendq.claim(own) } {
                    Some(sender) => {
                        // One out, one in: the length stays as it is.
                        st.buffer.push_back(Waiter::take(sender.as_ptr()));
                        Attempt::Complete(Some(value), Waiter::complete(sender.as_ptr(), state::DONE))
                    }
                    None => {
                        self.add_len(-1);
                        Attempt::Complete(Some(value), Woken::NONE)
                    }
                };
            }
            // The senders that a close found parked have failed, even if it has not completed them yet.
            if closed {
                return Attempt::Closed;
            }
            match self.sendq.claim(own) {
                Some(sender) => {
                    let value = Waiter::take(sender.as_ptr());
                    Attempt::Complete(Some(value), Waiter::complete(sender.as_ptr(), state::DONE))
                }
                None => Attempt::Blocked,
            }
        }
    }

    /// Go's `chansend`, up to where it would park. Moves the value out of `value` only if it is sent.
    ///
    /// # Safety
    ///
    /// The lock is held; `value` reads the value, and is called at most once.
    #[inline(always)]
    pub(super) unsafe fn put(&self, own: *const Token, value: impl FnOnce() -> T) -> Attempt<T> {
        // SAFETY: the lock is held, for the claim and what follows from it.
        unsafe {
            let st = self.state();
            if self.closed.load(Ordering::Relaxed) {
                return Attempt::Closed;
            }
            if let Some(receiver) = self.recvq.claim(own) {
                st.handoff_seq = st.handoff_seq.wrapping_add(1);
                Waiter::give(receiver.as_ptr(), value(), st.handoff_seq);
                return Attempt::Complete(None, Waiter::complete(receiver.as_ptr(), state::DONE));
            }
            if self.len.load(Ordering::Relaxed) < self.capacity {
                st.buffer.push_back(value());
                self.add_len(1);
                return Attempt::Complete(None, st.watchers());
            }
            Attempt::Blocked
        }
    }

    #[inline(always)]
    fn add_len(&self, by: isize) {
        // Only the holder of the lock writes, so this need not be one atomic operation.
        let len = self.len.load(Ordering::Relaxed);
        self.len.store(len.wrapping_add_signed(by), Ordering::Relaxed);
    }

    /// Returns a value that was handed to a receive which then was dropped: to the next receiver, else to its place in
    /// the order of sending. If no receiver is left, the caller gets the value and must drop it outside the lock.
    ///
    /// # Safety
    ///
    /// The lock is held.
    pub(super) unsafe fn return_unclaimed(&self, value: T, number: usize) -> (Option<T>, Woken) {
        // SAFETY: the lock is held, for the claim and what follows from it.
        unsafe {
            let st = self.state();
            let is_void = |extras: &Extras<T>| {
                extras.source.is_some() && (number.wrapping_sub(extras.voided_through) as isize) <= 0
            };
            if st.extras.as_deref().is_some_and(is_void) {
                return (Some(value), Woken::NONE);
            }
            if let Some(receiver) = self.recvq.claim(ptr::null()) {
                Waiter::give(receiver.as_ptr(), value, number);
                return (None, Waiter::complete(receiver.as_ptr(), state::DONE));
            }
            if self.count(Side::Receive).load(Ordering::Relaxed) == 0 {
                return (Some(value), Woken::NONE);
            }
            match &mut st.extras().source {
                Some(source) => source.give_back(value),
                None => {
                    st.extras().insert_unclaimed(value, number);
                    self.add_len(1);
                }
            }
            (None, st.watchers())
        }
    }

    /// Closes the channel. False if it was closed already.
    pub(super) fn close(&self) -> bool {
        // Another thread may see it without being woken.
        coop::note_unwinding();
        let mut wakes = WakeList::new();
        let mut st = self.held();
        if self.closed.load(Ordering::Relaxed) {
            return false;
        }
        self.closed.store(true, Ordering::Relaxed);
        // From here on no operation queues, and none is served from the queues but here.
        loop {
            while !wakes.is_full() {
                // SAFETY: the lock is held. The slot stays as it was, which is what `CLOSED` says.
                let failed = unsafe {
                    let waiter = self.recvq.claim(ptr::null()).or_else(|| self.sendq.claim(ptr::null()));
                    waiter.map(|waiter| Waiter::complete(waiter.as_ptr(), state::CLOSED))
                };
                let Some(failed) = failed else {
                    let watchers = st.watchers();
                    drop(st);
                    wakes.wake_all();
                    watchers.wake();
                    return true;
                };
                wakes.push(failed.into_task());
            }
            drop(st);
            wakes.wake_all();
            st = self.held();
        }
    }

    /// The live handles of a side.
    #[inline(always)]
    pub(super) fn count(&self, side: Side) -> &AtomicUsize {
        &self.handles[side as usize]
    }

    /// The queue of the operations of a side.
    #[inline(always)]
    fn queue(&self, side: Side) -> &WaitQueue<T> {
        match side {
            Side::Send => &self.sendq,
            Side::Receive => &self.recvq,
        }
    }

    /// Queues an operation. A send notifies the streams that watch the channel, because they may take its value; a receive
    /// arms the source.
    ///
    /// # Safety
    ///
    /// The lock is held; as [`WaitQueue::push`].
    #[inline(always)]
    pub(super) unsafe fn enqueue(&self, waiter: *const Waiter<T>, owner: Owner, side: Side) -> Woken {
        // SAFETY: passed on to the caller.
        unsafe { self.queue(side).push(waiter, owner) };
        // SAFETY: as above.
        let st = unsafe { self.state() };
        match side {
            Side::Send => st.watchers(),
            Side::Receive if self.timed => self.arm_source(st),
            Side::Receive => Woken::NONE,
        }
    }

    /// As [`WaitQueue::withdraw`], from the queue of that side.
    ///
    /// # Safety
    ///
    /// The lock is held; as [`WaitQueue::withdraw`].
    pub(super) unsafe fn dequeue(&self, waiter: *const Waiter<T>, side: Side) -> Option<Owner> {
        // SAFETY: passed on to the caller.
        unsafe { self.queue(side).withdraw(waiter) }
    }

    /// Arms the source, if there is one and a receive or a stream waits. Called under the lock, as `st` says.
    pub(super) fn arm_source(&self, st: &mut State<T>) -> Woken {
        let Some(extras) = &mut st.extras else { return Woken::NONE };
        let waits = !self.recvq.seems_empty() || extras.watchers.is_some();
        let source = extras.source.as_mut().filter(|_| waits);
        Woken::task(source.and_then(|source| source.arm()))
    }

    /// Takes out all values, and the source.
    pub(super) fn discard(&self) -> impl Sized + use<T> {
        let mut st = self.held();
        self.len.store(0, Ordering::Relaxed);
        let extras = st.extras.as_mut().map(|extras| (std::mem::take(&mut extras.unclaimed), extras.source.take()));
        (std::mem::take(&mut st.buffer), extras)
    }
}

/// The direction of an operation or a handle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Send,
    Receive,
}

impl<T> State<T> {
    #[inline(always)]
    pub(super) fn watchers(&mut self) -> Woken {
        match &mut self.extras {
            Some(extras) => Woken::watchers(extras.watchers.take()),
            None => Woken::NONE,
        }
    }

    pub(super) fn extras(&mut self) -> &mut Extras<T> {
        let extras = || Box::new(Extras { source: None, voided_through: 0, unclaimed: Vec::new(), watchers: None });
        self.extras.get_or_insert_with(extras)
    }
}

impl<T> Extras<T> {
    fn pop_unclaimed(&mut self) -> Option<T> {
        if self.unclaimed.is_empty() { None } else { Some(self.unclaimed.remove(0).1) }
    }

    fn insert_unclaimed(&mut self, value: T, number: usize) {
        let at = self.unclaimed.partition_point(|(before, _)| (number.wrapping_sub(*before) as isize) > 0);
        self.unclaimed.insert(at, (number, value));
    }
}

impl<T> fmt::Debug for Core<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("len", &self.len.load(Ordering::Relaxed))
            .field("capacity", &self.capacity)
            .field("closed", &self.closed.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}
