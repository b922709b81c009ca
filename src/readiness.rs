//! The readiness of one direction of a descriptor, and the operations that wait for it.
//!
//! * `READY`: a system call may succeed. Set by an event, or by an operation that has left
//!   something to do. Cleared by an operation, before its system call.
//! * `ENDED`: the direction has ended, so a system call may succeed without another event. Set by
//!   an event of an end, and again by an operation whose call did not block. Cleared as `READY`.
//! * `URGENT`: there was urgent data, at which a read stops, so a short transfer does not mean that
//!   the direction is drained. Set by an event, and never cleared.
//! * `OVER`: every operation fails, because the runtime has ended. Never cleared.
//! * `CLOSED`: every operation fails, because the listener was closed. Never cleared.
//! * `WAITED`: a waiter may be in the queue. Set by operations that wait, under the lock of the
//!   queue. Cleared by an event, which wakes them all.
//!
//! An operation clears `READY` and `ENDED` *before* its system call. So an event during the call is
//! not lost: it sets them again. After a call that has filled its buffer, the operation sets
//! `READY` again, because there may be more. A call with a short transfer has drained the
//! direction, and the next operation waits without a system call. `ENDED` is set again unless the
//! call would have blocked, because a pipe may have a new writer.
//!
//! Proof that no wake is lost. An operation waits only after it has set `WAITED` by a
//! read-modify-write that saw none of the bits it waits for, under the lock of the queue. These are
//! all but `URGENT` and `WAITED`; a pause between two attempts waits for `OVER` and `CLOSED`. An
//! event that is later in the modification order of the word clears `WAITED`, and then acquires the
//! lock: it finds the waiter. If the event is earlier, the operation has seen its bits, and does
//! not wait.
//!
//! An event that finds `READY` set, by a plain load, changes nothing. This is correct: if an
//! operation makes its system call before the data arrives, it has cleared the bit before that, and
//! the kernel's lock on the socket orders the two, so the load sees the cleared bit. If its call
//! comes after the data, the call finds the data.

use std::fmt;
use std::panic::Location;
use std::task::Context;

use crate::coop::{Object, Reason};
use crate::loom::atomic::{AtomicU8, AtomicU32, Ordering};
use crate::wait::acquire::{Acquired, Acquisition, Request, Resource};
use crate::wait::queue::{self, Held, OwnWaiter, Queues};
use crate::waker::{TaskWaker, WakeList};

/// The bits that an event sets are those of the poller.
const READY: u8 = crate::netpoll::READY;
const ENDED: u8 = crate::netpoll::ENDED;
const URGENT: u8 = crate::netpoll::URGENT;
const OVER: u8 = 8;
const CLOSED: u8 = 16;
const WAITED: u8 = 32;
/// With one of these an operation does not wait.
const NO_WAIT: u8 = READY | ENDED | OVER | CLOSED;

/// Maximum number of tasks that a report finds waiting for one direction.
#[cfg(unix)]
const MOST_TASKS: usize = 64;

/// Both directions of a descriptor. They fill a cache line, so that workers with two descriptors do
/// not share one.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Readiness {
    pub(crate) read: Direction,
    pub(crate) write: Direction,
}

impl Readiness {
    pub(crate) fn new() -> Self {
        Self { read: Direction::new(), write: Direction::new() }
    }

    /// Prepares the readiness of a closed descriptor for a new one. No operation uses it.
    pub(crate) fn reset(&self) {
        self.read.reset();
        self.write.reset();
    }

    /// Makes every operation fail from here on, because the runtime has ended. Wakes none:
    /// [`wake_all`](Self::wake_all) does.
    pub(crate) fn end(&self) {
        for direction in [&self.read, &self.write] {
            direction.word.fetch_or(OVER, Ordering::AcqRel);
        }
    }

    /// Wakes all tasks that wait, after [`end`](Self::end).
    pub(crate) fn wake_all(&self) {
        self.read.event(OVER);
        self.write.event(OVER);
    }

    /// Returns true if a task waits.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.read.is_waited_for() || self.write.is_waited_for()
    }

    /// Calls `f` with the addresses of the waiting tasks, up to a limit.
    #[cfg(unix)]
    pub(crate) fn each_task(&self, mut f: impl FnMut(usize)) {
        self.read.each_task(&mut f);
        self.write.each_task(&mut f);
    }
}

/// One direction of a descriptor. The bits of `word` are described at the top of the file.
pub(crate) struct Direction {
    word: AtomicU8,
    /// The length of the queue, written under its lock. It is outside so that a direction, of which
    /// each descriptor has two, is 8 bytes smaller.
    len: AtomicU32,
    waiting: Queues<()>,
    object: Object,
}

#[cfg(all(not(gopark_loom), not(feature = "sim")))]
const _: () = assert!(size_of::<Readiness>() == 64);

