//! The core of a channel: a lock, a buffer, and two queues of waiters.
//!
//! Go's three invariants hold whenever the lock is free:
//!
//! * at most one of the queues holds waiters, unless a `select!` waits on both sides of the
//!   channel;
//! * if the buffer is not empty, no receiver waits;
//! * if the buffer has room, no sender waits.
//!
//! Every `unsafe fn` here must be called with the lock held; Go's comments say "c must be locked".

use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

use super::buffer::{Blocks, Buffer, Values};
use super::counts::Counts;
use super::extras::Extras;
use super::unclaimed::{Node, Unclaimed};
use crate::coop::{self, Object};
use crate::lock::{self, RawGuard, RawLock};
use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicU8, AtomicUsize, Ordering};
use crate::wait::waiter::{Owner, Token, WaitQueue, Waiter, Woken, state};
use crate::waker::WakeList;

/// The shared part of a channel.
///
/// The lock comes first, so that its address needs no register of its own.
#[repr(C)]
pub(super) struct Core<T> {
    pub(super) lock: RawLock,
    pub(super) capacity: usize,
    /// The capacity minus the reserved places. Guarded by the lock. Read without the lock as a hint
    /// whether there is room.
    room: AtomicUsize,
    counts: Counts,
    /// The number of values: those in the buffer, and the unclaimed ones. Written under the lock.
    /// Read without the lock as a hint by `seems_ready_*`.
    len: AtomicUsize,
    /// A set of `TIMED`, `RETURNED`, `CLOSED` and `RESERVED`. Set under the lock, never reset.
    flags: AtomicU8,
    /// The queues are guarded by the lock. Read without the lock as a hint whether they are empty.
    pub(super) recvq: WaitQueue<T>,
    sendq: WaitQueue<T>,
    state: UnsafeCell<State<T>>,
    pub(super) object: Object,
}

/// Set if the values come from a [`Source`].
const TIMED: u8 = 1;
/// Set if a value has returned to an unbuffered channel.
const RETURNED: u8 = 2;
/// Set if the channel is closed.
pub(super) const CLOSED: u8 = 4;
/// Set if a place was ever reserved: an operation may be ready even if the buffer is empty or full.
/// Such a channel is always rare.
const RESERVED: u8 = 8;

/// The state guarded by the lock.
pub(super) struct State<T> {
    /// True if the channel is closed, has extras or has unclaimed values, so that an operation
    /// takes the slow path. Reset when the last unclaimed value is taken and nothing else needs it.
    rare: bool,
    buffer: Buffer<T>,
    /// The number of values handed to receivers so far. It numbers the hand-offs, which orders the
    /// unclaimed values.
    pub(super) handoff_seq: usize,
    /// Values whose receives were dropped after the hand-off. They are older than those in the
    /// buffer.
    unclaimed: Unclaimed<T>,
    pub(super) extras: Option<Box<Extras<T>>>,
}

