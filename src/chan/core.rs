//! One channel: a lock, a buffer, two queues of waiters.
//!
//! Go's three invariants hold whenever the lock is free, but for a `select!` that waits on both
//! sides of one channel: not both queues hold waiters; a non-empty buffer means that no receiver
//! waits; a buffer with room means that no sender waits.
//!
//! Every `unsafe fn` here must be called with the lock held, as Go's comments say "c must be
//! locked".

use std::fmt;
use std::ptr;
use std::sync::Arc;

use super::buffer::{Blocks, Buffer, Values};
use super::link::Link;
use super::source::Source;
use super::unclaimed::{Node, Unclaimed};
use crate::coop::{self, Object};
use crate::lock::{self, LockGuard, RawLock};
use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use crate::wait::waiter::{Owner, Token, WaitQueue, Waiter, Woken, state};
use crate::wait::watch::Watchers;
use crate::waker::WakeList;

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
    /// The capacity, without the places that are reserved. Under the lock, but for a look at
    /// whether there is room.
    pub(super) room: AtomicUsize,
    handles: [AtomicUsize; 2],
    pub(super) one_side_dropped: AtomicBool,
    /// Values in the buffer, and unclaimed ones. Written under the lock; read without it as a hint
    /// by `seems_ready_*`.
    pub(super) len: AtomicUsize,
    /// Of `TIMED`, `RETURNED`, `CLOSED` and `RESERVED` those that hold. Set under the lock, never
    /// reset.
    flags: AtomicU8,
    /// Under the lock, but for a look at whether they are empty.
    pub(super) recvq: WaitQueue<T>,
    sendq: WaitQueue<T>,
    state: UnsafeCell<State<T>>,
    pub(super) object: Object,
}

/// The values come from a [`Source`].
const TIMED: u8 = 1;
/// A value came back to a channel without a buffer.
const RETURNED: u8 = 2;
const CLOSED: u8 = 4;
/// Places have been reserved: an operation may be ready though the buffer is empty, or full. Such a
/// channel is always rare.
const RESERVED: u8 = 8;

/// What the lock guards.
pub(super) struct State<T> {
    /// Anything that most channels are not: closed, with extras or unclaimed values. Set by those
    /// that make it so, reset when the last unclaimed value is taken.
    pub(super) rare: bool,
    pub(super) buffer: Buffer<T>,
    /// The number of values handed to receivers so far, which orders those that are returned
    /// unclaimed.
    pub(super) handoff_seq: usize,
    /// Values whose receives were dropped after the hand-off. They are older than those in the
    /// buffer.
    pub(super) unclaimed: Unclaimed<T>,
    pub(super) extras: Option<Box<Extras<T>>>,
}

/// The state that few channels need: of timers and streams.
pub(super) struct Extras<T> {
    pub(super) source: Option<Box<dyn Source<T>>>,
    /// Values of the source handed out up to this number are void: they are dropped if they are
    /// returned unclaimed.
    pub(super) voided_through: usize,
    /// Streams to wake when there is a value to take.
    pub(super) watchers: Option<Arc<Watchers>>,
    /// Tasks to wake when the channel is closed.
    pub(super) closers: Option<Arc<Watchers>>,
    /// What weak references share.
    pub(super) link: Option<Arc<Link<Core<T>>>>,
}

/// The result of an attempt to send or to receive.
#[repr(u8)]
pub(super) enum Attempt<T> {
    /// Sent, or received: this value.
    Complete(Option<T>, Woken),
    Closed,
    /// The operation would have to wait.
    Blocked,
    /// Nothing was done. Try again after [`Core::maintain`].
    Unready,
}

// SAFETY: values move from thread to thread, never shared; everything else is guarded by the lock
// or atomic.
unsafe impl<T: Send> Send for Core<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Core<T> {}

