//! Whether one direction of a descriptor may be ready, and which operations wait for that.
//!
//! | bit | meaning | set by | cleared by |
//! |---|---|---|---|
//! | `READY` | a system call may succeed | an event; an operation that has left something | an operation, before its system call |
//! | `ENDED` | the same, as long as no system call says that it would block | an event of an end; an operation that did not find otherwise | the same |
//! | `URGENT` | a transfer that was cut short says nothing: a read stops at urgent data | an event | – |
//! | `OVER` | every operation fails: the runtime has ended | the end | – |
//! | `CLOSED` | every operation fails: the listener was closed | the close | – |
//! | `WAITED` | an operation may be in the queue, or a task among the watchers | it, under the lock of its list | an event, which wakes them all |
//!
//! An operation clears `READY` and `ENDED` *before* its system call. So an event that comes during
//! the call is not lost: it sets them again. A call that has filled its buffer gives `READY` back,
//! because there may be more; one that was cut short has drained the direction, and the next
//! operation waits without a system call. `ENDED` is given back unless the call would have blocked:
//! a pipe may have a new writer.
//!
//! Proof that no wake is lost. An operation waits only after it has set `WAITED` by a
//! read-modify-write that saw none of the other bits but `URGENT`, under the lock of its list. An
//! event that comes later in the order of the word clears `WAITED`, and then takes the lock: it
//! finds the operation. One that comes earlier was seen.
//!
//! An event that finds `READY` set, by a plain load, changes nothing. Had an operation cleared the
//! bit before the data came, its system call would have been before them as well: the kernel's lock
//! on the socket orders the two, and so the load would see the cleared bit. If it clears the bit
//! later, its call finds the data.

use std::fmt;
use std::panic::Location;
use std::sync::{Arc, OnceLock};
use std::task::Context;

use crate::coop::{Object, Reason};
use crate::lock::Lock;
use crate::loom::atomic::{AtomicU8, Ordering};
use crate::wait::acquire::{Acquisition, Request, Resource};
use crate::wait::queue::{self, Queue, Waiter};
use crate::wait::watch::{Watch, Watchers};
use crate::waker::WakeList;

/// The bits that an event sets are those of the poller.
const READY: u8 = crate::netpoll::READY;
const ENDED: u8 = crate::netpoll::ENDED;
const URGENT: u8 = crate::netpoll::URGENT;
const OVER: u8 = 8;
const CLOSED: u8 = 16;
const WAITED: u8 = 32;
/// With one of these an operation does not wait.
const NO_WAIT: u8 = READY | ENDED | OVER | CLOSED;

/// Most tasks of which a look finds that they wait for one direction.
#[cfg(unix)]
const MOST_TASKS: usize = 64;

/// Both directions of a descriptor.
#[derive(Debug)]
pub(crate) struct Readiness {
    pub(crate) read: Direction,
    pub(crate) write: Direction,
}

impl Readiness {
    pub(crate) fn new() -> Self {
        Self { read: Direction::new(), write: Direction::new() }
    }

    /// Calls `f` with the address of each task that waits, for a few of them.
    #[cfg(unix)]
    pub(crate) fn each_task(&self, mut f: impl FnMut(usize)) {
        self.read.each_task(&mut f);
        self.write.each_task(&mut f);
    }
}

/// The table is at the top of the file.
pub(crate) struct Direction {
    word: AtomicU8,
    queue: Lock<Queue<()>>,
    /// Tasks that poll without a future that could wait in the queue.
    watchers: OnceLock<Arc<Watchers>>,
    object: Object,
}

/// What an operation does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The system call.
    Try(Taken),
    /// It waits.
    Wait,
    /// It fails: the runtime has ended.
    Over,
    /// It fails: the listener was closed.
    Closed,
}

/// What an operation has cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken(u8);

impl Taken {
    pub(crate) const NOTHING: Self = Self(0);
}

impl Direction {
    /// The first system call is made at once.
    fn new() -> Self {
        Self {
            word: AtomicU8::new(READY),
            queue: Lock::new(Queue::new()),
            watchers: OnceLock::new(),
            object: Object::new(),
        }
    }

    pub(crate) fn object(&self) -> &Object {
        &self.object
    }

    /// An operation begins, or has been woken.
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

    /// What an operation would do next. It takes nothing.
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

    /// The system call of an operation is done, and did not say that it would block. `more` if the
    /// next one may succeed as well.
    #[inline]
    pub(crate) fn give_back(&self, taken: Taken, more: bool) {
        let more = more || self.word.load(Ordering::Relaxed) & URGENT != 0;
        self.event(if more { READY } else { 0 } | taken.0 & ENDED);
    }