/// The result of an attempt to send or to receive.
#[repr(u8)]
pub(super) enum Attempt<T> {
    /// The operation is complete. The value is the received one.
    Complete(Option<T>, Woken),
    Closed,
    /// The operation would have to wait.
    Blocked,
    /// Nothing was done. The attempt must be repeated after [`Core::maintain`].
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
            counts: Counts::new(),
            len: AtomicUsize::new(0),
            flags: AtomicU8::new(if timed { TIMED } else { 0 }),
            recvq: WaitQueue::new(),
            sendq: WaitQueue::new(),
            state: UnsafeCell::new(state),
            object: Object::new(),
        }
    }

    /// Returns the current number of values in the channel.
    pub(super) fn len(&self) -> usize {
        let _held = self.lock.guard();
        self.len.load(Ordering::Relaxed)
    }

    /// Returns the number of values. Exact under the lock.
    #[inline(always)]
    pub(super) fn len_hint(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(super) fn is_closed(&self) -> bool {
        let _held = self.lock.guard();
        self.has(CLOSED)
    }

    /// Returns true if one of these flags is set. Exact under the lock.
    #[inline(always)]
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    /// Sets a flag. The lock must be held.
    fn set(&self, flag: u8) {
        // Release: pairs with the load in `seems_ready_to_recv`. Only the holder of the lock
        // writes.
        self.flags.store(self.flags.load(Ordering::Relaxed) | flag, Ordering::Release);
    }

    /// Locks the channel. Until the guard is dropped the caller must run no foreign code.
    #[inline]
    pub(super) fn held(&self) -> Held<'_, T> {
        Held { _guard: self.lock.guard(), core: self }
    }

    /// Returns the state, for a caller that has locked the channel itself.
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

    /// Returns true if a receive seems to be ready. The result may be outdated at once.
    ///
    /// If the result is false, there was a moment during the call when a receive would have had to
    /// wait: one word of the channel says whether it is empty, as in Go's `chanrecv`, and the
    /// flags, which are read after that word, are never reset.
    pub(super) fn seems_ready_to_recv(&self) -> bool {
        // For a buffered channel the buffer's length is enough: no sender waits while the buffer is
        // empty.
        let has_value = if self.capacity == 0 {
            !self.sendq.seems_empty()
        } else {
            self.len.load(Ordering::Acquire) != 0
        };
        // Acquire: pairs with `set`.
        has_value || self.flags.load(Ordering::Acquire) != 0
    }

    /// Returns true if a send seems to be ready, or to fail. The result may be outdated at once.
    pub(super) fn seems_ready_to_send(&self) -> bool {
        let has_room = if self.capacity == 0 {
            !self.recvq.seems_empty()
        } else {
            self.len.load(Ordering::Acquire) < self.room.load(Ordering::Relaxed)
        };
        has_room || self.has(CLOSED | RESERVED)
    }

    /// Returns true if an operation of that side would not have to wait. Exact only under the lock.
    #[inline(always)]
    pub(super) fn seems_ready(&self, side: Side) -> bool {
        match side {
            Side::Send => self.seems_ready_to_send(),
            Side::Receive => self.seems_ready_to_recv(),
        }
    }

    /// Go's `chanrecv`, up to where it would park. Takes an unclaimed value if there is one, else
    /// the buffer's head (and moves the oldest parked sender's value into the free place), else a
    /// parked sender's value.
    ///
    /// # Safety
    ///
    /// The lock is held.
    #[inline(always)]
    pub(super) unsafe fn take(&self, own: *const Token) -> Attempt<T> {
        // SAFETY: passed on to the caller.
        unsafe { self.take_of(self.len.load(Ordering::Relaxed), own) }
    }

    /// The fast path of [`take`](Self::take) from a channel that holds `len` values: takes the
    /// buffer's head, if there is one and nothing else has to be done. It saves an eighth of the
    /// instructions of a buffered receive, because the compiler keeps an [`Attempt`] in memory.
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
        // Not `Result::ok`, which would copy the value in a debug build.
        // SAFETY: a channel that is not rare has all its values in the buffer.
        match unsafe { st.buffer.pop(len) } {
            Ok(value) => {
                self.len.store(len - 1, Ordering::Relaxed);
                Some(value)
            }
            Err(_) => None,
        }
    }

    /// Like [`take`](Self::take), from a channel that holds `len` values.
    ///
    /// # Safety
    ///
    /// As `take`.
    #[inline(always)]
    pub(super) unsafe fn take_of(&self, len: usize, own: *const Token) -> Attempt<T> {
        // SAFETY: the lock is held.
        let st = unsafe { self.state() };
        if st.rare {
            // SAFETY: passed on to the caller.
            return unsafe { self.take_rare(own) };
        }
        if len == 0 {
            // SAFETY: passed on to the caller; the channel holds no value.
            return unsafe { self.take_from_sender(own) };
        }
        if !self.sendq.seems_empty() {
            // SAFETY: passed on to the caller; a channel that is not rare has all its values in the
            // buffer.
            return unsafe { self.take_and_refill::<false>(len, own) };
        }
        // SAFETY: as above.
        let Ok(value) = (unsafe { st.buffer.pop(len) }) else { return Attempt::Unready };
        self.len.store(len - 1, Ordering::Relaxed);
        Attempt::Complete(Some(value), Woken::NONE)
    }

    /// Takes the value of the oldest parked sender.
    ///
    /// # Safety
    ///
    /// As [`take`](Self::take); the channel holds no value.
    #[inline(always)]
    unsafe fn take_from_sender(&self, own: *const Token) -> Attempt<T> {
        // SAFETY: the lock is held; a claimed sender's value is taken next.
        let Some(sender) = (unsafe { self.sendq.claim(own) }) else { return Attempt::Blocked };
        // SAFETY: the sender was claimed; as the channel is not rare, it is no reservation.
        unsafe { Self::take_from(sender) }
    }

    /// Takes the value of a claimed sender, and completes it.
    ///
    /// # Safety
    ///
    /// The lock is held, and the sender has just been claimed. It is no reservation.
    #[inline(always)]
    unsafe fn take_from(sender: NonNull<Waiter<T>>) -> Attempt<T> {
        // SAFETY: the waiter of a queued send holds a value, which is its claimer's (I3).
        let value = unsafe { Waiter::take(sender.as_ptr()) };
        // SAFETY: the slot is empty, as `DONE` requires.
        Attempt::Complete(Some(value), unsafe { Waiter::complete(sender.as_ptr(), state::DONE) })
    }

    /// Hands a value to a claimed receiver, and completes it.
    ///
    /// # Safety
    ///
    /// The lock is held, and the receiver has just been claimed.
    #[inline(always)]
    unsafe fn give_to(receiver: NonNull<Waiter<T>>, value: T, number: usize) -> Woken {
        // SAFETY: the slot of a queued receive is empty, and is its claimer's (I3).
        unsafe { Waiter::give(receiver.as_ptr(), value, number) };
        // SAFETY: the slot holds a value, as `DONE` requires.
        unsafe { Waiter::complete(receiver.as_ptr(), state::DONE) }
    }

    /// Like [`take_from_sender`](Self::take_from_sender), but skips reservations, which wait in the
    /// same queue.
    ///
    /// # Safety
    ///
    /// As `take_from_sender`.
    unsafe fn take_from_one_with_value(&self, own: *const Token) -> Attempt<T> {
        // SAFETY: the lock is held; a claimed sender's value is taken next.
        let Some(sender) = (unsafe { self.sendq.claim_value(own) }) else {
            return Attempt::Blocked;
        };
        // SAFETY: the sender was claimed, and has a value.
        unsafe { Self::take_from(sender) }
    }

    /// Takes a value out of the full buffer and moves the oldest parked sender's value in. The
    /// length is unchanged.
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
        // SAFETY: the lock is held.
        let st = unsafe { self.state() };
        // SAFETY: a value is taken out before one is added.
        if unsafe { st.buffer.make_room() }.is_err() {
            return Attempt::Unready;
        }
        // SAFETY: the caller promises that the buffer holds `len` values, and it is full.
        let Ok(value) = (unsafe { st.buffer.pop(len) }) else { return Attempt::Unready };
        // SAFETY: passed on to the caller; the buffer has been made ready for a value.
        unsafe { self.complete_take::<RARE>(value, true, own) }
    }

    /// Completes a receive of `value`, which has been taken out of the channel. If `refill`, the
    /// oldest parked sender's value moves into the buffer.
    ///
    /// # Safety
    ///
    /// As [`take`](Self::take); if `refill`, the buffer has been made ready for a value; the
    /// channel is not rare, unless `RARE`.
    unsafe fn complete_take<const RARE: bool>(
        &self,
        value: T,
        refill: bool,
        own: *const Token,
    ) -> Attempt<T> {
        // SAFETY: the lock is held; a claimed sender's value is taken next, and it is completed.
        let Some(sender) = (if refill { unsafe { self.sendq.claim(own) } } else { None }) else {
            self.add_len(-1);
            return Attempt::Complete(Some(value), Woken::NONE);
        };
        // SAFETY: a claimed waiter is alive until it is completed (I3).
        if RARE && state::is_reservation(unsafe { Waiter::state(sender.as_ptr()) }) {
            self.add_len(-1);
            self.add_room(-1);
        } else {
            // SAFETY: the lock is held, and the caller has made the buffer ready for a value.
            unsafe { self.move_into_buffer(sender) };
        }
        // SAFETY: the slot is empty, as `DONE` requires: a reservation's always is.
        Attempt::Complete(Some(value), unsafe { Waiter::complete(sender.as_ptr(), state::DONE) })
    }

    /// Moves the value of a claimed sender into the buffer.
    ///
    /// # Safety
    ///
    /// The lock is held, and the sender has just been claimed. It is no reservation. The buffer has
    /// room for a value, and has been made ready for it.
    #[inline(always)]
    unsafe fn move_into_buffer(&self, sender: NonNull<Waiter<T>>) {
        // SAFETY: the waiter of a queued send holds a value, which is its claimer's (I3).
        let value = || unsafe { Waiter::take(sender.as_ptr()) };
        // SAFETY: the lock is held.
        let st = unsafe { self.state() };
        // SAFETY: passed on to the caller.
        let added = unsafe { st.buffer.push(value) };
        debug_assert!(added.is_ok(), "there is room");
    }

    /// [`take`](Self::take) from a rare channel.
    ///
    /// # Safety
    ///
    /// As `take`.
    #[cold]
    #[inline(never)]
    unsafe fn take_rare(&self, own: *const Token) -> Attempt<T> {
        // SAFETY: the lock is held.
        let st = unsafe { self.state() };
        if let Some(source) = st.source() {
            let Some(value) = source.take() else { return Attempt::Blocked };
            // Waiting receives may need another value later.
            return Attempt::Complete(Some(value), self.arm_source(st));
        }
        let len = self.len.load(Ordering::Relaxed);
        let closed = self.has(CLOSED);
        if st.unclaimed.len() != 0 {
            // An unclaimed value is not in the buffer, which may be full nevertheless.
            let refill =
                !closed && len <= self.room.load(Ordering::Relaxed) && !self.sendq.seems_empty();
            // SAFETY: the buffer holds fewer than `len` values, so it has room for one.
            if st.unclaimed.is_crowded() || refill && unsafe { st.buffer.make_room() }.is_err() {
                return Attempt::Unready;
            }
            let value = st.unclaimed.pop().expect("there is one");
            st.rare = closed || st.extras.is_some() || st.unclaimed.len() != 0;
            // SAFETY: passed on to the caller; if `refill`, the buffer has been made ready.
            return unsafe { self.complete_take::<true>(value, refill, own) };
        }
        if len == 0 {
            // After a close all parked senders have failed, even if the close has not completed
            // them yet.
            if closed {
                return Attempt::Closed;
            }
            // SAFETY: passed on to the caller; the channel holds no value.
            return unsafe { self.take_from_one_with_value(own) };
        }
        if !closed && !self.sendq.seems_empty() {
            // SAFETY: passed on to the caller; no value is unclaimed, so all are in the buffer.
            return unsafe { self.take_and_refill::<true>(len, own) };
        }
        // SAFETY: as above.
        let Ok(value) = (unsafe { st.buffer.pop(len) }) else { return Attempt::Unready };
        // SAFETY: passed on to the caller.
        unsafe { self.complete_take::<true>(value, false, own) }
    }

    /// Go's `chansend`, up to where it would park. Calls `value`, which moves the value out of its
    /// place, only if the value is sent.
    ///
    /// # Safety
    ///
    /// The lock is held; `value` is called at most once.
    #[inline(always)]
    pub(super) unsafe fn put(&self, own: *const Token, value: impl FnOnce() -> T) -> Attempt<T> {
        // SAFETY: the lock is held.
        let st = unsafe { self.state() };
        if st.rare && self.has(CLOSED) {
            return Attempt::Closed;
        }
        // SAFETY: the lock is held; a value is handed to a claimed receiver next.
        if let Some(receiver) = unsafe { self.recvq.claim(own) } {
            st.handoff_seq = st.handoff_seq.wrapping_add(1);
            // SAFETY: the receiver was just claimed.
            let woken = unsafe { Self::give_to(receiver, value(), st.handoff_seq) };
            return Attempt::Complete(None, woken);
        }
        let len = self.len.load(Ordering::Relaxed);
        if len >= self.room.load(Ordering::Relaxed) {
            return Attempt::Blocked;
        }
        // SAFETY: the buffer has room, as just checked; `value` has not been called yet.
        if unsafe { st.buffer.push(value) }.is_err() {
            return Attempt::Unready;
        }
        self.len.store(len + 1, Ordering::Relaxed);
        Attempt::Complete(None, if st.rare { st.watchers() } else { Woken::NONE })
    }

    /// Prepares the channel for reservations. The lock must not be held.
    pub(super) fn prepare_reserve(&self) {
        if !self.has(RESERVED) {
            // Allocated outside the lock. If there are extras already, also freed outside it.
            let mut extras = Some(Extras::boxed());
            let mut st = self.held();
            st.extras_or(|| extras.take().expect("asked for once"));
            self.set(RESERVED);
        }
    }

    /// Reserves a free place of the buffer, if there is one. (Then no sender waits.) The channel
    /// must have been [prepared](Self::prepare_reserve).
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

    /// Like [`reserve`](Self::reserve), but takes the lock.
    pub(super) fn try_reserve(&self) -> Attempt<T> {
        let _held = self.lock.guard();
        // SAFETY: the lock is held.
        unsafe { self.reserve() }
    }

    /// Gives a reserved place to the operation that has waited longest, or else back to the
    /// channel. The lock must not be held.
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

    /// Gives up a reserved place, see [`unreserve`](Self::unreserve).
    ///
    /// # Safety
    ///
    /// The lock is held, and a place was reserved.
    unsafe fn add_place(&self) -> Attempt<T> {
        self.check_reserved();
        let has_room = self.len.load(Ordering::Relaxed) <= self.room.load(Ordering::Relaxed);
        let serves = has_room && !self.has(CLOSED) && !self.sendq.seems_empty();
        // SAFETY: the lock is held.
        let st = unsafe { self.state() };
        // SAFETY: the reserved place is free, so the buffer has room for a value.
        if serves && unsafe { st.buffer.make_room() }.is_err() {
            return Attempt::Unready;
        }
        self.add_room(1);
        // SAFETY: the lock is held; a claimed sender's value is taken next, and it is completed.
        let claim = || unsafe { self.sendq.claim(ptr::null()) };
        let Some(sender) = serves.then(claim).flatten() else {
            return Attempt::Complete(None, Woken::NONE);
        };
        // SAFETY: a claimed waiter is alive until it is completed (I3).
        if state::is_reservation(unsafe { Waiter::state(sender.as_ptr()) }) {
            self.add_room(-1);
        } else {
            // SAFETY: the lock is held, and the buffer has been made ready for a value.
            unsafe { self.move_into_buffer(sender) };
            self.add_len(1);
        }
        // SAFETY: the slot is empty, as `DONE` requires: a reservation's always is.
        Attempt::Complete(None, unsafe { Waiter::complete(sender.as_ptr(), state::DONE) })
    }

    /// Sends a value that has a reserved place. Returns `None` if it was sent, else the value. If
    /// the value goes into the buffer, this uses up the place and sets `is_used`. The lock must not
    /// be held.
    pub(super) fn send_reserved(&self, value: T, is_used: &mut bool) -> Option<T> {
        coop::note_unwinding();
        let mut value = Some(value);
        let held = self.lock.guard();
        // SAFETY: the lock is held; the value is taken at most once.
        let attempt = unsafe {
            self.until_ready(|| self.put_reserved(|| value.take().unwrap_unchecked(), is_used))
        };
        drop(held);
        if let Attempt::Complete(_, woken) = attempt {
            woken.wake();
        }
        value
    }

    /// Attempts [`send_reserved`](Self::send_reserved).
    ///
    /// # Safety
    ///
    /// The lock is held, and a place was reserved; `value` is called at most once.
    unsafe fn put_reserved(&self, value: impl FnOnce() -> T, is_used: &mut bool) -> Attempt<T> {
        self.check_reserved();
        if self.has(CLOSED) {
            return Attempt::Closed;
        }
        // SAFETY: the lock is held.
        let st = unsafe { self.state() };
        // SAFETY: the lock is held; a value is handed to a claimed receiver next.
        if let Some(receiver) = unsafe { self.recvq.claim(ptr::null()) } {
            st.handoff_seq = st.handoff_seq.wrapping_add(1);
            // SAFETY: the receiver was just claimed.
            let woken = unsafe { Self::give_to(receiver, value(), st.handoff_seq) };
            return Attempt::Complete(None, woken);
        }
        // SAFETY: the reserved place is free; `value` has not been called yet.
        if unsafe { st.buffer.push(value) }.is_err() {
            return Attempt::Unready;
        }
        *is_used = true;
        self.add_room(1);
        self.add_len(1);
        Attempt::Complete(None, st.watchers())
    }

    /// Repeats an attempt, with [`maintain`](Self::maintain) in between, as long as it is
    /// `Unready`.
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

    /// Allocates a block if the buffer needs one, and frees blocks and nodes that are no longer
    /// needed. The lock must not be held: it is taken for a few steps only, not for the allocator.
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

    /// Panics if no place is reserved. Then one of the buffer is free.
    fn check_reserved(&self) {
        assert!(self.room.load(Ordering::Relaxed) < self.capacity, "a place was reserved");
    }

    #[inline(always)]
    fn add_room(&self, by: isize) {
        let room = self.room.load(Ordering::Relaxed);
        self.room.store(room.wrapping_add_signed(by), Ordering::Relaxed);
    }

    /// Like [`Held::return_unclaimed`], but takes the lock.
    pub(super) fn give_back(&self, value: T, number: usize) {
        let mut node = Some(Node::new());
        let (value, woken) = self.held().return_unclaimed(value, number, &mut node);
        woken.wake();
        drop((value, node));
    }

    /// Closes the channel. Returns false if it was closed already.
    pub(super) fn close(&self) -> bool {
        // Another thread may see the close without being woken.
        coop::note_unwinding();
        let mut wakes = WakeList::new();
        let mut st = self.held();
        if self.has(CLOSED) {
            return false;
        }
        self.set(CLOSED);
        st.rare = true;
        // From here on no operation is queued, and only this loop completes queued operations.
        loop {
            while !wakes.is_full() {
                // SAFETY: the lock is held. The slot is unchanged, as the state `CLOSED` requires.
                let failed = unsafe {
                    let waiter =
                        self.recvq.claim_closed().or_else(|| self.sendq.claim(ptr::null()));
                    waiter.map(|waiter| Waiter::complete(waiter.as_ptr(), state::CLOSED))
                };
                let Some(failed) = failed else {
                    let closers = st.extras.as_ref().map_or(Woken::NONE, |extras| extras.closers());
                    let watchers = st.watchers();
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

    /// Returns the counts of handles and weak references.
    ///
    /// # Safety
    ///
    /// The caller changes them only as it makes or drops such a reference.
    #[inline(always)]
    pub(super) unsafe fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns the number of live handles of a side.
    pub(super) fn handle_count(&self, side: Side) -> usize {
        self.counts.handles[side as usize].load(Ordering::Relaxed)
    }

    /// Returns the queue of the operations of a side.
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
        let (_, woken) = unsafe { self.enqueue_unready(waiter, owner, side) };
        if side == Side::Receive && self.has(TIMED) {
            // SAFETY: as above.
            return self.arm_source(unsafe { self.state() });
        }
        woken
    }

    /// Like [`enqueue`](Self::enqueue), for a side that does not [seem ready](Self::seems_ready).
    /// So there is no source to arm, because receives from a source always seem ready. Returns
    /// also whether the operation is the first one in its queue.
    ///
    /// # Safety
    ///
    /// As `enqueue`.
    #[inline(always)]
    pub(super) unsafe fn enqueue_unready(
        &self,
        waiter: *const Waiter<T>,
        owner: Owner,
        side: Side,
    ) -> (bool, Woken) {
        // SAFETY: passed on to the caller.
        let is_first = unsafe { self.queue(side).push(waiter, owner) };
        let woken = match side {
            // SAFETY: as above.
            Side::Send => unsafe { self.state() }.watchers(),
            Side::Receive => Woken::NONE,
        };
        (is_first, woken)
    }

    /// Removes the waiter from the queue of that side, see [`WaitQueue::withdraw`].
    ///
    /// # Safety
    ///
    /// The lock is held; as [`WaitQueue::withdraw`].
    pub(super) unsafe fn dequeue(&self, waiter: *const Waiter<T>, side: Side) -> Option<Owner> {
        // SAFETY: passed on to the caller.
        unsafe { self.queue(side).withdraw(waiter) }
    }

    /// Arms the source, if there is one and a receive or a stream waits. The lock is held, because
    /// the caller has `st`.
    fn arm_source(&self, st: &mut State<T>) -> Woken {
        let Some(extras) = &mut st.extras else { return Woken::NONE };
        let waits = !self.recvq.seems_empty() || extras.watching().is_some();
        let source = extras.source.as_mut().filter(|_| waits);
        Woken::task(source.and_then(|source| source.as_mut().arm()))
    }

    /// Takes out all values, and the source. The channel must be closed.
    pub(super) fn discard(&self) -> impl Sized + use<T> {
        let mut st = self.held();
        assert!(self.has(CLOSED), "no value is added later");
        let len = self.len.load(Ordering::Relaxed) - st.unclaimed.len();
        self.len.store(0, Ordering::Relaxed);
        let buffer = std::mem::replace(&mut st.buffer, Buffer::new(0));
        // SAFETY: the buffer holds `len` values, as counted.
        let values = unsafe { Values::new(buffer, len) };
        let unclaimed = std::mem::replace(&mut st.unclaimed, Unclaimed::EMPTY);
        (values, unclaimed, st.extras.as_mut().map(|extras| extras.source.take()))
    }
}

/// A channel whose lock is held, for operations that are not hot: access to its state, and the
/// attempts that need the lock.
pub(super) struct Held<'a, T> {
    _guard: RawGuard<'a>,
    core: &'a Core<T>,
}

impl<T> Held<'_, T> {
    /// Attempts a receive: [`Core::take`].
    #[inline]
    pub(super) fn take(&mut self) -> Attempt<T> {
        // SAFETY: the lock is held, and `&mut self` is the only access to the state.
        unsafe { self.core.take(ptr::null()) }
    }

    /// Like [`take`](Self::take), but never `Unready`. The lock may be released in between.
    #[inline]
    pub(super) fn take_ready(&mut self) -> Attempt<T> {
        // SAFETY: as for `take`.
        unsafe { self.core.until_ready(|| self.core.take(ptr::null())) }
    }

    /// Like [`Core::put`], but never `Unready`. Also returns the value if it was not sent. The lock
    /// may be released in between.
    #[inline]
    pub(super) fn put_ready(&mut self, value: T) -> (Attempt<T>, Option<T>) {
        let mut value = Some(value);
        // SAFETY: as for `take`; the attempt that takes the value, once, is the last one.
        let attempt = unsafe {
            let put = || self.core.put(ptr::null(), || value.take().unwrap_unchecked());
            self.core.until_ready(put)
        };
        (attempt, value)
    }

    /// Releases the lock for [`Core::maintain`].
    pub(super) fn maintain(&mut self) {
        // SAFETY: the lock is held, and is acquired again below.
        unsafe { self.core.lock.unlock() };
        self.core.maintain();
        self.core.lock.lock();
    }

    /// Adds a value to the buffer, which must have a place that is not reserved. If the buffer is
    /// full, first takes out its oldest value, and returns it. Returns `value` if the channel is
    /// unready.
    fn rotate(&mut self, value: T) -> Result<Option<T>, T> {
        let (len, room) = (self.buffered(), self.core.room.load(Ordering::Relaxed));
        assert!(room != 0, "the buffer has a place");
        // SAFETY: if the buffer is full, a value is taken out before one is added.
        if unsafe { self.buffer.make_room() }.is_err() {
            return Err(value);
        }
        let mut first = None;
        if len < room {
            self.core.add_len(1);
        } else {
            // SAFETY: the buffer holds `len` values, at least `room`, which is not 0.
            match unsafe { self.buffer.pop(len) } {
                Ok(value) => first = Some(value),
                Err(_) => return Err(value),
            }
        }
        // SAFETY: the buffer holds fewer than `room` values, and has been made ready for one.
        let added = unsafe { self.buffer.push(|| value) };
        debug_assert!(added.is_ok(), "there is room");
        Ok(first)
    }

    /// Returns the number of values in the buffer.
    fn buffered(&self) -> usize {
        self.core.len.load(Ordering::Relaxed) - self.unclaimed.len()
    }

    /// Puts a value into the full channel, and returns the oldest value, which it takes out:
    /// `value` itself if the channel has no place for it. Returns it as the error if the channel is
    /// unready.
    #[cold]
    #[inline(never)]
    pub(super) fn replace_oldest(&mut self, value: T) -> Result<Option<T>, T> {
        let room = self.core.room.load(Ordering::Relaxed);
        if room == 0 {
            return Ok(Some(value));
        }
        if self.buffered() < room && self.unclaimed.is_crowded() {
            return Err(value);
        }
        let mut oldest = self.rotate(value)?;
        if oldest.is_none() {
            oldest = self.unclaimed.pop();
            self.core.add_len(-isize::from(oldest.is_some()));
        } else if self.unclaimed.len() != 0 {
            // It is older than the values in the buffer, and younger than all values that were
            // handed over.
            self.handoff_seq = self.handoff_seq.wrapping_add(1);
            let number = self.handoff_seq;
            oldest = oldest.and_then(|first| self.unclaimed.replace_oldest(first, number));
        }
        self.rare = self.extras.is_some() || self.unclaimed.len() != 0;
        Ok(oldest)
    }

    /// Returns a value that was handed to a receive which then was dropped. The value goes to the
    /// next waiting receiver, or else back to its place in the order of sending. If no receiver
    /// handle is left or the value is void, the caller gets it and must drop it outside the lock.
    pub(super) fn return_unclaimed(
        &mut self,
        value: T,
        number: usize,
        node: &mut Option<Box<Node<T>>>,
    ) -> (Option<T>, Woken) {
        let core = self.core;
        let is_void = |extras: &Extras<T>| {
            extras.source.is_some() && (number.wrapping_sub(extras.voided_through) as isize) <= 0
        };
        if self.extras.as_deref().is_some_and(is_void) {
            return (Some(value), Woken::NONE);
        }
        // SAFETY: the lock is held; the value is handed to a claimed receiver next.
        if let Some(receiver) = unsafe { core.recvq.claim(ptr::null()) } {
            // SAFETY: the receiver was just claimed.
            return (None, unsafe { Core::give_to(receiver, value, number) });
        }
        if core.handle_count(Side::Receive) == 0 {
            return (Some(value), Woken::NONE);
        }
        match self.source() {
            Some(source) => source.give_back(value),
            None => {
                let node = node.take().expect("made for a value that was handed over");
                self.unclaimed.insert(node, value, number);
                self.rare = true;
                core.add_len(1);
                if core.capacity == 0 {
                    // From now on `seems_ready_to_recv` must not rely on `sendq` alone.
                    core.set(RETURNED);
                }
            }
        }
        (None, self.watchers())
    }

    /// Arms the source, if there is one and a receive or a stream waits.
    pub(super) fn arm_source(&mut self) -> Woken {
        let core = self.core;
        core.arm_source(self)
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = State<T>;

    fn deref(&self) -> &State<T> {
        // SAFETY: the lock is held; the state is changed only through `&mut self`.
        self.core.state.with_mut(|state| unsafe { &*state })
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut State<T> {
        // SAFETY: the lock is held, and `&mut self` is the only access to the state.
        unsafe { self.core.state() }
    }
}

/// The direction of an operation or a handle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Send,
    Receive,
}

impl<T> State<T> {
    /// Returns the streams, which must be woken after the lock is released.
    #[inline(always)]
    pub(super) fn watchers(&self) -> Woken {
        match &self.extras {
            Some(extras) => extras.watching().map_or(Woken::NONE, Woken::watchers),
            None => Woken::NONE,
        }
    }

    pub(super) fn extras(&mut self) -> &mut Extras<T> {
        self.extras_or(Extras::boxed)
    }

    /// Returns the extras, and adds new ones if there are none.
    pub(super) fn extras_or(&mut self, new: impl FnOnce() -> Box<Extras<T>>) -> &mut Extras<T> {
        self.rare = true;
        self.extras.get_or_insert_with(new)
    }
}

#[cfg(all(test, gopark_loom))]
mod models;
#[cfg(all(test, not(gopark_loom)))]
mod tests;