impl<T> Core<T> {
    pub(super) fn new(capacity: usize, timed: bool) -> Self {
        lock::prepare();
        let state = State {
            rare: false,
            buffer: Buffer::new(if timed { 0 } else { capacity }),
            handoff_seq: 0,
            unclaimed: Unclaimed::EMPTY,
            extras: None,
        };
        Self {
            lock: RawLock::new(),
            capacity,
            room: AtomicUsize::new(capacity),
            handles: [AtomicUsize::new(1), AtomicUsize::new(1)],
            one_side_dropped: AtomicBool::new(false),
            len: AtomicUsize::new(0),
            flags: AtomicU8::new(if timed { TIMED } else { 0 }),
            recvq: WaitQueue::new(),
            sendq: WaitQueue::new(),
            state: UnsafeCell::new(state),
            object: Object::new(),
        }
    }

    /// The number of values in the channel at this moment.
    pub(super) fn len(&self) -> usize {
        let _held = self.lock.guard();
        self.len.load(Ordering::Relaxed)
    }

    pub(super) fn is_closed(&self) -> bool {
        let _held = self.lock.guard();
        self.has(CLOSED)
    }

    /// Whether one of these flags is set. Exact under the lock.
    #[inline(always)]
    fn has(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    /// Under the lock.
    fn set(&self, flag: u8) {
        // Release: who sees it sees what was done before. Only the holder of the lock writes.
        self.flags.store(self.flags.load(Ordering::Relaxed) | flag, Ordering::Release);
    }

    /// The state. The lock is held until the guard is dropped; the caller runs no foreign code
    /// meanwhile.
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

    /// May be wrong at once: whether a receive would find something. If not, there was a moment
    /// during the call when it would not have: each channel has one word that says whether it is
    /// empty, as Go's `chanrecv` has, and what is read after it is never reset.
    pub(super) fn seems_ready_to_recv(&self) -> bool {
        // While the buffer is empty no sender waits.
        let has_value = if self.capacity == 0 {
            !self.sendq.seems_empty()
        } else {
            self.len.load(Ordering::Acquire) != 0
        };
        // Acquire: pairs with `set`.
        has_value || self.flags.load(Ordering::Acquire) != 0
    }

    /// May be wrong at once, as `seems_ready_to_recv`: whether a send would find a place, or the
    /// channel closed.
    pub(super) fn seems_ready_to_send(&self) -> bool {
        let has_room = if self.capacity == 0 {
            !self.recvq.seems_empty()
        } else {
            self.len.load(Ordering::Acquire) < self.room.load(Ordering::Relaxed)
        };
        has_room || self.has(CLOSED | RESERVED)
    }

    /// May be wrong without the lock: whether an operation of that side would not have to wait.
    #[inline(always)]
    pub(super) fn seems_ready(&self, side: Side) -> bool {
        match side {
            Side::Send => self.seems_ready_to_send(),
            Side::Receive => self.seems_ready_to_recv(),
        }
    }

    /// Go's `chanrecv`, up to where it would park. Takes an unclaimed value, then the buffer's head
    /// (moving the oldest parked sender's value into the free place), then a parked sender's value.
    ///
    /// # Safety
    ///
    /// The lock is held.
    #[inline(always)]
    pub(super) unsafe fn take(&self, own: *const Token) -> Attempt<T> {
        // SAFETY: passed on to the caller.
        unsafe { self.take_of(self.len.load(Ordering::Relaxed), own) }
    }

    /// The short way of [`take`](Self::take) out of a channel that holds `len` values: the buffer's
    /// head, if there is one and nothing else is to be done. It saves an eighth of the instructions
    /// of a buffered receive, because the compiler keeps an [`Attempt`] in memory.
    ///
    /// # Safety
    ///
    /// As `take`.
    #[inline(always)]
    pub(super) unsafe fn take_buffered(&self, len: usize) -> Option<T> {
        // SAFETY: the lock is held.
        let st = unsafe { self.state() };
        if st.rare || len == 0 || !self.sendq.seems_empty() {
            return None;
        }
        // No `ok`, which would copy the value in a debug build.
        // SAFETY: the buffer holds all values of a channel that is not rare.
        match unsafe { st.buffer.pop(len) } {
            Ok(value) => {
                self.len.store(len - 1, Ordering::Relaxed);
                Some(value)
            }
            Err(_) => None,
        }
    }

    /// As [`take`](Self::take), out of a channel that holds `len` values.
    ///
    /// # Safety
    ///
    /// As `take`.
    #[inline(always)]
    pub(super) unsafe fn take_of(&self, len: usize, own: *const Token) -> Attempt<T> {
        // SAFETY: the lock is held, for the claim and what follows from it.
        unsafe {
            let st = self.state();
            if st.rare {
                return self.take_rare(own);
            }
            if len == 0 {
                return self.take_from_sender(own);
            }
            if !self.sendq.seems_empty() {
                return self.take_and_refill::<false>(len, own);
            }
            let Ok(value) = st.buffer.pop(len) else { return Attempt::Unready };
            self.len.store(len - 1, Ordering::Relaxed);
            Attempt::Complete(Some(value), Woken::NONE)
        }
    }

    /// # Safety
    ///
    /// As [`take`](Self::take); the channel holds no value.
    #[inline(always)]
    unsafe fn take_from_sender(&self, own: *const Token) -> Attempt<T> {
        // SAFETY: the lock is held, for the claim and what follows from it.
        unsafe {
            let Some(sender) = self.sendq.claim(own) else { return Attempt::Blocked };
            let value = Waiter::take(sender.as_ptr());
            Attempt::Complete(Some(value), Waiter::complete(sender.as_ptr(), state::DONE))
        }
    }

    /// As [`take_from_sender`](Self::take_from_sender), where operations may wait for a place.
    ///
    /// # Safety
    ///
    /// As `take_from_sender`.
    unsafe fn take_from_one_with_value(&self, own: *const Token) -> Attempt<T> {
        // SAFETY: the lock is held, for the claim and what follows from it.
        unsafe {
            let Some(sender) = self.sendq.claim_value(own) else { return Attempt::Blocked };
            let value = Waiter::take(sender.as_ptr());
            Attempt::Complete(Some(value), Waiter::complete(sender.as_ptr(), state::DONE))
        }
    }

    /// One out of the full buffer, one in: the length stays as it is.
    ///
    /// # Safety
    ///
    /// As [`take`](Self::take); the buffer holds `len` values; the channel is not rare, unless
    /// `RARE`.
    #[inline(never)]
    unsafe fn take_and_refill<const RARE: bool>(
        &self,
        len: usize,
        own: *const Token,
    ) -> Attempt<T> {
        // SAFETY: the lock is held, for the claim and what follows from it.
        unsafe {
            let st = self.state();
            if st.buffer.make_room().is_err() {
                return Attempt::Unready;
            }
            let Ok(value) = st.buffer.pop(len) else { return Attempt::Unready };
            self.complete_take::<RARE>(value, true, own)
        }
    }

    /// Completes a receive of `value`, which has been taken out. With `refill` the oldest parked
    /// sender's value moves into the buffer.
    ///
    /// # Safety
    ///
    /// As [`take`](Self::take); with `refill` the buffer has been made ready for a value; the
    /// channel is not rare, unless `RARE`.
    unsafe fn complete_take<const RARE: bool>(
        &self,
        value: T,
        refill: bool,
        own: *const Token,
    ) -> Attempt<T> {
        // SAFETY: the lock is held, for the claim and what follows from it.
        unsafe {
            let Some(sender) = (if refill { self.sendq.claim(own) } else { None }) else {
                self.add_len(-1);
                return Attempt::Complete(Some(value), Woken::NONE);
            };
            if RARE && Waiter::state(sender.as_ptr()) == state::QUEUED_RESERVE {
                self.add_len(-1);
                self.add_room(-1);
                return Attempt::Complete(
                    Some(value),
                    Waiter::complete(sender.as_ptr(), state::DONE),
                );
            }
            let refilled = self.state().buffer.push(|| Waiter::take(sender.as_ptr()));
            debug_assert!(refilled.is_ok(), "there is room");
            Attempt::Complete(Some(value), Waiter::complete(sender.as_ptr(), state::DONE))
        }
    }

    /// # Safety
    ///
    /// As [`take`](Self::take).
    #[cold]
    #[inline(never)]
    unsafe fn take_rare(&self, own: *const Token) -> Attempt<T> {
        // SAFETY: the lock is held, for the claim and what follows from it.
        unsafe {
            let st = self.state();
            if let Some(source) = st.extras.as_mut().and_then(|extras| extras.source.as_mut()) {
                let Some(value) = source.take() else { return Attempt::Blocked };
                // There may be another one later, for the receives that wait.
                return Attempt::Complete(Some(value), self.arm_source(st));
            }
            let len = self.len.load(Ordering::Relaxed);
            let closed = self.has(CLOSED);
            if st.unclaimed.len() != 0 {
                // It was not in the buffer, which may be full.
                let refill = !closed
                    && len <= self.room.load(Ordering::Relaxed)
                    && !self.sendq.seems_empty();
                if st.unclaimed.is_crowded() || refill && st.buffer.make_room().is_err() {
                    return Attempt::Unready;
                }
                let value = st.unclaimed.pop().expect("there is one");
                st.rare = closed || st.extras.is_some() || st.unclaimed.len() != 0;
                return self.complete_take::<true>(value, refill, own);
            }
            if len == 0 {
                // The senders that a close found parked have failed, even if it has not completed
                // them yet.
                return if closed { Attempt::Closed } else { self.take_from_one_with_value(own) };
            }
            if !closed && !self.sendq.seems_empty() {
                return self.take_and_refill::<true>(len, own);
            }
            let Ok(value) = st.buffer.pop(len) else { return Attempt::Unready };
            self.complete_take::<true>(value, false, own)
        }
    }

    /// Go's `chansend`, up to where it would park. Moves the value out of `value` only if it is
    /// sent.
    ///
    /// # Safety
    ///
    /// The lock is held; `value` reads the value, and is called at most once.
    #[inline(always)]
    pub(super) unsafe fn put(&self, own: *const Token, value: impl FnOnce() -> T) -> Attempt<T> {
        // SAFETY: the lock is held, for the claim and what follows from it.
        unsafe {
            let st = self.state();
            if st.rare && self.has(CLOSED) {
                return Attempt::Closed;
            }
            if let Some(receiver) = self.recvq.claim(own) {
                st.handoff_seq = st.handoff_seq.wrapping_add(1);
                Waiter::give(receiver.as_ptr(), value(), st.handoff_seq);
                return Attempt::Complete(None, Waiter::complete(receiver.as_ptr(), state::DONE));
            }
            let len = self.len.load(Ordering::Relaxed);
            if len >= self.room.load(Ordering::Relaxed) {
                return Attempt::Blocked;
            }
            if st.buffer.push(value).is_err() {
                return Attempt::Unready;
            }
            self.len.store(len + 1, Ordering::Relaxed);
            Attempt::Complete(None, if st.rare { st.watchers() } else { Woken::NONE })
        }
    }

    /// Makes the channel one of which places may be reserved. Without the lock.
    pub(super) fn prepare_reserve(&self) {
        if !self.has(RESERVED) {
            // Allocated, and freed if there are some, outside the lock.
            let mut extras = Some(Extras::boxed());
            let mut st = self.held();
            st.extras_or(|| extras.take().expect("asked for once"));
            self.set(RESERVED);
        }
    }

    /// Reserves a place of the buffer, if there is one and no sender waits for it. The channel has
    /// been prepared.
    ///
    /// # Safety
    ///
    /// The lock is held.
    pub(super) unsafe fn reserve(&self) -> Attempt<T> {
        if self.has(CLOSED) {
            return Attempt::Closed;
        }
        if self.len.load(Ordering::Relaxed) >= self.room.load(Ordering::Relaxed) {
            return Attempt::Blocked;
        }
        self.add_room(-1);
        Attempt::Complete(None, Woken::NONE)
    }

    /// As [`reserve`](Self::reserve), without the lock.
    pub(super) fn try_reserve(&self) -> Attempt<T> {
        let _held = self.lock.guard();
        // SAFETY: the lock is held.
        unsafe { self.reserve() }
    }

    /// Gives a reserved place to the sender that has waited longest, or back to the channel.
    /// Without the lock.
    pub(super) fn unreserve(&self) {
        coop::note_unwinding();
        let held = self.lock.guard();
        // SAFETY: the lock is held.
        let attempt = unsafe { self.until_ready(|| self.add_place()) };
        drop(held);
        if let Attempt::Complete(_, woken) = attempt {
            woken.wake();
        }
    }

    /// # Safety
    ///
    /// The lock is held, and a place was reserved.
    unsafe fn add_place(&self) -> Attempt<T> {
        // SAFETY: the lock is held, for the claim and what follows from it. The place is free, so
        // the buffer takes a value.
        unsafe {
            let st = self.state();
            let has_room = self.len.load(Ordering::Relaxed) <= self.room.load(Ordering::Relaxed);
            let serves = has_room && !self.has(CLOSED) && !self.sendq.seems_empty();
            if serves && st.buffer.make_room().is_err() {
                return Attempt::Unready;
            }
            self.add_room(1);
            let Some(sender) = (if serves { self.sendq.claim(ptr::null()) } else { None }) else {
                return Attempt::Complete(None, Woken::NONE);
            };
            if Waiter::state(sender.as_ptr()) == state::QUEUED_RESERVE {
                self.add_room(-1);
            } else {
                let added = st.buffer.push(|| Waiter::take(sender.as_ptr()));
                debug_assert!(added.is_ok(), "there is room");
                self.add_len(1);
            }
            Attempt::Complete(None, Waiter::complete(sender.as_ptr(), state::DONE))
        }
    }

    /// Sends a value by means of a reserved place, which is used up if the value goes into the
    /// buffer: then `is_used` is set. Without the lock. `None` if it was sent.
    pub(super) fn send_reserved(&self, value: T, is_used: &mut bool) -> Option<T> {
        coop::note_unwinding();
        let mut value = Some(value);
        let held = self.lock.guard();
        // SAFETY: the lock is held; the value is taken once at most.
        let attempt = unsafe {
            self.until_ready(|| self.put_reserved(|| value.take().unwrap_unchecked(), is_used))
        };
        drop(held);
        if let Attempt::Complete(_, woken) = attempt {
            woken.wake();
        }
        value
    }

    /// # Safety
    ///
    /// The lock is held, and a place was reserved; `value` is called at most once.
    unsafe fn put_reserved(&self, value: impl FnOnce() -> T, is_used: &mut bool) -> Attempt<T> {
        if self.has(CLOSED) {
            return Attempt::Closed;
        }
        // SAFETY: the lock is held, for the claim and what follows from it.
        unsafe {
            let st = self.state();
            if let Some(receiver) = self.recvq.claim(ptr::null()) {
                st.handoff_seq = st.handoff_seq.wrapping_add(1);
                Waiter::give(receiver.as_ptr(), value(), st.handoff_seq);
                return Attempt::Complete(None, Waiter::complete(receiver.as_ptr(), state::DONE));
            }
            if st.buffer.push(value).is_err() {
                return Attempt::Unready;
            }
            *is_used = true;
            self.add_room(1);
            self.add_len(1);
            Attempt::Complete(None, st.watchers())
        }
    }

    /// Attempts an operation until the channel is ready for it.
    ///
    /// # Safety
    ///
    /// The lock is held. It may be released and acquired again in between.
    pub(super) unsafe fn until_ready(&self, mut attempt: impl FnMut() -> Attempt<T>) -> Attempt<T> {
        loop {
            let attempt = attempt();
            if !matches!(attempt, Attempt::Unready) {
                return attempt;
            }
            // SAFETY: the lock is held.
            unsafe { self.lock.unlock() };
            self.maintain();
            self.lock.lock();
        }
    }

    /// Allocates and frees what the channel needs and needs no longer. Without the lock, which is
    /// held for a few steps only.
    #[cold]
    pub(super) fn maintain(&self) {
        let size = self.held().buffer.block_size();
        let mut blocks = (size != 0).then(|| Blocks::one(size));
        let mut st = self.held();
        let len = self.len.load(Ordering::Relaxed) - st.unclaimed.len();
        let empty = st.unclaimed.take_empty();
        if let Some(blocks) = blocks.as_mut().filter(|_| st.buffer.block_size() == size) {
            st.buffer.maintain(blocks, len);
        }
        drop(st);
        drop((blocks, empty));
    }

    #[inline(always)]
    fn add_len(&self, by: isize) {
        // Only the holder of the lock writes, so this need not be one atomic operation.
        let len = self.len.load(Ordering::Relaxed);
        self.len.store(len.wrapping_add_signed(by), Ordering::Relaxed);
    }

    #[inline(always)]
    fn add_room(&self, by: isize) {
        let room = self.room.load(Ordering::Relaxed);
        self.room.store(room.wrapping_add_signed(by), Ordering::Relaxed);
    }

    /// Returns a value that was handed to a receive which then was dropped. Without the lock.
    pub(super) fn give_back(&self, value: T, number: usize) {
        let mut node = Some(Node::new());
        let held = self.lock.guard();
        // SAFETY: the lock is held.
        let (value, woken) = unsafe { self.return_unclaimed(value, number, &mut node) };
        drop(held);
        woken.wake();
        drop((value, node));
    }

    /// Returns a value that was handed to a receive which then was dropped: to the next receiver,
    /// else to its place in the order of sending. If no receiver is left, the caller gets the value
    /// and must drop it outside the lock.
    ///
    /// # Safety
    ///
    /// The lock is held.
    pub(super) unsafe fn return_unclaimed(
        &self,
        value: T,
        number: usize,
        node: &mut Option<Box<Node<T>>>,
    ) -> (Option<T>, Woken) {
        // SAFETY: the lock is held, for the claim and what follows from it.
        unsafe {
            let st = self.state();
            let is_void = |extras: &Extras<T>| {
                extras.source.is_some()
                    && (number.wrapping_sub(extras.voided_through) as isize) <= 0
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
            match st.extras.as_mut().and_then(|extras| extras.source.as_mut()) {
                Some(source) => source.give_back(value),
                None => {
                    let node = node.take().expect("made for a value that was handed over");
                    st.unclaimed.insert(node, value, number);
                    st.rare = true;
                    self.add_len(1);
                    if self.capacity == 0 {
                        // After this a look at `sendq` alone is not enough.
                        self.set(RETURNED);
                    }
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
        if self.has(CLOSED) {
            return false;
        }
        self.set(CLOSED);
        st.rare = true;
        // From here on no operation queues, and none is served from the queues but here.
        loop {
            while !wakes.is_full() {
                // SAFETY: the lock is held. The slot stays as it was, which is what `CLOSED` says.
                let failed = unsafe {
                    let waiter =
                        self.recvq.claim_closed().or_else(|| self.sendq.claim(ptr::null()));
                    waiter.map(|waiter| Waiter::complete(waiter.as_ptr(), state::CLOSED))
                };
                let Some(failed) = failed else {
                    let (watchers, closers) = (st.watchers(), st.closers());
                    drop(st);
                    wakes.wake_all();
                    watchers.wake();
                    closers.wake();
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
    pub(super) fn queue(&self, side: Side) -> &WaitQueue<T> {
        match side {
            Side::Send => &self.sendq,
            Side::Receive => &self.recvq,
        }
    }

    /// Queues an operation. A send notifies the streams that watch the channel, because they may
    /// take its value; a receive arms the source.
    ///
    /// # Safety
    ///
    /// The lock is held; as [`WaitQueue::push`].
    #[inline(always)]
    pub(super) unsafe fn enqueue(
        &self,
        waiter: *const Waiter<T>,
        owner: Owner,
        side: Side,
    ) -> Woken {
        // SAFETY: passed on to the caller.
        unsafe { self.queue(side).push(waiter, owner) };
        // SAFETY: as above.
        let st = unsafe { self.state() };
        match side {
            Side::Send => st.watchers(),
            Side::Receive if self.has(TIMED) => self.arm_source(st),
            Side::Receive => Woken::NONE,
        }
    }

    /// True if the waiter stands first in the queue of that side. Under the lock.
    #[inline(always)]
    pub(super) fn is_first(&self, waiter: *const Waiter<T>, side: Side) -> bool {
        self.queue(side).is_front(waiter)
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

    /// Arms the source, if there is one and a receive or a stream waits. Called under the lock, as
    /// `st` says.
    pub(super) fn arm_source(&self, st: &mut State<T>) -> Woken {
        let Some(extras) = &mut st.extras else { return Woken::NONE };
        let waits = !self.recvq.seems_empty() || extras.watching().is_some();
        let source = extras.source.as_mut().filter(|_| waits);
        Woken::task(source.and_then(|source| source.arm()))
    }

    /// Takes out all values, and the source.
    pub(super) fn discard(&self) -> impl Sized + use<T> {
        let mut st = self.held();
        let len = self.len.load(Ordering::Relaxed) - st.unclaimed.len();
        self.len.store(0, Ordering::Relaxed);
        let buffer = std::mem::replace(&mut st.buffer, Buffer::new(0));
        // SAFETY: as counted.
        let values = unsafe { Values::new(buffer, len) };
        let unclaimed = std::mem::replace(&mut st.unclaimed, Unclaimed::EMPTY);
        (values, unclaimed, st.extras.as_mut().map(|extras| extras.source.take()))
    }
}

/// The direction of an operation or a handle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Send,
    Receive,
}

impl<T> State<T> {
    /// The streams, to be woken once the lock is released.
    #[inline(always)]
    pub(super) fn watchers(&self) -> Woken {
        match &self.extras {
            Some(extras) => extras.watching().map_or(Woken::NONE, Woken::watchers),
            None => Woken::NONE,
        }
    }

    /// The tasks that wait for the close, to be woken once the lock is released.
    fn closers(&self) -> Woken {
        let closers = self.extras.as_ref().and_then(|extras| extras.closers.as_ref());
        closers.map_or(Woken::NONE, Woken::watchers)
    }

    pub(super) fn extras(&mut self) -> &mut Extras<T> {
        self.extras_or(Extras::boxed)
    }

    /// The extras; new ones if there are none.
    pub(super) fn extras_or(&mut self, new: impl FnOnce() -> Box<Extras<T>>) -> &mut Extras<T> {
        self.rare = true;
        self.extras.get_or_insert_with(new)
    }
}

impl<T> Extras<T> {
    pub(super) fn boxed() -> Box<Self> {
        Box::new(Self {
            source: None,
            voided_through: 0,
            watchers: None,
            closers: None,
            link: None,
        })
    }

    /// The streams, if any is registered. Exact: a stream registers, and then looks for a value
    /// under the channel's lock.
    fn watching(&self) -> Option<&Arc<Watchers>> {
        self.watchers.as_ref().filter(|watchers| !watchers.is_empty())
    }
}

impl<T> fmt::Debug for Core<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("len", &self.len.load(Ordering::Relaxed))
            .field("capacity", &self.capacity)
            .field("closed", &self.has(CLOSED))
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, gopark_loom))]
mod models;
#[cfg(all(test, not(gopark_loom)))]
mod tests;