/// The only queue.
const Q: usize = 0;

type Waiting<'a> = Held<'a, ()>;

/// The next step of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It makes the system call.
    Try(Taken),
    /// It waits.
    Wait,
    /// It fails: the runtime has ended.
    Over,
    /// It fails: the listener was closed.
    Closed,
}

/// The bits that an operation has cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken(u8);

impl Taken {
    pub(crate) const NOTHING: Self = Self(0);
}

impl Direction {
    /// Creates a direction whose first system call is made without waiting.
    fn new() -> Self {
        Self {
            word: AtomicU8::new(READY),
            len: AtomicU32::new(0),
            waiting: Queues::new(()),
            object: Object::new(),
        }
    }

    /// A waiter whose future was leaked may still be in the queue.
    fn reset(&self) {
        self.word.store(READY, Ordering::Release);
        self.object.reset();
    }

    pub(crate) fn object(&self) -> &Object {
        &self.object
    }

    /// Returns the next step of an operation that begins or was woken. Clears the bits of a `Try`.
    #[inline]
    pub(crate) fn next(&self) -> Next {
        match self.peek() {
            Next::Try(Taken(bits)) => {
                self.word.fetch_and(!bits, Ordering::AcqRel);
                Next::Try(Taken(bits))
            }
            next => next,
        }
    }

    /// Returns the next step of an operation, without clearing bits.
    #[inline]
    pub(crate) fn peek(&self) -> Next {
        match self.word.load(Ordering::Acquire) {
            word if word & (OVER | CLOSED) != 0 => {
                if word & OVER != 0 {
                    Next::Over
                } else {
                    Next::Closed
                }
            }
            word if word & (READY | ENDED) != 0 => Next::Try(Taken(word & (READY | ENDED))),
            _ => Next::Wait,
        }
    }

    /// Sets the bits again after a system call that did not block. `more` is true if the next call
    /// may succeed as well.
    #[inline]
    pub(crate) fn give_back(&self, taken: Taken, more: bool) {
        let more = more || self.word.load(Ordering::Relaxed) & URGENT != 0;
        self.event(if more { READY } else { 0 } | taken.0 & ENDED);
    }

    /// Sets bits, and wakes all waiting tasks.
    pub(crate) fn event(&self, bits: u8) {
        if self.set(bits) {
            self.wake_all();
        }
    }

    /// As [`event`](Self::event), but adds the wakers of the waiting tasks to `wakes`. If there is
    /// no room for all it returns false, and the caller must [wake all](Self::wake_all).
    #[must_use]
    pub(crate) fn event_into(&self, bits: u8, wakes: &mut WakeList) -> bool {
        if !self.set(bits) {
            return true;
        }
        let mut waiting = self.waiting.lock();
        let len = self.len.load(Ordering::Relaxed);
        let has_room = len as usize <= wakes.room();
        if has_room {
            while waiting.grant_front_into(Q, wakes) {}
            self.len.store(0, Ordering::Relaxed);
        }
        has_room
    }