    /// The direction may be ready: wakes all that wait.
    pub(crate) fn event(&self, bits: u8) {
        if bits == 0 {
            return;
        }
        // Each event reports both directions. Most often nothing is new of the other one, nor
        // waited for.
        let word = self.word.load(Ordering::Acquire);
        if word & bits == bits && word & WAITED == 0 {
            return;
        }
        let set = |word| Some((word | bits) & !WAITED);
        // It always succeeds.
        let before = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, set)
            .unwrap_or_else(|word| word);
        if before & WAITED != 0 {
            self.wake_all();
        }
    }

    /// The runtime has ended.
    pub(crate) fn end(&self) {
        self.event(OVER);
    }

    /// The listener is closed.
    pub(crate) fn close(&self) {
        self.event(CLOSED);
    }

    /// True if the other end has hung up, as far as is known.
    pub(crate) fn has_ended(&self) -> bool {
        self.word.load(Ordering::Acquire) & ENDED != 0
    }

    fn wake_all(&self) {
        let mut wakes = WakeList::new();
        loop {
            {
                let mut queue = self.queue.lock();
                while !wakes.is_full() && queue.grant_front_into(&mut wakes) {}
            }
            let more = wakes.is_full();
            wakes.wake_all();
            if !more {
                break;
            }
        }
        if let Some(watchers) = self.watchers.get() {
            watchers.wake(None);
        }
    }

    /// Calls `f` with the address of each task that waits, for a few of them.
    #[cfg(unix)]
    fn each_task(&self, mut f: impl FnMut(usize)) {
        if self.word.load(Ordering::Relaxed) & WAITED != 0 {
            self.queue.lock().each_task(MOST_TASKS, &mut f);
            self.watchers
                .get()
                .into_iter()
                .for_each(|watchers| watchers.each_task(MOST_TASKS, &mut f));
        }
    }

    /// A wait for the next event.
    pub(crate) fn wait(&self, site: &'static Location<'static>) -> Acquisition<Wait<'_>, ()> {
        Acquisition::new(Wait { direction: self }, site)
    }

    /// Lets the next event wake the task of `cx`. False if that would wait for nothing: the
    /// operation goes on.
    pub(crate) fn watch(&self, watch: &mut Watch, cx: &Context<'_>) -> bool {
        let watchers = self.watchers.get_or_init(|| Arc::new(Watchers::new()));
        watch.register(|| watchers.clone(), cx);
        // After the registration, which the wake that clears the bit finds then.
        let waits = self.begin_wait();
        if !waits {
            watch.end();
        }
        waits
    }

    /// Sets `WAITED`. False if there is nothing to wait for.
    fn begin_wait(&self) -> bool {
        self.word.fetch_or(WAITED, Ordering::AcqRel) & NO_WAIT == 0
    }
}

/// A wait for an event.
#[derive(Clone, Copy)]
pub(crate) struct Wait<'a> {
    direction: &'a Direction,
}

impl Request<()> for Wait<'_> {
    type Resource = Self;
    type Output = ();

    fn resource(&self) -> Option<&Self> {
        Some(self)
    }

    fn reason(&self) -> Reason {
        Reason::Io
    }

    fn output(&self) {}
}

impl Resource<()> for Wait<'_> {
    const GRANT_IS_ALL: bool = true;

    #[inline]
    fn try_acquire(&self) -> bool {
        self.direction.word.load(Ordering::Acquire) & NO_WAIT != 0
    }

    /// It is tried once more under the lock.
    #[inline]
    fn try_again(&self) -> bool {
        false
    }

    fn extra(&self) {}

    fn object(&self) -> &Object {
        &self.direction.object
    }

    // Safety, of this and the next two: as the trait says.
    unsafe fn enqueue(&self, waiter: &Waiter<()>) -> bool {
        let mut queue = self.direction.queue.lock();
        if !self.direction.begin_wait() {
            return true;
        }
        // SAFETY: passed on to the caller.
        unsafe { queue.push_back(waiter) };
        false
    }

    unsafe fn look(&self, waiter: &Waiter<()>, cx: &mut Context<'_>) -> bool {
        let granted = |_: &mut _, _| waiter.state() == queue::GRANTED;
        // SAFETY: a waiter that is not granted is linked in the queue.
        unsafe { queue::look(&self.direction.queue, waiter, cx, granted) }
    }

    #[cold]
    unsafe fn cancel(&self, waiter: &Waiter<()>) {
        let mut queue = self.direction.queue.lock();
        // An event has woken all: nothing needs to be passed on.
        if waiter.state() != queue::GRANTED {
            // SAFETY: not granted, seen under the lock, so linked in the queue.
            unsafe { queue.remove(waiter) };
        }
    }
}

impl fmt::Debug for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direction").field("word", &self.word).finish_non_exhaustive()
    }
}