    /// Sets bits. Returns true if the caller must wake all waiting tasks.
    #[inline]
    pub(crate) fn set(&self, bits: u8) -> bool {
        if bits == 0 {
            return false;
        }
        // Each event reports both directions. Usually nothing has changed in one of them, and no
        // task waits for it.
        let word = self.word.load(Ordering::Acquire);
        if word & bits == bits && word & WAITED == 0 {
            return false;
        }
        let set = |word| Some((word | bits) & !WAITED);
        // It always succeeds.
        let before = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, set)
            .unwrap_or_else(|word| word);
        before & WAITED != 0
    }

    /// Makes every operation fail, because the listener is closed.
    pub(crate) fn close(&self) {
        self.event(CLOSED);
    }

    /// Returns true if every operation fails.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.peek(), Next::Over | Next::Closed)
    }

    /// Returns true if the other end is known to have hung up.
    pub(crate) fn has_ended(&self) -> bool {
        self.word.load(Ordering::Acquire) & ENDED != 0
    }

    /// Wakes all that wait now. A task may run in its wake and wait again: counting ends the loop.
    pub(crate) fn wake_all(&self) {
        let mut wakes = WakeList::new();
        let mut left = None;
        loop {
            {
                let mut waiting = self.waiting.lock();
                let left = left.get_or_insert(self.len.load(Ordering::Relaxed));
                while *left > 0 && !wakes.is_full() && waiting.grant_front_into(Q, &mut wakes) {
                    *left -= 1;
                    self.add_to_len(&waiting, -1);
                }
            }
            let more = wakes.is_full();
            wakes.wake_all();
            if !more {
                return;
            }
        }
    }

    /// Counts waiting operations. The caller holds the lock.
    fn add_to_len(&self, _: &Waiting<'_>, change: i32) {
        let len = self.len.load(Ordering::Relaxed);
        self.len.store(len.wrapping_add_signed(change), Ordering::Relaxed);
    }

    /// Returns true if a task waits.
    fn is_waited_for(&self) -> bool {
        self.word.load(Ordering::Relaxed) & WAITED != 0 && !self.waiting.lock().is_empty(Q)
    }

    /// Calls `f` with the addresses of the waiting tasks, up to a limit.
    #[cfg(unix)]
    fn each_task(&self, mut f: impl FnMut(usize)) {
        if self.word.load(Ordering::Relaxed) & WAITED != 0 {
            self.waiting.lock().each_task(Q, MOST_TASKS, &mut f);
        }
    }

    /// Returns a wait for the next event.
    #[inline]
    pub(crate) fn wait(&self) -> Wait<'_> {
        Wait { direction: self }
    }

    /// Returns a wait for the end of the runtime, or the close of the listener. Other events end it
    /// as well.
    pub(crate) fn wait_for_end(
        &self,
        site: &'static Location<'static>,
    ) -> Acquisition<'_, WaitForEnd<'_>, ()> {
        Acquisition::new(Wait { direction: self }, site)
    }

    /// Makes the waiter of a poll function wait for the next event, which wakes `waker`. In its
    /// place the caller gets the previous waker, to drop it after its lock is released. Returns
    /// false if there is nothing to wait for: then the operation continues.
    pub(crate) fn watch<'a>(
        &'a self,
        waiter: OwnWaiter<'_, 'a, ()>,
        waker: &mut Option<TaskWaker>,
    ) -> bool {
        if waiter.is_linked() {
            return self.waiting.lock().swap_waker(waiter, waker);
        }
        waiter.renew(waker);
        let wait: Wait<'a> = Wait { direction: self };
        let waits = !wait.enqueue(waiter);
        if !waits {
            waiter.swap_waker(waker);
        }
        waits
    }

    /// Ends the wait that [`watch`](Self::watch) has begun, if the waiter still waits.
    pub(crate) fn unwatch<'a>(&'a self, waiter: OwnWaiter<'_, 'a, ()>) {
        let wait: Wait<'a> = Wait { direction: self };
        if waiter.is_linked() {
            wait.cancel(waiter);
        }
        waiter.swap_waker(&mut None);
    }

    /// Sets `WAITED`. Returns false if there is nothing to wait for: one of these bits is set.
    fn begin_wait(&self, bits: u8) -> bool {
        self.word.fetch_or(WAITED, Ordering::AcqRel) & bits == 0
    }
}

/// A wait for an event, which ends at once if one of `BITS` is set.
#[derive(Clone, Copy)]
pub(crate) struct Wait<'a, const BITS: u8 = NO_WAIT> {
    direction: &'a Direction,
}

pub(crate) type WaitForEnd<'a> = Wait<'a, { OVER | CLOSED }>;

impl<'a, const BITS: u8> Request<'a, ()> for Wait<'a, BITS> {
    type Resource = Self;
    type Output = ();

    fn resource(self) -> Self {
        self
    }

    fn reason(self) -> Reason {
        Reason::Io
    }

    fn output(self, _: Acquired<Self, ()>) {}
}

impl<'a, const BITS: u8> Resource<'a, ()> for Wait<'a, BITS> {
    const GRANT_IS_ALL: bool = true;

    #[inline]
    fn try_acquire(self) -> bool {
        self.direction.word.load(Ordering::Acquire) & BITS != 0
    }

    /// `enqueue` tries again under the lock.
    #[inline]
    fn try_again(self) -> bool {
        false
    }

    fn extra(self) {}

    fn object(self) -> Option<&'a Object> {
        Some(&self.direction.object)
    }

    fn enqueue(self, waiter: OwnWaiter<'_, 'a, ()>) -> bool {
        let mut waiting = self.direction.waiting.lock();
        if !self.direction.begin_wait(BITS) {
            return true;
        }
        waiting.push_back(Q, waiter);
        self.direction.add_to_len(&waiting, 1);
        false
    }

    fn look(self, waiter: OwnWaiter<'_, 'a, ()>, cx: &mut Context<'_>) -> bool {
        self.direction.waiting.look(waiter, cx, |_, _| waiter.state() == queue::GRANTED)
    }

    #[cold]
    fn cancel(self, waiter: OwnWaiter<'_, 'a, ()>) {
        let mut waiting = self.direction.waiting.lock();
        // An event wakes all waiters, so nothing needs to be passed on.
        if waiter.state() != queue::GRANTED {
            waiting.remove(waiter);
            self.direction.add_to_len(&waiting, -1);
        }
    }
}

impl fmt::Debug for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direction").field("word", &self.word).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
